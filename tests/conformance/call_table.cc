#include "tests/conformance/call_table.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "hostsim/escape.h"
#include "tests/conformance/memory_client.h"

namespace dxg::conformance {
namespace {

// More than any test of this process makes, so that the last one's number means nothing here.
constexpr int kForeignObjects = 60;
constexpr uint32_t kMessageMax = 131072;
constexpr uint32_t kEnumAdapters3Max = 0xffff;
constexpr uint64_t kProcessesMax = 4096;
constexpr uint32_t kCreateMax = 1024;
constexpr uint32_t kListMax = 10240;
constexpr uint32_t kOperationsMax = 2048;
constexpr uint64_t kReserveUnit = 65536;

template <typename Args>
Args& As(std::byte* args) {
  return *reinterpret_cast<Args*>(
      args);  // Safety: page memory of exactly the struct of the row; no alignment trap on x86
}

// For the many structs that begin with the only handle they need.
template <ObjectType type>
void FillFirstHandle(World& world, std::byte* args) {
  As<d3dkmthandle>(args) = world.Live(type);
}

const std::vector<HandleField> kAdapterFirst = {{"Adapter", 0, ObjectType::kAdapter}};
const std::vector<HandleField> kDeviceFirst = {{"Device", 0, ObjectType::kDevice}};
const std::vector<HandleField> kContextFirst = {{"Context", 0, ObjectType::kContext}};

std::vector<CallRow> AdapterRows() {
  return {
      {.name = "OpenAdapterFromLuid",
       .code = LX_DXOPENADAPTERFROMLUID,
       .fill =
           [](World& world, std::byte* args) {
             As<d3dkmt_openadapterfromluid>(args).adapter_luid = world.node.FirstLuid();
           },
       .read_only_struct = -EFAULT,
       .all_zero = -EINVAL,
       .all_ones = 0},
      {.name = "EnumAdapters2",
       .code = LX_DXENUMADAPTERS2,
       .fill =
           [](World& world, std::byte* args) {
             auto& enumerate = As<d3dkmt_enumadapters2>(args);
             enumerate.num_adapters = D3DKMT_ADAPTERS_MAX;
             enumerate.adapters = world.Room(D3DKMT_ADAPTERS_MAX * sizeof(d3dkmt_adapterinfo)).address();
           },
       .read_only_struct = -EFAULT,
       .all_zero = 0,
       .all_ones = -EINVAL,
       .writes_when_refused = true,
       .pointers = {{.name = "Adapters",
                     .offset = 8,
                     .size_offset = 0,
                     .size_width = 4,
                     .size_value = D3DKMT_ADAPTERS_MAX,
                     .memory_bytes = D3DKMT_ADAPTERS_MAX * sizeof(d3dkmt_adapterinfo),
                     .null = 0,
                     .unmapped = -EFAULT,
                     .one_byte_short = {},
                     .read_only = -EFAULT,
                     .written_for_full_adapters = true}},
       .values = {{"Capacity0", 0, 4, 0, -EOVERFLOW},
                  {"CapacityLimit", 0, 4, D3DKMT_ADAPTERS_MAX, 0},
                  {"CapacityAboveLimit", 0, 4, D3DKMT_ADAPTERS_MAX + 1, -EINVAL},
                  {"CapacityMax", 0, 4, 0xffffffff, -EINVAL}}},
      {.name = "EnumAdapters3",
       .code = LX_DXENUMADAPTERS3,
       .fill =
           [](World& world, std::byte* args) {
             auto& enumerate = As<d3dkmt_enumadapters3>(args);
             enumerate.filter.include_compute_only = 1;
             enumerate.adapter_count = kEnumAdapters3Max;
             enumerate.adapters = world.Room(kEnumAdapters3Max * sizeof(d3dkmt_adapterinfo)).address();
           },
       .read_only_struct = -EFAULT,
       .all_zero = 0,
       .all_ones = -EINVAL,
       .writes_when_refused = true,
       .pointers = {{.name = "Adapters",
                     .offset = 16,
                     .size_offset = 8,
                     .size_width = 4,
                     .size_value = D3DKMT_ADAPTERS_MAX,
                     .memory_bytes = D3DKMT_ADAPTERS_MAX * sizeof(d3dkmt_adapterinfo),
                     .null = 0,
                     .unmapped = -EFAULT,
                     .one_byte_short = {},
                     .read_only = -EFAULT}},
       .values = {{"Capacity0", 8, 4, 0, 0},
                  {"CapacityLimit", 8, 4, kEnumAdapters3Max, 0},
                  {"CapacityAboveLimit", 8, 4, kEnumAdapters3Max + 1, -EINVAL},
                  {"CapacityMax", 8, 4, 0xffffffff, -EINVAL}}},
      {.name = "CloseAdapter",
       .code = LX_DXCLOSEADAPTER,
       .fill =
           [](World& world, std::byte* args) {
             As<d3dkmt_closeadapter>(args).adapter_handle = world.node.OpenAdapter(world.node.FirstLuid());
           },
       .read_only_struct = 0,
       .all_zero = 0,
       .all_ones = -EINVAL,
       .handles = {{"Adapter", 0, ObjectType::kAdapter, 0}}},
      {.name = "EnumProcesses",
       .code = LX_DXENUMPROCESSES,
       .fill =
           [](World& world, std::byte* args) {
             auto& enumerate = As<d3dkmt_enumprocesses>(args);
             enumerate.adapter_luid = world.node.FirstLuid();
             enumerate.buffer = world.Room(kProcessesMax * sizeof(uint32_t)).address();
             enumerate.buffer_count = kProcessesMax;
           },
       .read_only_struct = -EFAULT,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .writes_when_refused = true,
       .pointers = {{.name = "Buffer",
                     .offset = 8,
                     .size_offset = 16,
                     .size_width = 8,
                     .size_value = kProcessesMax,
                     .memory_bytes = sizeof(uint32_t),
                     .null = -EOVERFLOW,
                     .unmapped = -EFAULT,
                     .one_byte_short = -EFAULT,
                     .read_only = -EFAULT}},
       .values = {{"Count0", 16, 8, 0, -EOVERFLOW},
                  {"CountMax32", 16, 8, 0xffffffff, 0},
                  {"CountMax64", 16, 8, ~0ull, 0}}},
      {.name = "IsFeatureEnabled",
       .code = LX_ISFEATUREENABLED,
       .fill = FillFirstHandle<ObjectType::kAdapter>,
       .read_only_struct = 4,  // the number of bytes that could not be copied: a slip that clients can see
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .host_may_refuse = true,  // older hosts know no features
       .handles = kAdapterFirst},
  };
}

std::vector<CallRow> QueryRows() {
  return {
      {.name = "QueryAdapterInfo",
       .code = LX_DXQUERYADAPTERINFO,
       .fill =
           [](World& world, std::byte* args) {
             auto& query = As<d3dkmt_queryadapterinfo>(args);
             query.adapter = world.Live(ObjectType::kAdapter);
             query.type = KMTQAITYPE_ADAPTERTYPE;
             query.private_data = world.Room(sizeof(d3dkmt_adaptertype)).address();
             query.private_data_size = sizeof(d3dkmt_adaptertype);
           },
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .handles = kAdapterFirst,
       .pointers = {{.name = "Data",
                     .offset = 8,
                     .size_offset = 16,
                     .size_width = 4,
                     .size_value = sizeof(d3dkmt_adaptertype),
                     .memory_bytes = sizeof(d3dkmt_adaptertype),
                     .null = -EFAULT,
                     .unmapped = -EFAULT,
                     .one_byte_short = -EFAULT,
                     .read_only = -EFAULT}},
       .values = {{"Size0", 16, 4, 0, -EINVAL},
                  {"SizeAboveLimit", 16, 4, kMessageMax + 1, -EINVAL},
                  {"SizeMax", 16, 4, 0xffffffff, -EINVAL}}},
      {.name = "QueryVideoMemoryInfo",
       .code = LX_DXQUERYVIDEOMEMORYINFO,
       .fill =
           [](World& world, std::byte* args) {
             As<d3dkmt_queryvideomemoryinfo>(args).adapter = world.Live(ObjectType::kAdapter);
           },
       .read_only_struct = -EFAULT,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .handles = {{"Adapter", 8, ObjectType::kAdapter}},
       .values = {{"Process1", 0, 8, 1, -EINVAL}, {"ProcessMax", 0, 8, ~0ull, -EINVAL}}},
      {.name = "ChangeVideoMemoryReservation",
       .code = LX_DXCHANGEVIDEOMEMORYRESERVATION,
       .fill =
           [](World& world, std::byte* args) {
             As<d3dkmt_changevideomemoryreservation>(args).adapter = world.Live(ObjectType::kAdapter);
           },
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .handles = {{"Adapter", 8, ObjectType::kAdapter}},
       .values = {{"Process1", 0, 8, 1, -EINVAL}, {"ProcessMax", 0, 8, ~0ull, -EINVAL}}},
      {.name = "Escape",
       .code = LX_DXESCAPE,
       .fill = FillFirstHandle<ObjectType::kAdapter>,
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .handles = kAdapterFirst,
       .pointers = {{.name = "Data",
                     .offset = 16,
                     .size_offset = 24,
                     .size_width = 4,
                     .size_value = 21,
                     .memory_bytes = 21,
                     .null = -EFAULT,
                     .unmapped = -EFAULT,
                     .one_byte_short = -EFAULT,
                     .read_only = -EINVAL,
                     .read_only_asks_host = true,
                     .content = {hostsim::kEscapeMagic, hostsim::kEscapePing}}},
       .values = {{"SizeAboveLimit", 24, 4, kMessageMax + 1, -EINVAL},
                  {"SizeMax", 24, 4, 0xffffffff, -EINVAL}}},
      {.name = "FlushHeapTransitions",
       .code = LX_DXFLUSHHEAPTRANSITIONS,
       .fill = FillFirstHandle<ObjectType::kAdapter>,
       .read_only_struct = -EFAULT,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .handles = kAdapterFirst},
      {.name = "QueryClockCalibration",
       .code = LX_DXQUERYCLOCKCALIBRATION,
       .fill = FillFirstHandle<ObjectType::kAdapter>,
       .read_only_struct = -EFAULT,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .handles = kAdapterFirst},
      {.name = "QueryStatistics",
       .code = LX_DXQUERYSTATISTICS,
       .fill =
           [](World& world, std::byte* args) {
             As<d3dkmt_querystatistics>(args).adapter_luid = world.node.FirstLuid();
           },
       .read_only_struct = -EFAULT,
       .all_zero = 0,
       .all_ones = -EINVAL,
       .values = {{"ProcessUnknown", 16, 8, 0x7fffffff, -EINVAL}, {"ProcessMax", 16, 8, ~0ull, -EINVAL}}},
  };
}

std::vector<CallRow> DeviceRows() {
  return {
      {.name = "CreateDevice",
       .code = LX_DXCREATEDEVICE,
       .fill = FillFirstHandle<ObjectType::kAdapter>,
       .read_only_struct = -EFAULT,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .handles = kAdapterFirst},
      {.name = "DestroyDevice",
       .code = LX_DXDESTROYDEVICE,
       .fill = FillFirstHandle<ObjectType::kDevice>,
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .handles = kDeviceFirst},
      {.name = "GetDeviceState",
       .code = LX_DXGETDEVICESTATE,
       .fill =
           [](World& world, std::byte* args) {
             As<d3dkmt_getdevicestate>(args).device = world.Live(ObjectType::kDevice);
             As<d3dkmt_getdevicestate>(args).state_type = _D3DKMT_DEVICESTATE_EXECUTION;
           },
       .read_only_struct = -EFAULT,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .handles = kDeviceFirst},
      {.name = "MarkDeviceAsError",
       .code = LX_DXMARKDEVICEASERROR,
       .fill =
           [](World& world, std::byte* args) {
             As<d3dkmt_markdeviceaserror>(args).device = world.Live(ObjectType::kDevice);
             As<d3dkmt_markdeviceaserror>(args).reason = _D3DKMT_DEVICE_ERROR_REASON_GENERIC;
           },
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .handles = kDeviceFirst},
      {.name = "CreateContextVirtual",
       .code = LX_DXCREATECONTEXTVIRTUAL,
       .fill = FillFirstHandle<ObjectType::kDevice>,
       .read_only_struct = -EFAULT,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .needs_context = true,
       .handles = kDeviceFirst,
       .pointers = {{.name = "PrivateData",
                     .offset = 16,
                     .size_offset = 24,
                     .size_width = 4,
                     .size_value = 13,
                     .memory_bytes = 13,
                     .null = -EINVAL,
                     .unmapped = -EINVAL,
                     .one_byte_short = -EINVAL,
                     .read_only = -EINVAL}},
       .values = {{"PrivateDataSizeAboveLimit", 24, 4, kMessageMax + 1, -EINVAL},
                  {"PrivateDataSizeMax", 24, 4, 0xffffffff, -EINVAL}}},
      {.name = "DestroyContext",
       .code = LX_DXDESTROYCONTEXT,
       .fill = FillFirstHandle<ObjectType::kContext>,
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .needs_context = true,
       .handles = kContextFirst},
  };
}

CallRow PriorityRow(const char* name, uint32_t code, int read_only_struct) {
  return {.name = name,
          .code = code,
          .fill = FillFirstHandle<ObjectType::kContext>,
          .read_only_struct = read_only_struct,
          .all_zero = -EINVAL,
          .all_ones = -EINVAL,
          .needs_context = true,
          .handles = kContextFirst};
}

const std::vector<HandleField> kQueueFirst = {{"PagingQueue", 0, ObjectType::kPagingQueue}};

template <ObjectType type>
void PutLiveHandle(World& world, std::span<std::byte> memory) {
  const d3dkmthandle handle = world.Live(type);
  std::memcpy(memory.data(), &handle, sizeof(handle));
}

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

// The list of handles that a call reads: one, and bad in every way.
PointerField HandleList(const char* name, size_t offset, size_t count_offset, ObjectType type,
                        int null = -EFAULT) {
  void (*prepare)(World&, std::span<std::byte>) = PutLiveHandle<ObjectType::kAllocation>;
  if (type == ObjectType::kResource) prepare = PutLiveHandle<ObjectType::kResource>;
  if (type == ObjectType::kMonitoredFence) prepare = PutLiveHandle<ObjectType::kMonitoredFence>;
  if (type == ObjectType::kContext) prepare = PutLiveHandle<ObjectType::kContext>;
  if (type == ObjectType::kHwQueue) prepare = PutLiveHandle<ObjectType::kHwQueue>;
  return {.name = name,
          .offset = offset,
          .size_offset = count_offset,
          .size_width = 4,
          .size_value = 1,
          .memory_bytes = sizeof(d3dkmthandle),
          .null = null,
          .unmapped = -EFAULT,
          .one_byte_short = -EFAULT,
          .read_only = 0,
          .prepare = prepare};
}

// Where a call writes one word for each.
PointerField Words(const char* name, size_t offset, size_t count_offset, int null, int read_only) {
  return {.name = name,
          .offset = offset,
          .size_offset = count_offset,
          .size_width = 4,
          .size_value = 1,
          .memory_bytes = sizeof(uint32_t),
          .null = null,
          .unmapped = -EFAULT,
          .one_byte_short = -EFAULT,
          .read_only = read_only};
}

// Bytes that a call reads.
PointerField Blob(const char* name, size_t offset, size_t size_offset) {
  return {.name = name,
          .offset = offset,
          .size_offset = size_offset,
          .size_width = 4,
          .size_value = 13,
          .memory_bytes = 13,
          .null = -EFAULT,
          .unmapped = -EFAULT,
          .one_byte_short = -EFAULT,
          .read_only = 0};
}

// What is wrong with the output of OpenResourceFromNtHandle is found when the host has opened the resource,
// and what is reported is how closing it went.
PointerField Opened(const char* name, size_t offset, size_t bytes) {
  return {.name = name,
          .offset = offset,
          .size_offset = 16,
          .size_width = 4,
          .size_value = 1,
          .memory_bytes = bytes,
          .null = 0,
          .unmapped = 0,
          .one_byte_short = 0,
          .read_only = 0};
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
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .needs_allocations = true,
       .handles = kDeviceFirst,
       .pointers = {{.name = "AllocationInfo",
                     .offset = 48,
                     .size_offset = 44,
                     .size_width = 4,
                     .size_value = 1,
                     .memory_bytes = sizeof(d3dddi_allocationinfo2),
                     .null = -EFAULT,
                     .unmapped = -EFAULT,
                     .one_byte_short = -EFAULT,
                     .read_only = -EFAULT,
                     .prepare = PutElement},
                    Blob("RuntimeData", 16, 24),
                    Blob("ResourceData", 32, 40)},
       .values = {{"Count0", 44, 4, 0, -EINVAL},
                  {"CountAboveLimit", 44, 4, kCreateMax + 1, -EINVAL},
                  {"CountMax", 44, 4, 0xffffffff, -EINVAL},
                  {"RuntimeSizeAboveLimit", 24, 4, kMessageMax, -EOVERFLOW},
                  {"ResourceSizeAboveLimit", 40, 4, kMessageMax, -EOVERFLOW},
                  {"Protected", 56, 4, 1 << 3, -EINVAL},
                  {"ExistingSection", 56, 4, 1 << 17, -EINVAL},
                  {"SharedWithoutResource", 56, 4, 1 << 1 | 1 << 6, -EINVAL},
                  {"SharedWithoutSecurity", 56, 4, 1 << 1 | 1 << 0, -EINVAL},
                  {"ReservedFlag", 56, 4, 1u << 31, -EOVERFLOW, true},
                  {"Reserved", 12, 4, 0xffffffff, 0},
                  {"Reserved1", 28, 4, 0xffffffff, 0},
                  {"Reserved2", 60, 4, 0xffffffff, 0}}},
      {.name = "DestroyAllocation2",
       .code = LX_DXDESTROYALLOCATION2,
       .fill =
           [](World& world, std::byte* args) {
             auto& destroy = As<d3dkmt_destroyallocation2>(args);
             destroy.device = world.Live(ObjectType::kDevice);
             destroy.allocations = world.ListOf(ObjectType::kAllocation);
             destroy.alloc_count = 1;
           },
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .needs_allocations = true,
       .handles = kDeviceFirst,
       .pointers = {HandleList("Allocations", 8, 16, ObjectType::kAllocation)},
       .values = {{"Count0", 16, 4, 0, -EINVAL},
                  {"CountAboveLimit", 16, 4, kCreateMax + 1, -EINVAL},
                  {"CountMax", 16, 4, 0xffffffff, -EINVAL},
                  {"ResourceToo", 4, 4, 0x40000000, -EINVAL},
                  {"ReservedFlag", 20, 4, 1 << 2, -EINVAL, true},
                  {"SystemUseOnly", 20, 4, 1u << 31, -EINVAL, true}}},
      {.name = "DestroyAllocation2OfAResource",
       .code = LX_DXDESTROYALLOCATION2,
       .fill =
           [](World& world, std::byte* args) {
             auto& destroy = As<d3dkmt_destroyallocation2>(args);
             destroy.device = world.Live(ObjectType::kDevice);
             destroy.resource = world.Live(ObjectType::kResource);
             destroy.allocations = kUnmappedAddress;  // not looked at
           },
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
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
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
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
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
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
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
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
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .needs_allocations = true,
       .handles = kDeviceFirst,
       .pointers = {HandleList("Allocations", 16, 24, ObjectType::kAllocation, -EINVAL)},
       .values = {{"Count0", 24, 4, 0, -EINVAL},
                  {"CountAboveLimit", 24, 4, kListMax + 1, -EINVAL},
                  {"CountMax", 24, 4, 0xffffffff, -EINVAL},
                  {"ResourcesToo", 8, 8, kUnmappedAddress, -EINVAL},
                  {"Priority0", 28, 4, 0, -EINVAL, true},
                  {"PriorityAboveLimit", 28, 4, 5, -EINVAL, true},
                  {"ReservedFlag", 32, 4, 1 << 2, -EINVAL, true},
                  {"Reserved", 4, 4, 0xffffffff, 0},
                  {"Reserved1", 36, 4, 0xffffffff, 0}}},
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
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
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
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
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
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .handles = kDeviceFirst,
       .values = {{"PriorityBelowLimit", 4, 4, static_cast<uint32_t>(-2), -ENOMEM, true},
                  {"PriorityAboveLimit", 4, 4, 2, -ENOMEM, true},
                  {"PhysicalAdapter1", 24, 4, 1, -ENOMEM, true}}},
      {.name = "DestroyPagingQueue",
       .code = LX_DXDESTROYPAGINGQUEUE,
       .fill = FillFirstHandle<ObjectType::kPagingQueue>,
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
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
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .needs_allocations = true,
       .may_be_pending = true,
       .handles = kQueueFirst,
       .pointers = {HandleList("Allocations", 8, 4, ObjectType::kAllocation)},
       .values = {{"Count0", 4, 4, 0, -EINVAL},
                  {"CountAboveLimit", 4, 4, kListMax + 1, -EINVAL},
                  {"CountMax", 4, 4, 0xffffffff, -EINVAL},
                  {"PrioritiesAreNotRead", 16, 8, kUnmappedAddress, 0},
                  {"ReservedFlag", 24, 4, 1 << 2, -EINVAL, true},
                  {"MustSucceedAlone", 24, 4, 1 << 1, -EINVAL, true}}},
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
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .needs_allocations = true,
       .handles = kDeviceFirst,
       .pointers = {HandleList("Allocations", 8, 4, ObjectType::kAllocation)},
       .values = {{"Count0", 4, 4, 0, -EINVAL},
                  {"CountAboveLimit", 4, 4, kListMax + 1, -EINVAL},
                  {"CountMax", 4, 4, 0xffffffff, -EINVAL},
                  {"ReservedFlag", 16, 4, 1 << 2, -EOVERFLOW, true},
                  {"Reserved", 20, 4, 0xffffffff, 0}}},
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
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
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
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .needs_allocations = true,
       .may_be_pending = true,
       .writes_when_refused = true,
       .handles = kQueueFirst,
       .pointers = {HandleList("Allocations", 16, 4, ObjectType::kAllocation, -EINVAL),
                    Words("Results", 24, 4, 0, -EFAULT)},
       .values = {{"Count0", 4, 4, 0, -EINVAL},
                  {"CountAboveLimit", 4, 4, kListMax + 1, -EINVAL},
                  {"CountMax", 4, 4, 0xffffffff, -EINVAL},
                  {"ResourcesToo", 8, 8, kUnmappedAddress, -EINVAL}}},
      {.name = "UpdateAllocationProperty",
       .code = LX_DXUPDATEALLOCPROPERTY,
       .fill =
           [](World& world, std::byte* args) {
             As<d3dddi_updateallocproperty>(args).paging_queue = world.Live(ObjectType::kPagingQueue);
             As<d3dddi_updateallocproperty>(args).allocation = world.Live(ObjectType::kAllocation);
           },
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
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
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
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
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
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
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
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
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .filled = -EINVAL,
       .host_may_refuse = true,
       .handles = {{"Device", 0, ObjectType::kDevice}},
       .pointers = {{.name = "Operations",
                     .offset = 16,
                     .size_offset = 12,
                     .size_width = 4,
                     .size_value = 1,
                     .memory_bytes = sizeof(d3dddi_updategpuvirtualaddress_operation),
                     .null = -EFAULT,
                     .unmapped = -EFAULT,
                     .one_byte_short = -EFAULT,
                     .read_only = -EINVAL,
                     .read_only_asks_host = true}},
       .values = {{"Count0", 12, 4, 0, -EINVAL},
                  {"CountAboveLimit", 12, 4, kOperationsMax + 1, -EINVAL},
                  {"CountMax", 12, 4, 0xffffffff, -EINVAL}}},
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
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .needs_allocations = true,
       .pointers = {HandleList("Objects", 8, 0, ObjectType::kResource),
                    {.name = "SharedHandle",
                     .offset = 32,
                     .size_offset = 0,
                     .size_width = 4,
                     .size_value = 1,
                     .memory_bytes = sizeof(uint64_t),
                     .null = -EFAULT,
                     .unmapped = -EFAULT,
                     .one_byte_short = -EFAULT,
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
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
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
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .needs_allocations = true,
       .handles = kDeviceFirst,
       .pointers = {Opened("AllocationInfo", 24, sizeof(d3dddi_openallocationinfo2)),
                    Opened("Data", 72, sizeof(AllocationData))},
       .values = open_values},
  };
}

// ---- Fences, queues and work ----

constexpr uint32_t kObjectsMax = 32;
constexpr uint32_t kContextsMax = 64;
// Where a submission's commands would be. Nothing is there, and with null rendering nobody looks.
constexpr uint64_t kNoCommands = 0x10000;

const std::vector<HandleField> kHwQueueFirst = {{"Queue", 0, ObjectType::kHwQueue}};

std::vector<CallRow> SyncObjectRows() {
  return {
      {.name = "CreateSynchronizationObject",
       .code = LX_DXCREATESYNCHRONIZATIONOBJECT,
       .fill =
           [](World& world, std::byte* args) {
             As<d3dkmt_createsynchronizationobject2>(args).device = world.Live(ObjectType::kDevice);
             As<d3dkmt_createsynchronizationobject2>(args).info.type = _D3DDDI_MONITORED_FENCE;
           },
       .read_only_struct = -EFAULT,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .handles = kDeviceFirst,
       .values = {{"SharedWithoutSecurity", 12, 4, 1, -EINVAL},
                  {"Reserved", 4, 4, 0xffffffff, 0},
                  {"Reserved1", 92, 4, 0xffffffff, 0}}},
      {.name = "CreateSynchronizationObjectOfAnEvent",
       .code = LX_DXCREATESYNCHRONIZATIONOBJECT,
       .fill =
           [](World& world, std::byte* args) {
             auto& create = As<d3dkmt_createsynchronizationobject2>(args);
             create.device = world.Live(ObjectType::kDevice);
             create.info.type = _D3DDDI_CPU_NOTIFICATION;
             create.info.cpu_notification.event = static_cast<uint64_t>(world.NewEvent());
           },
       .read_only_struct = -EFAULT,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .handles = kDeviceFirst,
       .values = {{"EventClosed", 16, 8, 0x3ffffff0, -EINVAL},
                  {"EventStdin", 16, 8, 0, -EINVAL},
                  {"EventNegative", 16, 8, ~0ull, -EINVAL},
                  {"Event2To31", 16, 8, 1ull << 31, -EINVAL}}},
      {.name = "DestroySynchronizationObject",
       .code = LX_DXDESTROYSYNCHRONIZATIONOBJECT,
       .fill = FillFirstHandle<ObjectType::kMonitoredFence>,
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .handles = {{"Object", 0, ObjectType::kMonitoredFence}}},
  };
}

// A list of values of fences; 0 is a good one for every call.
PointerField ValueList(const char* name, size_t offset, size_t count_offset) {
  return {.name = name,
          .offset = offset,
          .size_offset = count_offset,
          .size_width = 4,
          .size_value = 1,
          .memory_bytes = sizeof(uint64_t),
          .null = -EFAULT,
          .unmapped = -EFAULT,
          .one_byte_short = -EFAULT,
          .read_only = 0};
}

// The same where the guest takes an address of 0 for no list: the host misses it in signals of the CPU, and
// has one value for all where the signal is in the order of a queue, as the older calls have.
PointerField OptionalValueList(const char* name, size_t offset, size_t count_offset, int null) {
  PointerField field = ValueList(name, offset, count_offset);
  field.null = null;
  field.null_asks_host = true;
  return field;
}

std::vector<CallRow> SignalRows() {
  return {
      {.name = "SignalSynchronizationObject",
       .code = LX_DXSIGNALSYNCHRONIZATIONOBJECT,
       .fill =
           [](World& world, std::byte* args) {
             auto& signal = As<d3dkmt_signalsynchronizationobject2>(args);
             signal.context = world.Live(ObjectType::kContext);
             signal.object_count = 1;
             signal.object_array[0] = world.Live(ObjectType::kSemaphore);
           },
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .needs_context = true,
       .is_queued = true,
       .handles = {{"Context", 0, ObjectType::kContext},
                   {.name = "Object", .offset = 8, .type = ObjectType::kSemaphore, .of_the_host = true}},
       .values = {{"CountAboveLimit", 4, 4, kObjectsMax + 1, -EINVAL},
                  {"CountMax", 4, 4, 0xffffffff, -EINVAL},
                  {"Count0", 4, 4, 0, -EINVAL, true},
                  {"ContextCountAboveLimit", 140, 4, kContextsMax, -EINVAL},
                  {"ContextCountMax", 140, 4, 0xffffffff, -EINVAL},
                  {"EventStdin", 136, 4, signal_flags::kEnqueueCpuEvent, -EINVAL},
                  {"ReservedFlag", 136, 4, 1 << 3, -EINVAL, true}}},
      {.name = "SignalSynchronizationObjectFromCpu",
       .code = LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMCPU,
       .fill =
           [](World& world, std::byte* args) {
             auto& signal = As<d3dkmt_signalsynchronizationobjectfromcpu>(args);
             signal.device = world.Live(ObjectType::kDevice);
             signal.object_count = 1;
             signal.objects = world.ListOf(ObjectType::kMonitoredFence);
             signal.fence_values = world.Room(sizeof(uint64_t)).address();
           },
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .is_queued = true,
       .handles = kDeviceFirst,
       .pointers = {HandleList("Objects", 8, 4, ObjectType::kMonitoredFence),
                    OptionalValueList("Values", 16, 4, -EINVAL)},
       .values = {{"Count0", 4, 4, 0, -EINVAL},
                  {"CountAboveLimit", 4, 4, kObjectsMax + 1, -EINVAL},
                  {"CountMax", 4, 4, 0xffffffff, -EINVAL},
                  {"EnqueueCpuEvent", 24, 4, signal_flags::kEnqueueCpuEvent, -EINVAL, true},
                  {"ReservedFlag", 24, 4, 1 << 3, -EINVAL, true}}},
      {.name = "SignalSynchronizationObjectFromGpu",
       .code = LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU,
       .fill =
           [](World& world, std::byte* args) {
             auto& signal = As<d3dkmt_signalsynchronizationobjectfromgpu>(args);
             signal.context = world.Live(ObjectType::kContext);
             signal.object_count = 1;
             signal.objects = world.ListOf(ObjectType::kMonitoredFence);
             signal.monitored_fence_values = world.Room(sizeof(uint64_t)).address();
           },
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .needs_context = true,
       .is_queued = true,
       .handles = kContextFirst,
       .pointers = {HandleList("Objects", 8, 4, ObjectType::kMonitoredFence),
                    OptionalValueList("Values", 16, 4, 0)},
       .values = {{"Count0", 4, 4, 0, -EINVAL},
                  {"CountAboveLimit", 4, 4, kMessageMax + 1, -EINVAL},
                  {"CountMax", 4, 4, 0xffffffff, -EINVAL}}},
      {.name = "SignalSynchronizationObjectFromGpu2",
       .code = LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU2,
       .fill =
           [](World& world, std::byte* args) {
             auto& signal = As<d3dkmt_signalsynchronizationobjectfromgpu2>(args);
             signal.object_count = 1;
             signal.objects = world.ListOf(ObjectType::kMonitoredFence);
             signal.context_count = 1;
             signal.contexts = world.ListOf(ObjectType::kContext);
             signal.monitored_fence_values = world.Room(sizeof(uint64_t)).address();
           },
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .needs_context = true,
       .is_queued = true,
       .pointers = {HandleList("Objects", 8, 0, ObjectType::kMonitoredFence),
                    HandleList("Contexts", 24, 20, ObjectType::kContext),
                    OptionalValueList("Values", 32, 0, 0)},
       .values = {{"Count0", 0, 4, 0, -EINVAL},
                  {"CountAboveLimit", 0, 4, kMessageMax + 1, -EINVAL},
                  {"CountMax", 0, 4, 0xffffffff, -EINVAL},
                  {"ContextCount0", 20, 4, 0, -EINVAL},
                  {"ContextCountAboveLimit", 20, 4, kMessageMax + 1, -EINVAL},
                  {"ContextCountMax", 20, 4, 0xffffffff, -EINVAL},
                  {"EventAndObjects", 16, 4, signal_flags::kEnqueueCpuEvent, -EINVAL},
                  {"ReservedFlag", 16, 4, 1 << 3, -EINVAL, true},
                  {"Reserved1", 4, 4, 0xffffffff, 0}}},
      {.name = "SignalSynchronizationObjectFromGpu2OfAnEvent",
       .code = LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU2,
       .fill =
           [](World& world, std::byte* args) {
             auto& signal = As<d3dkmt_signalsynchronizationobjectfromgpu2>(args);
             signal.flags.value = signal_flags::kEnqueueCpuEvent;
             signal.context_count = 1;
             signal.contexts = world.ListOf(ObjectType::kContext);
             signal.cpu_event_handle = static_cast<uint64_t>(world.NewEvent());
           },
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .needs_context = true,
       .is_queued = true,
       .pointers = {HandleList("Contexts", 24, 20, ObjectType::kContext)},
       .values = {{"WithAnObject", 0, 4, 1, -EINVAL},
                  {"EventNone", 32, 8, 0, -EINVAL},
                  {"EventClosed", 32, 8, 0x3ffffff0, -EINVAL},
                  {"EventNegative", 32, 8, ~0ull, -EINVAL}}},
  };
}

std::vector<CallRow> WaitRows() {
  return {
      {.name = "WaitForSynchronizationObject",
       .code = LX_DXWAITFORSYNCHRONIZATIONOBJECT,
       .fill =
           [](World& world, std::byte* args) {
             auto& wait = As<d3dkmt_waitforsynchronizationobject2>(args);
             wait.context = world.Live(ObjectType::kContext);
             wait.object_count = 1;
             wait.object_array[0] = world.Live(ObjectType::kSemaphore);
           },
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .needs_context = true,
       .is_queued = true,
       .handles = {{"Context", 0, ObjectType::kContext},
                   {.name = "Object", .offset = 8, .type = ObjectType::kSemaphore, .of_the_host = true}},
       .values = {{"Count0", 4, 4, 0, -EINVAL},
                  {"CountAboveLimit", 4, 4, kObjectsMax + 1, -EINVAL},
                  {"CountMax", 4, 4, 0xffffffff, -EINVAL}}},
      {.name = "WaitForSynchronizationObjectFromCpu",
       .code = LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU,
       .fill =
           [](World& world, std::byte* args) {
             auto& wait = As<d3dkmt_waitforsynchronizationobjectfromcpu>(args);
             wait.device = world.Live(ObjectType::kDevice);
             wait.object_count = 1;
             wait.objects = world.ListOf(ObjectType::kMonitoredFence);
             wait.fence_values = world.Room(sizeof(uint64_t)).address();
           },
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .handles = kDeviceFirst,
       .pointers = {HandleList("Objects", 8, 4, ObjectType::kMonitoredFence), ValueList("Values", 16, 4)},
       .values = {{"Count0", 4, 4, 0, -EINVAL},
                  {"CountAboveLimit", 4, 4, kMessageMax + 1, -EINVAL},
                  {"CountMax", 4, 4, 0xffffffff, -EINVAL},
                  {"EventClosed", 24, 8, 0x3ffffff0, -EINVAL},
                  {"EventNegative", 24, 8, ~0ull, -EINVAL},
                  {"EventOtherFile", 24, 8, 2, -EINVAL},
                  {"ReservedFlag", 32, 4, 1 << 1, -EINVAL, true}}},
      {.name = "WaitForSynchronizationObjectFromCpuWithAnEvent",
       .code = LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU,
       .fill =
           [](World& world, std::byte* args) {
             auto& wait = As<d3dkmt_waitforsynchronizationobjectfromcpu>(args);
             wait.device = world.Live(ObjectType::kDevice);
             wait.object_count = 1;
             wait.objects = world.ListOf(ObjectType::kMonitoredFence);
             wait.fence_values = world.Room(sizeof(uint64_t)).address();
             wait.async_event = static_cast<uint64_t>(world.NewEvent());
           },
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .handles = kDeviceFirst,
       .pointers = {HandleList("Objects", 8, 4, ObjectType::kMonitoredFence), ValueList("Values", 16, 4)}},
      {.name = "WaitForSynchronizationObjectFromGpu",
       .code = LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMGPU,
       .fill =
           [](World& world, std::byte* args) {
             auto& wait = As<d3dkmt_waitforsynchronizationobjectfromgpu>(args);
             wait.context = world.Live(ObjectType::kContext);
             wait.object_count = 1;
             wait.objects = world.ListOf(ObjectType::kMonitoredFence);
             wait.monitored_fence_values = world.Room(sizeof(uint64_t)).address();
           },
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .needs_context = true,
       .is_queued = true,
       .handles = kContextFirst,
       .pointers = {HandleList("Objects", 8, 4, ObjectType::kMonitoredFence), ValueList("Values", 16, 4)},
       .values = {{"Count0", 4, 4, 0, -EINVAL},
                  {"CountAboveLimit", 4, 4, kMessageMax + 1, -EINVAL},
                  {"CountMax", 4, 4, 0xffffffff, -EINVAL}}},
  };
}

std::vector<CallRow> SubmitRows() {
  return {
      {.name = "SubmitCommand",
       .code = LX_DXSUBMITCOMMAND,
       .fill =
           [](World& world, std::byte* args) {
             auto& submit = As<d3dkmt_submitcommand>(args);
             submit.command_buffer = kNoCommands;
             submit.command_length = 64;
             submit.flags.null_rendering = 1;
             submit.broadcast_context_count = 1;
             submit.broadcast_context[0] = world.Live(ObjectType::kContext);
           },
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .needs_context = true,
       .is_queued = true,
       .host_may_refuse = true,  // a real GPU's driver wants private data
       .handles = {{"Context", 28, ObjectType::kContext}},
       .pointers = {{.name = "PrivateData",
                     .offset = 288,
                     .size_offset = 296,
                     .size_width = 4,
                     .size_value = 13,
                     .memory_bytes = 13,
                     .null = -EFAULT,
                     .unmapped = -EFAULT,
                     .one_byte_short = -EFAULT,
                     .read_only = 0,
                     .read_only_asks_host = true},
                    {.name = "History",
                     .offset = 376,
                     .size_offset = 368,
                     .size_width = 4,
                     .size_value = 1,
                     .memory_bytes = sizeof(d3dkmthandle),
                     .null = -EFAULT,
                     .unmapped = -EFAULT,
                     .one_byte_short = -EFAULT,
                     .read_only = 0,
                     .read_only_asks_host = true}},
       .values = {{"ContextCount0", 24, 4, 0, -EINVAL},
                  {"ContextCountAboveLimit", 24, 4, kContextsMax + 1, -EINVAL},
                  {"ContextCountMax", 24, 4, 0xffffffff, -EINVAL},
                  {"PrivateDataSizeAboveLimit", 296, 4, kMessageMax + 1, -EINVAL},
                  {"PrivateDataSizeMax", 296, 4, 0xffffffff, -EINVAL},
                  {"HistoryCountAboveLimit", 368, 4, 1025, -EINVAL},
                  {"HistoryCountMax", 368, 4, 0xffffffff, -EINVAL},
                  {"PrimariesAboveLimit", 300, 4, kMessageMax + 1, -EINVAL},
                  {"PrimariesMax", 300, 4, 0xffffffff, -EINVAL},
                  {"PrimariesMoreThanTheArray", 300, 4, 17, -EINVAL, true},
                  {"Length0", 8, 4, 0, -EINVAL, true},
                  {"ReservedFlag", 12, 4, 1 << 2, -EINVAL, true},
                  {"Reserved", 284, 4, 0xffffffff, 0, true},
                  {"Reserved1", 372, 4, 0xffffffff, 0, true}}},
      {.name = "SubmitCommandToHwQueue",
       .code = LX_DXSUBMITCOMMANDTOHWQUEUE,
       .fill =
           [](World& world, std::byte* args) {
             auto& submit = As<d3dkmt_submitcommandtohwqueue>(args);
             submit.hwqueue = world.Live(ObjectType::kHwQueue);
             submit.hwqueue_progress_fence_id = 1;
             submit.command_buffer = kNoCommands;
             submit.command_length = 64;
           },
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .needs_hw_queue = true,
       .is_queued = true,
       .host_may_refuse = true,
       .handles = kHwQueueFirst,
       .pointers = {{.name = "PrivateData",
                     .offset = 32,
                     .size_offset = 28,
                     .size_width = 4,
                     .size_value = 13,
                     .memory_bytes = 13,
                     .null = -EFAULT,
                     .unmapped = -EFAULT,
                     .one_byte_short = -EFAULT,
                     .read_only = 0,
                     .read_only_asks_host = true},
                    {.name = "Primaries",
                     .offset = 48,
                     .size_offset = 40,
                     .size_width = 4,
                     .size_value = 1,
                     .memory_bytes = sizeof(d3dkmthandle),
                     .null = -EFAULT,
                     .unmapped = -EFAULT,
                     .one_byte_short = -EFAULT,
                     .read_only = 0,
                     .read_only_asks_host = true}},
       .values = {{"PrivateDataSizeAboveLimit", 28, 4, kMessageMax + 1, -EINVAL},
                  {"PrivateDataSizeMax", 28, 4, 0xffffffff, -EINVAL},
                  {"PrimariesAboveLimit", 40, 4, kMessageMax + 1, -EINVAL},
                  {"PrimariesMax", 40, 4, 0xffffffff, -EINVAL},
                  {"Length0", 24, 4, 0, -EINVAL, true},
                  {"Progress0", 8, 8, 0, -EINVAL, true},
                  {"Reserved", 4, 4, 0xffffffff, 0, true},
                  {"Reserved1", 44, 4, 0xffffffff, 0, true}}},
  };
}

std::vector<CallRow> HwQueueRows() {
  return {
      {.name = "CreateHwQueue",
       .code = LX_DXCREATEHWQUEUE,
       .fill =
           [](World& world, std::byte* args) {
             d3dkmt_createcontextvirtual context = {};
             context.device = world.Live(ObjectType::kDevice);
             context.flags.value = context_flags::kHwQueues;
             world.node.Ioctl(LX_DXCREATECONTEXTVIRTUAL, context, "CreateContextVirtual");
             As<d3dkmt_createhwqueue>(args).context = context.context;
           },
       .read_only_struct = -EFAULT,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .needs_hw_queue = true,
       .pointers = {{.name = "PrivateData",
                     .offset = 16,
                     .size_offset = 8,
                     .size_width = 4,
                     .size_value = 13,
                     .memory_bytes = 13,
                     .null = -EFAULT,
                     .unmapped = -EFAULT,
                     .one_byte_short = -EFAULT,
                     .read_only = 0,  // it is written, and what goes wrong there is not reported
                     .read_only_asks_host = true}},
       .values = {{"ContextZero", 0, 4, 0, -EINVAL},
                  {"ContextUnknown", 0, 4, 0x40fff000, -EINVAL},
                  {"ContextAllOnes", 0, 4, 0xffffffff, -EINVAL},
                  {"PrivateDataSizeAboveLimit", 8, 4, kMessageMax + 1, -EINVAL},
                  {"PrivateDataSizeMax", 8, 4, 0xffffffff, -EINVAL},
                  {"ReservedFlag", 4, 4, 1u << 31, -EINVAL, true},
                  {"Reserved", 12, 4, 0xffffffff, 0}}},
      {.name = "DestroyHwQueue",
       .code = LX_DXDESTROYHWQUEUE,
       .fill = FillFirstHandle<ObjectType::kHwQueue>,
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .needs_hw_queue = true,
       .handles = kHwQueueFirst},
      {.name = "SubmitSignalSyncObjectsToHwQueue",
       .code = LX_DXSUBMITSIGNALSYNCOBJECTSTOHWQUEUE,
       .fill =
           [](World& world, std::byte* args) {
             auto& signal = As<d3dkmt_submitsignalsyncobjectstohwqueue>(args);
             signal.hwqueue_count = 1;
             signal.hwqueues = world.ListOf(ObjectType::kHwQueue);
             signal.object_count = 1;
             signal.objects = world.ListOf(ObjectType::kMonitoredFence);
             signal.fence_values = world.Room(sizeof(uint64_t)).address();
           },
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .needs_hw_queue = true,
       .is_queued = true,
       .pointers = {HandleList("Queues", 8, 4, ObjectType::kHwQueue),
                    HandleList("Objects", 24, 16, ObjectType::kMonitoredFence),
                    OptionalValueList("Values", 32, 16, 0)},
       .values = {{"QueueCount0", 4, 4, 0, -EINVAL},
                  {"QueueCountAboveLimit", 4, 4, kContextsMax + 1, -EINVAL},
                  {"QueueCountMax", 4, 4, 0xffffffff, -EINVAL},
                  {"Count0", 16, 4, 0, -EINVAL},
                  {"CountAboveLimit", 16, 4, kObjectsMax + 1, -EINVAL},
                  {"CountMax", 16, 4, 0xffffffff, -EINVAL},
                  {"EnqueueCpuEvent", 0, 4, signal_flags::kEnqueueCpuEvent, -EINVAL, true},
                  {"ReservedFlag", 0, 4, 1 << 3, -EINVAL, true},
                  {"Reserved", 20, 4, 0xffffffff, 0}}},
      {.name = "SubmitWaitForSyncObjectsToHwQueue",
       .code = LX_DXSUBMITWAITFORSYNCOBJECTSTOHWQUEUE,
       .fill =
           [](World& world, std::byte* args) {
             auto& wait = As<d3dkmt_submitwaitforsyncobjectstohwqueue>(args);
             wait.hwqueue = world.Live(ObjectType::kHwQueue);
             wait.object_count = 1;
             wait.objects = world.ListOf(ObjectType::kMonitoredFence);
             wait.fence_values = world.Room(sizeof(uint64_t)).address();
           },
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .needs_hw_queue = true,
       .is_queued = true,
       .handles = kHwQueueFirst,
       .pointers = {HandleList("Objects", 8, 4, ObjectType::kMonitoredFence), ValueList("Values", 16, 4)},
       .values = {{"Count0", 4, 4, 0, -EINVAL},
                  {"CountAboveLimit", 4, 4, kObjectsMax + 1, -EINVAL},
                  {"CountMax", 4, 4, 0xffffffff, -EINVAL}}},
  };
}

std::vector<CallRow> ShareSyncRows() {
  return {
      {.name = "ShareObjectsOfAFence",
       .code = LX_DXSHAREOBJECTS,
       .fill =
           [](World& world, std::byte* args) {
             auto& share = As<d3dkmt_shareobjects>(args);
             share.object_count = 1;
             share.objects = world.ListOf(ObjectType::kMonitoredFence);
             share.shared_handle = world.RoomForDescriptor();
           },
       .read_only_struct = 0,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .pointers = {HandleList("Objects", 8, 0, ObjectType::kMonitoredFence)}},
      {.name = "OpenSyncObjectFromNtHandle2",
       .code = LX_DXOPENSYNCOBJECTFROMNTHANDLE2,
       .fill =
           [](World& world, std::byte* args) {
             auto& open = As<d3dkmt_opensyncobjectfromnthandle2>(args);
             open.device = world.Live(ObjectType::kDevice);
             open.flags.value = sync_flags::kShared;
             open.nt_handle = static_cast<uint64_t>(world.SharedFenceDescriptor());
           },
       .read_only_struct = -EFAULT,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .handles = {{"Device", 8, ObjectType::kDevice}},
       .values = {{"DescriptorClosed", 0, 8, 0x3ffffff0, -EINVAL},
                  {"DescriptorOfStdin", 0, 8, 0, -EINVAL},
                  {"DescriptorNegative", 0, 8, ~0ull, -EINVAL},
                  {"Descriptor2To31", 0, 8, 1ull << 31, -EINVAL},
                  {"Reserved1", 20, 4, 0xffffffff, 0}}},
      {.name = "ShareObjectWithHost",
       .code = LX_DXSHAREOBJECTWITHHOST,
       .fill =
           [](World& world, std::byte* args) {
             As<d3dkmt_shareobjectwithhost>(args).device_handle = world.Live(ObjectType::kDevice);
             As<d3dkmt_shareobjectwithhost>(args).object_handle = world.Live(ObjectType::kMonitoredFence);
           },
       .read_only_struct = -EFAULT,
       .all_zero = -EINVAL,
       .all_ones = -EINVAL,
       .host_may_refuse = true,
       .handles = {{.name = "Device", .offset = 0, .type = ObjectType::kDevice, .of_the_host = true},
                   {.name = "Object", .offset = 4, .type = ObjectType::kMonitoredFence, .of_the_host = true}},
       .values = {{"Reserved", 8, 8, ~0ull, 0, true}}},
  };
}

std::vector<CallRow> AllRows() {
  std::vector<CallRow> rows = AdapterRows();
  for (auto& more :
       {QueryRows(), DeviceRows(), AllocationRows(), ResidencyRows(), GpuVaRows(), ShareRows(),
        SyncObjectRows(), SignalRows(), WaitRows(), SubmitRows(), HwQueueRows(), ShareSyncRows()})
    rows.insert(rows.end(), more.begin(), more.end());
  rows.push_back(PriorityRow("GetContextSchedulingPriority", LX_DXGETCONTEXTSCHEDULINGPRIORITY, -EFAULT));
  rows.push_back(PriorityRow("GetContextInProcessSchedulingPriority",
                             LX_DXGETCONTEXTINPROCESSSCHEDULINGPRIORITY, -EFAULT));
  rows.push_back(PriorityRow("SetContextSchedulingPriority", LX_DXSETCONTEXTSCHEDULINGPRIORITY, 0));
  rows.push_back(
      PriorityRow("SetContextInProcessSchedulingPriority", LX_DXSETCONTEXTINPROCESSSCHEDULINGPRIORITY, 0));
  return rows;
}

}  // namespace

World::~World() {
  if (other_) other_->Send(0);
  for (GuardedMemory* room : descriptors_) {
    uint64_t number;
    std::memcpy(&number, room->bytes().data(), sizeof(number));
    if (number != ~0ull) close(static_cast<int>(number));
  }
}

d3dkmthandle World::Make(ObjectType type) {
  switch (type) {
    case ObjectType::kAdapter:
      return node.OpenAdapter(node.FirstLuid());
    case ObjectType::kDevice:
      return node.CreateDevice(node.FirstAdapter());
    case ObjectType::kContext:
      return node.CreateContext(Live(ObjectType::kDevice));
    case ObjectType::kAllocation: {
      Creation creation(Live(ObjectType::kDevice));
      node.Ioctl(LX_DXCREATEALLOCATION, creation.args, "CreateAllocation");
      return creation.infos[0].allocation;
    }
    case ObjectType::kResource: {
      Creation creation(Live(ObjectType::kDevice));
      creation.MakeShared();
      node.Ioctl(LX_DXCREATEALLOCATION, creation.args, "CreateAllocation");
      return creation.args.resource;
    }
    case ObjectType::kPagingQueue: {
      d3dkmt_createpagingqueue args = {};
      args.device = Live(ObjectType::kDevice);
      node.Ioctl(LX_DXCREATEPAGINGQUEUE, args, "CreatePagingQueue");
      return args.paging_queue;
    }
    case ObjectType::kMonitoredFence:
    case ObjectType::kSemaphore: {
      d3dkmt_createsynchronizationobject2 args = {};
      args.device = Live(ObjectType::kDevice);
      args.info.type = type == ObjectType::kSemaphore ? _D3DDDI_SEMAPHORE : _D3DDDI_MONITORED_FENCE;
      if (type == ObjectType::kSemaphore)
        args.info.semaphore = {.max_count = 100, .initial_count = 50};
      else
        args.info.flags.value = sync_flags::kShared;
      node.Ioctl(LX_DXCREATESYNCHRONIZATIONOBJECT, args, "CreateSynchronizationObject");
      return args.sync_object;
    }
    case ObjectType::kHwQueue: {
      d3dkmt_createcontextvirtual context = {};
      context.device = Live(ObjectType::kDevice);
      context.flags.value = context_flags::kHwQueues;
      node.Ioctl(LX_DXCREATECONTEXTVIRTUAL, context, "CreateContextVirtual");
      d3dkmt_createhwqueue args = {};
      args.context = context.context;
      node.Ioctl(LX_DXCREATEHWQUEUE, args, "CreateHwQueue");
      return args.queue;
    }
  }
  throw std::logic_error("no such type");
}

d3dkmthandle World::Live(ObjectType type) {
  const auto found = live_.find(type);
  return found != live_.end() ? found->second : live_[type] = Make(type);
}

d3dkmthandle World::Stale(ObjectType type) {
  const d3dkmthandle handle = Make(type);
  switch (type) {
    case ObjectType::kAdapter:
      node.CloseAdapter(handle);
      break;
    case ObjectType::kDevice:
      node.DestroyDevice(handle);
      break;
    case ObjectType::kContext:
      node.DestroyContext(handle);
      break;
    case ObjectType::kAllocation:
    case ObjectType::kResource: {
      d3dkmt_destroyallocation2 args = {};
      args.device = Live(ObjectType::kDevice);
      if (type == ObjectType::kResource) {
        args.resource = handle;
      } else {
        args.allocations = Address(&handle);
        args.alloc_count = 1;
      }
      node.Ioctl(LX_DXDESTROYALLOCATION2, args, "DestroyAllocation2");
      break;
    }
    case ObjectType::kPagingQueue: {
      d3dddi_destroypagingqueue args = {handle};
      node.Ioctl(LX_DXDESTROYPAGINGQUEUE, args, "DestroyPagingQueue");
      break;
    }
    case ObjectType::kMonitoredFence:
    case ObjectType::kSemaphore: {
      d3dkmt_destroysynchronizationobject args = {handle};
      node.Ioctl(LX_DXDESTROYSYNCHRONIZATIONOBJECT, args, "DestroySynchronizationObject");
      break;
    }
    case ObjectType::kHwQueue: {
      d3dkmt_destroyhwqueue args = {handle};
      node.Ioctl(LX_DXDESTROYHWQUEUE, args, "DestroyHwQueue");
      break;
    }
  }
  return handle;
}

d3dkmthandle World::Foreign(ObjectType type) {
  other_ = std::make_unique<Peer>([type](Peer& parent) {
    World own;
    d3dkmthandle last = Handle(0);
    for (int i = 0; i < kForeignObjects; ++i) last = own.Make(type);
    parent.Send(last.v);
    parent.Receive();
  });
  return Handle(static_cast<uint32_t>(other_->Receive()));
}

// Adapters are in a table of their own, so the same number may be an adapter and something else: take one
// that is not.
d3dkmthandle World::OfOtherType(ObjectType type) {
  if (type == ObjectType::kAllocation) return Live(ObjectType::kPagingQueue);
  if (type == ObjectType::kContext || type == ObjectType::kResource || type == ObjectType::kPagingQueue ||
      type == ObjectType::kMonitoredFence || type == ObjectType::kSemaphore || type == ObjectType::kHwQueue)
    return Live(ObjectType::kDevice);
  if (type == ObjectType::kDevice && ContextsNeedNoPrivateData()) return Live(ObjectType::kContext);
  const bool adapter_wanted = type == ObjectType::kAdapter;
  d3dkmthandle other;
  do other = Make(adapter_wanted ? ObjectType::kDevice : ObjectType::kAdapter);
  while (adapter_wanted ? node.IsAdapter(other) : node.IsDevice(other));
  return other;
}

GuardedMemory& World::Room(size_t bytes) {
  rooms_.push_back(std::make_unique<GuardedMemory>(bytes));
  return *rooms_.back();
}

uint64_t World::ListOf(ObjectType type) {
  const d3dkmthandle handle = Live(type);
  GuardedMemory& room = Room(sizeof(handle));
  std::memcpy(room.bytes().data(), &handle, sizeof(handle));
  return room.address();
}

uint64_t World::RoomForDescriptor() {
  GuardedMemory& room = Room(sizeof(uint64_t));
  const uint64_t none = ~0ull;
  std::memcpy(room.bytes().data(), &none, sizeof(none));
  descriptors_.push_back(&room);
  return room.address();
}

int World::NewEvent() {
  events_.push_back(std::make_unique<Event>());
  return events_.back()->fd();
}

int World::ShareOne(ObjectType type) {
  d3dkmt_shareobjects args = {};
  args.object_count = 1;
  args.objects = ListOf(type);
  args.shared_handle = RoomForDescriptor();
  node.Ioctl(LX_DXSHAREOBJECTS, args, "ShareObjects");
  uint64_t number;
  std::memcpy(&number, descriptors_.back()->bytes().data(), sizeof(number));
  return static_cast<int>(number);
}

const std::vector<CallRow>& CallTable() {
  static const std::vector<CallRow> table = AllRows();
  return table;
}

}  // namespace dxg::conformance
