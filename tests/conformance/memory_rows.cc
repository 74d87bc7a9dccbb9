// Allocations, residency, GPU addresses and shared resources.
#include <cstring>

#include "proto/contract/numbers.gen.h"
#include "tests/conformance/call_rows.h"
#include "tests/conformance/memory_client.h"

namespace dxg::conformance {
namespace {

constexpr uint32_t kCreateMax = limits::kCreateAllocationAllocationInfoMax;
constexpr uint32_t kListMax = limits::kMakeResidentAllocationsMax;

const std::vector<HandleField> kQueueFirst = {{"PagingQueue", 0, ObjectType::kPagingQueue}};

// An element of CreateAllocation from which the simulated driver makes a page.
void PutElement(World& world, std::span<std::byte> memory) {
  const AllocationData data = {.bytes = kPageBytes};
  GuardedMemory& room = world.Room(sizeof(data));
  std::memcpy(room.bytes().data(), &data, sizeof(data));
  d3dddi_allocationinfo2 info = {};
  info.priv_drv_data = room.address();
  info.priv_drv_data_size = sizeof(data);
  std::memcpy(memory.data(), &info, sizeof(info));
}

// Where a call writes one word for each.
PointerField Words(const char* name, size_t offset, size_t count_offset, int null, int read_only) {
  return {.name = name,
          .offset = offset,
          .size_offset = count_offset,
          .memory_bytes = sizeof(uint32_t),
          .null = null,
          .read_only = read_only};
}

// Bytes that a call reads.
PointerField Blob(const char* name, size_t offset, size_t size_offset) {
  return {.name = name, .offset = offset, .size_offset = size_offset, .size_value = 13, .memory_bytes = 13};
}

// What is wrong with the output of OpenResourceFromNtHandle is found when the host has opened the resource,
// and what is reported is how closing it went.
PointerField Opened(const char* name, size_t offset, size_t bytes) {
  return {.name = name,
          .offset = offset,
          .size_offset = 16,
          .memory_bytes = bytes,
          .null = 0,
          .unmapped = 0,
          .one_byte_short = 0};
}

std::vector<CallRow> AllocationRows() {
  return {
      {.name = "CreateAllocation",
       .code = LX_DXCREATEALLOCATION,
       .fill =
           [](World& world, std::byte* args) {
             auto& create = As<d3dkmt_createallocation>(args);
             GuardedMemory& room = world.Room(sizeof(d3dddi_allocationinfo2));
             PutElement(world, room.bytes());
             create.device = world.Live(ObjectType::kDevice);
             create.alloc_count = 1;
             create.allocation_info = room.address();
           },
       .read_only_struct = -EFAULT,
       .needs_allocations = true,
       .handles = kDeviceFirst,
       .pointers = {{.name = "AllocationInfo",
                     .offset = 48,
                     .size_offset = 44,
                     .memory_bytes = sizeof(d3dddi_allocationinfo2),
                     .read_only = -EFAULT,
                     .prepare = PutElement},
                    Blob("RuntimeData", 16, 24),
                    Blob("ResourceData", 32, 40)},
       .values = BadCounts(44, kCreateMax,
                           {{"RuntimeSizeAboveLimit", 24, 4, kMessageMax, -EOVERFLOW},
                            {"ResourceSizeAboveLimit", 40, 4, kMessageMax, -EOVERFLOW},
                            {"Protected", 56, 4, 1 << 3, -EINVAL},
                            {"ExistingSection", 56, 4, 1 << 17, -EINVAL},
                            {"SharedWithoutResource", 56, 4, 1 << 1 | 1 << 6, -EINVAL},
                            {"SharedWithoutSecurity", 56, 4, 1 << 1 | 1 << 0, -EINVAL},
                            {"ReservedFlag", 56, 4, 1u << 31, -EOVERFLOW, true},
                            {"Reserved", 12, 4, 0xffffffff, 0},
                            {"Reserved1", 28, 4, 0xffffffff, 0},
                            {"Reserved2", 60, 4, 0xffffffff, 0}})},
      {.name = "DestroyAllocation2",
       .code = LX_DXDESTROYALLOCATION2,
       .fill =
           [](World& world, std::byte* args) {
             auto& destroy = As<d3dkmt_destroyallocation2>(args);
             destroy.device = world.Live(ObjectType::kDevice);
             destroy.allocations = world.ListOf(ObjectType::kAllocation);
             destroy.alloc_count = 1;
           },
       .needs_allocations = true,
       .handles = kDeviceFirst,
       .pointers = {HandleList("Allocations", 8, 16, ObjectType::kAllocation)},
       .values = BadCounts(16, kCreateMax,
                           {{"ResourceToo", 4, 4, 0x40000000, -EINVAL},
                            {"ReservedFlag", 20, 4, 1 << 2, -EINVAL, true},
                            {"SystemUseOnly", 20, 4, 1u << 31, -EINVAL, true}})},
      {.name = "DestroyAllocation2OfAResource",
       .code = LX_DXDESTROYALLOCATION2,
       .fill =
           [](World& world, std::byte* args) {
             auto& destroy = As<d3dkmt_destroyallocation2>(args);
             destroy.device = world.Live(ObjectType::kDevice);
             destroy.resource = world.Live(ObjectType::kResource);
             destroy.allocations = kUnmappedAddress;  // not looked at
           },
       .needs_allocations = true,
       .handles = {{"Device", 0, ObjectType::kDevice}, {"Resource", 4, ObjectType::kResource}}},
      {.name = "Lock2",
       .code = LX_DXLOCK2,
       .fill =
           [](World& world, std::byte* args) {
             As<d3dkmt_lock2>(args).device = world.Live(ObjectType::kDevice);
             As<d3dkmt_lock2>(args).allocation = world.Live(ObjectType::kAllocation);
           },
       .read_only_struct = -EFAULT,
       .needs_allocations = true,
       .handles = {{"Device", 0, ObjectType::kDevice}, {"Allocation", 4, ObjectType::kAllocation}},
       .values = {{"Flag", 8, 4, 1, -EINVAL, true},
                  {"AllFlags", 8, 4, 0xffffffff, -EINVAL, true},
                  {"Reserved", 12, 4, 0xffffffff, 0}}},
      {.name = "Unlock2",
       .code = LX_DXUNLOCK2,
       .fill =
           [](World& world, std::byte* args) {
             d3dkmt_lock2 lock = {};
             lock.device = world.Live(ObjectType::kDevice);
             lock.allocation = world.Live(ObjectType::kAllocation);
             world.node.Ioctl(LX_DXLOCK2, lock, "Lock2");
             As<d3dkmt_unlock2>(args).device = lock.device;
             As<d3dkmt_unlock2>(args).allocation = lock.allocation;
           },
       .needs_allocations = true,
       .handles = {{"Device", 0, ObjectType::kDevice}, {"Allocation", 4, ObjectType::kAllocation}}},
      {.name = "InvalidateCache",
       .code = LX_DXINVALIDATECACHE,
       .fill =
           [](World& world, std::byte* args) {
             As<d3dkmt_invalidatecache>(args).device = world.Live(ObjectType::kDevice);
             As<d3dkmt_invalidatecache>(args).allocation = world.Live(ObjectType::kAllocation);
             As<d3dkmt_invalidatecache>(args).length = kPageBytes;
           },
       .needs_allocations = true,
       .handles = {{"Device", 0, ObjectType::kDevice},
                   {.name = "Allocation", .offset = 4, .type = ObjectType::kAllocation, .of_the_host = true}},
       .values = {{"OffsetBehindTheEnd", 8, 8, 1, -EINVAL, true},
                  {"OffsetMax", 8, 8, ~0ull, -EINVAL, true},
                  {"LengthMax", 16, 8, ~0ull, -EINVAL, true}}},
      {.name = "OfferAllocations",
       .code = LX_DXOFFERALLOCATIONS,
       .fill =
           [](World& world, std::byte* args) {
             auto& offer = As<d3dkmt_offerallocations>(args);
             offer.device = world.Live(ObjectType::kDevice);
             offer.allocations = world.ListOf(ObjectType::kAllocation);
             offer.allocation_count = 1;
             offer.priority = _D3DKMT_OFFER_PRIORITY_NORMAL;
           },
       .needs_allocations = true,
       .handles = kDeviceFirst,
       .pointers = {HandleList("Allocations", 16, 24, ObjectType::kAllocation, -EINVAL)},
       .values = BadCounts(24, kListMax,
                           {{"ResourcesToo", 8, 8, kUnmappedAddress, -EINVAL},
                            {"Priority0", 28, 4, 0, -EINVAL, true},
                            {"PriorityAboveLimit", 28, 4, 5, -EINVAL, true},
                            {"ReservedFlag", 32, 4, 1 << 2, -EINVAL, true},
                            {"Reserved", 4, 4, 0xffffffff, 0},
                            {"Reserved1", 36, 4, 0xffffffff, 0}})},
      {.name = "SetAllocationPriority",
       .code = LX_DXSETALLOCATIONPRIORITY,
       .fill =
           [](World& world, std::byte* args) {
             auto& set = As<d3dkmt_setallocationpriority>(args);
             set.device = world.Live(ObjectType::kDevice);
             set.allocation_list = world.ListOf(ObjectType::kAllocation);
             set.allocation_count = 1;
             set.priorities = world.Room(sizeof(uint32_t)).address();
           },
       .needs_allocations = true,
       .handles = kDeviceFirst,
       .pointers = {HandleList("Allocations", 8, 16, ObjectType::kAllocation),
                    Words("Priorities", 24, 16, -EFAULT, 0)},
       .values = {{"Count0", 16, 4, 0, -EINVAL},
                  {"CountAboveLimit", 16, 4, kMessageMax + 1, -EINVAL},
                  {"ResourceToo", 4, 4, 0x40000000, -EINVAL},
                  {"Reserved", 20, 4, 0xffffffff, 0}}},
      {.name = "GetAllocationPriority",
       .code = LX_DXGETALLOCATIONPRIORITY,
       .fill =
           [](World& world, std::byte* args) {
             auto& get = As<d3dkmt_getallocationpriority>(args);
             get.device = world.Live(ObjectType::kDevice);
             get.allocation_list = world.ListOf(ObjectType::kAllocation);
             get.allocation_count = 1;
             get.priorities = world.Room(sizeof(uint32_t)).address();
           },
       .needs_allocations = true,
       .handles = kDeviceFirst,
       .pointers = {HandleList("Allocations", 8, 16, ObjectType::kAllocation),
                    Words("Priorities", 24, 16, -EFAULT, -EFAULT)},
       .values = {{"Count0", 16, 4, 0, -EINVAL},
                  {"CountAboveLimit", 16, 4, kMessageMax + 1, -EINVAL},
                  {"ResourceToo", 4, 4, 0x40000000, -EINVAL},
                  {"Reserved", 20, 4, 0xffffffff, 0}}},
  };
}

std::vector<CallRow> ResidencyRows() {
  return {
      {.name = "CreatePagingQueue",
       .code = LX_DXCREATEPAGINGQUEUE,
       .fill = FillFirstHandle<ObjectType::kDevice>,
       .read_only_struct = -EFAULT,
       .handles = kDeviceFirst,
       .values = {{"PriorityBelowLimit", 4, 4, static_cast<uint32_t>(-2), -ENOMEM, true},
                  {"PriorityAboveLimit", 4, 4, 2, -ENOMEM, true},
                  {"PhysicalAdapter1", 24, 4, 1, -ENOMEM, true}}},
      {.name = "DestroyPagingQueue",
       .code = LX_DXDESTROYPAGINGQUEUE,
       .fill = FillFirstHandle<ObjectType::kPagingQueue>,
       .handles = kQueueFirst},
      {.name = "MakeResident",
       .code = LX_DXMAKERESIDENT,
       .fill =
           [](World& world, std::byte* args) {
             auto& make = As<d3dddi_makeresident>(args);
             make.paging_queue = world.Live(ObjectType::kPagingQueue);
             make.alloc_count = 1;
             make.allocation_list = world.ListOf(ObjectType::kAllocation);
           },
       .read_only_struct = -EFAULT,
       .needs_allocations = true,
       .may_be_pending = true,
       .handles = kQueueFirst,
       .pointers = {HandleList("Allocations", 8, 4, ObjectType::kAllocation)},
       .values = BadCounts(4, kListMax,
                           {{"PrioritiesAreNotRead", 16, 8, kUnmappedAddress, 0},
                            {"ReservedFlag", 24, 4, 1 << 2, -EINVAL, true},
                            {"MustSucceedAlone", 24, 4, 1 << 1, -EINVAL, true}})},
      {.name = "Evict",
       .code = LX_DXEVICT,
       .fill =
           [](World& world, std::byte* args) {
             auto& evict = As<d3dkmt_evict>(args);
             evict.device = world.Live(ObjectType::kDevice);
             evict.alloc_count = 1;
             evict.allocations = world.ListOf(ObjectType::kAllocation);
           },
       .read_only_struct = -EFAULT,
       .needs_allocations = true,
       .handles = kDeviceFirst,
       .pointers = {HandleList("Allocations", 8, 4, ObjectType::kAllocation)},
       .values = BadCounts(
           4, kListMax,
           {{"ReservedFlag", 16, 4, 1 << 2, -EOVERFLOW, true}, {"Reserved", 20, 4, 0xffffffff, 0}})},
      {.name = "QueryAllocationResidency",
       .code = LX_DXQUERYALLOCATIONRESIDENCY,
       .fill =
           [](World& world, std::byte* args) {
             auto& query = As<d3dkmt_queryallocationresidency>(args);
             query.device = world.Live(ObjectType::kDevice);
             query.allocations = world.ListOf(ObjectType::kAllocation);
             query.allocation_count = 1;
             query.residency_status = world.Room(sizeof(uint32_t)).address();
           },
       .needs_allocations = true,
       .handles = kDeviceFirst,
       .pointers = {HandleList("Allocations", 8, 16, ObjectType::kAllocation),
                    Words("Status", 24, 16, -EFAULT, -EFAULT)},
       .values = {{"Count0", 16, 4, 0, -EINVAL},
                  {"CountAboveLimit", 16, 4, kMessageMax + 1, -EINVAL},
                  {"ResourceToo", 4, 4, 0x40000000, -EINVAL},
                  {"Reserved", 20, 4, 0xffffffff, 0}}},
      {.name = "ReclaimAllocations2",
       .code = LX_DXRECLAIMALLOCATIONS2,
       .fill =
           [](World& world, std::byte* args) {
             auto& reclaim = As<d3dkmt_reclaimallocations2>(args);
             reclaim.paging_queue = world.Live(ObjectType::kPagingQueue);
             reclaim.allocations = world.ListOf(ObjectType::kAllocation);
             reclaim.allocation_count = 1;
             reclaim.results = world.Room(sizeof(uint32_t)).address();
           },
       .read_only_struct = -EFAULT,
       .needs_allocations = true,
       .may_be_pending = true,
       .writes_when_refused = true,
       .handles = kQueueFirst,
       .pointers = {HandleList("Allocations", 16, 4, ObjectType::kAllocation, -EINVAL),
                    Words("Results", 24, 4, 0, -EFAULT)},
       .values = BadCounts(4, kListMax, {{"ResourcesToo", 8, 8, kUnmappedAddress, -EINVAL}})},
      {.name = "UpdateAllocationProperty",
       .code = LX_DXUPDATEALLOCPROPERTY,
       .fill =
           [](World& world, std::byte* args) {
             As<d3dddi_updateallocproperty>(args).paging_queue = world.Live(ObjectType::kPagingQueue);
             As<d3dddi_updateallocproperty>(args).allocation = world.Live(ObjectType::kAllocation);
           },
       .needs_allocations = true,
       .handles = {{"PagingQueue", 0, ObjectType::kPagingQueue},
                   {.name = "Allocation", .offset = 4, .type = ObjectType::kAllocation, .of_the_host = true}},
       .values = {{"UnknownProperty", 32, 4, 1u << 31, -EINVAL, true}}},
  };
}

std::vector<CallRow> GpuVaRows() {
  return {
      {.name = "ReserveGpuVirtualAddress",
       .code = LX_DXRESERVEGPUVIRTUALADDRESS,
       .fill =
           [](World& world, std::byte* args) {
             As<d3dddi_reservegpuvirtualaddress>(args).adapter = world.Live(ObjectType::kAdapter);
             As<d3dddi_reservegpuvirtualaddress>(args).size = kReserveUnit;
           },
       .read_only_struct = -EFAULT,
       .handles = kAdapterFirst},
      {.name = "MapGpuVirtualAddress",
       .code = LX_DXMAPGPUVIRTUALADDRESS,
       .fill =
           [](World& world, std::byte* args) {
             As<d3dddi_mapgpuvirtualaddress>(args).paging_queue = world.Live(ObjectType::kPagingQueue);
             As<d3dddi_mapgpuvirtualaddress>(args).allocation = world.Live(ObjectType::kAllocation);
             As<d3dddi_mapgpuvirtualaddress>(args).size_in_pages = 1;
           },
       .read_only_struct = -EFAULT,
       .needs_allocations = true,
       .may_be_pending = true,
       .handles =
           {{"PagingQueue", 0, ObjectType::kPagingQueue},
            {.name = "Allocation", .offset = 32, .type = ObjectType::kAllocation, .of_the_host = true}},
       .values = {{"Size0", 48, 8, 0, -EINVAL, true},
                  {"SizeAboveLimit", 48, 8, 2, -EINVAL, true},
                  {"SizeMax", 48, 8, ~0ull, -EINVAL, true},
                  {"SizeOf2To52Pages", 48, 8, 1ull << 52, -EINVAL, true},
                  {"OffsetAboveLimit", 40, 8, 1, -EINVAL, true},
                  {"OffsetMax", 40, 8, ~0ull, -EINVAL, true},
                  {"SystemUseOnly", 56, 8, 1 << 4, -EINVAL, true},
                  {"ZeroAndNoAccess", 56, 8, 3 << 2, -EINVAL, true},
                  {"ReservedProtection", 56, 8, 1ull << 63, -EINVAL, true},
                  {"Reserved0", 72, 4, 0xffffffff, 0},
                  {"Reserved1", 80, 8, ~0ull, 0}}},
      {.name = "FreeGpuVirtualAddress",
       .code = LX_DXFREEGPUVIRTUALADDRESS,
       .fill =
           [](World& world, std::byte* args) {
             d3dddi_reservegpuvirtualaddress reserve = {};
             reserve.adapter = world.Live(ObjectType::kAdapter);
             reserve.size = kReserveUnit;
             world.node.Ioctl(LX_DXRESERVEGPUVIRTUALADDRESS, reserve, "ReserveGpuVirtualAddress");
             As<d3dkmt_freegpuvirtualaddress>(args).adapter = reserve.adapter;
             As<d3dkmt_freegpuvirtualaddress>(args).base_address = reserve.virtual_address;
             As<d3dkmt_freegpuvirtualaddress>(args).size = kReserveUnit;
           },
       .handles = kAdapterFirst,
       .values = {{"Size0", 16, 8, 0, -EINVAL, true},
                  {"SizeAboveLimit", 16, 8, 2 * kReserveUnit, -EINVAL, true},
                  {"SizeMax", 16, 8, ~0ull, -EINVAL, true},
                  {"Base0", 8, 8, 0, -EINVAL, true},
                  {"BaseMax", 8, 8, ~0ull, -EINVAL, true},
                  {"Reserved", 4, 4, 0xffffffff, 0}}},
      {.name = "UpdateGpuVirtualAddress",
       .code = LX_DXUPDATEGPUVIRTUALADDRESS,
       .fill =
           [](World& world, std::byte* args) {
             As<d3dkmt_updategpuvirtualaddress>(args).device = world.Live(ObjectType::kDevice);
             As<d3dkmt_updategpuvirtualaddress>(args).num_operations = 1;
             As<d3dkmt_updategpuvirtualaddress>(args).operations =
                 world.Room(sizeof(d3dddi_updategpuvirtualaddress_operation)).address();
           },
       .read_only_struct = -EINVAL,  // the host's, of an update that needs a context and a fence
       .filled = -EINVAL,
       .host_may_refuse = true,
       .handles = {{"Device", 0, ObjectType::kDevice}},
       .pointers = {{.name = "Operations",
                     .offset = 16,
                     .size_offset = 12,
                     .memory_bytes = sizeof(d3dddi_updategpuvirtualaddress_operation),
                     .read_only = -EINVAL,
                     .read_only_asks_host = true}},
       .values = BadCounts(12, kOperationsMax)},
  };
}

std::vector<CallRow> ShareRows() {
  const std::vector<FieldValue> wrong_descriptors = {{"DescriptorClosed", 8, 8, 0x3ffffff0, -EINVAL},
                                                     {"DescriptorOfStdin", 8, 8, 0, -EINVAL},
                                                     {"DescriptorNegative", 8, 8, ~0ull, -EINVAL},
                                                     {"Descriptor2To31", 8, 8, 1ull << 31, -EINVAL}};
  std::vector<FieldValue> open_values = wrong_descriptors;
  for (const FieldValue& value : std::vector<FieldValue>{{"Count0", 16, 4, 0, -EINVAL},
                                                         {"CountAboveLimit", 16, 4, 2, -EINVAL},
                                                         {"CountMax", 16, 4, 0xffffffff, -EINVAL},
                                                         {"DataSizeBelowLimit", 64, 4, 31, -EINVAL},
                                                         {"Reserved", 4, 4, 0xffffffff, 0},
                                                         {"Reserved1", 20, 4, 0xffffffff, 0}})
    open_values.push_back(value);
  return {
      {.name = "ShareObjects",
       .code = LX_DXSHAREOBJECTS,
       .fill =
           [](World& world, std::byte* args) {
             auto& share = As<d3dkmt_shareobjects>(args);
             share.object_count = 1;
             share.objects = world.ListOf(ObjectType::kResource);
             share.shared_handle = world.RoomForDescriptor();
           },
       .needs_allocations = true,
       .pointers = {HandleList("Objects", 8, 0, ObjectType::kResource),
                    {.name = "SharedHandle",
                     .offset = 32,
                     .size_offset = 0,
                     .memory_bytes = sizeof(uint64_t),
                     .read_only = -EFAULT}},
       .values = {{"Count0", 0, 4, 0, -EINVAL},
                  {"CountAboveLimit", 0, 4, 2, -EINVAL},
                  {"Count3", 0, 4, 3, -EINVAL},
                  {"CountMax", 0, 4, 0xffffffff, -EINVAL},
                  {"AttributesAreNotRead", 16, 8, kUnmappedAddress, 0},
                  {"Reserved", 4, 4, 0xffffffff, 0}}},
      {.name = "QueryResourceInfoFromNtHandle",
       .code = LX_DXQUERYRESOURCEINFOFROMNTHANDLE,
       .fill =
           [](World& world, std::byte* args) {
             auto& query = As<d3dkmt_queryresourceinfofromnthandle>(args);
             query.device = world.Live(ObjectType::kDevice);
             query.nt_handle = static_cast<uint64_t>(world.SharedDescriptor());
           },
       .read_only_struct = -EFAULT,
       .needs_allocations = true,
       .handles = kDeviceFirst,
       .values = wrong_descriptors},
      {.name = "OpenResourceFromNtHandle",
       .code = LX_DXOPENRESOURCEFROMNTHANDLE,
       .fill =
           [](World& world, std::byte* args) {
             auto& open = As<d3dkmt_openresourcefromnthandle>(args);
             open.device = world.Live(ObjectType::kDevice);
             open.nt_handle = static_cast<uint64_t>(world.SharedDescriptor());
             open.allocation_count = 1;
             open.open_alloc_info = world.Room(sizeof(d3dddi_openallocationinfo2)).address();
             open.total_priv_drv_data = world.Room(sizeof(AllocationData)).address();
             open.total_priv_drv_data_size = sizeof(AllocationData);
           },
       .needs_allocations = true,
       .handles = kDeviceFirst,
       .pointers = {Opened("AllocationInfo", 24, sizeof(d3dddi_openallocationinfo2)),
                    Opened("Data", 72, sizeof(AllocationData))},
       .values = open_values},
  };
}

}  // namespace

std::vector<CallRow> MemoryRows() {
  return Join({AllocationRows(), ResidencyRows(), GpuVaRows(), ShareRows()});
}

}  // namespace dxg::conformance
