#pragma once

#include <memory>

#include "base/status.h"
#include "base/unique_fd.h"
#include "cuse-dxg/client/injector.h"

namespace dxg::client {

// The way into clients that carry the preload shim: an agent, a thread of the client's own, does the steps.
// It needs no rights over the client and does not mind a debugger. The call waits unanswered meanwhile
// (holds_thread() is false). Processes without an agent are visited by the injector.
//
// `agents` is a listening socket, to which the agents connect (preload/protocol.h).
Result<std::unique_ptr<Delivery>> StartAgents(std::unique_ptr<Injector> otherwise, UniqueFd agents);

// Both: the injector, and before it the agents where there is a socket for them.
Result<std::unique_ptr<Delivery>> StartDelivery(UniqueFd agents, const InjectorOptions& options = {});

}  // namespace dxg::client
