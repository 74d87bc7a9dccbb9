#pragma once

#include <stdint.h>

namespace dxg::preload::node {

// A moment of a loop that waits for another core.
inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Whether it is worth looking at a word until the other side writes there. Each time that it was for nothing,
// twice as many times are left out, up to 256, as the other side is off its core, or slow.
class Spin {
 public:
  bool May() {
    if (left_out_ == 0) return true;
    --left_out_;
    return false;
  }
  void Worked() { worked_ = true; }
  // It has ended. What has worked before is tried again.
  void WasForNothing() {
    const bool worked = worked_;
    worked_ = false;
    wasted_ = worked ? 0 : wasted_ < kWastedMax ? wasted_ + 1 : kWastedMax;
    left_out_ = worked ? 0 : 1u << wasted_;
  }

 private:
  static constexpr uint32_t kWastedMax = 8;
  uint32_t wasted_ = 0, left_out_ = 0;
  bool worked_ = false;
};

}  // namespace dxg::preload::node
