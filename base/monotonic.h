#pragma once

#include <time.h>

#include <cstdint>

namespace dxg {

// Nanoseconds on CLOCK_MONOTONIC, as all times of recordings and reports are.
inline uint64_t MonotonicNs() {
  constexpr uint64_t kNsPerSecond = 1'000'000'000;
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * kNsPerSecond + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace dxg
