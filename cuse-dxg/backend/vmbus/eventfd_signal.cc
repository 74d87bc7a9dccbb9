#include "cuse-dxg/backend/vmbus/eventfd_signal.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

namespace dxg::vmbus {

EventfdSignal::EventfdSignal(attach::UniqueFd wait, attach::UniqueFd ring) : wait_(std::move(wait)), ring_(std::move(ring)) {}

void EventfdSignal::Ring() {
  const uint64_t one = 1;
  // It fails only where the peer has filled the count, and so has cut itself off.
  (void)!write(ring_.get(), &one, sizeof(one));
}

Result<attach::UniqueFd> MakeSignalFile() {
  attach::UniqueFd file(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!file.valid()) return Status::Refuse(errno, "cannot make an eventfd: {}", std::strerror(errno));
  return file;
}

}  // namespace dxg::vmbus
