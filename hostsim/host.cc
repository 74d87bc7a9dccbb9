#include "hostsim/host.h"

#include "hostsim/adapter_reset.h"
#include "hostsim/commands.h"
#include "proto/contract/host_commands.gen.h"

namespace dxg::hostsim {

std::unique_ptr<Host> Host::Create(World world, const std::vector<AdapterProfile>& profiles) {
  std::unique_ptr<Host> host(new Host(world));
  for (const AdapterProfile& profile : profiles) host->machine_.AddAdapter(profile);
  return host;
}

std::vector<AdapterInfo> Host::Adapters() {
  std::vector<AdapterInfo> infos;
  for (const auto& adapter : machine_.Adapters()) infos.push_back(adapter->info());
  return infos;
}

void Host::Submit(const Caller& caller, uint32_t command_id, const google::protobuf::Message& request,
                  google::protobuf::Message* reply, const Completion& done) {
  Call call{.machine = machine_, .caller = caller};
  machine_.Find(caller.process, caller.adapter_luid, &call.process, &call.adapter);
  reply->Clear();
  Commands commands;
  if (!contract::DispatchHostCommand(command_id, commands, call, request, reply)) call.Refuse();
  Tell(call.changes);
  done(call.accepted);
}

void Host::Tell(const StateChanges& changes) {
  Events* events = events_.load();
  if (!events) return;
  for (const StateChange& change : changes) {
    events->DeviceStateChanged(change.process, change.vgpu_luid, change.cookie,
                               static_cast<uint32_t>(change.state));
  }
}

bool Host::AddAdapter(const AdapterProfile& profile, AdapterInfo* info) {
  const std::shared_ptr<Adapter> adapter = machine_.AddAdapter(profile);
  if (!adapter) return false;
  *info = adapter->info();
  if (Events* events = events_.load()) events->AdapterArrived(adapter->info());
  return true;
}

bool Host::RemoveAdapter(uint64_t vgpu_luid) {
  const std::shared_ptr<Adapter> adapter = machine_.TakeAdapter(vgpu_luid);
  if (!adapter) return false;
  StateChanges changes;
  FailDevices(machine_, *adapter, ExecutionState::kStopped, &changes);
  Tell(changes);
  if (Events* events = events_.load()) events->AdapterRemoved(vgpu_luid);
  return true;
}

bool Host::ResetAdapter(uint64_t vgpu_luid) {
  const std::shared_ptr<Adapter> adapter = machine_.FindAdapter(vgpu_luid);
  if (!adapter || adapter->removed()) return false;
  StateChanges changes;
  hostsim::ResetAdapter(machine_, *adapter, &changes);
  Tell(changes);
  return true;
}

bool Host::FailDevice(uint32_t process, uint32_t device, ExecutionState state) {
  const std::shared_ptr<Process> owner = machine_.FindProcess(process);
  if (!owner || state == ExecutionState::kActive) return false;
  StateChanges changes;
  {
    Process& locked = *owner;
    MutexLock lock(locked.mutex());
    Device* found = locked.Find<Device>(device);
    if (!found) return false;
    found->Fail(locked, state, &changes);
  }
  Tell(changes);
  return true;
}

bool Host::FaultDevice(uint32_t process, uint32_t device, const PageFault& fault) {
  const std::shared_ptr<Process> owner = machine_.FindProcess(process);
  if (!owner) return false;
  StateChanges changes;
  {
    Process& locked = *owner;
    MutexLock lock(locked.mutex());
    Device* found = locked.Find<Device>(device);
    if (!found) return false;
    found->FailByPageFault(locked, fault, &changes);
  }
  Tell(changes);
  return true;
}

Accounting Host::Account() {
  Accounting accounting;
  accounting.processes = machine_.counts.processes;
  accounting.devices = machine_.counts.devices;
  accounting.contexts = machine_.counts.contexts;
  for (const auto& adapter : machine_.Adapters()) {
    ++accounting.adapters;
    for (uint32_t group = 0; group < kSegmentGroups; ++group) {
      accounting.reserved_bytes[group] += adapter->memory().reserved(static_cast<SegmentGroup>(group));
    }
  }
  return accounting;
}

}  // namespace dxg::hostsim
