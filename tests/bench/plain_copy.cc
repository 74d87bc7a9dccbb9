#include "tests/bench/plain_copy.h"

#include <sys/mman.h>

#include <cstring>

#include "tests/bench/bench.h"

namespace dxg::bench {

PlainCopy::PlainCopy(uint64_t bytes) : bytes_(bytes) {
  void* const memory = mmap(nullptr, 2 * bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) Fail("mmap");
  memory_ = static_cast<char*>(memory);
  std::memset(memory_, 1, 2 * bytes);
}

PlainCopy::~PlainCopy() { munmap(memory_, 2 * bytes_); }

double PlainCopy::Ns() const {
  const uint64_t start = NowNs();
  std::memcpy(memory_ + bytes_, memory_, bytes_);
  return static_cast<double>(NowNs() - start);
}

}  // namespace dxg::bench
