// Random sequences of all memory calls, from several processes, against a small model of what memory is, on
// virtual time. After every step the machine's books are compared with the model's, and at the end nothing is
// alive.
#include <sys/mman.h>

#include <cstring>

#include "proto/abi/d3dkmthk.h"
#include "proto/abi/ntstatus.h"
#include "tests/conformance/allocation_data.h"
#include "tests/simulation/memory_model.h"
#include "tests/simulation/seeded_run.h"

namespace dxg::simulation {
namespace {

constexpr uint64_t kSmallGroupBytes = 16 << 20;  // of each segment group: small, so that it runs out
constexpr int kProcesses = 3;
constexpr uint32_t kAllocationsMax = 24;  // of a process
constexpr uint64_t kPagesMax = 512;

using conformance::AllocationData;

class Run final : public SeededRun {
 public:
  Run(uint64_t seed, bool verbose) : SeededRun(seed, verbose) {}

  void Steps(int steps) {
    for (int i = 0; i < kProcesses; ++i) OpenProcess(i);
    for (step_ = 0; step_ < steps; ++step_) {
      Step();
      CheckBooks();
    }
    CloseAll();
  }

 private:
  Machine& machine() override { return machine_; }
  ModelProcess& Now() { return processes_[current_]; }
  template <typename Map>
  auto* Pick(Map& map) {
    if (map.empty()) return static_cast<decltype(&map.begin()->second)>(nullptr);
    auto it = map.begin();
    std::advance(it, Below(map.size()));
    return &it->second;
  }

  // -- Processes
  void OpenProcess(int index) {
    current_ = index;
    machine_.Open(Pid());
    Now() = ModelProcess();
    Now().open = true;
    Now().life = ++lives_;
    d3dkmt_adapterinfo adapters[4]{};
    d3dkmt_enumadapters2 enumerate{};
    enumerate.num_adapters = 4;
    enumerate.adapters = reinterpret_cast<decltype(enumerate.adapters)>(adapters);
    Equal(Call(LX_DXENUMADAPTERS2, &enumerate), 0, "EnumAdapters2");
    Now().adapter = adapters[0].adapter_handle.v;
    CreateDevice();
  }
  void CreateDevice() {
    d3dkmt_createdevice device{};
    device.adapter.v = Now().adapter;
    Equal(Call(LX_DXCREATEDEVICE, &device), 0, "CreateDevice");
    Now().device = device.device.v;
    d3dkmt_createpagingqueue queue{};
    queue.device.v = Now().device;
    Equal(Call(LX_DXCREATEPAGINGQUEUE, &queue), 0, "CreatePagingQueue");
    Now().queue = queue.paging_queue.v;
    Now().fence = reinterpret_cast<const volatile uint64_t*>(queue.fence_cpu_virtual_address);
    Equal(uint64_t{*Now().fence}, 0u, "a new paging fence");
  }
  void ForgetMemory() {
    for (auto& [handle, allocation] : Now().allocations) FreeOwn(allocation);
    Now().allocations.clear();
    Now().resources.clear();
  }
  void FreeOwn(ModelAllocation& allocation) {
    if (allocation.own_memory != nullptr) munmap(allocation.own_memory, allocation.bytes->size());
  }
  void DestroyDevice() {
    Say("destroy device");
    d3dkmt_destroydevice args{};
    args.device.v = Now().device;
    Equal(Call(LX_DXDESTROYDEVICE, &args), 0, "DestroyDevice");
    ForgetMemory();
    // Ranges that were made for an allocation went with it; the others are the process's.
    std::erase_if(Now().ranges, [](const auto& range) { return !range.second.reserved; });
    CreateDevice();
  }
  void EndProcess() {
    Say("end of the process");
    machine_.Close(Pid());
    ForgetMemory();
    Now() = ModelProcess();
    OpenProcess(current_);
  }

  // -- Allocations
  void Create() {
    ModelProcess& process = Now();
    if (process.allocations.size() >= kAllocationsMax) return;
    ModelResource* into = Chance(20) ? Pick(process.resources) : nullptr;
    const uint32_t kind =
        into != nullptr
            ? 0
            : static_cast<uint32_t>(Below(4));  // 1: a resource, 2: a shareable one, 3: own memory
    const uint32_t count = 1 + static_cast<uint32_t>(Below(3));
    std::vector<AllocationData> data(count);
    std::vector<d3dddi_allocationinfo2> infos(count);
    std::vector<char*> memory(count, nullptr);
    for (uint32_t i = 0; i < count; ++i) {
      data[i].bytes = 1 + Below(kPagesMax * kPage);
      data[i].flags = kind == 2 && Chance(50) ? AllocationData::kSystemOnly : 0;
      infos[i].priv_drv_data = reinterpret_cast<uint64_t>(&data[i]);
      infos[i].priv_drv_data_size = sizeof(data[i]);
      if (kind != 3) continue;
      const uint64_t bytes = (data[i].bytes + kPage - 1) / kPage * kPage;
      memory[i] = static_cast<char*>(
          mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
      infos[i].sysmem = reinterpret_cast<uint64_t>(memory[i]);
    }
    d3dkmt_createallocation args{};
    args.device.v = process.device;
    args.alloc_count = count;
    args.allocation_info = reinterpret_cast<uint64_t>(infos.data());
    args.flags.create_resource = kind == 1 || kind == 2;
    args.flags.create_shared = args.flags.nt_security_sharing = kind == 2;
    args.flags.existing_sysmem = kind == 3;
    if (into != nullptr) args.resource.v = into->handle;
    Say("create {} allocations, kind {}, into {:#x}", count, kind, args.resource.v);
    const int32_t result = Call(LX_DXCREATEALLOCATION, &args);
    if (into != nullptr && into->sealed)
      return Equal(result, -EINVAL, "CreateAllocation into a sealed resource");
    Equal(result, 0, "CreateAllocation");
    if (kind == 1 || kind == 2) {
      into = &process.resources[args.resource.v];
      *into = {args.resource.v, kind == 2, false, false, {}};
    }
    for (uint32_t i = 0; i < count; ++i) {
      ModelAllocation allocation;
      allocation.handle = infos[i].allocation.v;
      allocation.resource = into != nullptr ? into->handle : 0;
      allocation.bytes = std::make_shared<Bytes>();
      allocation.bytes->pages = (data[i].bytes + kPage - 1) / kPage;
      allocation.bytes->creator = Now().life;
      allocation.bytes->system_only = data[i].flags != 0;
      allocation.own_memory = memory[i];
      Equal(data[i].allocated, allocation.bytes->size(), "the size in whole pages, in the private data");
      True(!process.allocations.contains(allocation.handle), "a handle that is in use was given out");
      if (into != nullptr) into->allocations.push_back(allocation.handle);
      process.allocations[allocation.handle] = allocation;
    }
  }

  void Erase(uint32_t handle) {
    ModelProcess& process = Now();
    FreeOwn(process.allocations[handle]);
    std::erase_if(process.ranges, [&](const auto& range) { return range.second.allocation == handle; });
    process.allocations.erase(handle);
  }

  void DestroyList() {
    ModelAllocation* allocation = Pick(Now().allocations);
    if (allocation == nullptr) return;
    std::vector<uint32_t> list = {allocation->handle};
    ModelAllocation* second = Chance(30) ? Pick(Now().allocations) : nullptr;
    if (second != nullptr) list.push_back(second->handle);
    d3dkmt_destroyallocation2 args{};
    args.device.v = Now().device;
    args.allocations = reinterpret_cast<uint64_t>(list.data());
    args.alloc_count = list.size();
    args.flags.value = static_cast<uint32_t>(Below(4));
    Say("destroy {:#x} and {:#x}", list[0], list.size() == 2 ? list[1] : 0);
    const bool shared = allocation->resource != 0 && (Now().resources[allocation->resource].shareable ||
                                                      Now().resources[allocation->resource].opened);
    const bool mixed =
        second != nullptr && (second->resource != allocation->resource || second == allocation);
    const int32_t result = Call(LX_DXDESTROYALLOCATION2, &args);
    if (shared || mixed)
      return Equal(result, -EINVAL, "DestroyAllocation2 of a mixed list or of a shared resource");
    Equal(result, 0, "DestroyAllocation2");
    for (const uint32_t handle : list) {
      if (const uint32_t resource = Now().allocations[handle].resource)
        std::erase(Now().resources[resource].allocations, handle);
      Erase(handle);
    }
  }

  void DestroyResource() {
    ModelResource* resource = Pick(Now().resources);
    if (resource == nullptr) return;
    d3dkmt_destroyallocation2 args{};
    args.device.v = Now().device;
    args.resource.v = resource->handle;
    Say("destroy resource {:#x}", resource->handle);
    Equal(Call(LX_DXDESTROYALLOCATION2, &args), 0, "DestroyAllocation2 of a resource");
    for (const uint32_t handle : resource->allocations) Erase(handle);
    Now().resources.erase(args.resource.v);
  }

  // -- The CPU
  void Lock() {
    ModelAllocation* allocation = Pick(Now().allocations);
    if (allocation == nullptr) return;
    d3dkmt_lock2 args{};
    args.device.v = Now().device;
    args.allocation.v = allocation->handle;
    const int32_t result = Call(LX_DXLOCK2, &args);
    Say("lock {:#x}: {}", allocation->handle, result);
    if (allocation->bytes->offered && allocation->locks == 0 && allocation->own_memory == nullptr) {
      return True(result < 0, "an offered allocation was locked");
    }
    // Memory that may lie in the adapter shows to its creator alone.
    if (allocation->bytes->creator != Now().life && !allocation->bytes->system_only &&
        allocation->locks == 0) {
      return Equal(result, -EINVAL, "Lock2 by an opener");
    }
    Equal(result, 0, "Lock2");
    if (allocation->own_memory != nullptr)
      return Equal(args.data, reinterpret_cast<uint64_t>(allocation->own_memory),
                   "the address of own memory");
    if (allocation->locks != 0) Equal(args.data, allocation->address, "the address of a second lock");
    ++allocation->locks;
    allocation->address = args.data;
    CheckWords(*allocation);
    if (Chance(70)) WriteWord(*allocation);
  }
  void CheckWords(const ModelAllocation& allocation) {
    const Bytes& bytes = *allocation.bytes;
    for (const uint64_t page : {uint64_t{0}, bytes.pages - 1, Below(bytes.pages)}) {
      Equal(*WordAt(allocation, page), bytes.word(page), "a word of locked memory");
    }
  }
  static uint32_t* WordAt(const ModelAllocation& allocation, uint64_t page) {
    const uint64_t base = allocation.own_memory != nullptr ? reinterpret_cast<uint64_t>(allocation.own_memory)
                                                           : allocation.address;
    return reinterpret_cast<uint32_t*>(base + page * kPage + 8);
  }
  void WriteWord(ModelAllocation& allocation) {
    const uint64_t page = Below(allocation.bytes->pages);
    const uint32_t value = static_cast<uint32_t>(random_());
    *WordAt(allocation, page) = value;
    allocation.bytes->words[page] = value;
  }
  void Unlock() {
    ModelAllocation* allocation = Pick(Now().allocations);
    if (allocation == nullptr) return;
    d3dkmt_unlock2 args{};
    args.device.v = Now().device;
    args.allocation.v = allocation->handle;
    const int32_t result = Call(LX_DXUNLOCK2, &args);
    Say("unlock {:#x}: {}", allocation->handle, result);
    if (allocation->own_memory != nullptr) return;  // every unlock goes to the host, which may refuse it
    if (allocation->locks == 0) return Equal(result, -EINVAL, "Unlock2 of what is not locked");
    Equal(result, 0, "Unlock2");
    --allocation->locks;
  }

  // -- Residency
  std::vector<uint32_t> RandomList(bool offered_too) {
    std::vector<uint32_t> list;
    const uint64_t count = 1 + Below(4);
    for (uint64_t i = 0; i < count; ++i) {
      ModelAllocation* allocation = Pick(Now().allocations);
      if (allocation != nullptr && allocation->own_memory == nullptr &&
          (offered_too || !allocation->bytes->offered))
        list.push_back(allocation->handle);
    }
    return list;
  }
  uint64_t Budget(int group) {
    int active = 0;
    for (const auto& process : processes_) active += process.open ? 1 : 0;
    return std::max(kSmallGroupBytes / 100 * 90 / static_cast<uint64_t>(active),
                    group == 0 ? Now().reservation : 0);
  }
  void MakeResident() {
    std::vector<uint32_t> list = RandomList(false);
    if (list.empty()) return;
    d3dddi_makeresident args{};
    args.paging_queue.v = Now().queue;
    args.alloc_count = list.size();
    args.allocation_list = reinterpret_cast<uint64_t>(list.data());
    args.flags.cant_trim_further = Chance(25);
    uint64_t wanted[2] = {};
    std::set<const Bytes*> fresh;
    for (const uint32_t handle : list) {
      const ModelAllocation& allocation = Now().allocations[handle];
      if (!Now().is_resident(*allocation.bytes) && fresh.insert(allocation.bytes.get()).second)
        wanted[allocation.bytes->system_only] += allocation.bytes->size();
    }
    bool fits = true;
    for (const int group : {0, 1}) {
      uint64_t everybody = 0;
      for (const auto& process : processes_) everybody += process.usage(group);
      const uint64_t limit = args.flags.cant_trim_further ? kSmallGroupBytes : Budget(group);
      fits &= wanted[group] == 0 ||
              (Now().usage(group) + wanted[group] <= limit && everybody + wanted[group] <= kSmallGroupBytes);
    }
    const uint64_t before = *Now().fence;
    const int32_t result = Call(LX_DXMAKERESIDENT, &args);
    Say("make {} resident ({} and {} bytes, usage {} and {}): {}", list.size(), wanted[0], wanted[1],
        Now().usage(0), Now().usage(1), result);
    if (!fits) return Equal(result, -ENOMEM, "MakeResident beyond the budget or the memory");
    True(result == 0 || result == kStatusPending, "MakeResident within the budget failed");
    if (result == kStatusPending)
      True(args.paging_fence_value > before, "a pending value that is reached already");
    if (result == 0) True(args.paging_fence_value <= *Now().fence, "a value of SUCCESS that is not reached");
    for (const uint32_t handle : list) ++Now().allocations[handle].residency;
  }
  void Evict() {
    std::vector<uint32_t> list = RandomList(true);
    if (list.empty()) return;
    d3dkmt_evict args{};
    args.device.v = Now().device;
    args.alloc_count = list.size();
    args.allocations = reinterpret_cast<uint64_t>(list.data());
    args.flags.evict_only_if_necessary = Chance(40);
    Say("evict {}", list.size());
    Equal(Call(LX_DXEVICT, &args), 0, "Evict");
    for (const uint32_t handle : list) {
      auto& residency = Now().allocations[handle].residency;
      if (residency != 0) --residency;
    }
  }
  void QueryResidency() {
    ModelAllocation* allocation = Pick(Now().allocations);
    if (allocation == nullptr) return;
    machine_.Settle();
    uint32_t status = 0;
    d3dkmt_queryallocationresidency args{};
    args.device.v = Now().device;
    args.allocations = reinterpret_cast<decltype(args.allocations)>(&allocation->handle);
    args.allocation_count = 1;
    args.residency_status = reinterpret_cast<decltype(args.residency_status)>(&status);
    Equal(Call(LX_DXQUERYALLOCATIONRESIDENCY, &args), 0, "QueryAllocationResidency");
    True(status >= 1 && status <= 3, "a residency status that does not exist");
    if (allocation->residency != 0 && !allocation->bytes->offered)
      True(status != 3, "made resident, and not resident");
  }
  void Settle() {
    Say("time passes");
    machine_.Settle();
  }

  // -- Offers
  void Offer() {
    ModelAllocation* allocation = Pick(Now().allocations);
    if (allocation == nullptr || allocation->locks != 0 || allocation->own_memory != nullptr ||
        LockedElsewhere(*allocation))
      return;
    d3dkmt_offerallocations args{};
    args.device.v = Now().device;
    args.allocations = reinterpret_cast<decltype(args.allocations)>(&allocation->handle);
    args.allocation_count = 1;
    args.priority = static_cast<decltype(args.priority)>(Below(6));
    const bool valid = args.priority >= 1 && args.priority <= 4;
    const int32_t result = Call(LX_DXOFFERALLOCATIONS, &args);
    Say("offer {:#x}: {}", allocation->handle, result);
    if (!valid) return Equal(result, -EINVAL, "an offer of a priority that does not exist");
    Equal(result, 0, "OfferAllocations");
    allocation->bytes->offered = true;
  }
  bool LockedElsewhere(const ModelAllocation& allocation) {
    for (const auto& process : processes_) {
      for (const auto& [handle, other] : process.allocations) {
        if (other.bytes == allocation.bytes && other.locks != 0) return true;
      }
    }
    return false;
  }
  void Reclaim() {
    ModelAllocation* allocation = Pick(Now().allocations);
    if (allocation == nullptr || allocation->own_memory != nullptr) return;
    uint32_t reclaimed = 77;
    d3dkmt_reclaimallocations2 args{};
    args.paging_queue.v = Now().queue;
    args.allocations = reinterpret_cast<decltype(args.allocations)>(&allocation->handle);
    args.allocation_count = 1;
    args.results = reinterpret_cast<decltype(args.results)>(&reclaimed);
    const int32_t result = Call(LX_DXRECLAIMALLOCATIONS2, &args);
    Say("reclaim {:#x}: {}, result {}", allocation->handle, result, reclaimed);
    if (result == -ENOMEM)
      return True(allocation->bytes->offered, "what was not offered cannot be reclaimed for want of memory");
    Equal(result, 0, "ReclaimAllocations2");
    True(reclaimed <= 1, "a reclaim result that cannot be");
    if (reclaimed == 1) {
      True(allocation->bytes->offered, "discarded without being offered");
      allocation->bytes->words.clear();
    }
    allocation->bytes->offered = false;
  }

  // -- GPU addresses
  void Reserve() {
    d3dddi_reservegpuvirtualaddress args{};
    args.adapter.v = Chance(50) ? Now().adapter : Now().queue;
    args.size = (1 + Below(32)) * 65536 + (Chance(10) ? kPage : 0);
    args.reservation_type = static_cast<decltype(args.reservation_type)>(Below(2));
    const int32_t result = Call(LX_DXRESERVEGPUVIRTUALADDRESS, &args);
    Say("reserve {:#x}: {}, {:#x}", uint64_t{args.size}, result, uint64_t{args.virtual_address});
    if (result != 0 || args.virtual_address == 0) return True(args.size % 65536 != 0, "a reservation failed");
    Equal(args.size % 65536, 0u, "a reservation of odd size");
    AddRange(args.virtual_address, {args.size / kPage, true, 0, 0, false});
  }
  void AddRange(uint64_t address, const ModelRange& range) {
    True(address != 0, "address 0 was given out");
    const uint64_t end = address + range.pages * kPage;
    auto next = Now().ranges.lower_bound(address);
    True(next == Now().ranges.end() || next->first >= end, "a new range overlaps the one behind it");
    if (next != Now().ranges.begin()) {
      --next;
      True(next->first + next->second.pages * kPage <= address, "a new range overlaps the one before it");
    }
    Now().ranges[address] = range;
  }
  void Map() {
    ModelAllocation* allocation = Pick(Now().allocations);
    if (allocation == nullptr) return;
    d3dddi_mapgpuvirtualaddress args{};
    args.paging_queue.v = Now().queue;
    args.allocation.v = allocation->handle;
    args.offset_in_pages = Below(allocation->bytes->pages + 1);
    args.size_in_pages = Below(allocation->bytes->pages + 2);
    args.protection.value = Below(2);
    const bool valid =
        args.size_in_pages != 0 && args.offset_in_pages + args.size_in_pages <= allocation->bytes->pages;
    const int32_t result = Call(LX_DXMAPGPUVIRTUALADDRESS, &args);
    Say("map {:#x}, pages {}+{}: {}, {:#x}", allocation->handle, uint64_t{args.offset_in_pages},
        uint64_t{args.size_in_pages}, result, uint64_t{args.virtual_address});
    if (!valid) return Equal(result, -EINVAL, "a map of pages that the allocation does not have");
    True(result == 0 || result == kStatusPending, "MapGpuVirtualAddress failed");
    AddRange(args.virtual_address, {args.size_in_pages, false, allocation->handle, args.offset_in_pages,
                                    (args.protection.value & 1) != 0});
  }
  void Free() {
    if (Now().ranges.empty()) return;
    auto range = Now().ranges.begin();
    std::advance(range, Below(Now().ranges.size()));
    d3dkmt_freegpuvirtualaddress args{};
    args.adapter.v = Now().adapter;
    args.base_address = range->first;
    args.size = range->second.pages * kPage;
    const bool wrong = Chance(20);
    if (wrong) (Chance(50) ? args.size : args.base_address) += kPage;
    const int32_t result = Call(LX_DXFREEGPUVIRTUALADDRESS, &args);
    Say("free {:#x}: {}", uint64_t{args.base_address}, result);
    if (wrong) return Equal(result, -EINVAL, "a part of a range, or more than it, was freed");
    Equal(result, 0, "FreeGpuVirtualAddress");
    Now().ranges.erase(range);
  }
  // As an engine would.
  void UseByGpu() {
    if (Now().ranges.empty()) return;
    auto it = Now().ranges.begin();
    std::advance(it, Below(Now().ranges.size()));
    const auto& [address, range] = *it;
    if (range.allocation == 0) return;
    ModelAllocation& allocation = Now().allocations[range.allocation];
    if (allocation.bytes->offered) return;
    machine_.Settle();
    const uint64_t page = Below(range.pages);
    const uint64_t at = address + page * kPage + 8;
    hostsim::GpuFault fault;
    uint32_t value = 0;
    const auto bytes = hostsim::Bytes(reinterpret_cast<uint8_t*>(&value), sizeof(value));
    const bool read = machine_.host().ReadGpu(machine_.HostCaller(Pid()), at, bytes, &fault);
    Say("GPU reads {:#x}: {}", at, read);
    if (allocation.residency == 0 && allocation.own_memory == nullptr) return;  // it may linger, or not
    if (allocation.residency == 0) return;
    True(read, "a GPU read of resident memory faulted");
    Equal(value,
          allocation.own_memory != nullptr ? *WordAt(allocation, range.offset_pages + page)
                                           : allocation.bytes->word(range.offset_pages + page),
          "what the GPU reads");
    value = static_cast<uint32_t>(random_());
    const bool written = machine_.host().WriteGpu(machine_.HostCaller(Pid()), at, bytes, &fault);
    Equal(written, range.writable, "a GPU write");
    if (written) allocation.bytes->words[range.offset_pages + page] = value;
  }

  // -- Sharing
  void Share() {
    ModelResource* resource = Pick(Now().resources);
    if (resource == nullptr || resource->allocations.empty()) return;
    uint64_t descriptor = 0;
    d3dkmt_shareobjects args{};
    args.object_count = 1;
    args.objects = reinterpret_cast<decltype(args.objects)>(&resource->handle);
    args.shared_handle = reinterpret_cast<decltype(args.shared_handle)>(&descriptor);
    const int32_t result = Call(LX_DXSHAREOBJECTS, &args);
    Say("share {:#x}: {}, descriptor {}", resource->handle, result, descriptor);
    if (!resource->shareable && !resource->opened)
      return Equal(result, -EINVAL, "a private resource was shared");
    Equal(result, 0, "ShareObjects");
    resource->sealed = true;
    ModelDescriptor model;
    for (const uint32_t handle : resource->allocations)
      model.bytes.push_back(Now().allocations[handle].bytes);
    descriptors_[static_cast<int>(descriptor)] = model;
  }
  void OpenShared() {
    if (descriptors_.empty() || Now().allocations.size() >= kAllocationsMax) return;
    auto it = descriptors_.begin();
    std::advance(it, Below(descriptors_.size()));
    const ModelDescriptor& shared = it->second;
    d3dkmt_queryresourceinfofromnthandle query{};
    query.device.v = Now().device;
    query.nt_handle = static_cast<uint64_t>(it->first);
    Equal(Call(LX_DXQUERYRESOURCEINFOFROMNTHANDLE, &query), 0, "QueryResourceInfoFromNtHandle");
    Equal(query.allocation_count, shared.bytes.size(), "the number of shared allocations");
    std::vector<d3dddi_openallocationinfo2> infos(query.allocation_count);
    std::vector<char> data(query.total_priv_drv_data_size);
    d3dkmt_openresourcefromnthandle args{};
    args.device.v = Now().device;
    args.nt_handle = query.nt_handle;
    args.allocation_count = query.allocation_count + (Chance(10) ? 1 : 0);
    args.open_alloc_info = reinterpret_cast<decltype(args.open_alloc_info)>(infos.data());
    args.total_priv_drv_data = reinterpret_cast<decltype(args.total_priv_drv_data)>(data.data());
    args.total_priv_drv_data_size = static_cast<uint32_t>(data.size());
    const int32_t result = Call(LX_DXOPENRESOURCEFROMNTHANDLE, &args);
    Say("open descriptor {}: {}", it->first, result);
    if (args.allocation_count != query.allocation_count)
      return Equal(result, -EINVAL, "a wrong count was opened");
    Equal(result, 0, "OpenResourceFromNtHandle");
    ModelResource resource{args.resource.v, false, true, true, {}};
    for (uint32_t i = 0; i < query.allocation_count; ++i) {
      ModelAllocation allocation;
      allocation.handle = infos[i].allocation.v;
      allocation.resource = args.resource.v;
      allocation.bytes = shared.bytes[i];
      True(!Now().allocations.contains(allocation.handle), "a handle that is in use was given out");
      resource.allocations.push_back(allocation.handle);
      Now().allocations[allocation.handle] = allocation;
    }
    Now().resources[resource.handle] = resource;
  }
  void CloseDescriptor() {
    if (descriptors_.empty()) return;
    auto it = descriptors_.begin();
    std::advance(it, Below(descriptors_.size()));
    Say("close descriptor {}", it->first);
    machine_.CloseDescriptor(it->first);
    descriptors_.erase(it);
  }

  // -- Priorities and the reservation
  void Priority() {
    ModelAllocation* allocation = Pick(Now().allocations);
    if (allocation == nullptr) return;
    uint32_t priority = static_cast<uint32_t>(random_());
    d3dkmt_setallocationpriority set{};
    set.device.v = Now().device;
    set.allocation_list = reinterpret_cast<decltype(set.allocation_list)>(&allocation->handle);
    set.allocation_count = 1;
    set.priorities = reinterpret_cast<decltype(set.priorities)>(&priority);
    const int32_t result = Call(LX_DXSETALLOCATIONPRIORITY, &set);
    if (result == 0) {
      for (auto& process : processes_) {
        for (auto& [handle, other] : process.allocations) {
          if (other.bytes == allocation->bytes) other.priority = priority;
        }
      }
    }
    uint32_t now = 0;
    d3dkmt_getallocationpriority get{};
    get.device.v = Now().device;
    get.allocation_list = set.allocation_list;
    get.allocation_count = 1;
    get.priorities = reinterpret_cast<decltype(get.priorities)>(&now);
    Equal(Call(LX_DXGETALLOCATIONPRIORITY, &get), 0, "GetAllocationPriority");
    if (result == 0) Equal(now, priority, "the priority that was set");
  }
  void Reserve_() {
    d3dkmt_changevideomemoryreservation args{};
    args.adapter.v = Now().adapter;
    args.reservation = Below(kSmallGroupBytes / 4);
    const int32_t result = Call(LX_DXCHANGEVIDEOMEMORYRESERVATION, &args);
    Say("reserve {} bytes of memory: {}", uint64_t{args.reservation}, result);
    if (result == 0) Now().reservation = args.reservation;
  }

  // -- What has to be true after every step
  void CheckBooks() {
    const int current = current_;
    hostsim::Accounting books = machine_.host().Account();
    uint64_t allocations = 0, resources = 0;
    std::set<const Bytes*> storages;
    for (current_ = 0; current_ < kProcesses; ++current_) {
      const ModelProcess& process = Now();
      allocations += process.allocations.size();
      resources += process.resources.size();
      for (const auto& [handle, allocation] : process.allocations) storages.insert(allocation.bytes.get());
      for (const int group : {0, 1}) {
        d3dkmt_queryvideomemoryinfo info{};
        info.adapter.v = process.adapter;
        info.memory_segment_group = static_cast<decltype(info.memory_segment_group)>(group);
        Equal(Call(LX_DXQUERYVIDEOMEMORYINFO, &info), 0, "QueryVideoMemoryInfo");
        Equal(info.current_usage, process.usage(group), "the usage");
        Equal(info.current_reservation, group == 0 ? process.reservation : 0, "the reservation");
        Equal(info.budget, Budget(group), "the budget");
        True(info.available_for_reservation <= info.budget, "more can be reserved than the budget is");
      }
    }
    current_ = current;
    for (const auto& [number, descriptor] : descriptors_) {
      for (const auto& bytes : descriptor.bytes) storages.insert(bytes.get());
    }
    Equal(books.allocations, allocations, "allocations alive");
    Equal(books.resources, resources, "resources alive");
    Equal(books.storages, storages.size(), "memory objects alive");
    True(books.listed_bytes[0] <= kSmallGroupBytes && books.placed_bytes[0] <= kSmallGroupBytes,
         "more memory is placed than there is");
    True(books.listed_bytes[0] <= books.placed_bytes[0] + books.placed_bytes[1],
         "more is listed than is placed");
  }

  void CloseAll() {
    while (!descriptors_.empty()) CloseDescriptor();
    for (current_ = 0; current_ < kProcesses; ++current_) {
      machine_.Close(Pid());
      ForgetMemory();
    }
    current_ = 0;
    machine_.Settle();
    const hostsim::Accounting left = machine_.host().Account();
    Equal(left.processes + left.devices + left.allocations + left.resources + left.storages + left.mappings +
              left.paging_queues + left.sync_objects + left.waits + left.shared + left.regions +
              left.window_bytes + left.machine_bytes,
          0u, "objects, memory of the window and of the machine that are left at the end");
    Equal(left.listed_bytes[0] + left.placed_bytes[0] + left.listed_bytes[1] + left.placed_bytes[1], 0u,
          "memory placed at the end");
    Equal(left.reserved_bytes[0] + left.reserved_bytes[1], 0u, "memory reserved at the end");
    Equal(machine_.driver().process_count(), 0u, "processes of the guest at the end");
    Equal(machine_.mapped_bytes(), 0u, "memory mapped into clients at the end");
  }

  void Step() {
    current_ = static_cast<int>(Below(kProcesses));
    static constexpr std::pair<int, void (Run::*)()> kActs[] = {
        {14, &Run::Create},    {5, &Run::DestroyList},    {4, &Run::DestroyResource},
        {12, &Run::Lock},      {10, &Run::Unlock},        {12, &Run::MakeResident},
        {8, &Run::Evict},      {4, &Run::QueryResidency}, {6, &Run::Settle},
        {4, &Run::Offer},      {5, &Run::Reclaim},        {4, &Run::Reserve},
        {8, &Run::Map},        {4, &Run::Free},           {8, &Run::UseByGpu},
        {5, &Run::Share},      {5, &Run::OpenShared},     {3, &Run::CloseDescriptor},
        {3, &Run::Priority},   {3, &Run::Reserve_},       {1, &Run::DestroyDevice},
        {1, &Run::EndProcess},
    };
    ActOnce(*this, kActs);
  }

  Machine machine_{Machine::Discrete(kSmallGroupBytes)};
  ModelProcess processes_[kProcesses];
  std::map<int, ModelDescriptor> descriptors_;
  int lives_ = 0;
};

}  // namespace

Outcome RunMemory(const Options& options, uint64_t seed) { return Play<Run>(options, seed); }

}  // namespace dxg::simulation
