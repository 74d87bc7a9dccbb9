#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "hostsim/work/eu/thread.h"

// One instruction each, with what it must leave, as a formula of C that knows nothing of the interpreter.

namespace dxg::hostsim::eu {

// What a lane sees: sources are in r10 and r11, r20 and r21, r30 and r31; constants in r8.
class Lane {
 public:
  Lane(const Thread& thread, int lane, int first_lane)
      : thread_(thread), lane_(lane), first_lane_(first_lane) {}

  int lane() const { return lane_; }
  template <typename T>
  T At(int reg, int index) const {
    T value;
    __builtin_memcpy(&value, thread_.grf + reg * 32 + index * static_cast<int>(sizeof(T)), sizeof(T));
    return value;
  }
  // The element of this lane in registers that are full of such elements.
  template <typename T>
  T Of(int reg) const {
    return At<T>(reg, lane_);
  }
  int32_t d(int reg) const { return Of<int32_t>(reg); }
  uint32_t ud(int reg) const { return Of<uint32_t>(reg); }
  int16_t w(int reg) const { return Of<int16_t>(reg); }
  uint16_t uw(int reg) const { return Of<uint16_t>(reg); }
  int8_t b(int reg) const { return Of<int8_t>(reg); }
  uint8_t ub(int reg) const { return Of<uint8_t>(reg); }
  float f(int reg) const { return Of<float>(reg); }
  uint16_t hf(int reg) const { return Of<uint16_t>(reg); }
  bool flag(int half) const { return thread_.flag[half / 2] >> (half % 2 * 16 + first_lane_ + lane_) & 1; }
  const Thread& thread() const { return thread_; }

 private:
  const Thread& thread_;
  int lane_, first_lane_;
};

struct Vector {
  const char* text;                      // as the assembler takes it
  uint64_t (*result)(const Lane& lane);  // the destination's bits; more are cut off. Null: no destination
  bool (*flag)(const Lane& lane) = nullptr;
  uint64_t (*accumulator)(const Lane& lane) = nullptr;  // acc0's dword of the lane
  uint32_t control = 0x4c0;                             // cr0.0
};

const std::vector<Vector>& IntegerVectors();
const std::vector<Vector>& FloatVectors();

}  // namespace dxg::hostsim::eu
