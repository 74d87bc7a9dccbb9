#pragma once

#include <cstdint>

#include "hostsim/work/eu/instruction.h"

// The shared function "math". Its floats come from the host's mathematics: right to the last bit or two of a
// float, but not the bits of a GPU, which rounds otherwise. OpenCL's tolerances hold.

namespace dxg::hostsim::eu {

float FloatMath(Math function, float a);

// Quotient and remainder of dwords. A division by zero has the result of the largest numbers.
int64_t IntegerMath(Math function, bool is_signed, int64_t a, int64_t b);

}  // namespace dxg::hostsim::eu
