#pragma once

#include "hostsim/device.h"
#include "hostsim/machine.h"

namespace dxg::hostsim {

// Puts every active device of the adapter, of whatever process, into that state.
void FailDevices(Machine& machine, const Adapter& adapter, ExecutionState state, Aftermath* aftermath);

// A timeout that an engine's reset did not cure: the whole adapter starts anew, and no device survives it.
// The adapter stays and takes new devices.
void ResetAdapter(Machine& machine, Adapter& adapter, Aftermath* aftermath);

}  // namespace dxg::hostsim
