#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "cuse-dxg/backend/uio/uio_node.h"
#include "link/vmbus/channel.h"

namespace dxg::vmbus {

// A channel's memory, and a pseudo-terminal for the interrupts and signals of /dev/uioN. Once the host's end
// of the pseudo-terminal is closed, a read fails with EIO, as in the kernel.
class FakeWire {
 public:
  explicit FakeWire(size_t rings_bytes);
  ~FakeWire();
  FakeWire(const FakeWire&) = delete;
  FakeWire& operator=(const FakeWire&) = delete;

  // The guest's end. Once.
  std::unique_ptr<UioNode> TakeNode();
  std::span<std::byte> rings() const { return rings_; }
  std::span<std::byte> monitor() const { return monitor_; }

  void Interrupt();                 // the guest
  bool WaitForSignal();             // of the guest's write; false: it has closed its node
  std::optional<int32_t> Signal();  // without waiting
  void Rescind() { host_.reset(); }
  // The host's end of the rings.
  std::unique_ptr<Channel> HostChannel();
  int host_fd() const { return host_.get(); }

 private:
  std::span<std::byte> rings_, monitor_;
  UniqueFd guest_, host_;
};

}  // namespace dxg::vmbus
