#include "hostsim/adapter/query_adapter_info.h"

#include <array>
#include <cstdio>
#include <string>

#include "hostsim/adapter/driver_model.h"
#include "hostsim/adapter/performance.h"
#include "hostsim/adapter/registry.h"
#include "hostsim/machine/call.h"
#include "hostsim/machine/commands.h"
#include "hostsim/machine/utf16.h"
#include "proto/abi/ntstatus.h"
#include "proto/abi/qaitype.h"

// Layouts: KMTQUERYADAPTERINFOTYPE and the pages of the structs it names; characters have 2 bytes.

namespace dxg::hostsim {
namespace {

constexpr size_t kPathFieldUnits = 260;

// The private data of the simulated kernel-mode driver, where the profile has none of its own.
constexpr uint32_t kUmdPrivateMagic = 0x55504753;  // "SGPU"
constexpr uint32_t kUmdPrivateVersion = 1;
constexpr size_t kUmdPrivateBytes = 32;

// -- Answers, in the order of their types.

// An opaque blob has one size; any other is a client of another driver.
//   magic@0 version@4 nodes@8 flags@12 (bit 0: hardware queues) local bytes@16 non-local bytes@24
int32_t UmdPrivate(const Adapter& adapter, Bytes data) {
  const std::string& own = adapter.profile().driver().private_data();
  if (!own.empty()) {
    if (data.size() != own.size()) return kStatusInvalidParameter;
    std::memcpy(data.data(), own.data(), own.size());
    return kStatusSuccess;
  }
  if (data.size() != kUmdPrivateBytes) return kStatusInvalidParameter;
  Put<uint32_t>(data, 0, kUmdPrivateMagic);
  Put<uint32_t>(data, 4, kUmdPrivateVersion);
  Put<uint32_t>(data, 8, adapter.nodes());
  Put<uint32_t>(data, 12, adapter.hardware_queues() ? 1 : 0);
  Put<uint64_t>(data, 16, adapter.memory().size(kLocal));
  Put<uint64_t>(data, 24, adapter.memory().size(kNonLocal));
  return kStatusSuccess;
}

int32_t UmdName(const Adapter& adapter, Bytes data) {
  const AdapterProfile::Driver& driver = adapter.profile().driver();
  const std::string* const files[] = {&driver.direct3d_9(), &driver.direct3d_10(), &driver.direct3d_11(),
                                      &driver.direct3d_12()};
  const auto version = Get<uint32_t>(data, 0);
  if (version >= std::size(files)) return kStatusInvalidParameter;
  if (files[version]->empty()) return kStatusObjectNameNotFound;
  PutUtf16(data, 4, kPathFieldUnits, adapter.DriverStorePath(*files[version]));
  return kStatusSuccess;
}

void PutSegmentSizes(const Adapter& adapter, Bytes data, size_t at) {
  const AdapterProfile::Memory& memory = adapter.profile().memory();
  Put<uint64_t>(data, at, memory.dedicated_video_bytes());
  Put<uint64_t>(data, at + 8, memory.dedicated_system_bytes());
  Put<uint64_t>(data, at + 16, memory.shared_system_bytes());
}

int32_t SegmentSize(const Adapter& adapter, Bytes data) {
  PutSegmentSizes(adapter, data, 0);
  return kStatusSuccess;
}

// A GUID's first three numbers are little-endian in memory, the rest are bytes in the order of the text.
void PutGuid(const Adapter& adapter, Bytes data) {
  unsigned a = 0, b = 0, c = 0, d[8] = {};
  std::sscanf(adapter.guid().c_str(), "{%8x-%4x-%4x-%2x%2x-%2x%2x%2x%2x%2x%2x}", &a, &b, &c, &d[0], &d[1],
              &d[2], &d[3], &d[4], &d[5], &d[6], &d[7]);
  Put<uint32_t>(data, 0, a);
  Put<uint16_t>(data, 4, static_cast<uint16_t>(b));
  Put<uint16_t>(data, 6, static_cast<uint16_t>(c));
  for (size_t i = 0; i < std::size(d); ++i) Put<uint8_t>(data, 8 + i, static_cast<uint8_t>(d[i]));
}

int32_t Guid(const Adapter& adapter, Bytes data) {
  PutGuid(adapter, data);
  return kStatusSuccess;
}

int32_t AdapterAddress(const Adapter& adapter, Bytes data) {
  const AdapterProfile::Pci& pci = adapter.profile().pci();
  Put<uint32_t>(data, 0, pci.bus());
  Put<uint32_t>(data, 4, pci.slot());
  Put<uint32_t>(data, 8, pci.function());
  return kStatusSuccess;
}

int32_t AdapterRegistryInfo(const Adapter& adapter, Bytes data) {
  const AdapterProfile::Strings& strings = adapter.profile().strings();
  PutUtf16(data, 0, kPathFieldUnits, strings.adapter());
  PutUtf16(data, 520, kPathFieldUnits, strings.bios());
  PutUtf16(data, 1040, kPathFieldUnits, strings.dac());
  PutUtf16(data, 1560, kPathFieldUnits, strings.chip());
  return kStatusSuccess;
}

// Four bytes of no.
int32_t False(const Adapter&, Bytes data) {
  Put<uint32_t>(data, 0, 0);
  return kStatusSuccess;
}

// Every driver version that a profile may have promises GPU virtual addresses.
int32_t VirtualAddressInfo(const Adapter&, Bytes data) {
  constexpr uint32_t kSupported = 1u << 0;
  Put<uint32_t>(data, 0, kSupported);
  return kStatusSuccess;
}

int32_t DriverVersion(const Adapter& adapter, Bytes data) {
  Put<uint32_t>(data, 0, adapter.profile().driver_version());
  return kStatusSuccess;
}

int32_t AdapterType(const Adapter& adapter, Bytes data) {
  constexpr uint32_t kRender = 1u << 0;
  constexpr uint32_t kHybridDiscrete = 1u << 4;
  constexpr uint32_t kHybridIntegrated = 1u << 5;
  constexpr uint32_t kParavirtualized = 1u << 7;
  constexpr uint32_t kComputeOnly = 1u << 11;
  uint32_t type = kRender | kParavirtualized;
  switch (adapter.profile().kind()) {
    case AdapterProfile::INTEGRATED:
      type |= kHybridIntegrated;
      break;
    case AdapterProfile::COMPUTE_ONLY:
      type |= kComputeOnly;
      break;
    default:
      type |= kHybridDiscrete;
      break;
  }
  Put<uint32_t>(data, 0, type);
  return kStatusSuccess;
}

int32_t Wddm12Caps(const Adapter& adapter, Bytes data) {
  constexpr uint32_t kPerEngineTdr = 1u << 2;
  const AdapterProfile::Caps& caps = adapter.profile().caps();
  Put<uint32_t>(data, 0, caps.graphics_preemption());
  Put<uint32_t>(data, 4, caps.compute_preemption());
  Put<uint32_t>(data, 8, kPerEngineTdr);
  return kStatusSuccess;
}

// "32.0.15.1000" is 0x00200000000F03E8: the first number on top.
int32_t PackedVersion(const Adapter& adapter, Bytes data) {
  unsigned part[4] = {};
  std::sscanf(adapter.profile().driver().version().c_str(), "%u.%u.%u.%u", &part[0], &part[1], &part[2],
              &part[3]);
  uint64_t version = 0;
  for (const unsigned number : part) version = version << 16 | (number & 0xFFFF);
  Put<uint64_t>(data, 0, version);
  return kStatusSuccess;
}

int32_t Wddm13Caps(const Adapter& adapter, Bytes data) {
  constexpr uint32_t kHybridIntegrated = 1u << 1;
  constexpr uint32_t kHybridDiscrete = 1u << 2;
  constexpr uint32_t kCrossAdapterResource = 1u << 5;
  uint32_t caps = 0;
  if (adapter.profile().kind() == AdapterProfile::DISCRETE) caps |= kHybridDiscrete;
  if (adapter.profile().kind() == AdapterProfile::INTEGRATED) caps |= kHybridIntegrated;
  if (adapter.profile().caps().cross_adapter_tier() != 0) caps |= kCrossAdapterResource;
  Put<uint32_t>(data, 0, caps);
  return kStatusSuccess;
}

int32_t Wddm20Caps(const Adapter&, Bytes data) {
  constexpr uint32_t k64BitAtomics = 1u << 0;
  constexpr uint32_t kGpuMmu = 1u << 1;
  constexpr uint32_t kSurpriseRemoval = 1u << 5;
  Put<uint32_t>(data, 0, k64BitAtomics | kGpuMmu | kSurpriseRemoval);
  return kStatusSuccess;
}

int32_t NodeMetadata(const Adapter& adapter, Bytes data) {
  // The progress fence of a hardware queue is written by the GPU: nobody looks into the command buffers of
  // others.
  constexpr uint32_t kContextScheduling = 1u << 0;
  constexpr uint32_t kRingBufferFenceRelease = 1u << 1;
  constexpr uint32_t kMaxInFlightShift = 16;
  constexpr size_t kNameUnits = 32;
  const auto which = Get<uint32_t>(data, 0);
  const uint32_t node = which & 0xFFFF;
  if (which >> 16 >= kPhysicalAdapters || node >= adapter.nodes()) return kStatusInvalidParameter;
  const AdapterProfile::Node& engine = adapter.profile().nodes(static_cast<int>(node));
  uint32_t flags = 0;
  if (adapter.hardware_queues()) {
    flags = kContextScheduling | kRingBufferFenceRelease |
            adapter.profile().caps().max_in_flight_buffers() << kMaxInFlightShift;
  }
  Put<uint32_t>(data, 4, static_cast<uint32_t>(engine.engine()));
  PutUtf16(data, 8, kNameUnits, engine.name());
  Put<uint32_t>(data, 72, flags);
  Put<uint8_t>(data, 76, 1);  // GpuMmuSupported
  Put<uint8_t>(data, 77, 0);  // IoMmuSupported
  return kStatusSuccess;
}

int32_t PhysicalAdapterCount(const Adapter&, Bytes data) {
  Put<uint32_t>(data, 0, kPhysicalAdapters);
  return kStatusSuccess;
}

// The first member of an indexed query.
bool ValidIndex(Bytes data) { return Get<uint32_t>(data, 0) < kPhysicalAdapters; }

int32_t DeviceIds(const Adapter& adapter, Bytes data) {
  if (!ValidIndex(data)) return kStatusInvalidParameter;
  const AdapterProfile::Pci& pci = adapter.profile().pci();
  Put<uint32_t>(data, 4, pci.vendor());
  Put<uint32_t>(data, 8, pci.device());
  Put<uint32_t>(data, 12, pci.subvendor());
  Put<uint32_t>(data, 16, pci.subsystem());
  Put<uint32_t>(data, 20, pci.revision());
  Put<uint32_t>(data, 24, pci.bus_type());
  return kStatusSuccess;
}

int32_t GpuMmuCaps(const Adapter& adapter, Bytes data) {
  if (!ValidIndex(data)) return kStatusInvalidParameter;
  const AdapterProfile::Caps& caps = adapter.profile().caps();
  Put<uint32_t>(data, 4,
                (caps.read_only_pages() ? 1u << 0 : 0) | (caps.no_execute_pages() ? 1u << 1 : 0) |
                    (caps.cache_coherent() ? 1u << 2 : 0));
  Put<uint32_t>(data, 8, caps.virtual_address_bits());
  return kStatusSuccess;
}

// Agrees with GETSEGMENTSIZE where there is dedicated memory, and with QueryVideoMemoryInfo always: an
// adapter of one pool has all of it in the local group.
int32_t SegmentGroupSize(const Adapter& adapter, Bytes data) {
  if (!ValidIndex(data)) return kStatusInvalidParameter;
  PutSegmentSizes(adapter, data, 8);
  Put<uint64_t>(data, 32, adapter.memory().size(kLocal));
  Put<uint64_t>(data, 40, adapter.memory().size(kNonLocal));
  Put<uint64_t>(data, 48, adapter.profile().memory().non_budget_bytes());
  return kStatusSuccess;
}

int32_t Registry(const Adapter& adapter, Bytes data) { return QueryRegistry(adapter, data); }

// Documented as text; clients that give no room for it expect the 16 bytes.
int32_t UniqueGuid(const Adapter& adapter, Bytes data) {
  constexpr size_t kTextUnits = 40;
  if (data.size() >= kTextUnits * sizeof(char16_t)) {
    PutUtf16(data, 0, kTextUnits, adapter.guid());
  } else {
    PutGuid(adapter, data);
  }
  return kStatusSuccess;
}

int32_t NodePerfData(const Adapter& adapter, Bytes data) {
  const auto node = Get<uint32_t>(data, 0);
  if (node >= adapter.nodes() || Get<uint32_t>(data, 4) >= kPhysicalAdapters) return kStatusInvalidParameter;
  PutNodePerfData(adapter, node, data);
  return kStatusSuccess;
}

int32_t AdapterPerfData(const Adapter& adapter, Bytes data) {
  if (!ValidIndex(data)) return kStatusInvalidParameter;
  PutAdapterPerfData(adapter, data);
  return kStatusSuccess;
}

int32_t AdapterPerfCaps(const Adapter& adapter, Bytes data) {
  if (!ValidIndex(data)) return kStatusInvalidParameter;
  PutAdapterPerfCaps(adapter, data);
  return kStatusSuccess;
}

int32_t GpuVersion(const Adapter& adapter, Bytes data) {
  if (!ValidIndex(data)) return kStatusInvalidParameter;
  PutGpuVersion(adapter, data);
  return kStatusSuccess;
}

constexpr size_t kDriverDescriptionUnits = 4096;

int32_t DriverDescription(const Adapter& adapter, Bytes data) {
  PutUtf16(data, 0, kDriverDescriptionUnits, adapter.profile().description());
  return kStatusSuccess;
}

int32_t Paravirtualization(const Adapter& adapter, Bytes data) {
  Put<uint8_t>(data, 0, adapter.profile().policy().secure() ? 1 : 0);
  return kStatusSuccess;
}

int32_t ServiceName(const Adapter& adapter, Bytes data) {
  const std::string& service = adapter.profile().driver().service();
  if (service.empty()) return kStatusObjectNameNotFound;
  const size_t units = ToUtf16(service).size() + 1;
  if (data.size() < units * sizeof(char16_t)) return kStatusInvalidParameter;
  PutUtf16(data, 0, units, service);
  return kStatusSuccess;
}

int32_t Wddm27Caps(const Adapter& adapter, Bytes data) {
  constexpr uint32_t kHwSchSupported = 1u << 0;
  constexpr uint32_t kHwSchEnabled = 1u << 1;
  constexpr uint32_t kHwSchEnabledByDefault = 1u << 2;
  uint32_t caps = 0;
  if (adapter.profile().hardware_scheduling() != AdapterProfile::OFF) caps |= kHwSchSupported;
  if (adapter.hardware_queues()) caps |= kHwSchEnabled | kHwSchEnabledByDefault;
  Put<uint32_t>(data, 0, caps);
  return kStatusSuccess;
}

int32_t TrackedWorkload(const Adapter& adapter, Bytes data) {
  if (!ValidIndex(data) || Get<uint32_t>(data, 4) >= adapter.nodes()) return kStatusInvalidParameter;
  Put<uint32_t>(data, 8, 0);
  return kStatusSuccess;
}

int32_t Wddm29Caps(const Adapter& adapter, Bytes data) {
  constexpr uint32_t kStable = 2;  // HwSchSupportState
  constexpr uint32_t kHwSchEnabled = 1u << 2;
  uint32_t caps = 0;
  if (adapter.profile().hardware_scheduling() != AdapterProfile::OFF) caps |= kStable;
  if (adapter.hardware_queues()) caps |= kHwSchEnabled;
  Put<uint32_t>(data, 0, caps);
  return kStatusSuccess;
}

int32_t CrossAdapterSupport(const Adapter& adapter, Bytes data) {
  Put<uint32_t>(data, 0, adapter.profile().caps().cross_adapter_tier());
  return kStatusSuccess;
}

// -- The table.

constexpr uint32_t kAnyDriver = 0;

constexpr QueryType Answer(uint32_t type, uint32_t bytes, decltype(QueryType::answer) answer,
                           uint32_t driver_version = kAnyDriver) {
  return {type, bytes, driver_version, kStatusSuccess, answer};
}

constexpr QueryType Refuse(uint32_t type, int32_t status = kStatusInvalidParameter) {
  return {type, 0, kAnyDriver, status, nullptr};
}

constexpr QueryType kTypes[] = {
    Answer(KMTQAITYPE_UMDRIVERPRIVATE, 1, UmdPrivate), Answer(KMTQAITYPE_UMDRIVERNAME, 524, UmdName),
    Refuse(KMTQAITYPE_UMOPENGLINFO, kStatusObjectNameNotFound),
    Answer(KMTQAITYPE_GETSEGMENTSIZE, 24, SegmentSize), Answer(KMTQAITYPE_ADAPTERGUID, 16, Guid),
    Refuse(KMTQAITYPE_FLIPQUEUEINFO), Answer(KMTQAITYPE_ADAPTERADDRESS, 12, AdapterAddress),
    Refuse(KMTQAITYPE_SETWORKINGSETINFO), Answer(KMTQAITYPE_ADAPTERREGISTRYINFO, 2080, AdapterRegistryInfo),
    Refuse(KMTQAITYPE_CURRENTDISPLAYMODE), Refuse(KMTQAITYPE_MODELIST),
    Answer(KMTQAITYPE_CHECKDRIVERUPDATESTATUS, 4, False),
    Answer(KMTQAITYPE_VIRTUALADDRESSINFO, 4, VirtualAddressInfo),
    Answer(KMTQAITYPE_DRIVERVERSION, 4, DriverVersion), Refuse(14),
    Answer(KMTQAITYPE_ADAPTERTYPE, 4, AdapterType), Refuse(KMTQAITYPE_OUTPUTDUPLCONTEXTSCOUNT),
    Answer(KMTQAITYPE_WDDM_1_2_CAPS, 12, Wddm12Caps, 1200),
    Answer(KMTQAITYPE_UMD_DRIVER_VERSION, 8, PackedVersion), Refuse(KMTQAITYPE_DIRECTFLIP_SUPPORT),
    Refuse(KMTQAITYPE_MULTIPLANEOVERLAY_SUPPORT),
    Refuse(KMTQAITYPE_DLIST_DRIVER_NAME, kStatusObjectNameNotFound),
    Answer(KMTQAITYPE_WDDM_1_3_CAPS, 4, Wddm13Caps, 1300), Refuse(KMTQAITYPE_MULTIPLANEOVERLAY_HUD_SUPPORT),
    Answer(KMTQAITYPE_WDDM_2_0_CAPS, 4, Wddm20Caps, 2000), Answer(KMTQAITYPE_NODEMETADATA, 78, NodeMetadata),
    Refuse(KMTQAITYPE_CPDRIVERNAME, kStatusObjectNameNotFound), Answer(KMTQAITYPE_XBOX, 4, False),
    Refuse(KMTQAITYPE_INDEPENDENTFLIP_SUPPORT),
    Refuse(KMTQAITYPE_MIRACASTCOMPANIONDRIVERNAME, kStatusObjectNameNotFound),
    Answer(KMTQAITYPE_PHYSICALADAPTERCOUNT, 4, PhysicalAdapterCount),
    Answer(KMTQAITYPE_PHYSICALADAPTERDEVICEIDS, 28, DeviceIds),
    Answer(KMTQAITYPE_DRIVERCAPS_EXT, 4, False),  // neither virtual modes nor USB4
    Refuse(KMTQAITYPE_QUERY_MIRACAST_DRIVER_TYPE), Answer(KMTQAITYPE_QUERY_GPUMMU_CAPS, 12, GpuMmuCaps),
    Refuse(KMTQAITYPE_QUERY_MULTIPLANEOVERLAY_DECODE_SUPPORT),
    Refuse(KMTQAITYPE_QUERY_HW_PROTECTION_TEARDOWN_COUNT),
    Refuse(KMTQAITYPE_QUERY_ISBADDRIVERFORHWPROTECTIONDISABLED),
    Refuse(KMTQAITYPE_MULTIPLANEOVERLAY_SECONDARY_SUPPORT),
    Refuse(KMTQAITYPE_INDEPENDENTFLIP_SECONDARY_SUPPORT), Refuse(KMTQAITYPE_PANELFITTER_SUPPORT),
    Refuse(KMTQAITYPE_PHYSICALADAPTERPNPKEY),  // holds addresses of the client, which never get here
    Answer(KMTQAITYPE_GETSEGMENTGROUPSIZE, 56, SegmentGroupSize), Refuse(KMTQAITYPE_MPO3DDI_SUPPORT),
    Refuse(KMTQAITYPE_HWDRM_SUPPORT), Refuse(KMTQAITYPE_MPOKERNELCAPS_SUPPORT),
    Refuse(KMTQAITYPE_MULTIPLANEOVERLAY_STRETCH_SUPPORT), Refuse(KMTQAITYPE_GET_DEVICE_VIDPN_OWNERSHIP_INFO),
    Answer(KMTQAITYPE_QUERYREGISTRY, kQueryRegistryBytes, Registry),
    Answer(KMTQAITYPE_KMD_DRIVER_VERSION, 8, PackedVersion),
    Refuse(KMTQAITYPE_BLOCKLIST_KERNEL, kStatusObjectNameNotFound),
    Refuse(KMTQAITYPE_BLOCKLIST_RUNTIME, kStatusObjectNameNotFound),
    // The same of the adapter of a pair that renders; this one is its own pair.
    Answer(KMTQAITYPE_ADAPTERGUID_RENDER, 16, Guid),
    Answer(KMTQAITYPE_ADAPTERADDRESS_RENDER, 12, AdapterAddress),
    Answer(KMTQAITYPE_ADAPTERREGISTRYINFO_RENDER, 2080, AdapterRegistryInfo),
    Answer(KMTQAITYPE_CHECKDRIVERUPDATESTATUS_RENDER, 4, False),
    Answer(KMTQAITYPE_DRIVERVERSION_RENDER, 4, DriverVersion),
    Answer(KMTQAITYPE_ADAPTERTYPE_RENDER, 4, AdapterType),
    Answer(KMTQAITYPE_WDDM_1_2_CAPS_RENDER, 12, Wddm12Caps, 1200),
    Answer(KMTQAITYPE_WDDM_1_3_CAPS_RENDER, 4, Wddm13Caps, 1300),
    Answer(KMTQAITYPE_QUERY_ADAPTER_UNIQUE_GUID, 16, UniqueGuid),
    Answer(KMTQAITYPE_NODEPERFDATA, kNodePerfDataBytes, NodePerfData),
    Answer(KMTQAITYPE_ADAPTERPERFDATA, kAdapterPerfDataBytes, AdapterPerfData),
    Answer(KMTQAITYPE_ADAPTERPERFDATA_CAPS, kAdapterPerfCapsBytes, AdapterPerfCaps),
    Answer(KMTQUITYPE_GPUVERSION, kGpuVersionBytes, GpuVersion),
    Answer(KMTQAITYPE_DRIVER_DESCRIPTION, kDriverDescriptionUnits * 2, DriverDescription),
    Answer(KMTQAITYPE_DRIVER_DESCRIPTION_RENDER, kDriverDescriptionUnits * 2, DriverDescription),
    Refuse(KMTQAITYPE_SCANOUT_CAPS), Answer(KMTQAITYPE_PARAVIRTUALIZATION_RENDER, 1, Paravirtualization),
    Answer(KMTQAITYPE_SERVICENAME, 2, ServiceName), Answer(KMTQAITYPE_WDDM_2_7_CAPS, 4, Wddm27Caps, 2700),
    Refuse(KMTQAITYPE_DISPLAY_UMDRIVERNAME), Answer(KMTQAITYPE_TRACKEDWORKLOAD_SUPPORT, 12, TrackedWorkload),
    Answer(KMTQAITYPE_HYBRID_DLIST_DLL_SUPPORT, 4, False), Refuse(KMTQAITYPE_DISPLAY_CAPS),
    Answer(KMTQAITYPE_WDDM_2_9_CAPS, 4, Wddm29Caps, 2900),
    Answer(KMTQAITYPE_CROSSADAPTERRESOURCE_SUPPORT, 4, CrossAdapterSupport),
    Answer(KMTQAITYPE_WDDM_3_0_CAPS, 4, False, 3000),  // no hardware flip queues
    Refuse(KMTQAITYPE_WSAUMDIMAGENAME), Refuse(KMTQAITYPE_VGPUINTERFACEID),
    Answer(KMTQAITYPE_WDDM_3_1_CAPS, 4, False, 3100),  // no native fences
};

constexpr bool RowsAreTheirTypes() {
  for (size_t i = 0; i < std::size(kTypes); ++i) {
    if (kTypes[i].type != i) return false;
  }
  return true;
}
static_assert(RowsAreTheirTypes());

// -- The command.

int32_t StatusOf(AdapterProfile::Refusal refusal) {
  switch (refusal) {
    case AdapterProfile::NONE:
      return kStatusSuccess;
    case AdapterProfile::OBJECT_NAME_NOT_FOUND:
      return kStatusObjectNameNotFound;
    case AdapterProfile::NOT_SUPPORTED:
      return kStatusNotSupported;
    default:
      return kStatusInvalidParameter;
  }
}

// The answer that the profile has for this process; null: none.
const AdapterProfile::Answer* TakeAnswer(const CommandContext& call, uint32_t type, const std::string& data) {
  const Adapter::Turns* turns = call.adapter->FindAnswers(type, data);
  if (!turns) return nullptr;
  const uint32_t last = static_cast<uint32_t>(turns->answers.size()) - 1;
  if (last == 0 || !call.process) return turns->answers.front();
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  uint32_t& asked = process.answers_given[{call.adapter->info().address, turns->number}];
  return turns->answers[asked < last ? asked++ : last];
}

int32_t Give(const AdapterProfile::Answer& answer, const Adapter& adapter, std::string* data) {
  if (answer.refusal() != AdapterProfile::NONE) return StatusOf(answer.refusal());
  if (data->size() < answer.data().size()) return kStatusInvalidParameter;
  data->replace(0, answer.data().size(), answer.data());
  return ApplyWrites(answer.writes(), adapter, 0, BytesOf(*data)) ? kStatusSuccess : kStatusInvalidParameter;
}

// In what way an answer is not the one of a GPU; null: it is as the profile describes the GPU.
const char* ApproximationOf(uint32_t type) {
  switch (type) {
    case KMTQAITYPE_NODEPERFDATA:
    case KMTQAITYPE_ADAPTERPERFDATA:
      return "frequency, voltage, temperature, power and fan are a model's";
    case KMTQAITYPE_TRACKEDWORKLOAD_SUPPORT:
      return "no workload is ever tracked";
    default:
      return nullptr;
  }
}

int32_t Query(const CommandContext& call, const host::QueryAdapterInfo::Request& request, std::string* data) {
  const uint32_t type = request.query_type();
  if (data->size() != request.private_data_size() || data->empty() || data->size() > kMessageBytesMax) {
    return kStatusInvalidParameter;
  }
  const Adapter& adapter = *call.adapter;
  if (const AdapterProfile::Answer* answer = TakeAnswer(call, type, *data)) {
    std::string given = *data;  // so that a refusal changes nothing
    const int32_t status = Give(*answer, adapter, &given);
    if (status == kStatusSuccess) *data = std::move(given);
    return status;
  }
  if (type >= std::size(kTypes)) return kStatusInvalidParameter;
  const QueryType& row = kTypes[type];
  if (row.refusal != kStatusSuccess) return row.refusal;
  if (adapter.profile().driver_version() < row.driver_version) return kStatusInvalidParameter;
  if (data->size() < row.bytes) return kStatusInvalidParameter;
  const int32_t status = row.answer(adapter, BytesOf(*data));
  const char* const why = ApproximationOf(type);
  if (status == kStatusSuccess && why) call.Note(FidelityKind::kApproximated, fidelity::kType, type, why);
  return status;
}

}  // namespace

std::span<const QueryType> QueryTypes() { return kTypes; }

// The data goes back whole; what an answer does not fill stays as the caller had it.
int32_t Commands::Handle(CommandContext& call, const host::QueryAdapterInfo::Request& request,
                         host::QueryAdapterInfo::Reply* reply) {
  int32_t status = call.CheckLiveAdapter();
  std::string* data = reply->mutable_private_data();
  data->assign(request.private_data());
  if (status == kStatusSuccess) {
    if (call.Strike(FaultPoint::kQueryRefused, {}, request.query_type())) {
      status = kStatusInvalidParameter;
    } else if (call.Strike(FaultPoint::kQueryNotFound, {}, request.query_type())) {
      status = kStatusObjectNameNotFound;
    } else {
      status = Query(call, request, data);
    }
  }
  return status;
}

}  // namespace dxg::hostsim
