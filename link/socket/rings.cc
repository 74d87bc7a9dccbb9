#include "link/socket/rings.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

#include "base/shared_memory.h"
#include "link/vmbus/eventfd_signal.h"

namespace dxg::socket {

// The maker's outgoing ring comes first.
Result<std::unique_ptr<Rings>> Rings::Of(UniqueFd memory, UniqueFd there, UniqueFd here, bool first) {
  std::shared_ptr<std::byte> keep = MapSharedMemory(memory.get(), 0, 2 * kRingBytes);
  if (!keep)
    return Status::Refuse(EINVAL, "no memory for rings that can be mapped and cannot become shorter");
  const std::span<std::byte> all(keep.get(), 2 * kRingBytes);
  DXG_ASSIGN(auto out, vmbus::OutgoingRing::Create(first ? all.first(kRingBytes) : all.last(kRingBytes)));
  DXG_ASSIGN(auto in, vmbus::IncomingRing::Create(first ? all.last(kRingBytes) : all.first(kRingBytes)));
  return std::unique_ptr<Rings>(new Rings(std::move(out), std::move(in), std::move(keep), std::move(memory),
                                          std::move(there), std::move(here)));
}

Result<std::unique_ptr<Rings>> Rings::Make() {
  DXG_ASSIGN(UniqueFd memory, MakeSharedMemory("dxg-rings", 2 * kRingBytes));
  DXG_ASSIGN(UniqueFd there, vmbus::MakeSignalFile());
  DXG_ASSIGN(UniqueFd here, vmbus::MakeSignalFile());
  return Of(std::move(memory), std::move(there), std::move(here), true);
}

Result<std::unique_ptr<Rings>> Rings::Take(std::vector<UniqueFd> descriptors) {
  if (descriptors.size() != kDescriptors)
    return Status::Refuse(EINVAL, "{} descriptors of rings came, expected {}", descriptors.size(),
                          kDescriptors);
  // Somebody else's, who could let us wait for ever.
  for (const size_t bell : {1, 2}) {
    if (!vmbus::IsEventfd(descriptors[bell].get()))
      return Status::Refuse(EINVAL, "the bells of rings are no eventfds");
    fcntl(descriptors[bell].get(), F_SETFL, O_NONBLOCK);
  }
  return Of(std::move(descriptors[0]), std::move(descriptors[2]), std::move(descriptors[1]), false);
}

void Rings::Ring() {
  const uint64_t one = 1;
  (void)!write(bell_there_.get(), &one, sizeof(one));
}

}  // namespace dxg::socket
