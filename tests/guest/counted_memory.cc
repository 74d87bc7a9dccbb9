#include "tests/guest/counted_memory.h"

#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

constexpr int64_t kOverhead = 8;  // of glibc's, each

std::atomic<int64_t> bytes_in_use{0};

}  // namespace

void* operator new(size_t size) {
  void* memory = std::malloc(size);
  if (memory == nullptr) std::abort();
  bytes_in_use += static_cast<int64_t>(malloc_usable_size(memory)) + kOverhead;
  return memory;
}

void operator delete(void* memory) noexcept {
  if (memory != nullptr) bytes_in_use -= static_cast<int64_t>(malloc_usable_size(memory)) + kOverhead;
  std::free(memory);
}

void operator delete(void* memory, size_t) noexcept { operator delete(memory); }

namespace dxg::guest {

int64_t BytesInUse() { return bytes_in_use; }

}  // namespace dxg::guest
