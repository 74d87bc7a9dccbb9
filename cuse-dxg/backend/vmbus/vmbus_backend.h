#pragma once

#include <memory>

#include "cuse-dxg/backend/vmbus/bus.h"
#include "link/backend.h"

namespace dxg {

// The host at the other end of VMBus channels: what the real guest driver sends, in its order.
//
// A function of PCI configuration space and a vGPU channel with the same instance make an adapter, once the
// global channel has carried SETIOSPACEREGION: OPENADAPTER, GETINTERNALADAPTERINFO, and it is there. Commands
// of an adapter travel on its own channel, or on the global one once a host has announced asynchronous
// messages.
std::unique_ptr<Backend> CreateVmbusBackend(std::unique_ptr<vmbus::Bus> bus);

}  // namespace dxg
