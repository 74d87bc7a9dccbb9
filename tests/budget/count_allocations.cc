// A library for LD_PRELOAD that counts what a program takes from the heap, in a file that others can read at
// any time: COUNTED_ALLOCATIONS names it. Its first eight bytes are the allocations of all threads, the next
// their bytes.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

// The C library's own, which its malloc is another name of.
extern "C" {
// NOLINTBEGIN(bugprone-reserved-identifier): the C library's names
void* __libc_malloc(size_t bytes);
void* __libc_calloc(size_t count, size_t bytes);
void* __libc_realloc(void* memory, size_t bytes);
void* __libc_memalign(size_t alignment, size_t bytes);
// NOLINTEND(bugprone-reserved-identifier)
}

namespace {

struct Counts {
  std::atomic<uint64_t> allocations{0}, bytes{0};
};
Counts unseen;  // before main, and without a file
std::atomic<Counts*> counts{&unseen};

void Count(size_t bytes) {
  Counts* const now = counts.load(std::memory_order_relaxed);
  now->allocations.fetch_add(1, std::memory_order_relaxed);
  now->bytes.fetch_add(bytes, std::memory_order_relaxed);
}

__attribute__((constructor)) void MapFile() {
  const char* const path = std::getenv("COUNTED_ALLOCATIONS");
  const int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
  if (file < 0) return;
  void* const memory = mmap(nullptr, sizeof(Counts), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  // Safety: a page of zeros, which two atomics of the machine's word are.
  if (memory != MAP_FAILED) counts = static_cast<Counts*>(memory);
}

}  // namespace

#define DXG_COUNTED extern "C" __attribute__((visibility("default")))

DXG_COUNTED void* malloc(size_t bytes) {
  Count(bytes);
  return __libc_malloc(bytes);
}

DXG_COUNTED void* calloc(size_t count, size_t bytes) {
  Count(count * bytes);
  return __libc_calloc(count, bytes);
}

DXG_COUNTED void* realloc(void* memory, size_t bytes) {
  Count(bytes);
  return __libc_realloc(memory, bytes);
}

DXG_COUNTED void* memalign(size_t alignment, size_t bytes) {
  Count(bytes);
  return __libc_memalign(alignment, bytes);
}

DXG_COUNTED void* aligned_alloc(size_t alignment, size_t bytes) { return memalign(alignment, bytes); }

DXG_COUNTED int posix_memalign(void** memory, size_t alignment, size_t bytes) {
  *memory = memalign(alignment, bytes);
  return *memory ? 0 : ENOMEM;
}
