// Adapters, what is asked of them, devices and contexts.
#include "hostsim/adapter/escape.h"
#include "tests/conformance/call_rows.h"

namespace dxg::conformance {
namespace {

constexpr uint64_t kProcessesMax = 4096;

std::vector<CallRow> OpenRows() {
  return {
      {.name = "OpenAdapterFromLuid",
       .code = LX_DXOPENADAPTERFROMLUID,
       .fill =
           [](World& world, std::byte* args) {
             As<d3dkmt_openadapterfromluid>(args).adapter_luid = world.node.FirstLuid();
           },
       .read_only_struct = -EFAULT,
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
       .writes_when_refused = true,
       .pointers = {{.name = "Adapters",
                     .offset = 8,
                     .size_offset = 0,
                     .size_value = D3DKMT_ADAPTERS_MAX,
                     .memory_bytes = D3DKMT_ADAPTERS_MAX * sizeof(d3dkmt_adapterinfo),
                     .null = 0,
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
       .writes_when_refused = true,
       .pointers = {{.name = "Adapters",
                     .offset = 16,
                     .size_offset = 8,
                     .size_value = D3DKMT_ADAPTERS_MAX,
                     .memory_bytes = D3DKMT_ADAPTERS_MAX * sizeof(d3dkmt_adapterinfo),
                     .null = 0,
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
       .all_zero = 0,
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
       .writes_when_refused = true,
       .pointers = {{.name = "Buffer",
                     .offset = 8,
                     .size_offset = 16,
                     .size_width = 8,
                     .size_value = kProcessesMax,
                     .memory_bytes = sizeof(uint32_t),
                     .null = -EOVERFLOW,
                     .read_only = -EFAULT}},
       .values = {{"Count0", 16, 8, 0, -EOVERFLOW},
                  {"CountMax32", 16, 8, 0xffffffff, 0},
                  {"CountMax64", 16, 8, ~0ull, 0}}},
      {.name = "IsFeatureEnabled",
       .code = LX_ISFEATUREENABLED,
       .fill = FillFirstHandle<ObjectType::kAdapter>,
       .read_only_struct = 4,    // the number of bytes that could not be copied: a slip that clients can see
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
       .handles = kAdapterFirst,
       .pointers = {{.name = "Data",
                     .offset = 8,
                     .size_offset = 16,
                     .size_value = sizeof(d3dkmt_adaptertype),
                     .memory_bytes = sizeof(d3dkmt_adaptertype),
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
       .handles = {{"Adapter", 8, ObjectType::kAdapter}},
       .values = {{"Process1", 0, 8, 1, -EINVAL}, {"ProcessMax", 0, 8, ~0ull, -EINVAL}}},
      {.name = "ChangeVideoMemoryReservation",
       .code = LX_DXCHANGEVIDEOMEMORYRESERVATION,
       .fill =
           [](World& world, std::byte* args) {
             As<d3dkmt_changevideomemoryreservation>(args).adapter = world.Live(ObjectType::kAdapter);
           },
       .handles = {{"Adapter", 8, ObjectType::kAdapter}},
       .values = {{"Process1", 0, 8, 1, -EINVAL}, {"ProcessMax", 0, 8, ~0ull, -EINVAL}}},
      {.name = "Escape",
       .code = LX_DXESCAPE,
       .fill = FillFirstHandle<ObjectType::kAdapter>,
       .handles = kAdapterFirst,
       .pointers = {{.name = "Data",
                     .offset = 16,
                     .size_offset = 24,
                     .size_value = 21,
                     .memory_bytes = 21,
                     .read_only = -EINVAL,
                     .read_only_asks_host = true,
                     .content = {hostsim::kEscapeMagic, hostsim::kEscapePing}}},
       .values = {{"SizeAboveLimit", 24, 4, kMessageMax + 1, -EINVAL},
                  {"SizeMax", 24, 4, 0xffffffff, -EINVAL}}},
      {.name = "FlushHeapTransitions",
       .code = LX_DXFLUSHHEAPTRANSITIONS,
       .fill = FillFirstHandle<ObjectType::kAdapter>,
       .read_only_struct = -EFAULT,
       .handles = kAdapterFirst},
      {.name = "QueryClockCalibration",
       .code = LX_DXQUERYCLOCKCALIBRATION,
       .fill = FillFirstHandle<ObjectType::kAdapter>,
       .read_only_struct = -EFAULT,
       .handles = kAdapterFirst},
      {.name = "QueryStatistics",
       .code = LX_DXQUERYSTATISTICS,
       .fill =
           [](World& world, std::byte* args) {
             As<d3dkmt_querystatistics>(args).adapter_luid = world.node.FirstLuid();
           },
       .read_only_struct = -EFAULT,
       .all_zero = 0,
       .values = {{"ProcessUnknown", 16, 8, 0x7fffffff, -EINVAL}, {"ProcessMax", 16, 8, ~0ull, -EINVAL}}},
  };
}

std::vector<CallRow> DeviceRows() {
  return {
      {.name = "CreateDevice",
       .code = LX_DXCREATEDEVICE,
       .fill = FillFirstHandle<ObjectType::kAdapter>,
       .read_only_struct = -EFAULT,
       .handles = kAdapterFirst},
      {.name = "DestroyDevice",
       .code = LX_DXDESTROYDEVICE,
       .fill = FillFirstHandle<ObjectType::kDevice>,
       .handles = kDeviceFirst},
      {.name = "GetDeviceState",
       .code = LX_DXGETDEVICESTATE,
       .fill =
           [](World& world, std::byte* args) {
             As<d3dkmt_getdevicestate>(args).device = world.Live(ObjectType::kDevice);
             As<d3dkmt_getdevicestate>(args).state_type = _D3DKMT_DEVICESTATE_EXECUTION;
           },
       .read_only_struct = -EFAULT,
       .handles = kDeviceFirst},
      {.name = "MarkDeviceAsError",
       .code = LX_DXMARKDEVICEASERROR,
       .fill =
           [](World& world, std::byte* args) {
             As<d3dkmt_markdeviceaserror>(args).device = world.Live(ObjectType::kDevice);
             As<d3dkmt_markdeviceaserror>(args).reason = _D3DKMT_DEVICE_ERROR_REASON_GENERIC;
           },
       .handles = kDeviceFirst},
      {.name = "CreateContextVirtual",
       .code = LX_DXCREATECONTEXTVIRTUAL,
       .fill = FillFirstHandle<ObjectType::kDevice>,
       .read_only_struct = -EFAULT,
       .needs_context = true,
       .handles = kDeviceFirst,
       .pointers = {{.name = "PrivateData",
                     .offset = 16,
                     .size_offset = 24,
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
       .needs_context = true,
       .handles = kContextFirst},
  };
}

CallRow PriorityRow(const char* name, uint32_t code, int read_only_struct) {
  return {.name = name,
          .code = code,
          .fill = FillFirstHandle<ObjectType::kContext>,
          .read_only_struct = read_only_struct,
          .needs_context = true,
          .handles = kContextFirst};
}

std::vector<CallRow> PriorityRows() {
  return {
      PriorityRow("GetContextSchedulingPriority", LX_DXGETCONTEXTSCHEDULINGPRIORITY, -EFAULT),
      PriorityRow("GetContextInProcessSchedulingPriority", LX_DXGETCONTEXTINPROCESSSCHEDULINGPRIORITY,
                  -EFAULT),
      PriorityRow("SetContextSchedulingPriority", LX_DXSETCONTEXTSCHEDULINGPRIORITY, 0),
      PriorityRow("SetContextInProcessSchedulingPriority", LX_DXSETCONTEXTINPROCESSSCHEDULINGPRIORITY, 0),
  };
}

}  // namespace

std::vector<CallRow> AdapterRows() { return Join({OpenRows(), QueryRows(), DeviceRows(), PriorityRows()}); }

}  // namespace dxg::conformance
