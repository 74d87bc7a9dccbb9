#include "hostsim/adapter_reset.h"

namespace dxg::hostsim {

void FailDevices(Machine& machine, const Adapter& adapter, ExecutionState state, Aftermath* aftermath) {
  for (const std::shared_ptr<Process>& shared : machine.Processes()) {
    Process& process = *shared;
    MutexLock lock(process.mutex());
    process.ForEachObject([&](Object& object) {
      if (object.kind != Device::kKind) return;
      auto& device = static_cast<Device&>(object);
      if (device.adapter.get() == &adapter) device.Fail(process, state, aftermath);
    });
  }
}

void ResetAdapter(Machine& machine, Adapter& adapter, Aftermath* aftermath) {
  adapter.CountTdr();
  FailDevices(machine, adapter, ExecutionState::kReset, aftermath);
}

}  // namespace dxg::hostsim
