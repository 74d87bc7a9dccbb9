#pragma once

#include <cstdint>

namespace dxg::hostsim {

// A counter of that frequency at that time.
inline constexpr uint64_t ToTicks(uint64_t now_ns, uint64_t frequency_hz) {
  constexpr uint64_t kNsPerSecond = 1'000'000'000;
  // In two parts, because the product of all of it does not fit.
  return now_ns / kNsPerSecond * frequency_hz + now_ns % kNsPerSecond * frequency_hz / kNsPerSecond;
}

}  // namespace dxg::hostsim
