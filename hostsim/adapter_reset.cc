#include "hostsim/adapter_reset.h"

namespace dxg::hostsim {

void FailDevices(Machine& machine, const Adapter& adapter, ExecutionState state, StateChanges* changes) {
  for (const std::shared_ptr<Process>& shared : machine.Processes()) {
    Process& process = *shared;
    MutexLock lock(process.mutex());
    process.ForEachObject([&](Object& object) {
      if (object.kind != Device::kKind) return;
      auto& device = static_cast<Device&>(object);
      if (device.adapter.get() == &adapter) device.Fail(process, state, changes);
    });
  }
}

void ResetAdapter(Machine& machine, Adapter& adapter, StateChanges* changes) {
  adapter.CountTdr();
  FailDevices(machine, adapter, ExecutionState::kReset, changes);
}

}  // namespace dxg::hostsim
