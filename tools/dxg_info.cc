// dxg-info shows what is behind a /dev/dxg node, and checks that it works.
//
// It is a client like any other. It prints only what was answered: an adapter that refuses a query has a
// shorter entry.

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/command_line/parse.h"
#include "proto/abi/d3dkmthk.h"
#include "proto/abi/qaitype.h"

namespace dxg {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kExitCheckFailed = 1;
constexpr int kExitNoNode = 2;

// ---- The node ----

uint64_t Address(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

std::string ResultText(int result) {
  if (result >= 0) return fmt::format("status {:#x}", result);
  const char* name = strerrorname_np(-result);
  return name != nullptr ? fmt::format("{} ({})", name, strerror(-result))
                         : fmt::format("raw status {:#x}", static_cast<uint32_t>(result));
}

class Node {
 public:
  explicit Node(int fd) : fd_(fd) {}
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  ~Node() { close(fd_); }

  // What the call returned, or -errno.
  template <typename T>
  int Call(unsigned long code, T& args) const {
    const int result = ioctl(fd_, code, &args);
    return result == -1 ? -errno : result;
  }

  // The answer of QueryAdapterInfo; `question` is what the buffer holds before. nullopt when refused.
  template <typename T>
  std::optional<T> Query(d3dkmthandle adapter, uint32_t type, T question = {}) const {
    d3dkmt_queryadapterinfo args = {};
    args.adapter = adapter;
    args.type = type;
    args.private_data = Address(&question);
    args.private_data_size = sizeof(question);
    if (Call(LX_DXQUERYADAPTERINFO, args) != 0) return std::nullopt;
    return question;
  }

  bool IsDriver() const {
    struct stat status = {};
    return fstat(fd_, &status) == 0 && S_ISCHR(status.st_mode) && major(status.st_rdev) == 10;
  }

  std::string Kind() const {
    struct stat status = {};
    if (fstat(fd_, &status) != 0) return "unknown";
    if (S_ISCHR(status.st_mode))
      return fmt::format("character device {}:{}", major(status.st_rdev), minor(status.st_rdev));
    return S_ISREG(status.st_mode) ? "FUSE file" : "preloaded";
  }

 private:
  int fd_;
};

// ---- What an adapter says about itself ----

// One engine. Packed on the wire.
struct __attribute__((packed)) NodeMetadata {
  uint32_t node_and_adapter;
  uint32_t engine_type;
  char16_t name[32];
  uint32_t flags;
  uint8_t gpu_mmu;
  uint8_t io_mmu;
};
static_assert(sizeof(NodeMetadata) == 78);

struct SegmentGroupSizes {
  uint32_t physical_adapter, padding;
  uint64_t dedicated_video, dedicated_system, shared_system;
  uint64_t local, non_local, non_budget;
};
static_assert(sizeof(SegmentGroupSizes) == 56);

struct AdapterPerf {
  uint32_t index, padding;
  uint64_t memory_frequency_hz, memory_frequency_max_hz, memory_frequency_max_overclock_hz, bandwidth,
      pcie_bandwidth;
  uint32_t fan_rpm, power_permille, temperature_decicelsius;
  uint8_t power_state_override;
};
static_assert(sizeof(AdapterPerf) == 64);

struct NodePerf {
  uint32_t node, physical_adapter;
  uint64_t frequency_hz, frequency_max_hz, frequency_max_overclock_hz;
  uint32_t voltage_mv, voltage_max_mv, voltage_max_overclock_mv;
  uint64_t latency;
};
static_assert(sizeof(NodePerf) == 56);

std::string Utf8(const char16_t* text, size_t length_max) {
  std::string out;
  for (size_t i = 0; i < length_max && text[i] != 0; ++i) {
    uint32_t c = text[i];
    if (c >= 0xd800 && c < 0xdc00 && i + 1 < length_max)
      c = 0x10000 + ((c - 0xd800) << 10) + (text[++i] - 0xdc00u);
    if (c < 0x80) {
      out += static_cast<char>(c);
    } else if (c < 0x800) {
      out += {static_cast<char>(0xc0 | c >> 6), static_cast<char>(0x80 | (c & 0x3f))};
    } else if (c < 0x10000) {
      out += {static_cast<char>(0xe0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 0x3f)),
              static_cast<char>(0x80 | (c & 0x3f))};
    } else {
      out += {static_cast<char>(0xf0 | (c >> 18 & 7)), static_cast<char>(0x80 | (c >> 12 & 0x3f)),
              static_cast<char>(0x80 | (c >> 6 & 0x3f)), static_cast<char>(0x80 | (c & 0x3f))};
    }
  }
  return out;
}

std::string EngineName(uint32_t type) {
  static constexpr const char* kNames[] = {
      "other",          "3D",   "video decode", "video encode", "video processing",
      "scene assembly", "copy", "overlay",      "crypto"};
  return type < std::size(kNames) ? kNames[type] : fmt::format("type {}", type);
}

std::string TypeName(d3dkmt_adaptertype type) {
  std::string name = type.compute_only        ? "compute only"
                     : type.hybrid_discrete   ? "discrete"
                     : type.hybrid_integrated ? "integrated"
                                              : "unspecified";
  if (type.software_device) name += ", software";
  if (type.paravirtualized) name += ", paravirtualized";
  return name;
}

std::string DriverVersion(uint64_t version) {
  return fmt::format("{}.{}.{}.{}", version >> 48, version >> 32 & 0xffff, version >> 16 & 0xffff,
                     version & 0xffff);
}

std::string LuidText(winluid luid) { return fmt::format("{:08x}-{:08x}", luid.b, luid.a); }

Json MemoryOf(const Node& node, d3dkmthandle adapter, uint32_t group) {
  d3dkmt_queryvideomemoryinfo args = {};
  args.adapter = adapter;
  args.memory_segment_group = group;
  Json memory = Json::object();
  if (node.Call(LX_DXQUERYVIDEOMEMORYINFO, args) != 0) return memory;
  memory["budget_bytes"] = args.budget;
  memory["used_bytes"] = args.current_usage;
  memory["reserved_bytes"] = args.current_reservation;
  memory["available_for_reservation_bytes"] = args.available_for_reservation;
  return memory;
}

Json EnginesOf(const Node& node, d3dkmthandle adapter) {
  constexpr uint32_t kEnginesMax = 256;
  Json engines = Json::array();
  for (uint32_t i = 0; i < kEnginesMax; ++i) {
    NodeMetadata question = {};
    question.node_and_adapter = i;
    const auto metadata = node.Query(adapter, KMTQAITYPE_NODEMETADATA, question);
    if (!metadata) break;
    std::array<char16_t, 32> name;
    std::memcpy(name.data(), metadata->name, sizeof(name));
    Json engine = {{"node", i},
                   {"type", EngineName(metadata->engine_type)},
                   {"name", Utf8(name.data(), name.size())},
                   {"hardware_queues", (metadata->flags & 1) != 0}};
    NodePerf perf_question = {};
    perf_question.node = i;
    if (const auto perf = node.Query(adapter, KMTQAITYPE_NODEPERFDATA, perf_question)) {
      engine["clock_hz"] = perf->frequency_hz;
      engine["clock_max_hz"] = perf->frequency_max_hz;
    }
    engines.push_back(engine);
  }
  return engines;
}

Json FeaturesOf(const Node& node, d3dkmthandle adapter) {
  Json features = Json::object();
  if (const auto caps = node.Query<uint32_t>(adapter, KMTQAITYPE_WDDM_2_7_CAPS))
    features["hardware_scheduling"] = (*caps & 2) != 0 ? "on" : (*caps & 1) != 0 ? "off" : "not supported";
  struct {
    const char* name;
    uint32_t id;
  } const known[] = {{"page_based_memory_manager", 32}, {"native_fence", 37}};
  for (const auto& feature : known) {
    d3dkmt_isfeatureenabled args = {};
    args.adapter = adapter;
    args.feature_id = feature.id;
    if (node.Call(LX_ISFEATUREENABLED, args) != 0 || !args.result.known_feature) continue;
    features[feature.name] = args.result.enabled ? "on" : "off";
  }
  return features;
}

Json Describe(const Node& node, size_t index, const d3dkmt_adapterinfo& info) {
  const d3dkmthandle adapter = info.adapter_handle;
  Json out = {{"index", index}, {"luid", LuidText(info.adapter_luid)}};
  if (const auto name = node.Query<std::array<char16_t, 4096>>(adapter, KMTQAITYPE_DRIVER_DESCRIPTION))
    out["name"] = Utf8(name->data(), name->size());
  if (const auto pci = node.Query<std::array<uint32_t, 3>>(adapter, KMTQAITYPE_ADAPTERADDRESS);
      pci && (*pci)[2] < 8)
    out["pci_address"] = fmt::format("0000:{:02x}:{:02x}.{:x}", (*pci)[0], (*pci)[1], (*pci)[2]);
  if (const auto ids = node.Query<std::array<uint32_t, 7>>(adapter, KMTQAITYPE_PHYSICALADAPTERDEVICEIDS)) {
    out["vendor_id"] = (*ids)[1];
    out["device_id"] = (*ids)[2];
  }
  if (const auto version = node.Query<uint64_t>(adapter, KMTQAITYPE_UMD_DRIVER_VERSION))
    out["driver_version"] = DriverVersion(*version);
  if (const auto model = node.Query<uint32_t>(adapter, KMTQAITYPE_DRIVERVERSION))
    out["wddm_version"] = fmt::format("{}.{}", *model / 1000, *model % 1000 / 100);
  if (const auto type = node.Query<d3dkmt_adaptertype>(adapter, KMTQAITYPE_ADAPTERTYPE))
    out["type"] = TypeName(*type);

  Json local = MemoryOf(node, adapter, _D3DKMT_MEMORY_SEGMENT_GROUP_LOCAL);
  Json non_local = MemoryOf(node, adapter, _D3DKMT_MEMORY_SEGMENT_GROUP_NON_LOCAL);
  if (const auto sizes = node.Query<SegmentGroupSizes>(adapter, KMTQAITYPE_GETSEGMENTGROUPSIZE)) {
    local["size_bytes"] = sizes->local;
    non_local["size_bytes"] = sizes->non_local;
  }
  out["memory"] = {{"local", local}, {"non_local", non_local}};
  out["engines"] = EnginesOf(node, adapter);
  out["features"] = FeaturesOf(node, adapter);
  if (const auto perf = node.Query<AdapterPerf>(adapter, KMTQAITYPE_ADAPTERPERFDATA))
    out["sensors"] = {{"temperature_celsius", perf->temperature_decicelsius / 10.0},
                      {"power_percent", perf->power_permille / 10.0},
                      {"fan_rpm", perf->fan_rpm},
                      {"memory_clock_hz", perf->memory_frequency_hz}};
  return out;
}

// Every adapter with a handle of its own, compute-only ones too. 0, or -errno.
int Enumerate(const Node& node, std::vector<d3dkmt_adapterinfo>& adapters) {
  d3dkmt_enumadapters3 args = {};
  args.filter.include_compute_only = 1;
  if (const int result = node.Call(LX_DXENUMADAPTERS3, args); result != 0) return result;
  adapters.resize(args.adapter_count);
  if (adapters.empty()) return 0;
  args.adapters = Address(adapters.data());
  const int result = node.Call(LX_DXENUMADAPTERS3, args);
  adapters.resize(result == 0 ? args.adapter_count : 0);
  return result;
}

// ---- Self-check ----

// Makes one of everything that the node serves and takes it apart again. A step that needs an object which
// could not be made is left out: the line above says why.
class SelfCheck {
 public:
  SelfCheck(const Node& node, winluid luid) : node_(node), luid_(luid) {}

  Json Run() {
    d3dkmt_openadapterfromluid open = {luid_, {}};
    if (!Step("open adapter", node_.Call(LX_DXOPENADAPTERFROMLUID, open))) return steps_;
    CheckDevice(open.adapter_handle);
    d3dkmt_closeadapter close = {open.adapter_handle};
    Step("close adapter", node_.Call(LX_DXCLOSEADAPTER, close));
    Expect("closed adapter is refused", node_.Call(LX_DXCLOSEADAPTER, close) == -EINVAL);
    return steps_;
  }

 private:
  void Add(const char* name, const char* outcome, const std::string& detail = "") {
    Json step = {{"name", name}, {"outcome", outcome}};
    if (!detail.empty()) step["detail"] = detail;
    steps_.push_back(step);
  }

  bool Step(const char* name, int result) {
    if (result >= 0)
      Add(name, "ok");
    else if (result == -ENOTTY)
      Add(name, "not served", "not served by this node yet");
    else
      Add(name, "FAIL", ResultText(result));
    return result >= 0;
  }

  void Expect(const char* name, bool holds) {
    Add(name, holds ? "ok" : "FAIL", holds ? "" : "not what the driver does");
  }

  void CheckDevice(d3dkmthandle adapter) {
    d3dkmt_createdevice create = {};
    create.adapter = adapter;
    if (!Step("create device", node_.Call(LX_DXCREATEDEVICE, create))) return;
    if (create.device.v == 0) return Expect("device handle is not 0", false);
    d3dkmt_getdevicestate state = {};
    state.device = create.device;
    state.state_type = _D3DKMT_DEVICESTATE_EXECUTION;
    if (Step("query device state", node_.Call(LX_DXGETDEVICESTATE, state)))
      Expect("new device is active", state.execution_state == _D3DKMT_DEVICEEXECUTION_ACTIVE);
    d3dkmt_queryvideomemoryinfo memory = {};
    memory.adapter = adapter;
    Step("query video memory", node_.Call(LX_DXQUERYVIDEOMEMORYINFO, memory));
    d3dkmt_queryclockcalibration clocks = {};
    clocks.adapter = adapter;
    Step("query clocks", node_.Call(LX_DXQUERYCLOCKCALIBRATION, clocks));
    CheckContext(create.device);
    CheckAllocation(create.device);
    CheckPagingQueue(create.device);
    CheckFence(create.device);
    d3dkmt_destroydevice destroy = {create.device};
    Step("destroy device", node_.Call(LX_DXDESTROYDEVICE, destroy));
    Expect("destroyed device is refused", node_.Call(LX_DXDESTROYDEVICE, destroy) == -EINVAL);
  }

  void CheckContext(d3dkmthandle device) {
    d3dkmt_createcontextvirtual create = {};
    create.device = device;
    const int result = node_.Call(LX_DXCREATECONTEXTVIRTUAL, create);
    // The GPU drivers of real hosts want data that only their own libraries know.
    if (result == -EINVAL && node_.IsDriver())
      return Add("create context", "not checked", "the host's GPU driver wants private data");
    if (!Step("create context", result)) return;
    d3dkmt_setcontextschedulingpriority set = {create.context, -1};
    const bool was_set = Step("set priority", node_.Call(LX_DXSETCONTEXTSCHEDULINGPRIORITY, set));
    d3dkmt_getcontextschedulingpriority get = {create.context, 0};
    if (Step("get priority", node_.Call(LX_DXGETCONTEXTSCHEDULINGPRIORITY, get)) && was_set)
      Expect("priority is read back", get.priority == -1);
    d3dkmt_destroycontext destroy = {create.context};
    Step("destroy context", node_.Call(LX_DXDESTROYCONTEXT, destroy));
  }

  // Its fence is a page of the host's memory that this process sees.
  void CheckPagingQueue(d3dkmthandle device) {
    d3dkmt_createpagingqueue create = {};
    create.device = device;
    if (!Step("create paging queue", node_.Call(LX_DXCREATEPAGINGQUEUE, create))) return;
    // Safety: the node says that a fence is there.
    const auto* fence = reinterpret_cast<const volatile uint64_t*>(create.fence_cpu_virtual_address);
    Expect("its fence is there and reads 0", fence != nullptr && *fence == 0);
    d3dddi_destroypagingqueue destroy = {create.paging_queue};
    Step("destroy paging queue", node_.Call(LX_DXDESTROYPAGINGQUEUE, destroy));
  }

  // Raised by us, waited for, and once as a descriptor that poll understands.
  void CheckFence(d3dkmthandle device) {
    d3dkmt_createsynchronizationobject2 create = {};
    create.device = device;
    create.info.type = _D3DDDI_MONITORED_FENCE;
    if (!Step("create monitored fence", node_.Call(LX_DXCREATESYNCHRONIZATIONOBJECT, create))) return;
    const uint64_t value = 1;
    d3dkmt_createsyncfile file = {device, create.sync_object, value, 0};
    const bool has_file = Step("create sync file", node_.Call(LX_DXCREATESYNCFILE, file));
    const int descriptor = static_cast<int>(file.sync_file_handle);
    if (has_file) CheckSyncFile(descriptor, "sync file is not ready before its fence", false);
    d3dkmt_signalsynchronizationobjectfromcpu signal = {};
    signal.device = device;
    signal.object_count = 1;
    signal.objects = Address(&create.sync_object);
    signal.fence_values = Address(&value);
    d3dkmt_waitforsynchronizationobjectfromcpu wait = {};
    wait.device = device;
    wait.object_count = 1;
    wait.objects = signal.objects;
    wait.fence_values = signal.fence_values;
    const bool is_signalled =
        Step("signal fence", node_.Call(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMCPU, signal)) &&
        Step("wait for fence", node_.Call(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, wait));
    if (is_signalled) {
      // Safety: the node says that a fence is there.
      const auto* shown =
          reinterpret_cast<const volatile uint64_t*>(create.info.monitored_fence.fence_cpu_virtual_address);
      Expect("fence shows its value", shown != nullptr && *shown == value);
    }
    if (has_file && is_signalled) CheckSyncFile(descriptor, "sync file is ready", true);
    if (has_file) close(descriptor);
    d3dkmt_destroysynchronizationobject destroy = {create.sync_object};
    Step("destroy fence", node_.Call(LX_DXDESTROYSYNCHRONIZATIONOBJECT, destroy));
  }

  // Says which kind it is: the kernel's own, which other drivers take as well, or the node's, which is only
  // polled, merged and asked as one.
  void CheckSyncFile(int descriptor, const char* name, bool ready) {
    constexpr int kPatienceMs = 5000;
    char target[64] = {};
    const std::string link = fmt::format("/proc/self/fd/{}", descriptor);
    const bool known = readlink(link.c_str(), target, sizeof(target) - 1) > 0;
    const bool of_kernel = std::string_view(target).starts_with("anon_inode:sync_file");
    pollfd polled = {descriptor, POLLIN, 0};
    const bool is_ready = poll(&polled, 1, ready ? kPatienceMs : 0) == 1 && (polled.revents & POLLIN) != 0;
    if (!known || is_ready != ready) return Expect(name, false);
    Add(name, "ok", of_kernel ? "a sync_file of the kernel" : "a descriptor of the node");
  }

  // A page of ours as GPU memory: the one kind of allocation that needs no private data.
  void CheckAllocation(d3dkmthandle device) {
    constexpr size_t kPage = 4096;
    void* page = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    d3dkmt_createstandardallocation standard = {};
    standard.type = _D3DKMT_STANDARDALLOCATIONTYPE_EXISTINGHEAP;
    standard.existing_heap_data.size = kPage;
    d3dddi_allocationinfo2 info = {};
    info.sysmem = Address(page);
    d3dkmt_createallocation create = {};
    create.device = device;
    create.standard_allocation = Address(&standard);
    create.alloc_count = 1;
    create.allocation_info = Address(&info);
    create.flags.standard_allocation = 1;
    create.flags.existing_sysmem = 1;
    if (Step("create allocation", node_.Call(LX_DXCREATEALLOCATION, create))) {
      d3dkmt_lock2 lock = {};
      lock.device = device;
      lock.allocation = info.allocation;
      if (Step("lock allocation", node_.Call(LX_DXLOCK2, lock)))
        Expect("it is our memory", lock.data == Address(page));
      d3dkmt_destroyallocation2 destroy = {};
      destroy.device = device;
      destroy.allocations = Address(&info.allocation);
      destroy.alloc_count = 1;
      Step("destroy allocation", node_.Call(LX_DXDESTROYALLOCATION2, destroy));
    }
    munmap(page, kPage);
  }

  const Node& node_;
  winluid luid_;
  Json steps_ = Json::array();
};

bool Passed(const Json& steps) {
  return !steps.empty() &&
         std::none_of(steps.begin(), steps.end(), [](const Json& step) { return step["outcome"] == "FAIL"; });
}

// ---- For people ----

std::string Bytes(const Json& memory, const char* key) {
  if (!memory.contains(key)) return "-";
  const double bytes = memory[key].get<double>();
  if (bytes >= 1 << 30) return fmt::format("{:.1f} GiB", bytes / (1 << 30));
  if (bytes >= 1 << 20) return fmt::format("{:.1f} MiB", bytes / (1 << 20));
  return fmt::format("{:.0f} B", bytes);
}

void PrintRow(std::string_view label, std::string_view text) {
  if (!text.empty()) fmt::print("  {:<16}{}\n", label, text);
}

std::string Text(const Json& adapter, const char* key) { return adapter.value(key, std::string()); }

void PrintAdapter(const Json& adapter) {
  fmt::print("\nAdapter {}  {}\n", adapter["index"].get<size_t>(), adapter.value("name", "(no name)"));
  PrintRow("LUID", Text(adapter, "luid"));
  std::string pci = Text(adapter, "pci_address");
  if (adapter.contains("vendor_id"))
    pci += fmt::format("{}{:04x}:{:04x}", pci.empty() ? "" : "  ", adapter["vendor_id"].get<uint32_t>(),
                       adapter["device_id"].get<uint32_t>());
  PrintRow("PCI", pci);
  PrintRow("Driver", Text(adapter, "driver_version"));
  PrintRow("WDDM", Text(adapter, "wddm_version"));
  PrintRow("Type", Text(adapter, "type"));
  fmt::print("  {:<16}{:>11}{:>11}{:>11}{:>11}\n", "Memory", "size", "budget", "used", "reserved");
  for (const char* group : {"local", "non_local"}) {
    const Json& memory = adapter["memory"][group];
    fmt::print("    {:<14}{:>11}{:>11}{:>11}{:>11}\n",
               group == std::string_view("local") ? "local" : "non-local", Bytes(memory, "size_bytes"),
               Bytes(memory, "budget_bytes"), Bytes(memory, "used_bytes"), Bytes(memory, "reserved_bytes"));
  }
  const char* label = "Engines";
  for (const Json& engine : adapter["engines"]) {
    std::string text =
        fmt::format("{} {}", engine["node"].get<uint32_t>(), engine["type"].get<std::string>());
    if (!Text(engine, "name").empty()) text += fmt::format(" \"{}\"", Text(engine, "name"));
    if (engine.value("clock_max_hz", uint64_t{0}) != 0)
      text = fmt::format("{:<28}{:.0f} of {:.0f} MHz", text, engine["clock_hz"].get<double>() / 1e6,
                         engine["clock_max_hz"].get<double>() / 1e6);
    PrintRow(label, text);
    label = "";
  }
  label = "Features";
  for (const auto& [name, state] : adapter["features"].items()) {
    std::string words = name;
    std::replace(words.begin(), words.end(), '_', ' ');
    PrintRow(label, fmt::format("{}: {}", words, state.get<std::string>()));
    label = "";
  }
  if (adapter.contains("sensors")) {
    const Json& sensors = adapter["sensors"];
    PrintRow("Sensors",
             fmt::format("{:.1f} C   power {:.1f} %   fan {} rpm   memory clock {:.0f} MHz",
                         sensors["temperature_celsius"].get<double>(), sensors["power_percent"].get<double>(),
                         sensors["fan_rpm"].get<uint32_t>(), sensors["memory_clock_hz"].get<double>() / 1e6));
  }
}

void PrintCheck(const Json& check) {
  fmt::print("\nSelf-check of adapter {}\n", check["adapter"].get<size_t>());
  for (const Json& step : check["steps"]) {
    const std::string outcome = step["outcome"];
    const std::string detail = step.contains("detail") ? ": " + step["detail"].get<std::string>() : "";
    fmt::print("  {:<6}{}{}\n", outcome == "ok" || outcome == "FAIL" ? outcome : "--",
               step["name"].get<std::string>(), detail);
  }
}

void ExplainOpenFailure(const std::string& device, int error) {
  fmt::print(stderr, "dxg-info: cannot open {}: {}.\n", device, strerror(error));
  switch (error) {
    case ENOENT:
      fmt::print(stderr, "This machine has no such node.\n");
      break;
    case EBADF:
      fmt::print(
          stderr,
          "The driver is loaded, but the machine has no virtual GPU, or its host refuses this process.\n");
      break;
    case EACCES:
      fmt::print(stderr, "Its permissions do not admit this user.\n");
      break;
    case ENXIO:
    case ENOTCONN:
      fmt::print(stderr, "The process that served it has ended.\n");
      break;
    default:
      break;
  }
  fmt::print(stderr,
             "Try:\n"
             "  cuse-dxg run -- dxg-info    shows a simulated GPU, without root\n"
             "  cuse-dxg doctor             prints what this machine lacks\n");
}

int Run(int argc, char** argv) {
  std::string device = "/dev/dxg";
  bool as_json = false, check_only = false;
  CLI::App app("Shows the GPUs behind a /dev/dxg node, and checks that the node works.", "dxg-info");
  app.add_option("--device", device, "The node to use")->type_name("PATH")->capture_default_str();
  app.add_flag("--json", as_json, "Print one JSON object, for programs");
  app.add_flag("--check-only", check_only, "Print only the self-check");
  app.set_version_flag("--version", "dxg-info " DXG_VERSION);
  app.footer(
      "Exit status: 0 if the self-check passed; 1 if a step of it failed; 2 if the node cannot be used, or "
      "the\n"
      "command line is wrong.");
  if (const auto status = command_line::Parse(app, argc, argv)) return *status;

  const int fd = open(device.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ExplainOpenFailure(device, errno), kExitNoNode;
  const Node node(fd);

  Json report = {{"version", DXG_VERSION},
                 {"node", device},
                 {"kind", node.Kind()},
                 {"adapters", Json::array()},
                 {"self_checks", Json::array()}};
  std::vector<d3dkmt_adapterinfo> adapters;
  if (const int result = Enumerate(node, adapters); result != 0) {
    fmt::print(stderr, "dxg-info: {} is not a working /dev/dxg node: EnumAdapters3 returned {}.\n", device,
               ResultText(result));
    return kExitNoNode;
  }
  bool passed = !adapters.empty();
  for (size_t i = 0; i < adapters.size(); ++i) {
    report["adapters"].push_back(Describe(node, i, adapters[i]));
    Json check = {{"adapter", i}, {"steps", SelfCheck(node, adapters[i].adapter_luid).Run()}};
    passed = Passed(check["steps"]) && passed;
    report["self_checks"].push_back(check);
  }
  report["passed"] = passed;

  if (as_json) {
    if (check_only) report.erase("adapters");
    fmt::print("{}\n", report.dump(2));
    return passed ? 0 : kExitCheckFailed;
  }
  fmt::print("dxg-info {}   {}: {}\n", DXG_VERSION, device, node.Kind());
  if (adapters.empty()) fmt::print("\nThe node lists no adapter.\n");
  if (!check_only)
    for (const Json& adapter : report["adapters"]) PrintAdapter(adapter);
  for (const Json& check : report["self_checks"]) PrintCheck(check);
  return passed ? 0 : kExitCheckFailed;
}

}  // namespace
}  // namespace dxg

int main(int argc, char** argv) { return dxg::Run(argc, argv); }
