#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "link/vmbus/ring.h"

namespace dxg::vmbus {

// A ring's memory between unmapped pages, shared with child processes; and functions that damage it as a
// hostile peer would.
class GuardedRing {
 public:
  explicit GuardedRing(size_t bytes) : bytes_(bytes) {
    void* all = mmap(nullptr, bytes + 2 * kRingControlBytes, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    base_ = static_cast<std::byte*>(all) + kRingControlBytes;
    if (all == MAP_FAILED || mprotect(base_, bytes, PROT_READ | PROT_WRITE) != 0) {
      std::perror("cannot map the memory of a ring");
      std::abort();
    }
  }
  ~GuardedRing() { munmap(base_ - kRingControlBytes, bytes_ + 2 * kRingControlBytes); }
  GuardedRing(const GuardedRing&) = delete;

  std::span<std::byte> memory() const { return {base_, bytes_}; }
  uint32_t data_bytes() const { return static_cast<uint32_t>(bytes_ - kRingControlBytes); }
  std::byte* data() const { return base_ + kRingControlBytes; }

  uint32_t Get(RingMemory::Field field) const { return ring().Load(field); }
  void Set(RingMemory::Field field, uint32_t value) const { ring().Store(field, value); }
  // Empty, with both indices there.
  void BeginAt(uint32_t index) const {
    Set(RingMemory::kWriteIndex, index);
    Set(RingMemory::kReadIndex, index);
  }
  void SetDescriptor(uint32_t index, uint16_t type, uint16_t offset8, uint16_t length8, uint16_t flags,
                     uint64_t transaction) const {
    ring().StoreWord(
        index, uint64_t{type} | uint64_t{offset8} << 16 | uint64_t{length8} << 32 | uint64_t{flags} << 48);
    ring().StoreWord(ring().Advance(index, 8), transaction);
  }
  std::vector<std::byte> Bytes(uint32_t index, size_t count) const {
    std::vector<std::byte> bytes(count);
    ring().CopyOut(index, bytes);
    return bytes;
  }

 private:
  RingMemory ring() const { return *RingMemory::Of(memory()); }

  const size_t bytes_;
  std::byte* base_;
};

}  // namespace dxg::vmbus
