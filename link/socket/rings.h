#pragma once

#include <array>
#include <memory>
#include <vector>

#include "base/status.h"
#include "base/unique_fd.h"
#include "link/vmbus/ring.h"

namespace dxg::socket {

// One end of a pair of rings in shared memory, in the layout of the VMBus (vmbus/ring.h), and the bells that
// wake who sleeps. It saves the kernel's two copies and most of its work for each frame.
class Rings {
 public:
  static constexpr size_t kRingBytes = 1u << 20;  // of each direction
  static constexpr size_t kDescriptors = 3;

  // The end of who makes them. Errors: as MakeSharedMemory and eventfd(2).
  static Result<std::unique_ptr<Rings>> Make();
  // What the other end is to get.
  std::array<int, kDescriptors> descriptors() const {
    return {memory_.get(), bell_there_.get(), bell_here_.get()};
  }
  // The other end. EINVAL: these are no such descriptors.
  static Result<std::unique_ptr<Rings>> Take(std::vector<UniqueFd> descriptors);

  vmbus::OutgoingRing outgoing;
  vmbus::IncomingRing incoming;

  // Wakes the other end.
  void Ring();
  // Becomes readable with each ring of the other end, to be watched with EPOLLET.
  int bell() const { return bell_here_.get(); }

 private:
  Rings(vmbus::OutgoingRing out, vmbus::IncomingRing in, std::shared_ptr<std::byte> keep, UniqueFd memory,
        UniqueFd there, UniqueFd here)
      : outgoing(std::move(out)),
        incoming(std::move(in)),
        keep_(std::move(keep)),
        memory_(std::move(memory)),
        bell_there_(std::move(there)),
        bell_here_(std::move(here)) {}
  static Result<std::unique_ptr<Rings>> Of(UniqueFd memory, UniqueFd there, UniqueFd here, bool first);

  const std::shared_ptr<std::byte> keep_;
  const UniqueFd memory_, bell_there_, bell_here_;
};

}  // namespace dxg::socket
