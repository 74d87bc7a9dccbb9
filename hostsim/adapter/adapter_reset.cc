#include "hostsim/adapter/adapter_reset.h"

#include <algorithm>
#include <set>
#include <string>

#include "hostsim/machine/host.h"
#include "proto/contract/contract.h"

namespace dxg::hostsim {
namespace {

// What does not wait for a command when its time has come.
constexpr FaultPoint kByItself[] = {FaultPoint::kDeviceError, FaultPoint::kAdapterReset,
                                    FaultPoint::kAdapterRemoval};

bool BefallsByItself(const FaultRule& rule) {
  return rule.has_after_ns() &&
         std::any_of(std::begin(kByItself), std::end(kByItself),
                     [&rule](FaultPoint point) { return rule.point() == InfoOf(point).name; });
}

bool OfTheVm(const std::string& command) {
  for (const contract::CommandRow& row : contract::HostCommands()) {
    if (row.name == command) return row.channel == dxg::GLOBAL;
  }
  return false;
}

// A profile's rule is for its adapter, unless it is for what no adapter takes part in.
FaultRule ForAdapter(FaultRule rule, const Adapter& adapter) {
  for (const FaultPointInfo& info : FaultPoints()) {
    if (rule.point() != info.name || (info.takes & kTakesAdapter) == 0 || OfTheVm(rule.command())) continue;
    rule.set_adapter(adapter.info().luid);
  }
  return rule;
}

void ArmProfile(Machine& machine, const Adapter& adapter) {
  for (const FaultRule& rule : adapter.profile().faults()) ArmFault(machine, ForAdapter(rule, adapter));
}

// The profile of an adapter that is going to return: what has struck as often as it may does not return with
// it, or it would be gone again by the rule that took it away.
AdapterProfile ProfileOfReturn(Machine& machine, const Adapter& adapter) {
  std::set<std::string> spent;
  for (const ArmedFault& armed : machine.faults().Armed()) {
    if (armed.spent) spent.insert(armed.rule.SerializeAsString());
  }
  AdapterProfile profile = adapter.profile();
  profile.clear_faults();
  for (const FaultRule& rule : adapter.profile().faults()) {
    if (!spent.contains(ForAdapter(rule, adapter).SerializeAsString())) *profile.add_faults() = rule;
  }
  return profile;
}

void RemoveAllAdapters(Machine& machine) {
  for (const auto& adapter : machine.Adapters()) RemoveAdapter(machine, adapter->info().address);
}

}  // namespace

void FailDevices(Machine& machine, const Adapter& adapter, ExecutionState state, Aftermath* aftermath,
                 const Process* only_of) {
  for (const std::shared_ptr<Process>& shared : machine.Processes()) {
    Process& process = *shared;
    if (only_of && only_of != &process) continue;
    MutexLock lock(process.mutex());
    // The process's lock is held, which clang does not see in a callback.
    process.ForEachObject([&](Object& object) DXG_NO_THREAD_SAFETY_ANALYSIS {
      if (object.kind != Device::kKind) return;
      auto& device = static_cast<Device&>(object);
      if (device.adapter.get() == &adapter) device.Fail(process, state, aftermath);
    });
  }
}

void ResetAdapter(Machine& machine, Adapter& adapter, Aftermath* aftermath) {
  adapter.CountTdr();
  FailDevices(machine, adapter, ExecutionState::kReset, aftermath);
  adapter.video_memory()->Purge();
  const Passage passage{.point = FaultPoint::kTooManyTimeouts, .adapter = adapter.info().luid};
  if (machine.Strike(passage)) aftermath->Then([&machine] { RemoveAllAdapters(machine); });
}

void ResetHungAdapter(Machine& machine, Adapter& adapter, Aftermath* aftermath) {
  ResetAdapter(machine, adapter, aftermath);
  if (adapter.HangsTooOften(machine.NowNs())) aftermath->Then([&machine] { RemoveAllAdapters(machine); });
}

void ResetAdapter(Machine& machine, Adapter& adapter) {
  Aftermath aftermath;
  ResetAdapter(machine, adapter, &aftermath);
  machine.Deliver(std::move(aftermath));
}

std::shared_ptr<Adapter> ArriveAdapter(Machine& machine, const AdapterProfile& profile) {
  std::shared_ptr<Adapter> adapter = machine.AddAdapter(profile);
  if (!adapter) return nullptr;
  ArmProfile(machine, *adapter);
  if (HostEvents* events = machine.events.load()) events->AdapterArrived(adapter->info());
  return adapter;
}

bool RemoveAdapter(Machine& machine, uint64_t vgpu_luid) {
  const std::shared_ptr<Adapter> adapter = machine.TakeAdapter(vgpu_luid);
  if (!adapter) return false;
  Aftermath aftermath;
  FailDevices(machine, *adapter, ExecutionState::kStopped, &aftermath);
  machine.Deliver(std::move(aftermath));
  if (HostEvents* events = machine.events.load()) events->AdapterRemoved(vgpu_luid);
  const uint64_t guest_luid = adapter->info().luid;
  if (const auto back = machine.Strike({.point = FaultPoint::kAdapterReturn, .adapter = guest_luid})) {
    machine.CallAt(
        machine.NowNs() + back->delay_ns,
        [&machine, profile = ProfileOfReturn(machine, *adapter)] { ArriveAdapter(machine, profile); });
  }
  machine.faults().ClearAdapter(guest_luid);  // no adapter ever has this LUID again
  return true;
}

void ArmFault(Machine& machine, const FaultRule& rule) {
  const uint64_t now_ns = machine.NowNs();
  machine.faults().Arm(rule, now_ns);
  if (!BefallsByItself(rule)) return;
  const uint64_t at_ns = rule.after_ns() > ~0ull - now_ns ? ~0ull : now_ns + rule.after_ns();
  machine.CallAt(at_ns, [&machine] {
    for (const auto& adapter : machine.Adapters())
      BefallAdapter(machine, adapter, nullptr, {.point = {}, .adapter = adapter->info().luid});
  });
}

void BefallAdapter(Machine& machine, const std::shared_ptr<Adapter>& adapter, const Process* caller,
                   Passage passage) {
  if (adapter->removed()) return;
  auto strike = [&](FaultPoint point) {
    passage.point = point;
    return machine.Strike(passage);
  };
  if (const auto error = strike(FaultPoint::kDeviceError)) {
    Aftermath aftermath;
    FailDevices(machine, *adapter, static_cast<ExecutionState>(error->value), &aftermath, caller);
    machine.Deliver(std::move(aftermath));
  }
  if (strike(FaultPoint::kAdapterReset)) ResetAdapter(machine, *adapter);
  if (strike(FaultPoint::kAdapterRemoval)) RemoveAdapter(machine, adapter->info().address);
}

}  // namespace dxg::hostsim
