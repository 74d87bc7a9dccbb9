#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cuse-dxg/backend/backend.h"
#include "proto/dxg/control.pb.h"

namespace dxg {

// The simulated host in this process: no thread in between, no serialization. `profiles` are names of shipped adapter
// profiles or files; none means the default adapter.
Result<std::unique_ptr<Backend>> CreateInProcessBackend(const std::vector<std::string>& profiles);
// The same for somebody who is not trusted with our files: a shipped profile's name, or a name for messages and the text.
Result<std::unique_ptr<Backend>> CreateInProcessBackendOf(const std::vector<ControlRequest::AddAdapter>& profiles);

}  // namespace dxg
