#pragma once

#include <cstdint>

namespace dxg::conformance {

// Private data of an allocation, as the simulated GPU driver takes it (docs/simulated-gpu.md). The driver of
// a real GPU refuses it.
struct AllocationData {
  static constexpr uint32_t kSystemOnly = 1, kNotCpuVisible = 2, kCached = 4;

  uint32_t magic = 0x434C4153;
  uint32_t version = 1;
  uint64_t bytes = 0;
  uint32_t flags = 0;
  uint32_t segment = 0;
  uint64_t allocated = 0;
};
static_assert(sizeof(AllocationData) == 32);

}  // namespace dxg::conformance
