#pragma once

#include <unistd.h>

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "hostsim/memory/allocation.h"
#include "hostsim/memory/private_data.h"
#include "proto/abi/flags.h"
#include "tests/hostsim/rig.h"

// Memory as a guest asks for it: the Rig with a process, a device and a paging queue, and the commands of
// memory.

namespace dxg::hostsim {

inline constexpr uint64_t kMiB = 1ull << 20;
inline constexpr uint64_t kGiB = 1ull << 30;
inline constexpr uint64_t kPage = kPageBytes;

// CREATEALLOCATION flags.
inline constexpr uint32_t kResourceFlag = DXG_ALLOCATION_CREATE_RESOURCE;
inline constexpr uint32_t kSharedFlag = DXG_ALLOCATION_CREATE_SHARED;
inline constexpr uint32_t kExistingSysmemFlag = DXG_ALLOCATION_EXISTING_SYSMEM;
inline constexpr uint32_t kNtFlag = DXG_ALLOCATION_NT_SECURITY_SHARING;
inline constexpr uint32_t kReadOnlyFlag = DXG_ALLOCATION_READ_ONLY;
inline constexpr uint32_t kStandardFlag = DXG_ALLOCATION_STANDARD;

// A host whose paging is done when it is asked for.
inline AdapterProfile ImmediatePaging() {
  AdapterProfile profile = Shipped("discrete");
  profile.mutable_paging()->set_immediate(true);
  return profile;
}

inline std::string PrivateData(uint64_t bytes, uint32_t flags = 0, uint32_t segment = 0) {
  std::string data(kAllocationDataBytes, '\0');
  Put<uint32_t>(BytesOf(data), 0, kAllocationMagic);
  Put<uint32_t>(BytesOf(data), kAllocationVersionAt, kAllocationVersion);
  Put<uint64_t>(BytesOf(data), kAllocationSizeAt, bytes);
  Put<uint32_t>(BytesOf(data), kAllocationFlagsAt, flags);
  Put<uint32_t>(BytesOf(data), kAllocationSegmentAt, segment);
  return data;
}

// The guest's memory: a few numbered runs of pages, of which some may be gone.
class FakeGuest : public GuestMemory {
 public:
  bool Read(uint32_t gpadl, uint64_t offset, Bytes bytes) override {
    if (gone || runs.count(gpadl) == 0) return false;
    std::copy_n(runs[gpadl].begin() + static_cast<ptrdiff_t>(offset), bytes.size(), bytes.begin());
    return true;
  }
  bool Write(uint32_t gpadl, uint64_t offset, ConstBytes bytes) override {
    if (gone || runs.count(gpadl) == 0) return false;
    std::copy(bytes.begin(), bytes.end(), runs[gpadl].begin() + static_cast<ptrdiff_t>(offset));
    return true;
  }
  uint64_t Size(uint32_t gpadl) override { return runs.count(gpadl) != 0 ? runs[gpadl].size() : 0; }
  bool knows_frames() const override { return frames; }
  bool ReadFrame(uint64_t frame, uint64_t offset, Bytes bytes) override {
    return Read(1, frame * kPage + offset, bytes);
  }
  bool WriteFrame(uint64_t frame, uint64_t offset, ConstBytes bytes) override {
    return Write(1, frame * kPage + offset, bytes);
  }

  std::map<uint32_t, std::string> runs;
  bool gone = false;
  bool frames = false;
};

class MemoryRig : public Rig {
 public:
  explicit MemoryRig(AdapterProfile profile = Shipped("discrete"), FaultPlan* faults = nullptr,
                     GuestMemory* guest_memory = nullptr, bool engine_threads = false,
                     uint32_t objects_max = kObjectsPerProcessMax, UserLimits user_limits = {},
                     WorkObserver* work = nullptr)
      : Rig({std::move(profile)}, faults, guest_memory, engine_threads, objects_max, user_limits, work),
        caller(NewCaller()),
        device(NewDevice(caller)) {
    queue = NewQueue();
  }

  // -- Creation.

  using Create = host::CreateAllocation;
  static Create::Request CreateRequest(uint32_t device, const std::vector<std::string>& data,
                                       uint32_t flags = 0, uint32_t resource = 0) {
    Create::Request request;
    request.set_device(device);
    request.set_resource(resource);
    request.set_flags(flags);
    request.set_alloc_count(static_cast<uint32_t>(data.size()));
    for (const std::string& bytes : data) {
      request.add_allocations()->set_priv_drv_data_size(static_cast<uint32_t>(bytes.size()));
      request.mutable_allocation_data()->append(bytes);
    }
    return request;
  }
  Answer<Create> TryCreate(const std::vector<std::string>& data, uint32_t flags = 0, uint32_t resource = 0) {
    return Ask<Create>(caller, CreateRequest(device, data, flags, resource));
  }
  uint32_t TryAllocation(uint64_t bytes, uint32_t flags = 0) {
    const auto answer = TryCreate({PrivateData(bytes)}, flags);
    return answer.accepted ? answer.reply.allocations(0).allocation() : 0;
  }
  uint32_t New(uint64_t bytes, uint32_t data_flags = 0, uint32_t segment = 0) {
    return NewFor(caller, device, bytes, data_flags, segment);
  }
  uint32_t NewFor(const Caller& who, uint32_t on, uint64_t bytes, uint32_t data_flags = 0,
                  uint32_t segment = 0) {
    const auto answer = Ask<Create>(who, CreateRequest(on, {PrivateData(bytes, data_flags, segment)}));
    EXPECT_TRUE(answer.accepted);
    return answer.accepted ? answer.reply.allocations(0).allocation() : 0;
  }
  // A resource of so many allocations; their handles behind its own.
  std::vector<uint32_t> NewResource(size_t count, uint64_t bytes = kPage, uint32_t flags = kResourceFlag) {
    const auto answer = TryCreate(std::vector<std::string>(count, PrivateData(bytes)), flags);
    EXPECT_TRUE(answer.accepted);
    std::vector<uint32_t> handles = {answer.reply.resource()};
    for (const auto& created : answer.reply.allocations()) handles.push_back(created.allocation());
    return handles;
  }
  int32_t Destroy(const std::vector<uint32_t>& list, uint32_t resource = 0, uint32_t flags = 0) {
    return DestroyFor(caller, device, list, resource, flags);
  }
  int32_t DestroyFor(const Caller& who, uint32_t on, const std::vector<uint32_t>& list, uint32_t resource = 0,
                     uint32_t flags = 0) {
    host::DestroyAllocation::Request request;
    request.set_device(on);
    request.set_resource(resource);
    request.set_flags(flags);
    request.set_alloc_count(static_cast<uint32_t>(list.size()));
    for (const uint32_t handle : list) request.add_allocations(handle);
    return Ask<host::DestroyAllocation>(who, request).reply.status();
  }

  // -- The CPU's view.

  host::Lock2::Reply Lock(uint32_t allocation, uint32_t flags = 0) {
    return LockFor(caller, device, allocation, flags);
  }
  host::Lock2::Reply LockFor(const Caller& who, uint32_t on, uint32_t allocation, uint32_t flags = 0) {
    host::Lock2::Request request;
    request.set_device(on);
    request.set_allocation(allocation);
    request.set_flags(flags);
    return Ask<host::Lock2>(who, request).reply;
  }
  int32_t Unlock(uint32_t allocation) {
    host::Unlock2::Request request;
    request.set_device(device);
    request.set_allocation(allocation);
    return Ask<host::Unlock2>(caller, request).reply.status();
  }
  // As a client that has mapped the window.
  uint64_t Peek(uint64_t window_address) {
    const auto region = host().FindRegion(window_address);
    if (!region) {
      ADD_FAILURE() << "nothing at " << window_address;
      return 0;
    }
    uint64_t value = 0;
    EXPECT_EQ(pread(region->file->number(), &value, sizeof value,
                    static_cast<off_t>(window_address - region->window_start)),
              static_cast<ssize_t>(sizeof value));
    return value;
  }
  void Poke(uint64_t window_address, uint64_t value) {
    const auto region = host().FindRegion(window_address);
    ASSERT_TRUE(region);
    EXPECT_EQ(pwrite(region->file->number(), &value, sizeof value,
                     static_cast<off_t>(window_address - region->window_start)),
              static_cast<ssize_t>(sizeof value));
  }

  // -- Paging.

  struct Queue {
    uint32_t handle = 0;
    uint32_t fence = 0;
    uint64_t fence_address = 0;
  };
  host::CreatePagingQueue::Reply TryQueue(uint32_t on, int32_t priority = 0, uint32_t index = 0) {
    host::CreatePagingQueue::Request request;
    request.set_device(on);
    request.set_priority(priority);
    request.set_physical_adapter_index(index);
    return Ask<host::CreatePagingQueue>(caller, request).reply;
  }
  Queue NewQueue(int32_t priority = 0) { return NewQueueFor(caller, device, priority); }
  Queue NewQueueFor(const Caller& who, uint32_t on, int32_t priority = 0) {
    host::CreatePagingQueue::Request request;
    request.set_device(on);
    request.set_priority(priority);
    const auto reply = Ask<host::CreatePagingQueue>(who, request).reply;
    EXPECT_NE(reply.paging_queue(), 0u);
    return {reply.paging_queue(), reply.sync_object(), reply.fence_storage_physical_address()};
  }
  uint64_t FenceOf(const Queue& of) { return Peek(of.fence_address); }

  host::MakeResident::Reply MakeResident(const std::vector<uint32_t>& list, uint32_t flags = 0) {
    return MakeResidentOn(caller, queue, list, flags);
  }
  host::MakeResident::Reply MakeResidentOn(const Caller& who, const Queue& on,
                                           const std::vector<uint32_t>& list, uint32_t flags = 0) {
    host::MakeResident::Request request;
    request.set_paging_queue(on.handle);
    request.set_flags(flags);
    request.set_alloc_count(static_cast<uint32_t>(list.size()));
    for (const uint32_t handle : list) request.add_allocations(handle);
    return Ask<host::MakeResident>(who, request).reply;
  }
  // Listed, and there.
  void BringIn(const std::vector<uint32_t>& list, uint32_t flags = 0) {
    const auto reply = MakeResident(list, flags);
    EXPECT_GE(reply.status(), 0) << std::hex << reply.status();
    Settle();
  }
  Answer<host::Evict> Evict(const std::vector<uint32_t>& list, uint32_t flags = 0) {
    return EvictFor(caller, device, list, flags);
  }
  Answer<host::Evict> EvictFor(const Caller& who, uint32_t on, const std::vector<uint32_t>& list,
                               uint32_t flags = 0) {
    host::Evict::Request request;
    request.set_device(on);
    request.set_flags(flags);
    request.set_alloc_count(static_cast<uint32_t>(list.size()));
    for (const uint32_t handle : list) request.add_allocations(handle);
    return Ask<host::Evict>(who, request);
  }
  // Lets everything that takes time happen.
  void Settle() {
    while (clock.AdvanceToNext()) {
    }
  }
  host::QueryAllocationResidency::Reply Residency(const std::vector<uint32_t>& list, uint32_t resource = 0) {
    host::QueryAllocationResidency::Request request;
    request.set_device(device);
    request.set_resource(resource);
    request.set_allocation_count(static_cast<uint32_t>(list.size()));
    for (const uint32_t handle : list) request.add_allocations(handle);
    return Ask<host::QueryAllocationResidency>(caller, request).reply;
  }
  uint32_t WhereIs(uint32_t allocation) {
    const auto reply = Residency({allocation});
    EXPECT_EQ(reply.status(), kStatusSuccess);
    return reply.residency_status_size() == 1 ? reply.residency_status(0) : 0;
  }
  host::QueryVideoMemoryInfo::Reply Memory(const Caller& who, uint32_t group = 0) {
    host::QueryVideoMemoryInfo::Request request;
    request.set_adapter(adapter().host_handle);
    request.set_memory_segment_group(group);
    return Ask<host::QueryVideoMemoryInfo>(who, request).reply;
  }
  uint64_t Usage(uint32_t group = 0) { return Memory(caller, group).current_usage(); }
  uint64_t Budget(uint32_t group = 0) { return Memory(caller, group).budget(); }

  // -- Addresses.

  host::MapGpuVirtualAddress::Request MapRequest(uint32_t allocation, uint64_t pages, uint64_t base = 0,
                                                 uint64_t protection = kProtectWrite, uint64_t offset = 0) {
    host::MapGpuVirtualAddress::Request request;
    request.set_paging_queue(queue.handle);
    request.set_allocation(allocation);
    request.set_size_in_pages(pages);
    request.set_base_address(base);
    request.set_protection(protection);
    request.set_offset_in_pages(offset);
    return request;
  }
  host::MapGpuVirtualAddress::Reply TryMap(const host::MapGpuVirtualAddress::Request& request) {
    return Ask<host::MapGpuVirtualAddress>(caller, request).reply;
  }
  uint64_t Map(uint32_t allocation, uint64_t pages, uint64_t base = 0, uint64_t protection = kProtectWrite,
               uint64_t offset = 0) {
    const auto reply = TryMap(MapRequest(allocation, pages, base, protection, offset));
    EXPECT_GE(reply.status(), 0) << std::hex << reply.status();
    Settle();
    return reply.virtual_address();
  }
  host::ReserveGpuVirtualAddress::Reply TryReserve(uint64_t size, uint64_t base = 0, uint64_t minimum = 0,
                                                   uint64_t maximum = 0, uint32_t type = 0,
                                                   uint32_t from = 0) {
    host::ReserveGpuVirtualAddress::Request request;
    request.set_adapter(from != 0 ? from : adapter().host_handle);
    request.set_size(size);
    request.set_base_address(base);
    request.set_minimum_address(minimum);
    request.set_maximum_address(maximum);
    request.set_reservation_type(type);
    return Ask<host::ReserveGpuVirtualAddress>(caller, request).reply;
  }
  uint64_t Reserve(uint64_t size, uint32_t type = 0, uint64_t base = 0) {
    const uint64_t address = TryReserve(size, base, 0, 0, type).virtual_address();
    EXPECT_NE(address, 0u);
    return address;
  }
  int32_t Free(uint64_t base, uint64_t size) {
    host::FreeGpuVirtualAddress::Request request;
    request.set_adapter(adapter().host_handle);
    request.set_base_address(base);
    request.set_size(size);
    return Ask<host::FreeGpuVirtualAddress>(caller, request).reply.status();
  }
  // Through the GPU: the number there, or nothing and why.
  std::optional<uint64_t> GpuRead(uint64_t address) { return GpuReadAs(caller, address); }
  std::optional<uint64_t> GpuReadAs(const Caller& who, uint64_t address) {
    uint8_t bytes[8];
    if (!host().ReadGpu(who, address, bytes, &fault)) return std::nullopt;
    return Get<uint64_t>(bytes, 0);
  }
  bool GpuWrite(uint64_t address, uint64_t value) {
    uint8_t bytes[8];
    Put<uint64_t>(bytes, 0, value);
    return host().WriteGpu(caller, address, bytes, &fault);
  }

  // The process ends, and then there is nothing.
  void EndAndExpectNothing() {
    EndProcess(caller);
    ExpectNothingLeft();
  }

  Caller caller;
  uint32_t device;
  Queue queue;
  GpuFault fault;
};

}  // namespace dxg::hostsim
