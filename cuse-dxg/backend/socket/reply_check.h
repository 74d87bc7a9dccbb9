#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "link/backend.h"

namespace dxg {

// Whether the lists in a call's reply have the lengths that its request stands for. The guest copies as many
// elements as it asked for, and only the codec of the wire knows how many that are: a list has to be as it
// would be had it come over the VMBus, or, in a refusal, empty. `scratch` keeps its memory from one call to
// the next.
bool ListsFit(const HostCall& call, uint32_t version, std::vector<std::byte>* scratch);

}  // namespace dxg
