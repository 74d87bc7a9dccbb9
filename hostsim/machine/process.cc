#include "hostsim/machine/process.h"

#include "hostsim/machine/call.h"
#include "hostsim/machine/commands.h"
#include "hostsim/machine/utf16.h"
#include "hostsim/sync/sync_object.h"
#include "hostsim/work/engine.h"
#include "proto/abi/interface.h"
#include "proto/abi/ntstatus.h"

namespace dxg::hostsim {

Process::Process(uint64_t cookie, uint64_t process_id, std::string name, Machine& machine,
                 std::shared_ptr<UserBudget> user)
    : machine(machine),
      cookie(cookie),
      process_id(process_id),
      name(std::move(name)),
      user(std::move(user)),
      machine_(machine),
      mappings_(machine.counts.mappings),
      regions_(machine.io_space()),
      objects_(machine.objects_per_process_max()),
      counted_(machine.counts.processes) {}

uint32_t Process::Insert(std::unique_ptr<Object> object) {
  if (ended_) return 0;
  Object* const inserted = object.get();
  const bool reuse = machine_.Strike({.point = FaultPoint::kHandleReuse, .process = process_id}).has_value();
  const uint32_t handle = objects_.Insert(std::move(object), reuse);
  if (handle != 0) inserted->handle = handle;
  return handle;
}

AdapterUse* Process::FindUse(const Adapter& adapter) {
  for (auto& use : uses_) {
    if (use->adapter.get() == &adapter) return use.get();
  }
  return nullptr;
}

AdapterUse* Process::UseAdapter(const std::shared_ptr<Adapter>& adapter) {
  if (ended_) return nullptr;
  if (AdapterUse* use = FindUse(*adapter)) return use;
  // A place for a new adapter is the moment to let go of adapters that went away.
  std::erase_if(uses_, [](const auto& use) {
    if (!use->adapter->removed() || use->devices != 0) return false;
    use->adapter->memory().Release(use->memory);
    return true;
  });
  uses_.push_back(std::make_unique<AdapterUse>(adapter, mappings_, user));
  return uses_.back().get();
}

const ProcessMemory& Process::MemoryOn(const Adapter& adapter) {
  static const ProcessMemory kNothing;
  const AdapterUse* use = FindUse(adapter);
  return use ? use->memory : kNothing;
}

std::shared_ptr<ProcessWork> Process::WorkOn(const Adapter& adapter) {
  const AdapterUse* use = FindUse(adapter);
  return use ? use->work : nullptr;
}

void Process::End(const std::shared_ptr<void>& stopped, Aftermath* aftermath) {
  ended_ = true;
  std::vector<SyncHandle*> handles;
  std::vector<const Object*> given_away;
  objects_.ForEach([&](Object& object) {
    if (object.kind == ObjectKind::kHostShare) given_away.push_back(&object);
    if (object.kind == SyncHandle::kKind) handles.push_back(&static_cast<SyncHandle&>(object));
    if (object.kind != Device::kKind) return;
    auto& device = static_cast<Device&>(object);
    device.EndPaging(aftermath);
    device.adapter->engines().End(*device.work, stopped, aftermath);
    machine.sync().EndCpuWaits(device.cpu_waits, aftermath);
  });
  for (SyncHandle* handle : handles) EndSync(*this, *handle, aftermath);
  for (const Object* share : given_away) EndHostShare(*this, *share, aftermath);
  objects_.Drain();
  for (auto& use : uses_) use->adapter->memory().Release(use->memory);
  uses_.clear();
}

void Commands::Handle(CommandContext& call, const host::CreateProcess::Request& request,
                      host::CreateProcess::Reply* reply) {
  const std::string& name = request.process_name();
  if (name.size() > kProcessNameBytes || call.Strike(FaultPoint::kNoMemoryCreate)) return;  // handle 0
  const std::u16string text = GetUtf16(BytesOf(std::string_view(name)), 0, name.size() / 2);
  reply->set_process(call.machine.AddProcess(
      std::make_shared<Process>(request.cookie(), request.process_id(), ToUtf8(text), call.machine,
                                request.has_user() ? call.machine.BudgetOf(request.user()) : nullptr)));
}

int32_t Commands::Handle(CommandContext& call, const host::DestroyProcess::Request&,
                         host::DestroyProcess::Reply*) {
  const std::shared_ptr<void> stopped = call.DeferUntilLetGo();
  const bool destroyed =
      call.process && call.machine.EndProcess(call.caller.process, stopped, &call.aftermath);
  return destroyed ? kStatusSuccess : kStatusInvalidParameter;
}

}  // namespace dxg::hostsim
