#include "tests/guest/counted_memory.h"

#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

constexpr int64_t kOverhead = 8;  // of glibc's, each

std::atomic<int64_t> bytes_in_use{0};

thread_local uint64_t allocations = 0, failing = 0, outside = 0, failing_from = 0;

}  // namespace

void* operator new(size_t size) {
  while ((outside == 0 && ++allocations == failing) || (failing_from != 0 && size >= failing_from)) {
    const std::new_handler find_some = std::get_new_handler();
    if (find_some == nullptr) throw std::bad_alloc();
    find_some();  // and try again, as the library's own does
  }
  void* memory = std::malloc(size);
  if (memory == nullptr) std::abort();
  bytes_in_use += static_cast<int64_t>(malloc_usable_size(memory)) + kOverhead;
  return memory;
}

// As the library's own; a sanitizer has another one.
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  try {
    return operator new(size);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

void operator delete(void* memory) noexcept {
  if (memory != nullptr) bytes_in_use -= static_cast<int64_t>(malloc_usable_size(memory)) + kOverhead;
  std::free(memory);
}

void operator delete(void* memory, size_t) noexcept { operator delete(memory); }

namespace dxg::guest {

int64_t BytesInUse() { return bytes_in_use; }

void FailAllocationsFrom(uint64_t bytes) { failing_from = bytes; }

void FailAllocation(uint64_t number) {
  allocations = 0;
  failing = number;
}

OutsideCount::OutsideCount() { ++outside; }
OutsideCount::~OutsideCount() { --outside; }

uint64_t AllocationsSince() { return allocations; }

}  // namespace dxg::guest
