#include "tests/conformance/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <stdexcept>

namespace dxg::conformance {

GuardedMemory::GuardedMemory(size_t bytes) : bytes_(bytes) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t usable = (bytes + page - 1) / page * page;
  mapped_ = usable + page;
  void* mapping = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) throw std::runtime_error("mmap");
  mapping_ = static_cast<std::byte*>(mapping);
  start_ = mapping_ + usable - bytes;
  // Touched, so that the page is there and not only allowed to be.
  for (std::byte& byte : this->bytes()) byte = std::byte{0};
  if (mprotect(mapping_ + usable, page, PROT_NONE) != 0) throw std::runtime_error("mprotect");
}

GuardedMemory::~GuardedMemory() { munmap(mapping_, mapped_); }

void GuardedMemory::MakeReadOnly() {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  if (mprotect(mapping_, mapped_ - page, PROT_READ) != 0) throw std::runtime_error("mprotect");
}

}  // namespace dxg::conformance
