#pragma once

#include <memory>

#include "hostsim/machine/machine.h"
#include "hostsim/work/device.h"

// What befalls an adapter as a whole.

namespace dxg::hostsim {

// Puts every active device of the adapter, of whatever process or of one, into that state.
void FailDevices(Machine& machine, const Adapter& adapter, ExecutionState state, Aftermath* aftermath,
                 const Process* only_of = nullptr);

// The whole adapter starts anew, and no device survives it. The adapter stays and takes new devices.
void ResetAdapter(Machine& machine, Adapter& adapter, Aftermath* aftermath);
void ResetAdapter(Machine& machine, Adapter& adapter);  // under no lock
// The same for an engine that hangs and cannot be reset alone. Too many of those in a short time, and the
// host gives up.
void ResetHungAdapter(Machine& machine, Adapter& adapter, Aftermath* aftermath);

// -- Under no lock; the guest is told.

// A new adapter, with the faults of its profile armed. Null: there are kAdaptersMax.
std::shared_ptr<Adapter> ArriveAdapter(Machine& machine, const AdapterProfile& profile);
// Its devices stop, and what is still asked of it answers DEVICE_REMOVED. False: no such live adapter.
bool RemoveAdapter(Machine& machine, uint64_t vgpu_luid);

// Arms a rule that has passed CheckFaultRule; see FaultRule.after_ns.
void ArmFault(Machine& machine, const FaultRule& rule);
// The faults that befall the adapter, or the caller's devices on it, before the command of that passage.
void BefallAdapter(Machine& machine, const std::shared_ptr<Adapter>& adapter, const Process* caller,
                   Passage passage);

}  // namespace dxg::hostsim
