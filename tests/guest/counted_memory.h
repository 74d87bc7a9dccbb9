#pragma once

#include <cstdint>

namespace dxg::guest {

// What all allocations of this program come to, with what the allocator adds to each.
int64_t BytesInUse();

// This thread's allocations from here on: the one with that number, from 1, finds no memory, and only it; 0:
// none fails.
void FailAllocation(uint64_t number);
// This thread's allocations of so many bytes or more find no memory; 0: all do.
void FailAllocationsFrom(uint64_t bytes);
// How many there were since FailAllocation.
uint64_t AllocationsSince();

// While there is one, this thread's allocations do not count: they are of what stands for the outside.
class OutsideCount {
 public:
  OutsideCount();
  ~OutsideCount();
  OutsideCount(const OutsideCount&) = delete;
  OutsideCount& operator=(const OutsideCount&) = delete;
};

}  // namespace dxg::guest
