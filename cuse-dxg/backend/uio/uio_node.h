#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "base/status.h"

namespace dxg::vmbus {

// /dev/uioN of a channel: opening the first one opens the channel with its host, closing the last one closes
// it. Tests have one without a kernel.
class UioNode {
 public:
  virtual ~UioNode() = default;
  // What a map holds, from its beginning on, readable and writable; stays until the node goes.
  virtual Result<std::span<std::byte>> Map(unsigned index, size_t bytes) = 0;
  // Reads and writes are of 4 bytes: read gives the number of interrupts so far once it has changed (EAGAIN
  // before that, EIO when the channel is rescinded); writing 1 signals the host of a channel without a
  // monitor.
  virtual int fd() const = 0;
};

Result<std::unique_ptr<UioNode>> OpenUioNode(const std::string& path);

}  // namespace dxg::vmbus
