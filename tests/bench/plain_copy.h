#pragma once

#include <cstdint>

namespace dxg::bench {

// Two runs of plain shared memory, touched, and what it takes to copy one to the other.
class PlainCopy {
 public:
  explicit PlainCopy(uint64_t bytes);
  ~PlainCopy();
  PlainCopy(const PlainCopy&) = delete;
  double Ns() const;

 private:
  const uint64_t bytes_;
  char* memory_;
};

}  // namespace dxg::bench
