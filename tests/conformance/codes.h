#pragma once

#include <cstdint>

#include "proto/contract/numbers.gen.h"

// Every ioctl code of the interface, for tests that go through all of them. The list is generated from the
// contract as plain numbers; this suite links nothing of the project.

namespace dxg::conformance {

struct Code {
  const char* name;
  uint32_t code;
};

inline constexpr Code kCodes[] = {
#define DXG_CODE(name, code) {#name, code},
    DXG_FOR_EACH_CALL_CODE(DXG_CODE)
#undef DXG_CODE
};

}  // namespace dxg::conformance
