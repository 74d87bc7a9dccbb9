#pragma once

#include "hostsim/work/eu/step.h"

// The handlers for contiguous registers (fast_handlers.inc), compiled for two sets of instructions. Null: the
// step is none of theirs.

namespace dxg::hostsim::eu {

namespace baseline {
Handler FindHandler(const Step& step);
}
namespace avx2 {
Handler FindHandler(const Step& step);
}

}  // namespace dxg::hostsim::eu
