#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cuse-dxg/backend/backend.h"

namespace dxg {

// The simulated host in this process: no thread in between, no serialization. `profiles` are names of shipped adapter
// profiles or files; none means the default adapter.
Result<std::unique_ptr<Backend>> CreateInProcessBackend(const std::vector<std::string>& profiles);

}  // namespace dxg
