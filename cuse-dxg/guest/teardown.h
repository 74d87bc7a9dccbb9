#pragma once

#include <memory>

#include "cuse-dxg/guest/host.h"
#include "cuse-dxg/guest/process.h"
#include "cuse-dxg/guest/task.h"

// What ends when something ends. The handles are free by then; this tells the host, in the driver's order. The result
// is always Ok: nobody is left to hear of a refusal.

namespace dxg::guest {

// A device that was taken out of its process. `handle` is how the host hears of it: as the caller named it, instance
// bits and all.
Task EndDevice(Host& host, std::shared_ptr<Process> process, std::shared_ptr<Device> device, uint32_t handle);

// The devices of an adapter whose last handle is closed.
Task EndAdapter(Host& host, std::shared_ptr<Process> process, std::shared_ptr<ProcessAdapter> held);

// A process whose last descriptor is closed.
Task EndProcess(Host& host, std::shared_ptr<Process> process);

}  // namespace dxg::guest
