#pragma once

#include <cstdint>
#include <cstring>

#include "hostsim/work/eu/half.h"
#include "hostsim/work/eu/step.h"

// Reading and writing the elements of a region, of any type. These are the generic ways; fast_handlers.inc
// has those for contiguous registers.

namespace dxg::hostsim::eu {

// What control register 0 says.
struct Modes {
  Rounding rounding;
  bool keeps_float_denormals, keeps_half_denormals;

  explicit Modes(const Thread& thread)
      : rounding(static_cast<Rounding>(thread.control[0] >> 4 & 3)),
        keeps_float_denormals(thread.control[0] >> 7 & 1),
        keeps_half_denormals(thread.control[0] >> 10 & 1) {}
  bool plain() const { return rounding == Rounding::kNearest && keeps_float_denormals; }
};

// Values of the lanes of a step: integers as the numbers they are, floats and halves as floats.
union Values {
  int64_t i[kLanesMax];
  float f[kLanesMax];
};

// The bits of the elements, zero extended, without modifiers. Lanes that are not in the mask may be 0.
// A result other than null says why not.
const char* FetchBits(const Thread& thread, const Step& step, const Place& from, uint32_t lanes,
                      uint64_t* out);

// With sign and modifiers.
const char* FetchIntegers(const Thread& thread, const Step& step, const Place& from, uint32_t lanes,
                          int64_t* out);
// With modifiers; denormals flushed where the thread does not keep them.
const char* FetchFloats(const Thread& thread, const Step& step, const Place& from, uint32_t lanes,
                        float* out);

// Stores the low bits of each, as they are, and into the accumulator if the step writes that.
const char* StoreBits(Thread& thread, const Step& step, uint32_t lanes, const uint64_t* values);
// Saturates if the step does, else cuts off; `values` become what was stored, with the destination's sign.
const char* StoreIntegers(Thread& thread, const Step& step, uint32_t lanes, int64_t* values);
// Rounds to the destination's type, saturates if the step does; `values` become what was stored.
const char* StoreFloats(Thread& thread, const Step& step, uint32_t lanes, float* values);

// Sets the flag bits of the lanes in the mask.
void StoreFlags(Thread& thread, const Step& step, uint32_t lanes, uint32_t bits);

}  // namespace dxg::hostsim::eu
