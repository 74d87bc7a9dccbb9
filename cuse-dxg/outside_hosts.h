#pragma once

#include <functional>
#include <memory>

#include "base/status.h"
#include "base/unique_fd.h"
#include "cuse-dxg/dxg_node.h"
#include "cuse-dxg/guest/observer.h"
#include "link/backend.h"

// What --backend and --shadow name, but for the simulator in this process.

namespace dxg {

// Each call is another connection to the host.
using ConnectOutside = std::function<Result<std::unique_ptr<Backend>>()>;

// A simulator that listens elsewhere, a VMBus, or a recording. EINVAL: there is none of that name, or another
// option does not go with it. The host itself is not asked yet.
Result<ConnectOutside> FindOutsideHost(const NodeOptions& options);

// The socket of a player for --shadow with a back-end; not valid: none is wanted. EINVAL: that can be none,
// or does not go with another option; else the errno of what could not be had.
Result<UniqueFd> StartShadowPlayer(const NodeOptions& options);

// Null: no shadow is wanted. EINVAL: what is named can be none, or does not go with another option; otherwise
// as replay::Recording::Open.
Result<std::unique_ptr<guest::CallObserver>> FindShadow(const NodeOptions& options);

}  // namespace dxg
