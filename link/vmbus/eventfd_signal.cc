#include "link/vmbus/eventfd_signal.h"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

namespace dxg::vmbus {

EventfdSignal::EventfdSignal(UniqueFd wait, UniqueFd ring) : wait_(std::move(wait)), ring_(std::move(ring)) {}

void EventfdSignal::Ring() {
  const uint64_t one = 1;
  // It fails only where the peer has filled the count, and so has cut itself off.
  (void)!write(ring_.get(), &one, sizeof(one));
}

bool IsEventfd(int descriptor) {
  constexpr std::string_view kEventfd = "anon_inode:[eventfd]";
  char target[kEventfd.size() + 1];
  const ssize_t length =
      readlink(fmt::format("/proc/self/fd/{}", descriptor).c_str(), target, sizeof(target));
  return length > 0 && std::string_view(target, static_cast<size_t>(length)) == kEventfd;
}

Result<UniqueFd> MakeSignalFile() {
  UniqueFd file(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!file.valid()) return Status::Refuse(errno, "cannot make an eventfd: {}", std::strerror(errno));
  return file;
}

}  // namespace dxg::vmbus
