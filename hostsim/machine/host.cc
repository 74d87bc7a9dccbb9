#include "hostsim/machine/host.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <new>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/memory_reserve.h"
#include "hostsim/adapter/adapter_reset.h"
#include "hostsim/machine/commands.h"
#include "hostsim/memory/resource.h"
#include "hostsim/sync/sync_object.h"
#include "proto/abi/ntstatus.h"
#include "proto/contract/host_commands.gen.h"

namespace dxg::hostsim {
namespace {

// A rule for an adapter or an engine that is not there would never strike, and its giver would wait.
std::optional<FaultComplaint> CheckScope(Machine& machine, const FaultRule& rule) {
  uint32_t nodes = 0;
  bool has_adapter = !rule.has_adapter();
  for (const auto& adapter : machine.Adapters()) {
    if (rule.has_adapter() && rule.adapter() != adapter->info().luid) continue;
    has_adapter = true;
    nodes = std::max(nodes, adapter->nodes());
  }
  if (!has_adapter)
    return FaultComplaint{
        "adapter", fmt::format("no adapter has the LUID {:08x}-{:08x}; `cuse-dxg ctl adapters` names them",
                               rule.adapter() >> 32, rule.adapter() & 0xFFFFFFFF)};
  if (!rule.has_node() || rule.node() < nodes) return std::nullopt;
  if (nodes == 0) return FaultComplaint{"node", "there is no adapter, and so no engine; add one first"};
  return FaultComplaint{"node", fmt::format("there is no engine {}; give 0 to {}", rule.node(), nodes - 1)};
}

}  // namespace

std::unique_ptr<Host> Host::Create(World world, const std::vector<AdapterProfile>& profiles) {
  std::unique_ptr<Host> host(new Host(std::move(world)));
  for (const AdapterProfile& profile : profiles) ArriveAdapter(host->machine_, profile);
  return host;
}

Host::~Host() { End(); }

void Host::End() {
  const MemoryReserve::Use of_all;
  machine_.EndCalls();
  machine_.io_space()->ending = true;
  Aftermath aftermath;
  for (const auto& process : machine_.Processes()) machine_.EndProcess(process->handle, nullptr, &aftermath);
  machine_.Deliver(std::move(aftermath));
  machine_.StopEngines();
}

std::vector<AdapterInfo> Host::Adapters() {
  std::vector<AdapterInfo> infos;
  for (const auto& adapter : machine_.Adapters()) infos.push_back(adapter->info());
  return infos;
}

namespace {

// As a host with no memory left: by the reply's status where it has one, else by less than a whole reply.
void RefuseForLackOfMemory(CommandContext& call, google::protobuf::Message* reply) {
  reply->Clear();
  call.deferred = nullptr;
  const auto* status = reply->GetDescriptor()->FindFieldByName("status");
  if (status == nullptr || status->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_INT32)
    return call.Refuse();
  reply->GetReflection()->SetInt32(reply, status, kStatusNoMemory);
}

// A guest that lets go of something does not ask again when that is refused.
bool EndsSomething(const CommandContext& call) {
  return call.command != nullptr && std::string_view(call.command->name).starts_with("DESTROY");
}

bool IsRefused(const CommandContext& call, const google::protobuf::Message& reply) {
  const auto* status = reply.GetDescriptor()->FindFieldByName("status");
  return !call.accepted || (status != nullptr && reply.GetReflection()->GetInt32(reply, status) < 0);
}

// A flag of a command that changes nothing, and where to find it.
struct Unheeded {
  const contract::UnheededFlag* flag;
  const google::protobuf::FieldDescriptor* field;
};

// By the command's number. Few commands have some.
const std::unordered_map<uint32_t, std::vector<Unheeded>>& UnheededFlags() {
  static const auto* const by_command = [] {
    auto* found = new std::unordered_map<uint32_t, std::vector<Unheeded>>;
    for (const contract::CommandRow& row : contract::HostCommands()) {
      const auto* request = row.request->GetDescriptor();
      for (const contract::UnheededFlag& flag : contract::UnheededFlags()) {
        if (request->containing_type()->name() == flag.call)
          (*found)[row.id].push_back({&flag, request->FindFieldByName(flag.field)});
      }
    }
    return found;
  }();
  return *by_command;
}

void NoteUnheededFlags(const CommandContext& call, uint32_t command_id,
                       const google::protobuf::Message& request, const google::protobuf::Message& reply) {
  const auto found = UnheededFlags().find(command_id);
  if (found == UnheededFlags().end()) return;
  for (const auto& [flag, field] : found->second) {
    const auto* reflection = request.GetReflection();
    const uint64_t bits = field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_UINT32
                              ? reflection->GetUInt32(request, field)
                              : reflection->GetUInt64(request, field);
    if ((bits >> flag->bit & 1) == 0 || IsRefused(call, reply)) continue;
    std::array<char, Fidelity::kWhatBytesMax> what;
    const auto text = fmt::format_to_n(what.data(), what.size(), "flag {} without effect", flag->flag);
    call.Note(FidelityKind::kApproximated,
              std::string_view(what.data(), static_cast<size_t>(text.out - what.data())), {}, flag->why);
  }
}

}  // namespace

void Host::Submit(const Caller& caller, uint32_t command_id, const google::protobuf::Message& request,
                  google::protobuf::Message* reply, const Completion& done) {
  CommandContext call{
      .machine = machine_, .caller = caller, .command = contract::FindHostCommand(command_id)};
  machine_.Find(caller.process, caller.adapter_luid, &call.process, &call.adapter);
  reply->Clear();
  if (call.adapter && machine_.faults().any_armed())
    BefallAdapter(machine_, call.adapter, call.process.get(), call.At({}));
  Commands commands;
  std::optional<MemoryReserve::Use> of_all;
  if (EndsSomething(call)) of_all.emplace();
  try {
    if (!contract::DispatchHostCommand(command_id, commands, call, request, reply)) call.Refuse();
    NoteUnheededFlags(call, command_id, request, *reply);
  } catch (const std::bad_alloc&) {
    RefuseForLackOfMemory(call, reply);
  }
  if (!of_all) of_all.emplace();  // what it did is done, and so it is told
  const std::shared_ptr<Deferred> deferred = std::move(call.deferred);
  if (deferred) {
    deferred->done = done;
    deferred->accepted = call.accepted;
  }
  machine_.Deliver(std::move(call.aftermath));
  if (deferred) {
    deferred->Arrive();
  } else {
    done(call.accepted);
  }
}

std::optional<RegionInfo> Host::HomeRegion(uint32_t process) {
  const std::shared_ptr<Process> owner = machine_.FindProcess(process);
  return owner ? owner->regions().Home() : std::nullopt;
}

std::optional<RegionInfo> Host::FindShared(uint32_t nt_handle, uint32_t allocation_index) {
  const auto named = machine_.FindShared(nt_handle);
  if (!named || !named->resource) return std::nullopt;
  const std::shared_ptr<SharedResource>& shared = named->resource;
  if (allocation_index >= shared->storages.size()) return std::nullopt;
  return std::next(shared->storages.begin(), allocation_index)->second->OwnRegion();
}

bool Host::AddAdapter(const AdapterProfile& profile, AdapterInfo* info) {
  const std::shared_ptr<Adapter> adapter = ArriveAdapter(machine_, profile);
  if (!adapter) return false;
  *info = adapter->info();
  return true;
}

bool Host::RemoveAdapter(uint64_t vgpu_luid) { return hostsim::RemoveAdapter(machine_, vgpu_luid); }

bool Host::ResetAdapter(uint64_t vgpu_luid) {
  const std::shared_ptr<Adapter> adapter = machine_.FindAdapter(vgpu_luid);
  if (!adapter || adapter->removed()) return false;
  hostsim::ResetAdapter(machine_, *adapter);
  return true;
}

std::optional<FaultComplaint> Host::ArmFault(const FaultRule& rule) {
  if (auto complaint = CheckFaultRule(rule)) return complaint;
  if (auto complaint = CheckScope(machine_, rule)) return complaint;
  if (machine_.faults().armed_count() >= kFaultRulesMax)
    return FaultComplaint{"point",
                          fmt::format("{} rules are armed, which is the most; clear some", kFaultRulesMax)};
  hostsim::ArmFault(machine_, rule);
  return std::nullopt;
}

uint64_t Host::ProcessId(uint32_t process) {
  const std::shared_ptr<Process> found = machine_.FindProcess(process);
  return found ? found->process_id : 0;
}

bool Host::FailDevice(uint32_t process, uint32_t device, ExecutionState state) {
  const std::shared_ptr<Process> owner = machine_.FindProcess(process);
  if (!owner || state == ExecutionState::kActive) return false;
  Aftermath aftermath;
  {
    Process& locked = *owner;
    MutexLock lock(locked.mutex());
    Device* found = locked.Find<Device>(device);
    if (!found) return false;
    found->Fail(locked, state, &aftermath);
  }
  machine_.Deliver(std::move(aftermath));
  return true;
}

bool Host::FaultDevice(uint32_t process, uint32_t device, const PageFault& fault) {
  const std::shared_ptr<Process> owner = machine_.FindProcess(process);
  if (!owner) return false;
  Aftermath aftermath;
  {
    Process& locked = *owner;
    MutexLock lock(locked.mutex());
    Device* found = locked.Find<Device>(device);
    if (!found) return false;
    found->FailByPageFault(locked, fault, &aftermath);
  }
  machine_.Deliver(std::move(aftermath));
  return true;
}

bool Host::SetSegmentLimit(uint64_t vgpu_luid, uint32_t segment, uint64_t bytes) {
  const std::shared_ptr<Adapter> adapter = machine_.FindAdapter(vgpu_luid);
  if (!adapter || adapter->removed() || segment >= adapter->segments().size()) return false;
  adapter->video_memory()->SetLimit(segment, bytes);
  return true;
}

template <class Access>
bool Host::OnGpuMemory(const Caller& caller, Access access) {
  std::shared_ptr<Process> process;
  std::shared_ptr<Adapter> adapter;
  machine_.Find(caller.process, caller.adapter_luid, &process, &adapter);
  if (!process || !adapter) return false;
  Process& locked = *process;
  MutexLock lock(locked.mutex());
  AdapterUse* use = locked.UseAdapter(adapter);
  return use && access(use->va);
}

bool Host::ReadGpu(const Caller& caller, uint64_t address, Bytes bytes, GpuFault* fault) {
  return OnGpuMemory(caller, [&](GpuVa& va) { return va.Read(GpuAddress(address), bytes, fault); });
}

bool Host::WriteGpu(const Caller& caller, uint64_t address, ConstBytes bytes, GpuFault* fault) {
  Aftermath aftermath;
  const bool written =
      OnGpuMemory(caller, [&](GpuVa& va) { return va.Write(GpuAddress(address), bytes, fault, &aftermath); });
  machine_.Deliver(std::move(aftermath));
  return written;
}

std::vector<GpuMark> Host::Marks(uint64_t vgpu_luid) {
  const std::shared_ptr<Adapter> adapter = machine_.FindAdapter(vgpu_luid);
  return adapter ? adapter->engines().Marks() : std::vector<GpuMark>();
}

std::vector<std::string> Host::SubmittedPrivateData(uint64_t vgpu_luid) {
  const std::shared_ptr<Adapter> adapter = machine_.FindAdapter(vgpu_luid);
  return adapter ? adapter->engines().PrivateData() : std::vector<std::string>();
}

Accounting Host::Account() {
  machine_.io_space()->WaitUntilFreed();
  const Counts& counts = machine_.counts;
  Accounting accounting;
  accounting.processes = counts.processes;
  accounting.devices = counts.devices;
  accounting.contexts = counts.contexts;
  accounting.hw_queues = counts.hw_queues;
  accounting.resources = counts.resources;
  accounting.allocations = counts.allocations;
  accounting.storages = counts.storages;
  accounting.mappings = counts.mappings;
  accounting.paging_queues = counts.paging_queues;
  accounting.sync_objects = counts.sync_objects;
  accounting.waits = counts.waits;
  accounting.shared = machine_.shared();
  accounting.regions = machine_.io_space()->regions();
  accounting.window_bytes = machine_.io_space()->extent_bytes;
  accounting.machine_bytes = machine_.io_space()->machine_bytes();
  accounting.lost_accesses = counts.lost_accesses;
  accounting.unheard_refusals = counts.unheard_refusals;
  accounting.ignored_rewinds = machine_.sync().ignored_rewinds;
  for (const auto& adapter : machine_.Adapters()) {
    ++accounting.adapters;
    for (uint32_t group = 0; group < kSegmentGroups; ++group) {
      accounting.reserved_bytes[group] += adapter->memory().reserved(static_cast<SegmentGroup>(group));
    }
    for (uint32_t segment = 0; segment < adapter->segments().size(); ++segment) {
      const SegmentUse use = adapter->video_memory()->Use(segment);
      accounting.placed_bytes[adapter->segments()[segment].group] += use.placed_bytes;
      accounting.listed_bytes[adapter->segments()[segment].group] += use.listed_bytes;
    }
  }
  return accounting;
}

}  // namespace dxg::hostsim
