// What AMD's open layer over /dev/dxg and its management tool ask of an adapter, in their order:
// `cuse-dxg run --profile amd-navi -- dxg-amd-runtime`. Ends with 0, or says which step is refused or wrong.
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/conformance/sync_client.h"

namespace dxg::clients {
namespace {

using namespace conformance;

constexpr uint32_t kAmd = 0x1002;
constexpr uint32_t kClientHintOpenCl = 12;
constexpr uint32_t kRegistry = KMTQAITYPE_QUERYREGISTRY;

void Check(bool is_so, const std::string& what) {
  if (!is_so) throw std::runtime_error(what);
}

template <class T>
T NumberAt(const std::vector<uint8_t>& bytes, size_t at) {
  T value;
  Check(at + sizeof value <= bytes.size(), "an answer is too short");
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

template <class T>
void PutAt(std::vector<uint8_t>* bytes, size_t at, T value) {
  std::memcpy(bytes->data() + at, &value, sizeof value);
}

// -- The adapter.

// Every one that there is, compute-only ones too: the count, then the list.
std::vector<d3dkmt_adapterinfo> Adapters(const Node& node) {
  d3dkmt_enumadapters3 args = {};
  args.filter.include_compute_only = 1;
  node.Ioctl(LX_DXENUMADAPTERS3, args, "EnumAdapters3 (count)");
  std::vector<d3dkmt_adapterinfo> all(args.adapter_count);
  args.adapters = Address(all.data());
  node.Ioctl(LX_DXENUMADAPTERS3, args, "EnumAdapters3 (list)");
  all.resize(args.adapter_count);
  return all;
}

// A refusal that says "not this adapter"; any other one ends the runtime.
bool Skips(int result) { return result == -ENOENT; }

// What the driver says of the adapter. The runtime asks with buffers of these sizes; of the bytes below 0x960
// of the first one it takes nothing.
struct AdapterData {
  uint32_t device_id, compute_node;
  uint64_t visible_bytes, invisible_bytes, system_bytes;
  bool is_card, has_hardware_queues;
};

std::vector<uint8_t> Private(const Node& node, d3dkmthandle adapter, size_t bytes, bool* skip) {
  std::vector<uint8_t> data(bytes);
  const int result = node.TryQuery(adapter, KMTQAITYPE_UMDRIVERPRIVATE, data.data(), data.size());
  *skip = *skip || Skips(result);
  if (!*skip) Require(result, "QueryAdapterInfo UMDRIVERPRIVATE");
  return data;
}

AdapterData ReadAdapter(const Node& node, d3dkmthandle adapter, bool* skip) {
  constexpr size_t kInfo = 0x960;  // in the first and the second buffer
  constexpr uint8_t kComputeEngine = 5;
  const auto info = Private(node, adapter, 17248, skip), ids = Private(node, adapter, 3008, skip),
             rest = Private(node, adapter, 3008, skip);
  AdapterData data = {};
  const auto engines = info.begin() + kInfo + 0x89C;
  data.compute_node = static_cast<uint32_t>(std::find(engines, engines + 32, kComputeEngine) - engines);
  data.visible_bytes = NumberAt<uint64_t>(info, kInfo + 0xA30);
  data.invisible_bytes = NumberAt<uint64_t>(info, kInfo + 0xA38);
  data.system_bytes = NumberAt<uint64_t>(info, kInfo + 0xA40);
  const bool any = (info[kInfo + 0x2E03] & 1) != 0;
  data.has_hardware_queues = any && (NumberAt<uint64_t>(info, kInfo + 0x35C4) >> data.compute_node & 1) != 0;
  data.device_id = NumberAt<uint32_t>(ids, kInfo + 0x2C);
  data.is_card = NumberAt<uint32_t>(rest, 0x2C) == 0;
  return data;
}

struct DeviceIds {
  uint32_t index, vendor, device, subvendor, subsystem, revision, bus_type;
};

// -- Memory, contexts, queues.

struct Memory {
  d3dkmthandle allocation;
  uint64_t gpu;
  void* cpu;
};

class Runtime {
 public:
  explicit Runtime(const Node& node, const d3dkmt_adapterinfo& adapter)
      : node_(node), adapter_(adapter.adapter_handle), luid_(adapter.adapter_luid) {}

  void Begin() {
    d3dkmt_createdevice device = {};
    device.adapter = adapter_;
    node_.Ioctl(LX_DXCREATEDEVICE, device, "CreateDevice");
    device_ = device.device;
    SetPowerOptimization(false);
    d3dkmt_createpagingqueue queue = {};
    queue.device = device_;
    queue.priority = _D3DDDI_PAGINGQUEUE_PRIORITY_NORMAL;
    node_.Ioctl(LX_DXCREATEPAGINGQUEUE, queue, "CreatePagingQueue");
    paging_queue_ = queue.paging_queue;
    paging_fence_ = queue.sync_object;
    LookAtSegments();
  }

  void End() {
    d3dddi_destroypagingqueue queue = {};
    queue.paging_queue = paging_queue_;
    node_.Ioctl(LX_DXDESTROYPAGINGQUEUE, queue, "DestroyPagingQueue");
    SetPowerOptimization(true);
    node_.DestroyDevice(device_);
  }

  // A range where the CPU's addresses are the GPU's.
  void ReserveSharedRange() {
    constexpr uint64_t kBytes = 1ull << 30, kAlignment = 1ull << 21;
    void* const cpu =
        mmap(nullptr, kBytes + kAlignment, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    Check(cpu != MAP_FAILED, "mmap of the shared range");
    d3dddi_reservegpuvirtualaddress range = {};
    range.adapter = adapter_;
    range.minimum_address = Address(cpu);
    range.maximum_address = Address(cpu) + kBytes + kAlignment + 1;
    range.size = kBytes;
    node_.Ioctl(LX_DXRESERVEGPUVIRTUALADDRESS, range, "ReserveGpuVirtualAddress");
    Check(range.virtual_address >= Address(cpu) &&
              range.virtual_address + kBytes <= Address(cpu) + kBytes + kAlignment,
          "the reserved range is not in the CPU's");
    d3dkmt_freegpuvirtualaddress release = {};
    release.adapter = adapter_;
    release.base_address = range.virtual_address;
    release.size = kBytes;
    node_.Ioctl(LX_DXFREEGPUVIRTUALADDRESS, release, "FreeGpuVirtualAddress");
    munmap(cpu, kBytes + kAlignment);
  }

  // 64 bytes for the call and 536 for the allocation. System memory is the caller's own.
  Memory Allocate(uint64_t bytes, bool system) {
    std::vector<uint8_t> of_call(64), of_one(536);
    of_call[8] = 0x80;
    PutAt<uint32_t>(&of_call, 0x3C, 536);
    PutAt<uint32_t>(&of_one, 0x00, 0x1D8);
    PutAt<uint64_t>(&of_one, 0x3C, 0x000001D800000001);
    PutAt<uint64_t>(&of_one, 0x44, 0x0000008000000001);
    PutAt<uint32_t>(&of_one, 0x50, system ? 0x04000008 : 1);
    PutAt<uint32_t>(&of_one, 0x54, static_cast<uint32_t>(bytes));
    PutAt<uint32_t>(&of_one, 0x58, 0x1000);
    of_one[0x5C] = 1;
    of_one[0x60] = system ? 4 : 1;
    PutAt<uint64_t>(&of_one, 0xA8, bytes);
    PutAt<uint32_t>(&of_one, 0xF0, 0xC4);
    PutAt<uint32_t>(&of_one, 0x104, 0x114);
    Memory memory = {};
    if (system) {
      memory.cpu = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      Check(memory.cpu != MAP_FAILED, "mmap of system memory");
    }
    d3dddi_allocationinfo2 info = {};
    info.sysmem = Address(memory.cpu);
    info.priv_drv_data = Address(of_one.data());
    info.priv_drv_data_size = static_cast<uint32_t>(of_one.size());
    d3dkmt_createallocation create = {};
    create.device = device_;
    create.priv_drv_data = Address(of_call.data());
    create.priv_drv_data_size = static_cast<uint32_t>(of_call.size());
    create.alloc_count = 1;
    create.allocation_info = Address(&info);
    create.flags.existing_sysmem = system ? 1 : 0;
    node_.Ioctl(LX_DXCREATEALLOCATION, create, "CreateAllocation");
    memory.allocation = info.allocation;
    d3dddi_mapgpuvirtualaddress map = {};
    map.paging_queue = paging_queue_;
    map.allocation = memory.allocation;
    map.size_in_pages = bytes / kPageBytes;
    map.protection.write = 1;
    Paged(node_.TryIoctl(LX_DXMAPGPUVIRTUALADDRESS, map), map.paging_fence_value, "MapGpuVirtualAddress");
    memory.gpu = map.virtual_address;
    d3dddi_makeresident resident = {};
    resident.paging_queue = paging_queue_;
    resident.alloc_count = 1;
    resident.allocation_list = Address(&memory.allocation);
    Paged(node_.TryIoctl(LX_DXMAKERESIDENT, resident), resident.paging_fence_value, "MakeResident");
    return memory;
  }

  uint64_t LocalBytes() {
    d3dkmt_queryvideomemoryinfo info = {};
    info.adapter = adapter_;
    node_.Ioctl(LX_DXQUERYVIDEOMEMORYINFO, info, "QueryVideoMemoryInfo");
    return info.current_usage;
  }

  d3dkmthandle CreateContext(uint32_t on_node, bool hardware) {
    std::vector<uint8_t> data(64);
    PutAt<uint64_t>(&data, 0, 0x0000010000000040);
    d3dkmt_createcontextvirtual create = {};
    create.device = device_;
    create.node_ordinal = on_node;
    create.engine_affinity = 1;
    create.flags.hw_queue_supported = hardware ? 1 : 0;
    create.priv_drv_data = Address(data.data());
    create.priv_drv_data_size = static_cast<uint32_t>(data.size());
    create.client_hint = kClientHintOpenCl;
    node_.Ioctl(LX_DXCREATECONTEXTVIRTUAL, create, "CreateContextVirtual");
    return create.context;
  }

  void WorkOnHardwareQueue(d3dkmthandle context, const Memory& commands, uint32_t bytes) {
    std::vector<uint8_t> data(64);
    PutAt<uint32_t>(&data, 0, 64);
    PutAt<uint32_t>(&data, 0x10, 0x1000);
    d3dkmt_createhwqueue queue = {};
    queue.context = context;
    queue.priv_drv_data = Address(data.data());
    queue.priv_drv_data_size = static_cast<uint32_t>(data.size());
    node_.Ioctl(LX_DXCREATEHWQUEUE, queue, "CreateHwQueue");
    for (uint64_t id = 1; id <= 3; ++id) {
      auto of_submission = SubmissionData(commands, bytes);
      d3dkmt_submitcommandtohwqueue submit = {};
      submit.hwqueue = queue.queue;
      submit.hwqueue_progress_fence_id = id;
      submit.command_buffer = commands.gpu;
      submit.command_length = bytes;
      submit.priv_drv_data = Address(of_submission.data());
      submit.priv_drv_data_size = static_cast<uint32_t>(of_submission.size());
      node_.Ioctl(LX_DXSUBMITCOMMANDTOHWQUEUE, submit, "SubmitCommandToHwQueue");
    }
    CpuWait(queue.queue_progress_fence, 3);
    d3dkmt_destroyhwqueue destroy = {};
    destroy.queue = queue.queue;
    node_.Ioctl(LX_DXDESTROYHWQUEUE, destroy, "DestroyHwQueue");
  }

  void WorkOnContext(d3dkmthandle context, const Memory& commands, uint32_t bytes) {
    const Fence fence = CreateFence(0);
    for (uint64_t value = 1; value <= 3; ++value) {
      auto data = SubmissionData(commands, bytes);
      d3dkmt_submitcommand submit = {};
      submit.command_buffer = commands.gpu;
      submit.command_length = bytes;
      submit.broadcast_context_count = 1;
      submit.broadcast_context[0] = context;
      submit.priv_drv_data = Address(data.data());
      submit.priv_drv_data_size = static_cast<uint32_t>(data.size());
      node_.Ioctl(LX_DXSUBMITCOMMAND, submit, "SubmitCommand");
      d3dkmt_signalsynchronizationobjectfromgpu signal = {};
      signal.context = context;
      signal.object_count = 1;
      signal.objects = Address(&fence.handle);
      signal.monitored_fence_values = Address(&value);
      node_.Ioctl(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU, signal, "SignalSynchronizationObjectFromGpu");
    }
    CpuWait(fence.handle, 3);
    Check(fence.Value() == 3, "the fence has another value than its last signal");
    Destroy(fence.handle);
  }

  // As another process gets it: by a descriptor.
  void OpenSharedFence() {
    const Fence fence = CreateFence(sync_flags::kShared);
    uint64_t descriptor = 0;
    d3dkmt_shareobjects share = {};
    share.object_count = 1;
    share.objects = Address(&fence.handle);
    share.shared_handle = Address(&descriptor);
    node_.Ioctl(LX_DXSHAREOBJECTS, share, "ShareObjects");
    d3dkmt_opensyncobjectfromnthandle2 open = {};
    open.nt_handle = descriptor;
    open.device = device_;
    node_.Ioctl(LX_DXOPENSYNCOBJECTFROMNTHANDLE2, open, "OpenSyncObjectFromNtHandle2");
    Check(open.sync_object.v != fence.handle.v && open.monitored_fence.fence_value_gpu_va != 0,
          "the opened fence is no object of its own");
    Destroy(open.sync_object);
    Destroy(fence.handle);
    close(static_cast<int>(descriptor));
  }

  void CompareClocks(uint32_t on_node) {
    uint64_t gpu = 0, cpu = 0;
    for (int i = 0; i < 2; ++i) {
      d3dkmt_queryclockcalibration clocks = {};
      clocks.adapter = adapter_;
      clocks.node_ordinal = on_node;
      node_.Ioctl(LX_DXQUERYCLOCKCALIBRATION, clocks, "QueryClockCalibration");
      Check(clocks.clock_data.gpu_frequency == 100'000'000,
            "the clock of the compute engine has not 100 MHz");
      Check(clocks.clock_data.gpu_clock_counter >= gpu && clocks.clock_data.cpu_clock_counter >= cpu,
            "a clock goes back");
      gpu = clocks.clock_data.gpu_clock_counter;
      cpu = clocks.clock_data.cpu_clock_counter;
    }
  }

  // -- The management tool.

  void Manage() {
    Check(!RegistryText(u"ReleaseVersion").empty(), "the registry has no ReleaseVersion");
    Check(RegistryText(u"DriverDesc").find(u"Radeon") != std::u16string::npos, "DriverDesc names no Radeon");
    std::vector<uint8_t> strings(2080);
    Require(node_.TryQuery(adapter_, KMTQAITYPE_ADAPTERREGISTRYINFO, strings.data(), strings.size()),
            "QueryAdapterInfo ADAPTERREGISTRYINFO");
    Check(strings[0] == 'A' && strings[520] != 0, "the adapter's strings are empty");
    for (const uint32_t group : {0u, 1u}) {
      d3dkmt_queryvideomemoryinfo info = {};
      info.adapter = adapter_;
      info.memory_segment_group = group;
      node_.Ioctl(LX_DXQUERYVIDEOMEMORYINFO, info, "QueryVideoMemoryInfo");
      Check(info.budget != 0, "a group of memory has no budget");
      info.process = static_cast<uint64_t>(getpid());
      const int result = node_.TryIoctl(LX_DXQUERYVIDEOMEMORYINFO, info);
      Check(result == -EINVAL, "QueryVideoMemoryInfo of a process by its number gave " + ResultName(result));
    }
    uint32_t ids[64] = {};
    d3dkmt_enumprocesses processes = {};
    processes.adapter_luid = luid_;
    processes.buffer = Address(ids);
    processes.buffer_count = std::size(ids);
    node_.Ioctl(LX_DXENUMPROCESSES, processes, "EnumProcesses");
    const auto end = ids + std::min<uint64_t>(processes.buffer_count & 0xFFFFFFFF, std::size(ids));
    Check(std::find(ids, end, static_cast<uint32_t>(getpid())) != end,
          "EnumProcesses does not know this process");
  }

 private:
  // Settings of the power management. The runtime does not look at what comes back.
  void SetPowerOptimization(bool restore) {
    std::vector<uint8_t> data(64);
    data[0] = restore ? 1 : 0;
    d3dkmt_escape escape = {};
    escape.adapter = adapter_;
    escape.device = device_;
    escape.type = _D3DKMT_ESCAPE_DRIVERPRIVATE;
    escape.flags.hardware_access = 1;
    escape.priv_drv_data = Address(data.data());
    escape.priv_drv_data_size = static_cast<uint32_t>(data.size());
    node_.Ioctl(LX_DXESCAPE, escape, "Escape");
  }

  d3dkmt_querystatistics Statistics(uint32_t type, uint32_t selector) {
    constexpr size_t kSelector = 800;
    d3dkmt_querystatistics statistics = {};
    statistics.type = type;
    statistics.adapter_luid = luid_;
    std::memcpy(statistics.size + kSelector, &selector, sizeof selector);
    node_.Ioctl(LX_DXQUERYSTATISTICS, statistics, "QueryStatistics");
    return statistics;
  }

  void LookAtSegments() {
    constexpr size_t kAperture = 40;
    uint32_t segments = 0, apertures = 0;
    std::memcpy(&segments, Statistics(_D3DKMT_QUERYSTATISTICS_ADAPTER, 0).result.size, sizeof segments);
    for (uint32_t i = 0; i < segments; ++i) {
      uint32_t aperture = 0;
      std::memcpy(&aperture, Statistics(_D3DKMT_QUERYSTATISTICS_SEGMENT, i).result.size + kAperture,
                  sizeof aperture);
      apertures += aperture != 0 ? 1 : 0;
    }
    Check(segments == 2 && apertures == 1, "expected a segment of the card and one of system memory");
  }

  static std::vector<uint8_t> SubmissionData(const Memory& commands, uint32_t bytes) {
    std::vector<uint8_t> data(72);
    PutAt<uint32_t>(&data, 0x00, 6);
    PutAt<uint32_t>(&data, 0x04, 1);
    PutAt<uint32_t>(&data, 0x0C, 0x40);
    PutAt<uint32_t>(&data, 0x10, bytes);
    PutAt<uint64_t>(&data, 0x20, commands.gpu);
    return data;
  }

  void Paged(int result, uint64_t value, const char* what) {
    if (result != kPending) Require(result, what);
    CpuWait(paging_fence_, value);
  }

  void CpuWait(d3dkmthandle fence, uint64_t value) {
    d3dkmt_waitforsynchronizationobjectfromcpu wait = {};
    wait.device = device_;
    wait.object_count = 1;
    wait.objects = Address(&fence);
    wait.fence_values = Address(&value);
    node_.Ioctl(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, wait, "WaitForSynchronizationObjectFromCpu");
  }

  Fence CreateFence(uint32_t flags) {
    d3dkmt_createsynchronizationobject2 create = {};
    create.device = device_;
    create.info.type = _D3DDDI_MONITORED_FENCE;
    create.info.flags.value = flags;
    create.info.monitored_fence.engine_affinity = 1;
    node_.Ioctl(LX_DXCREATESYNCHRONIZATIONOBJECT, create, "CreateSynchronizationObject");
    const auto& fence = create.info.monitored_fence;
    return {create.sync_object, reinterpret_cast<const volatile uint64_t*>(fence.fence_cpu_virtual_address),
            fence.fence_gpu_virtual_address};  // Safety: the node has mapped 8 bytes there
  }

  void Destroy(d3dkmthandle object) {
    d3dkmt_destroysynchronizationobject destroy = {};
    destroy.sync_object = object;
    node_.Ioctl(LX_DXDESTROYSYNCHRONIZATIONOBJECT, destroy, "DestroySynchronizationObject");
  }

  // A text of the adapter's key. Asked twice: first without room, to learn the size.
  std::u16string RegistryText(std::u16string_view name) {
    constexpr size_t kQueryType = 0, kName = 8, kType = 528, kSize = 536, kStatus = 540, kOutput = 544;
    constexpr uint32_t kAdapterKey = 1, kText = 1, kBufferOverflow = 1;
    std::vector<uint8_t> query(kOutput + 8);
    PutAt<uint32_t>(&query, kQueryType, kAdapterKey);
    PutAt<uint32_t>(&query, kType, kText);
    std::memcpy(query.data() + kName, name.data(), name.size() * sizeof(char16_t));
    Require(node_.TryQuery(adapter_, kRegistry, query.data(), query.size()),
            "QueryAdapterInfo QUERYREGISTRY");
    Check(NumberAt<uint32_t>(query, kStatus) == kBufferOverflow,
          "the registry does not say how long a text is");
    const uint32_t bytes = NumberAt<uint32_t>(query, kSize);
    query.resize(kOutput + bytes);
    Require(node_.TryQuery(adapter_, kRegistry, query.data(), query.size()),
            "QueryAdapterInfo QUERYREGISTRY");
    Check(NumberAt<uint32_t>(query, kStatus) == 0, "the registry has no text of that size");
    std::u16string text(bytes / sizeof(char16_t), u'\0');
    std::memcpy(text.data(), query.data() + kOutput, text.size() * sizeof(char16_t));
    return text;
  }

  const Node& node_;
  const d3dkmthandle adapter_;
  const winluid luid_;
  d3dkmthandle device_{}, paging_queue_{}, paging_fence_{};
};

void Use(const Node& node, const d3dkmt_adapterinfo& adapter, const AdapterData& data) {
  constexpr uint64_t kBytes = 64 * kPageBytes;
  constexpr uint32_t kNop = 0xFFFF1000;  // of one dword
  Runtime runtime(node, adapter);
  runtime.Begin();
  runtime.ReserveSharedRange();
  const Memory commands = runtime.Allocate(kBytes, true);
  std::fill_n(static_cast<uint32_t*>(commands.cpu), kPageBytes / sizeof kNop, kNop);
  const uint64_t before = runtime.LocalBytes();
  runtime.Allocate(kBytes, false);
  Check(runtime.LocalBytes() == before + kBytes, "the card's memory is not used by what was allocated there");
  Check(data.has_hardware_queues, "the compute engine has no hardware queues");
  runtime.WorkOnHardwareQueue(runtime.CreateContext(data.compute_node, true), commands, kPageBytes);
  runtime.WorkOnContext(runtime.CreateContext(data.compute_node, false), commands, kPageBytes);
  runtime.OpenSharedFence();
  runtime.CompareClocks(data.compute_node);
  runtime.Manage();
  runtime.End();
}

int Run() {
  const Node node = OpenNode();
  uint32_t version = 0;
  int used = 0;
  const auto adapters = Adapters(node);
  Check(!adapters.empty(), "there are no adapters");
  Require(node.TryQuery(adapters[0].adapter_handle, KMTQAITYPE_DRIVERVERSION, &version, sizeof version),
          "QueryAdapterInfo DRIVERVERSION");
  for (const d3dkmt_adapterinfo& adapter : adapters) {
    DeviceIds ids = {};
    if (node.TryQuery(adapter.adapter_handle, KMTQAITYPE_PHYSICALADAPTERDEVICEIDS, &ids, sizeof ids) != 0)
      continue;
    if (ids.vendor != kAmd) continue;
    bool skip = false;
    const AdapterData data = ReadAdapter(node, adapter.adapter_handle, &skip);
    if (skip) continue;
    Check(data.device_id == ids.device, "the driver's own data names another device");
    Check(data.is_card && data.visible_bytes + data.invisible_bytes != 0 && data.system_bytes != 0,
          "the driver's own data knows no memory");
    Use(node, adapter, data);
    ++used;
  }
  fmt::print("WDDM {}.{}: {} of {} adapters used\n", version / 1000, version % 1000 / 100, used,
             adapters.size());
  return used == 1 ? 0 : 1;
}

}  // namespace
}  // namespace dxg::clients

int main() {
  try {
    return dxg::clients::Run();
  } catch (const std::exception& error) {
    fmt::print(stderr, "dxg-amd-runtime: {}\n", error.what());
    return 1;
  }
}
