#include "hostsim/memory/allocation.h"

#include <algorithm>

#include "base/page.h"
#include "hostsim/adapter/driver_model.h"
#include "hostsim/machine/bytes.h"
#include "hostsim/machine/call.h"
#include "hostsim/machine/commands.h"
#include "hostsim/machine/rollback.h"
#include "hostsim/memory/private_data.h"
#include "proto/abi/d3dkmthk.h"
#include "proto/abi/flags.h"
#include "proto/abi/ntstatus.h"

namespace dxg::hostsim {
namespace {

// D3DKMT_CREATEALLOCATIONFLAGS
constexpr uint32_t kCreateResource = DXG_ALLOCATION_CREATE_RESOURCE;
constexpr uint32_t kCreateShared = DXG_ALLOCATION_CREATE_SHARED;
constexpr uint32_t kNonSecure = DXG_ALLOCATION_NON_SECURE;
constexpr uint32_t kRestrictSharedAccess = DXG_ALLOCATION_RESTRICT_SHARED_ACCESS;
constexpr uint32_t kExistingSysmem = DXG_ALLOCATION_EXISTING_SYSMEM;
constexpr uint32_t kNtSecuritySharing = DXG_ALLOCATION_NT_SECURITY_SHARING;
constexpr uint32_t kReadOnly = DXG_ALLOCATION_READ_ONLY;
constexpr uint32_t kSwapChainBackBuffer = DXG_ALLOCATION_SWAP_CHAIN_BACK_BUFFER;
constexpr uint32_t kCrossAdapter = DXG_ALLOCATION_CROSS_ADAPTER;
constexpr uint32_t kPartialSharedCreation = DXG_ALLOCATION_PARTIAL_SHARED_CREATION;
constexpr uint32_t kZeroed = DXG_ALLOCATION_ZEROED;  // an output: all memory is zero here
constexpr uint32_t kWriteWatch = DXG_ALLOCATION_WRITE_WATCH;
constexpr uint32_t kStandardAllocation = DXG_ALLOCATION_STANDARD;
constexpr uint32_t kAllowNotZeroed = DXG_ALLOCATION_ALLOW_NOT_ZEROED;
constexpr uint32_t kPhysicallyContiguous = DXG_ALLOCATION_PHYSICALLY_CONTIGUOUS;
constexpr uint32_t kNoKmdAccess = DXG_ALLOCATION_NO_KMD_ACCESS;
constexpr uint32_t kSharedDisplayable = DXG_ALLOCATION_SHARED_DISPLAYABLE;
// The rest is the system's to set, or names sections of memory, which a Linux guest does not have.
constexpr uint32_t kCreateFlags = kCreateResource | kCreateShared | kNonSecure | kRestrictSharedAccess |
                                  kExistingSysmem | kNtSecuritySharing | kReadOnly | kSwapChainBackBuffer |
                                  kCrossAdapter | kPartialSharedCreation | kZeroed | kWriteWatch |
                                  kStandardAllocation | kAllowNotZeroed | kPhysicallyContiguous |
                                  kNoKmdAccess | kSharedDisplayable;

// D3DDDI_ALLOCATIONINFO2 flags: a primary surface is for displays, which a render adapter does not have.
constexpr uint32_t kOverridePriority = 1u << 2;

// What the reply says of an allocation.
constexpr uint32_t kInfoExistingSysmem = 1u << 11;
constexpr uint32_t kInfoCached = 1u << 19;

// D3DKMT_CREATESTANDARDALLOCATION, and the one type of it.
constexpr size_t kStandardBytes = 24;
constexpr uint32_t kExistingHeap = 1;

// D3DDDICB_DESTROYALLOCATION2FLAGS: with no work in flight both come to the same.
constexpr uint32_t kAssumeNotInUse = DXG_DESTROY_ASSUME_NOT_IN_USE;
constexpr uint32_t kSynchronousDestroy = DXG_DESTROY_SYNCHRONOUS;

// An allocation as it will be.
struct Wanted {
  StorageTraits traits;
  uint32_t supported = 0;  // segments
  uint32_t preferred = 0;
};

bool CheckFlags(uint32_t flags, uint32_t resource, uint32_t count) {
  const bool create_resource = (flags & kCreateResource) != 0;
  const bool standard = (flags & kStandardAllocation) != 0;
  if ((flags & ~kCreateFlags) != 0) return false;
  if ((flags & kCreateShared) != 0 && !create_resource) return false;
  if ((flags & kNtSecuritySharing) != 0 && (flags & kCreateShared) == 0) return false;
  if (create_resource && resource != 0) return false;
  if ((flags & kExistingSysmem) != 0 && resource != 0) return false;
  if (standard && ((flags & kExistingSysmem) == 0 || count != 1)) return false;
  return count != 0 || create_resource;
}

bool CheckSizes(const host::CreateAllocation::Request& request) {
  if (request.alloc_count() > kAllocationsPerCreateMax ||
      request.alloc_count() != static_cast<uint32_t>(request.allocations_size())) {
    return false;
  }
  if (request.private_runtime_data().size() != request.private_runtime_data_size() ||
      request.priv_drv_data().size() != request.priv_drv_data_size()) {
    return false;
  }
  uint64_t bytes = 0;
  for (const auto& allocation : request.allocations()) bytes += allocation.priv_drv_data_size();
  return bytes == request.allocation_data().size() &&
         bytes + request.private_runtime_data().size() + request.priv_drv_data().size() < kMessageBytesMax;
}

bool CheckElements(const host::CreateAllocation::Request& request) {
  return std::all_of(request.allocations().begin(), request.allocations().end(),
                     [](const auto& allocation) { return (allocation.flags() & ~kOverridePriority) == 0; });
}

std::string StandardData(uint64_t bytes, uint32_t flags) {
  std::string data(kAllocationDataBytes, '\0');
  Put<uint32_t>(BytesOf(data), 0, kAllocationMagic);
  Put<uint32_t>(BytesOf(data), kAllocationVersionAt, kAllocationVersion);
  Put<uint64_t>(BytesOf(data), kAllocationSizeAt, bytes);
  Put<uint32_t>(BytesOf(data), kAllocationFlagsAt, flags);
  Put<uint64_t>(BytesOf(data), kAllocationAllocatedAt, RoundToPages(bytes));
  return data;
}

// What private data asks for, before it is checked.
struct Asked {
  uint64_t bytes = 0;
  uint64_t alignment = kPageBytes;  // of the size
  uint32_t segment = 0;             // counted from 1; 0: the driver's choice
};

// The simulator's own data.
bool ReadOwn(ConstBytes data, StorageTraits* traits, Asked* asked) {
  const auto flags = Get<uint32_t>(data, kAllocationFlagsAt);
  asked->bytes = Get<uint64_t>(data, kAllocationSizeAt);
  asked->segment = Get<uint32_t>(data, kAllocationSegmentAt);
  traits->system_only = traits->system_only || (flags & kAllocationSystemOnly) != 0;
  traits->cpu_visible = (flags & kAllocationNotCpuVisible) == 0;
  traits->cached = (flags & kAllocationCached) != 0;
  return Get<uint32_t>(data, kAllocationVersionAt) == kAllocationVersion &&
         (flags & ~kAllocationKnownFlags) == 0;
}

// The data of the driver that the profile describes.
bool ReadByRule(const DriverModel::Allocation& rule, ConstBytes data, StorageTraits* traits, Asked* asked) {
  const std::optional<uint64_t> size = rule.has_size() ? Read(rule.size(), data) : rule.bytes();
  if (!size) return false;
  asked->bytes = *size;
  if (rule.has_alignment()) asked->alignment = rule.alignment();
  traits->system_only = traits->system_only || rule.system_only();
  traits->cpu_visible = !rule.not_cpu_visible();
  traits->cached = rule.cached();
  // A preference, and no demand: the client's own memory is where it is.
  if (!traits->system_only) asked->segment = rule.segment();
  return true;
}

// The simulated kernel-mode driver: reads what it is to make from the private data, and leaves in it what it
// has made.
bool Parse(const CommandContext& call, Wanted* wanted) {
  const Adapter& adapter = *call.adapter;
  StorageTraits& traits = wanted->traits;
  const Bytes data = BytesOf(traits.private_data);
  const VideoMemory& memory = *adapter.video_memory();
  const bool ours = data.size() >= kAllocationDataBytes && Get<uint32_t>(data, 0) == kAllocationMagic;
  const DriverModel::Allocation* rule =
      ours ? nullptr : FindRule(adapter.profile().driver_model().allocations(), data);
  Asked asked = {.bytes = adapter.profile().memory().unknown_allocation_bytes()};
  if (ours && !ReadOwn(data, &traits, &asked)) return false;
  if (rule && !ReadByRule(*rule, data, &traits, &asked)) return false;
  if (!ours && !rule)
    call.NoteUnread(data.size(), "the allocation gets the profile's unknown_allocation_bytes");
  if (asked.bytes == 0 || asked.bytes > kAllocationBytesMax) return false;
  traits.bytes = (asked.bytes + asked.alignment - 1) / asked.alignment * asked.alignment;
  traits.cached = traits.cached || traits.system_only;
  if (ours) Put<uint64_t>(data, kAllocationAllocatedAt, traits.bytes);
  if (rule && !ApplyWrites(rule->writes(), adapter, traits.bytes, data)) return false;
  const uint32_t segment = asked.segment;
  wanted->supported = traits.system_only ? memory.ApertureSegments() : memory.AllSegments();
  if (wanted->supported == 0 || segment > memory.segments().size()) return false;
  if (segment != 0 && (wanted->supported >> (segment - 1) & 1) == 0) return false;
  wanted->preferred = segment != 0 ? segment - 1 : static_cast<uint32_t>(std::countr_zero(wanted->supported));
  return true;
}

// A heap of the client's own memory, described instead of by private data.
bool ParseStandard(const host::CreateAllocation::Request& request, Wanted* wanted) {
  const ConstBytes descriptor = BytesOf(std::string_view(request.priv_drv_data()));
  if (descriptor.size() != kStandardBytes || request.allocations(0).priv_drv_data_size() != 0) return false;
  const auto bytes = Get<uint64_t>(descriptor, offsetof(d3dkmt_createstandardallocation, existing_heap_data));
  if (Get<uint32_t>(descriptor, 0) != kExistingHeap || bytes % kPageBytes != 0) return false;
  wanted->traits.private_data = StandardData(bytes, kAllocationSystemOnly);
  return true;
}

bool PlanAllocations(const CommandContext& call, const host::CreateAllocation::Request& request,
                     std::vector<Wanted>* plan) {
  const uint32_t flags = request.flags();
  size_t at = 0;
  for (const auto& element : request.allocations()) {
    Wanted wanted;
    wanted.traits.private_data = request.allocation_data().substr(at, element.priv_drv_data_size());
    at += element.priv_drv_data_size();
    wanted.traits.of_guest = (flags & kExistingSysmem) != 0;
    wanted.traits.system_only = wanted.traits.of_guest;
    wanted.traits.read_only = (flags & kReadOnly) != 0;
    wanted.traits.creator = call.process->handle;
    if ((flags & kStandardAllocation) != 0 && !ParseStandard(request, &wanted)) return false;
    if (!Parse(call, &wanted)) return false;
    plan->push_back(std::move(wanted));
  }
  return true;
}

// Null where there is no memory.
std::shared_ptr<Storage> CreateStorage(CommandContext& call, RegionSet& regions, Wanted wanted, bool shared) {
  if (call.Strike(FaultPoint::kNoMemoryCreate) || call.adapter->FailsAllocation()) return nullptr;
  const std::shared_ptr<VideoMemory>& memory = call.adapter->video_memory();
  Counts& counts = call.machine.counts;
  std::shared_ptr<Storage> storage;
  if (wanted.traits.of_guest) {
    storage = std::make_shared<Storage>(memory, std::move(wanted.traits), call.machine.guest_memory(),
                                        counts.lost_accesses, counts.storages);
  } else {
    Extent extent =
        shared ? regions.AllocateAlone(wanted.traits.bytes) : regions.Allocate(wanted.traits.bytes);
    if (!extent) return nullptr;
    storage = std::make_shared<Storage>(memory, std::move(wanted.traits), std::move(extent), counts.storages);
  }
  memory->SetSegments(*storage, wanted.supported, wanted.preferred);
  return storage;
}

// The resource that a command adds to or makes; null: it may not. A new one has its handle first.
Resource* ResourceFor(CommandContext& call, const host::CreateAllocation::Request& request, Process& process,
                      Device& device) DXG_REQUIRES(process.mutex()) {
  if ((request.flags() & kCreateResource) == 0) {
    Resource* resource = FindResource(call, process, request.resource());
    return resource && &resource->device == &device && !resource->shared->sealed ? resource : nullptr;
  }
  if (call.Strike(FaultPoint::kNoMemoryCreate)) return nullptr;
  auto shared = std::make_shared<SharedResource>();
  shared->adapter = call.adapter;
  shared->create_shared = (request.flags() & kCreateShared) != 0;
  shared->nt_sharing = (request.flags() & kNtSecuritySharing) != 0;
  shared->runtime_data = request.private_runtime_data();
  if ((request.flags() & kStandardAllocation) == 0) shared->private_data = request.priv_drv_data();
  auto created = std::make_unique<Resource>(device, std::move(shared), call.machine.counts.resources);
  Resource* const resource = created.get();
  return device.InsertChild(process, std::move(created)) != 0 ? resource : nullptr;
}

// Takes out again what EnterAll has entered, all of it or some.
void EraseAll(Process& process, Device& device, Resource* resource, const std::vector<uint32_t>& handles)
    DXG_REQUIRES(process.mutex()) {
  for (const uint32_t handle : handles) {
    const uint64_t place = process.Find<Allocation>(handle)->place;
    if (resource) {
      resource->allocations.erase(place);
      resource->shared->storages.erase(place);
    }
    device.EraseChild(process, handle);
  }
}

// Enters an allocation for each storage. False: the process has too many objects.
bool EnterAll(CommandContext& call, Process& process, AdapterUse& use, Device& device, Resource* resource,
              const std::vector<std::shared_ptr<Storage>>& storages, std::vector<uint32_t>* handles)
    DXG_REQUIRES(process.mutex()) {
  handles->reserve(storages.size());
  for (const auto& storage : storages) {
    const uint32_t handle = device.InsertChild(
        process,
        std::make_unique<Allocation>(device, use, resource, storage, call.machine.counts.allocations));
    if (handle == 0) return false;
    handles->push_back(handle);
    if (!resource) continue;
    const uint64_t place = ++resource->shared->places_ever;
    process.Find<Allocation>(handle)->place = place;
    resource->allocations.emplace_hint(resource->allocations.end(), place, handle);
    resource->shared->storages.emplace_hint(resource->shared->storages.end(), place, storage);
  }
  return true;
}

void FillReply(const host::CreateAllocation::Request& request, const std::vector<uint32_t>& handles,
               const std::vector<std::shared_ptr<Storage>>& storages, host::CreateAllocation::Reply* reply) {
  reply->set_flags(request.flags());
  for (size_t i = 0; i < handles.size(); ++i) {
    const StorageTraits& traits = storages[i]->traits;
    const uint32_t data_bytes = request.allocations(static_cast<int>(i)).priv_drv_data_size();
    host::CreatedAllocation* created = reply->add_allocations();
    created->set_allocation(handles[i]);
    created->set_priv_drv_data_size(data_bytes);
    created->set_allocation_flags((traits.cached ? kInfoCached : 0) |
                                  (traits.of_guest ? kInfoExistingSysmem : 0));
    created->set_allocation_size(traits.bytes);
    if (data_bytes != 0) reply->mutable_allocation_data()->append(traits.private_data);
  }
}

}  // namespace

Allocation::~Allocation() {
  if (residency_count != 0) {
    Storage* const listed[] = {storage.get()};
    use_.adapter->video_memory()->Evict(use_.memory, listed, false);
  }
  use_.va.Forget(*this);
}

Allocation* FindAllocation(const CommandContext& call, Process& process, uint32_t handle) {
  Allocation* allocation = process.Find<Allocation>(handle);
  return allocation && allocation->device.adapter == call.adapter ? allocation : nullptr;
}

Allocation* FindOnDevice(const CommandContext& call, Process& process, uint32_t device, uint32_t allocation) {
  const Device* owner = FindDevice(call, process, device);
  Allocation* found = FindAllocation(call, process, allocation);
  return owner && found && &found->device == owner ? found : nullptr;
}

bool FindAllocations(const CommandContext& call, Process& process, const Device& device,
                     const google::protobuf::RepeatedField<uint32_t>& handles,
                     std::vector<Allocation*>* found) {
  for (const uint32_t handle : handles) {
    Allocation* allocation = FindAllocation(call, process, handle);
    if (!allocation || &allocation->device != &device) return false;
    found->push_back(allocation);
  }
  return true;
}

bool FindResourcesAllocations(const CommandContext& call, Process& process, const Device& device,
                              const google::protobuf::RepeatedField<uint32_t>& handles,
                              std::vector<Allocation*>* found, std::vector<size_t>* counts) {
  for (const uint32_t handle : handles) {
    const Resource* resource = FindResource(call, process, handle);
    if (!resource || &resource->device != &device) return false;
    for (const auto& [place, member] : resource->allocations)
      found->push_back(process.Find<Allocation>(member));
    counts->push_back(resource->allocations.size());
  }
  return true;
}

// All or nothing. The reply has no status: a refusal is a short answer.
void Commands::Handle(CommandContext& call, const host::CreateAllocation::Request& request,
                      host::CreateAllocation::Reply* reply) {
  auto create = [&]() -> bool {
    if (call.CheckLiveAdapter() != kStatusSuccess || request.make_resident() != 0) return false;
    if (!CheckFlags(request.flags(), request.resource(), request.alloc_count())) return false;
    std::vector<Wanted> plan;
    if (!CheckSizes(request) || !CheckElements(request) || !PlanAllocations(call, request, &plan))
      return false;
    Process& process = *call.process;
    MutexLock lock(process.mutex());
    Device* device = FindDevice(call, process, request.device());
    AdapterUse* use = process.UseAdapter(call.adapter);
    if (!device || !device->active() || !use) return false;
    const bool new_resource = (request.flags() & kCreateResource) != 0;
    const bool in_resource = new_resource || request.resource() != 0;
    Resource* resource = in_resource ? ResourceFor(call, request, process, *device) : nullptr;
    if (in_resource && !resource) return false;
    std::vector<uint32_t> handles;
    Rollback erase([&]() DXG_REQUIRES(process.mutex()) {
      EraseAll(process, *device, resource, handles);
      if (new_resource) device->EraseChild(process, resource->handle);
    });
    std::vector<std::shared_ptr<Storage>> storages;
    for (Wanted& wanted : plan) {
      const bool shared = resource && resource->shared->create_shared;
      auto storage = CreateStorage(call, process.regions(), std::move(wanted), shared);
      if (!storage) return false;
      storages.push_back(std::move(storage));
    }
    if (!EnterAll(call, process, *use, *device, resource, storages, &handles)) return false;
    if (new_resource) reply->set_resource(resource->handle);
    FillReply(request, handles, storages, reply);
    erase.Keep();
    return true;
  };
  if (!create()) call.Refuse();
}

namespace {

// Members of one resource that may lose them, or of none; each once.
bool CanDestroy(const std::vector<Allocation*>& allocations) {
  std::vector<Allocation*> sorted = allocations;
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) return false;
  Resource* const resource = allocations.front()->resource;
  if (resource && resource->shared->sealed) return false;
  return std::all_of(allocations.begin(), allocations.end(),
                     [resource](const Allocation* allocation) { return allocation->resource == resource; });
}

Objects TakeAllocations(Process& process, Device& device, const std::vector<Allocation*>& allocations)
    DXG_REQUIRES(process.mutex()) {
  Objects taken;
  Resource* const resource = allocations.front()->resource;
  for (const Allocation* allocation : allocations) {
    const uint32_t handle = allocation->handle;
    if (resource) {
      resource->shared->storages.erase(allocation->place);
      resource->allocations.erase(allocation->place);
    }
    device.children.erase(handle);
    taken.push_back(process.Take(handle));
  }
  return taken;
}

// Ends what has lost its name: when all commands that were submitted before have ended, so that none of them
// misses it, or at once where the caller says that none uses it. A synchronous call is answered when it is
// gone.
void EndWhenUnused(CommandContext& call, Device& device, Objects objects, uint32_t flags) {
  const std::shared_ptr<void> answer = (flags & kSynchronousDestroy) != 0 ? call.DeferUntilLetGo() : nullptr;
  if ((flags & kAssumeNotInUse) != 0) {
    if (answer) device.work->AfterCommands([answer] {}, &call.aftermath);
    return;
  }
  const uint64_t number = ++device.leaving_ever;
  auto end = [process = std::weak_ptr(call.process), work = std::weak_ptr(device.work), number, answer] {
    const auto alive = process.lock();
    const auto of = work.lock();
    if (!alive || !of) return;
    Process& locked = *alive;
    MutexLock lock(locked.mutex());
    Device* found = locked.Find<Device>(of->device);
    if (found && found->work == of) found->leaving.erase(number);
  };
  if (device.work->AfterCommands(std::move(end), &call.aftermath)) {
    device.leaving.emplace(number, std::move(objects));
  }
}

}  // namespace

// Works whatever state the adapter and the device are in. No work is in flight yet that memory would have to
// wait for.
int32_t Commands::Handle(CommandContext& call, const host::DestroyAllocation::Request& request,
                         host::DestroyAllocation::Reply*) {
  if (const int32_t status = call.CheckCaller(); status != kStatusSuccess) return status;
  if ((request.flags() & ~(kAssumeNotInUse | kSynchronousDestroy)) != 0) return kStatusInvalidParameter;
  if (request.alloc_count() != static_cast<uint32_t>(request.allocations_size()))
    return kStatusInvalidParameter;
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  Device* device = FindDevice(call, process, request.device());
  if (!device) return kStatusInvalidParameter;
  if (request.resource() != 0) {
    Resource* resource = FindResource(call, process, request.resource());
    if (request.alloc_count() != 0 || !resource || &resource->device != device)
      return kStatusInvalidParameter;
    EndWhenUnused(call, *device, TakeResource(process, *resource), request.flags());
    return kStatusSuccess;
  }
  if (request.alloc_count() == 0) return kStatusSuccess;
  std::vector<Allocation*> allocations;
  if (!FindAllocations(call, process, *device, request.allocations(), &allocations) ||
      !CanDestroy(allocations)) {
    return kStatusInvalidParameter;
  }
  EndWhenUnused(call, *device, TakeAllocations(process, *device, allocations), request.flags());
  return kStatusSuccess;
}

// Asked once for the sizes, with none, and then with room for the data.
int32_t Commands::Handle(CommandContext& call, const host::GetStandardAllocationDriverData::Request& request,
                         host::GetStandardAllocationDriverData::Reply* reply) {
  reply->set_width(request.width());
  reply->set_height(request.height());
  reply->set_format(request.format());
  reply->set_type(request.type());
  reply->set_flags(request.flags());
  reply->set_pitch(request.pitch());
  if (const int32_t status = call.CheckLiveAdapter(); status != kStatusSuccess) return status;
  if (request.physical_adapter_index() >= kPhysicalAdapters) return kStatusInvalidParameter;
  if (request.alloc_type() != _D3DKMDT_STANDARDALLOCATION_GDISURFACE) return kStatusNotSupported;
  const uint64_t bytes = uint64_t{request.width()} * request.height();
  if (bytes == 0 || bytes > kAllocationBytesMax) return kStatusInvalidParameter;
  const bool sizes_only = request.priv_driver_data_size() == 0 && request.priv_driver_resource_size() == 0;
  if (!sizes_only && request.priv_driver_data_size() < kAllocationDataBytes) return kStatusBufferTooSmall;
  if (request.priv_driver_data_size() >= kMessageBytesMax ||
      request.priv_driver_resource_size() >= kMessageBytesMax) {
    return kStatusInvalidParameter;
  }
  reply->set_priv_driver_data_size(kAllocationDataBytes);
  reply->set_priv_driver_resource_size(0);
  if (!sizes_only) {
    reply->set_allocation_data(StandardData(bytes, kAllocationSystemOnly));
    reply->mutable_allocation_data()->resize(request.priv_driver_data_size());
    reply->mutable_resource_data()->resize(request.priv_driver_resource_size());
  }
  return kStatusSuccess;
}

int32_t Commands::Handle(CommandContext& call, const host::SetExistingSysmemStore::Request& request,
                         host::SetExistingSysmemStore::Reply*) {
  if (const int32_t status = call.CheckLiveAdapter(); status != kStatusSuccess) return status;
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  const Allocation* allocation = FindOnDevice(call, process, request.device(), request.allocation());
  if (!allocation) return kStatusInvalidParameter;
  if (!allocation->device.active()) return kStatusDeviceRemoved;
  if (!call.machine.guest_memory()) return kStatusNotSupported;
  return allocation->storage->BindGpadl(request.gpadl()) ? kStatusSuccess : kStatusInvalidParameter;
}

// Page frames mean something only where the host sees all of the guest's memory.
int32_t Commands::Handle(CommandContext& call, const host::SetExistingSysmemPages::Request& request,
                         host::SetExistingSysmemPages::Reply*) {
  if (const int32_t status = call.CheckLiveAdapter(); status != kStatusSuccess) return status;
  if (request.num_pages() == 0 || request.num_pages() > static_cast<uint32_t>(request.pages_size())) {
    return kStatusInvalidParameter;
  }
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  const Allocation* allocation = FindOnDevice(call, process, request.device(), request.allocation());
  if (!allocation) return kStatusInvalidParameter;
  if (!allocation->device.active()) return kStatusDeviceRemoved;
  const GuestMemory* guest = call.machine.guest_memory();
  if (!guest || !guest->knows_frames()) return kStatusNotSupported;
  std::vector<uint64_t> frames(request.pages().begin(), request.pages().begin() + request.num_pages());
  return allocation->storage->BindFrames(request.alloc_offset_in_pages(), std::move(frames))
             ? kStatusSuccess
             : kStatusInvalidParameter;
}

}  // namespace dxg::hostsim
