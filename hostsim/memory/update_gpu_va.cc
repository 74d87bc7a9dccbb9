#include "hostsim/memory/update_gpu_va.h"

#include <optional>
#include <vector>

#include "base/page.h"
#include "hostsim/machine/bytes.h"
#include "hostsim/machine/call.h"
#include "hostsim/machine/commands.h"
#include "hostsim/memory/allocation.h"
#include "hostsim/sync/sync_object.h"
#include "hostsim/work/context.h"
#include "proto/abi/d3dkmthk.h"
#include "proto/abi/ntstatus.h"
#include "proto/contract/numbers.gen.h"

namespace dxg::hostsim {
namespace {

constexpr uint32_t kDoNotWait = 1u << 0;

// D3DDDI_UPDATEGPUVIRTUALADDRESS_OPERATION_TYPE
enum class Kind : uint32_t { kMap = 0, kUnmap = 1, kCopy = 2, kMapProtect = 3 };

// One change of the pages from `address` on. It names its allocation by handle, because that may be gone when
// its turn comes.
struct Update {
  Kind kind;
  GpuAddress address;
  uint64_t bytes;
  GpuAddress source;  // of a copy
  uint32_t allocation = 0;
  uint64_t offset = 0;
  uint64_t window = 0;
  uint64_t protection = 0;
};

// Layout: d3dddi_updategpuvirtualaddress_operation, 64 bytes. Nothing: no such operation.
std::optional<Update> Parse(const std::string& text) {
  constexpr size_t kBytes = 64;
  const ConstBytes data = BytesOf(std::string_view(text));
  if (data.size() != kBytes || Get<uint32_t>(data, 0) > static_cast<uint32_t>(Kind::kMapProtect))
    return std::nullopt;
  Update update{.kind = static_cast<Kind>(Get<uint32_t>(data, 0)),
                .address = GpuAddress(Get<uint64_t>(data, 8)),
                .bytes = Get<uint64_t>(data, 16)};
  switch (update.kind) {
    case Kind::kCopy:
      update.source = update.address;
      update.address = GpuAddress(Get<uint64_t>(data, 24));
      break;
    case Kind::kUnmap:
      update.protection = Get<uint64_t>(data, 24);
      break;
    case Kind::kMap:
    case Kind::kMapProtect:
      update.allocation = Get<uint32_t>(data, 24);
      update.offset = Get<uint64_t>(data, 32);
      update.window = Get<uint64_t>(data, 40);
      update.protection = update.kind == Kind::kMap ? kProtectWrite : Get<uint64_t>(data, 48);
      break;
  }
  return update;
}

bool Aligned(const Update& update) {
  return update.bytes != 0 && update.bytes % kPageBytes == 0 && IsMultipleOf(update.address, kPageBytes) &&
         IsMultipleOf(update.source, kPageBytes) && update.offset % kPageBytes == 0 &&
         update.window % kPageBytes == 0;
}

bool CheckUnmap(const Update& update) {
  return update.protection == kProtectZero || update.protection == kProtectNoAccess;
}

// The window of the allocation lies in it and goes into the range a whole number of times.
bool CheckMap(const Update& update, uint64_t allocation_bytes) {
  constexpr uint64_t kWithoutMemory = kProtectZero | kProtectNoAccess;
  if ((update.protection & (~kProtectKnown | kWithoutMemory)) != 0) return false;
  const uint64_t window = update.window != 0 ? update.window : update.bytes;
  if (window > update.bytes || update.bytes % window != 0) return false;
  return update.offset <= allocation_bytes && window <= allocation_bytes - update.offset;
}

// All destinations lie in one reservation, and so do all sources.
bool Check(const CommandContext& call, Process& process, GpuVa& va, const Device& device,
           const std::vector<Update>& updates) DXG_REQUIRES(process.mutex()) {
  std::optional<GpuAddress> destinations;
  std::optional<GpuAddress> sources;
  auto same = [&va](std::optional<GpuAddress>& all, GpuAddress address, uint64_t bytes) {
    const auto reservation = va.ReservationOf(address, bytes);
    if (!reservation || all.value_or(*reservation) != *reservation) return false;
    all = reservation;
    return true;
  };
  for (const Update& update : updates) {
    if (!Aligned(update) || !same(destinations, update.address, update.bytes)) return false;
    if (update.kind == Kind::kCopy && !same(sources, update.source, update.bytes)) return false;
    if (update.kind == Kind::kUnmap && !CheckUnmap(update)) return false;
    if (update.kind == Kind::kMap || update.kind == Kind::kMapProtect) {
      const Allocation* allocation = FindAllocation(call, process, update.allocation);
      if (!allocation || &allocation->device != &device) return false;
      if (!CheckMap(update, allocation->storage->bytes())) return false;
    }
  }
  return true;
}

// Addresses that were freed meanwhile and allocations that are gone are left out, and so is what finds no
// room any more.
void Apply(Process& process, GpuVa& va, const Update& update) DXG_REQUIRES(process.mutex()) {
  if (!va.HasRoomToShow(1) || !va.ReservationOf(update.address, update.bytes)) return;
  if (update.kind == Kind::kCopy) {
    if (va.ReservationOf(update.source, update.bytes))
      va.CopyPages(update.source, update.bytes, update.address);
    return;
  }
  GpuMapping mapping;
  mapping.protection = update.protection;
  if (update.kind != Kind::kUnmap) {
    mapping.allocation = process.Find<Allocation>(update.allocation);
    if (!mapping.allocation) return;
    mapping.offset = update.offset;
    mapping.window = update.window == update.bytes ? 0 : update.window;
  }
  va.Show(update.address, update.bytes, mapping);
}

void ApplyAll(const std::shared_ptr<Process>& process, const std::shared_ptr<Adapter>& adapter,
              const std::vector<Update>& updates) {
  if (!process || !adapter) return;
  Process& locked = *process;
  MutexLock lock(locked.mutex());
  AdapterUse* use = locked.UseAdapter(adapter);
  if (!use) return;
  for (const Update& update : updates) Apply(locked, use->va, update);
}

std::shared_ptr<UpdateLane> LaneOf(Device& device, uint32_t context) {
  std::shared_ptr<UpdateLane>& lane = device.update_lanes[context];
  if (!lane) {
    lane = std::make_shared<UpdateLane>();
    lane->lane = device.adapter->paging().AddLane(0);
    device.paging.push_back({lane->lane, nullptr});
  }
  return lane;
}

// The checks of a command and what they found.
struct Submission {
  std::vector<Update> updates;
  Device* device = nullptr;
  std::shared_ptr<SyncObject> fence;
};

int32_t CheckSubmission(const CommandContext& call, const host::UpdateGpuVirtualAddress::Request& request,
                        Process& process, Submission* submission) DXG_REQUIRES(process.mutex()) {
  submission->device = FindDevice(call, process, request.device());
  if (!submission->device) return kStatusInvalidParameter;
  if (request.context() != 0) {
    const Context* context = process.Find<Context>(request.context());
    if (!context || &context->device != submission->device) return kStatusInvalidParameter;
  }
  const SyncHandle* fence = FindSync(call, process, request.fence_object());
  if (!fence || fence->object->traits.type != SyncType::kMonitoredFence) return kStatusInvalidParameter;
  if (const int32_t status = fence->CheckSignal(); status != kStatusSuccess) return status;
  if ((request.flags() & kDoNotWait) == 0) {
    if (const int32_t status = fence->CheckWait(); status != kStatusSuccess) return status;
  }
  submission->fence = fence->object;
  if (call.adapter->removed() || !submission->device->active()) return kStatusDeviceRemoved;
  AdapterUse* use = process.UseAdapter(call.adapter);
  if (!use || !Check(call, process, use->va, *submission->device, submission->updates)) {
    return kStatusInvalidParameter;
  }
  return use->va.HasRoomToShow(submission->updates.size()) ? kStatusSuccess : kStatusNoMemory;
}

}  // namespace

void UpdateLane::Release(Aftermath* aftermath) {
  MutexLock lock(mutex);
  if (blocked.empty()) return;
  aftermath->Then(std::move(blocked.front()));
  blocked.pop_front();
}

void EndUpdates(Device& device, uint32_t context, Aftermath* aftermath) {
  const auto found = device.update_lanes.find(CanonicalHandle(context));
  if (found == device.update_lanes.end()) return;
  const std::shared_ptr<PagingLane> lane = found->second->lane;
  device.adapter->paging().Close(*lane, aftermath);
  std::erase_if(device.paging, [&lane](const PagingWork& work) { return work.lane == lane; });
  device.update_lanes.erase(found);
}

// Checked at once, carried out when the fence says so. Behind too many others the caller waits until one is
// done.
int32_t Commands::Handle(CommandContext& call, const host::UpdateGpuVirtualAddress::Request& request,
                         host::UpdateGpuVirtualAddress::Reply*) {
  if (const int32_t status = call.CheckCaller(); status != kStatusSuccess) return status;
  if ((request.flags() & ~kDoNotWait) != 0 || request.num_operations() == 0 ||
      request.num_operations() > limits::kUpdateGpuVirtualAddressOperationsMax ||
      request.num_operations() != static_cast<uint32_t>(request.operations_size())) {
    return kStatusInvalidParameter;
  }
  Submission submission;
  for (const auto& operation : request.operations()) {
    const std::optional<Update> parsed = Parse(operation.operation());
    if (!parsed) return kStatusInvalidParameter;
    submission.updates.push_back(*parsed);
  }
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  if (const int32_t status = CheckSubmission(call, request, process, &submission); status != kStatusSuccess) {
    return status;
  }
  PagingEngine& engine = call.adapter->paging();
  const std::shared_ptr<UpdateLane> lane = LaneOf(*submission.device, CanonicalHandle(request.context()));
  PagingOperation operation;
  operation.duration_ns = engine.Duration(0);
  if ((request.flags() & kDoNotWait) == 0) {
    operation.after = submission.fence;
    operation.after_value = request.fence_value();
  }
  operation.done = [process = std::weak_ptr(call.process), adapter = std::weak_ptr(call.adapter),
                    weak_lane = std::weak_ptr(lane), updates = std::move(submission.updates),
                    fence = submission.fence,
                    value = request.fence_value() + 1](bool executed, Aftermath* aftermath) {
    if (executed) {
      ApplyAll(process.lock(), adapter.lock(), updates);
      fence->domain().Raise(*fence, value, aftermath);
    }
    if (const auto alive = weak_lane.lock()) alive->Release(aftermath);
  };
  if (engine.Outstanding(*lane->lane) >= kQueuedUpdatesMax) {
    MutexLock blocked(lane->mutex);
    lane->blocked.push_back(call.Defer());
  }
  engine.Enqueue(lane->lane, std::move(operation), &call.aftermath);
  return kStatusSuccess;
}

}  // namespace dxg::hostsim
