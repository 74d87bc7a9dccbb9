#include "cuse-dxg/profile/facts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "cuse-dxg/profile/registry.h"
#include "cuse-dxg/profile/struct_bytes.h"
#include "proto/abi/qaitype.h"

// Layouts: KMTQUERYADAPTERINFOTYPE and the pages of the structs it names, as in
// hostsim/adapter/query_adapter_info.cc, whose limits of a profile's fields are kept to here. Where a value
// does not fit into its field, the answer itself goes into the profile (answers.h).

namespace dxg::profile {
namespace {

constexpr size_t kPathUnits = 259;
constexpr size_t kDescriptionUnits = 79;
constexpr size_t kVersionUnits = 31;
constexpr size_t kFileUnits = 99;
constexpr uint64_t kMemoryStep = 64 * 1024;
constexpr uint64_t kMemoryMax = 1ull << 46;
constexpr uint64_t kClockMin = 1'000'000, kClockMax = 10'000'000'000;

class Facts {
 public:
  Facts(const AdapterSeen& seen, bool has_base, Notes* notes)
      : seen_(seen), has_base_(has_base), notes_(notes) {}

  AdapterProfile Make() {
    profile_.set_luid(seen_.luid);
    Identity();
    Memory();
    Nodes();
    Pci();
    Driver();
    Caps();
    Strings();
    Performance();
    Features();
    ReadRegistry(seen_, &profile_);
    if (seen_.interface_version == 27 || seen_.interface_version == 40)
      profile_.mutable_messages()->set_interface_version(seen_.interface_version);
    return std::move(profile_);
  }

 private:
  const std::string* Find(uint32_t type, size_t bytes, const std::string& input = "") const {
    return seen_.Find(type, bytes, input);
  }
  void NotAsked(const char* what, const char* instead) {
    notes_->push_back(fmt::format("Not asked: {}. {}", what, has_base_ ? "The base says it." : instead));
  }

  void Identity() {
    const std::string* answer = Find(KMTQAITYPE_DRIVER_DESCRIPTION, 2);
    if (answer == nullptr) answer = Find(KMTQAITYPE_DRIVER_DESCRIPTION_RENDER, 2);
    std::string description;
    if (answer != nullptr) description = GetText(*answer, 0, answer->size() / 2, kDescriptionUnits);
    if (description.empty()) {
      if (const std::string* info = Find(KMTQAITYPE_ADAPTERREGISTRYINFO, 2080))
        description = GetText(*info, 0, 260, kDescriptionUnits);
    }
    if (description.empty() && !has_base_) description = "Recorded adapter";
    if (answer == nullptr)
      NotAsked("the adapter's name (DRIVER_DESCRIPTION)", "It is made up, or from elsewhere.");
    profile_.set_description(description);

    const std::string* version = Find(KMTQAITYPE_DRIVERVERSION, 4);
    if (version == nullptr) version = Find(KMTQAITYPE_DRIVERVERSION_RENDER, 4);
    if (version != nullptr) {
      constexpr uint32_t kStep = 100, kMin = 2000, kMax = 3200;
      profile_.set_driver_version(std::clamp(Get<uint32_t>(*version, 0) / kStep * kStep, kMin, kMax));
    } else {
      NotAsked("the version of the driver model (DRIVERVERSION)", "It is 3000, which is WDDM 3.0.");
    }
    Kind();
    if (const std::string* guid = Find(KMTQAITYPE_ADAPTERGUID, 16)) {
      profile_.set_guid(GuidText(*guid));
    } else if (const std::string* text = Find(KMTQAITYPE_QUERY_ADAPTER_UNIQUE_GUID, 80)) {
      profile_.set_guid(GetText(*text, 0, 38));
    }
    Scheduling();
  }

  void Kind() {
    constexpr uint32_t kHybridDiscrete = 1u << 4, kHybridIntegrated = 1u << 5;
    const std::string* type = Find(KMTQAITYPE_ADAPTERTYPE, 4);
    if (type == nullptr) type = Find(KMTQAITYPE_ADAPTERTYPE_RENDER, 4);
    const uint32_t bits = type != nullptr ? Get<uint32_t>(*type, 0) : 0;
    if (seen_.compute_only || (bits & 1u << 11) != 0) {
      profile_.set_kind(AdapterProfile::COMPUTE_ONLY);
    } else if ((bits & kHybridIntegrated) != 0 && (bits & kHybridDiscrete) == 0) {
      profile_.set_kind(AdapterProfile::INTEGRATED);
    }
    if (type == nullptr) NotAsked("whether it is discrete or integrated (ADAPTERTYPE)", "It is DISCRETE.");
  }

  static std::string GuidText(const std::string& bytes) {
    std::string text = fmt::format("{{{:08x}-{:04x}-{:04x}-", Get<uint32_t>(bytes, 0),
                                   Get<uint16_t>(bytes, 4), Get<uint16_t>(bytes, 6));
    for (size_t i = 8; i < 16; ++i) {
      if (i == 10) text += '-';
      text += fmt::format("{:02x}", Get<uint8_t>(bytes, i));
    }
    return text + "}";
  }

  void Scheduling() {
    constexpr uint32_t kHwSchDriverVersion = 2700;
    const std::string* const caps = Find(KMTQAITYPE_WDDM_2_7_CAPS, 4);
    if (caps == nullptr && seen_.has_hw_queues) profile_.set_hardware_scheduling(AdapterProfile::ENABLED);
    if (caps == nullptr)
      return NotAsked("hardware scheduling (WDDM_2_7_CAPS)",
                      "It is on where a hardware queue was made, else OFF.");
    const uint32_t bits = Get<uint32_t>(*caps, 0);
    if (profile_.has_driver_version() && profile_.driver_version() < kHwSchDriverVersion) return;
    if ((bits & 2) != 0) {
      profile_.set_hardware_scheduling(AdapterProfile::ENABLED);
    } else if ((bits & 1) != 0) {
      profile_.set_hardware_scheduling(AdapterProfile::SUPPORTED);
    }
  }

  static uint64_t Whole(uint64_t bytes) { return std::min(bytes, kMemoryMax) / kMemoryStep * kMemoryStep; }

  void Memory() {
    AdapterProfile::Memory* const memory = profile_.mutable_memory();
    const std::string* const groups = Find(KMTQAITYPE_GETSEGMENTGROUPSIZE, 56);
    const std::string* sizes = Find(KMTQAITYPE_GETSEGMENTSIZE, 24);
    // Where the two do not agree, one of them is not what programs go by.
    const auto any = [](const std::string* answer, size_t at) {
      return answer != nullptr && answer->find_first_not_of('\0', at) < at + 24;
    };
    const size_t at = any(groups, 8) || sizes == nullptr ? 8 : 0;
    if (at == 8) sizes = groups;
    if (sizes != nullptr) {
      memory->set_dedicated_video_bytes(Whole(Get<uint64_t>(*sizes, at)));
      if (memory->dedicated_video_bytes() == 0)
        memory->set_dedicated_system_bytes(Whole(Get<uint64_t>(*sizes, at + 8)));
      memory->set_shared_system_bytes(Whole(Get<uint64_t>(*sizes, at + 16)));
    } else {
      if (!has_base_) {
        memory->set_dedicated_video_bytes(Whole(seen_.budget_bytes[0].value_or(0)));
        memory->set_shared_system_bytes(Whole(seen_.budget_bytes[1].value_or(0)));
      }
      NotAsked("how much memory there is (GETSEGMENTGROUPSIZE)",
               "It is what QueryVideoMemoryInfo told, or 8 GiB.");
    }
    if (groups != nullptr) memory->set_non_budget_bytes(Whole(Get<uint64_t>(*groups, 48)));
    const bool none = memory->dedicated_video_bytes() == 0 && memory->dedicated_system_bytes() == 0 &&
                      memory->shared_system_bytes() == 0;
    if (none && !has_base_) memory->set_shared_system_bytes(8ull << 30);
    if (sizes != nullptr) Budget(memory);
  }

  // The percentage of which the budget is, as the simulator divides; of a process that shared it: more.
  void Budget(AdapterProfile::Memory* memory) {
    const bool one_pool = memory->dedicated_video_bytes() == 0;
    const uint64_t local = one_pool ? memory->dedicated_system_bytes() + memory->shared_system_bytes()
                                    : memory->dedicated_video_bytes();
    const uint64_t budget = seen_.budget_bytes[0].value_or(0);
    if (local == 0 || budget == 0)
      return NotAsked("the budget of a process (QueryVideoMemoryInfo)", "It is 90 percent.");
    uint32_t best = 1;
    const auto usable = [local](uint32_t percent) { return percent == 100 ? local : local / 100 * percent; };
    const auto off = [&](uint32_t percent) {
      return usable(percent) > budget ? usable(percent) - budget : budget - usable(percent);
    };
    for (uint32_t percent = 2; percent <= 100; ++percent) {
      if (off(percent) < off(best)) best = percent;
    }
    memory->set_budget_percent(best);
  }

  void Nodes() {
    for (uint32_t i = 0; i < AdapterSeen::kNodesMax; ++i) {
      std::string input(4, '\0');
      Put<uint32_t>(&input, 0, i);
      const std::string* const metadata = Find(KMTQAITYPE_NODEMETADATA, 78, input);
      if (metadata == nullptr) break;
      AdapterProfile::Node* const node = profile_.add_nodes();
      const uint32_t engine = Get<uint32_t>(*metadata, 4);
      node->set_engine(AdapterProfile::Engine_IsValid(static_cast<int>(engine))
                           ? static_cast<AdapterProfile::Engine>(engine)
                           : AdapterProfile::OTHER);
      if (node->engine() == AdapterProfile::OTHER) {
        node->set_name(GetText(*metadata, 8, 32, 31));
        if (node->name().empty()) node->set_name(fmt::format("Engine {}", i));
      }
      const uint32_t flags = Get<uint32_t>(*metadata, 72);
      if ((flags & 1) != 0) profile_.mutable_caps()->set_max_in_flight_buffers(flags >> 16);
      if (const std::string* const perf = Find(KMTQAITYPE_NODEPERFDATA, 56, input)) {
        const uint64_t most = Get<uint64_t>(*perf, 16);
        if (most >= kClockMin && most <= kClockMax) node->set_frequency_hz(most);
        if (Get<uint32_t>(*perf, 36) != 0 && Get<uint32_t>(*perf, 36) <= 100'000)
          profile_.mutable_performance()->set_voltage_mv(Get<uint32_t>(*perf, 36));
      }
    }
    if (profile_.nodes().empty()) {
      NotAsked("the engines (NODEMETADATA)", "There is one, 3D, and others where programs used them.");
      if (!has_base_) profile_.add_nodes()->set_engine(AdapterProfile::ENGINE_3D);
      for (uint32_t i = 1; i < seen_.nodes_used && !has_base_; ++i) {
        profile_.add_nodes()->set_engine(AdapterProfile::OTHER);
        profile_.mutable_nodes()->rbegin()->set_name(fmt::format("Engine {}", i));
      }
    }
    for (int i = 0; i < profile_.nodes_size(); ++i) {
      const auto clock = seen_.clock_hz.find(static_cast<uint32_t>(i));
      if (clock != seen_.clock_hz.end() && clock->second >= kClockMin && clock->second <= kClockMax)
        profile_.mutable_nodes(i)->set_clock_hz(clock->second);
    }
    if (seen_.clock_hz.empty())
      NotAsked("the clocks of the engines (QueryClockCalibration)", "They have 1 GHz.");
  }

  void Pci() {
    AdapterProfile::Pci* const pci = profile_.mutable_pci();
    if (const std::string* const ids = Find(KMTQAITYPE_PHYSICALADAPTERDEVICEIDS, 28)) {
      pci->set_vendor(Get<uint32_t>(*ids, 4));
      pci->set_device(Get<uint32_t>(*ids, 8));
      pci->set_subvendor(Get<uint32_t>(*ids, 12));
      pci->set_subsystem(Get<uint32_t>(*ids, 16));
      pci->set_revision(std::min<uint32_t>(Get<uint32_t>(*ids, 20), 0xff));
      pci->set_bus_type(std::min<uint32_t>(Get<uint32_t>(*ids, 24), 0xff));
    } else {
      NotAsked("the PCI ids (PHYSICALADAPTERDEVICEIDS)", "They are Microsoft's 1414:0088.");
    }
    if (const std::string* const address = Find(KMTQAITYPE_ADAPTERADDRESS, 12)) {
      pci->set_bus(std::min<uint32_t>(Get<uint32_t>(*address, 0), 0xff));
      pci->set_slot(std::min<uint32_t>(Get<uint32_t>(*address, 4), 31));
      pci->set_function(std::min<uint32_t>(Get<uint32_t>(*address, 8), 7));
    }
  }

  // "...\FileRepository\FOLDER\FILE"; the folder goes into the profile.
  std::string File(const std::string& path) {
    const size_t slash = path.rfind('\\');
    if (slash == std::string::npos || slash == 0) return {};
    const size_t before = path.rfind('\\', slash - 1);
    const std::string folder = path.substr(before + 1, slash - before - 1);
    std::string file = path.substr(slash + 1);
    if (before == std::string::npos || folder.empty() || folder.size() > kFileUnits ||
        file.size() > kFileUnits || file.find_first_of("/:") != std::string::npos ||
        folder.find_first_of("/:") != std::string::npos)
      return {};
    profile_.mutable_driver()->set_store_directory(folder);
    return file;
  }

  void Driver() {
    AdapterProfile::Driver* const driver = profile_.mutable_driver();
    bool asked = false;
    for (uint32_t interface = 0; interface < 4; ++interface) {
      std::string input(4, '\0');
      Put<uint32_t>(&input, 0, interface);
      const std::string* const name = Find(KMTQAITYPE_UMDRIVERNAME, 524, input);
      asked |= name != nullptr;
      if (name == nullptr) continue;
      const std::string file = File(GetText(*name, 4, 260));
      if (interface == 0) driver->set_direct3d_9(file);
      if (interface == 1) driver->set_direct3d_10(file);
      if (interface == 2) driver->set_direct3d_11(file);
      if (interface == 3) driver->set_direct3d_12(file);
    }
    if (const std::string path = RegistryPath(seen_, kDriverImagePath); !path.empty()) {
      if (const std::string file = File(path); !file.empty()) driver->set_kernel_file(file);
    }
    if (const std::string path = RegistryPath(seen_, kDriverStorePath); !path.empty()) {
      File(path + "\\-");
      asked = true;
    }
    if (!asked) NotAsked("the driver's folder and files (UMDRIVERNAME)", "They are the simulator's.");
    const std::string* version = Find(KMTQAITYPE_UMD_DRIVER_VERSION, 8);
    if (version == nullptr) version = Find(KMTQAITYPE_KMD_DRIVER_VERSION, 8);
    if (version != nullptr) {
      const auto packed = Get<uint64_t>(*version, 0);
      driver->set_version(fmt::format("{}.{}.{}.{}", packed >> 48, packed >> 32 & 0xffff,
                                      packed >> 16 & 0xffff, packed & 0xffff));
    } else {
      NotAsked("the driver's version (UMD_DRIVER_VERSION)", "It is the simulator's.");
    }
    if (const std::string* const service = Find(KMTQAITYPE_SERVICENAME, 2))
      driver->set_service(GetText(*service, 0, service->size() / 2, kPathUnits));
  }

  void Caps() {
    AdapterProfile::Caps* const caps = profile_.mutable_caps();
    const auto level = [](uint32_t value) { return std::min(value / 100 * 100, 500u); };
    if (const std::string* const wddm = Find(KMTQAITYPE_WDDM_1_2_CAPS, 12)) {
      caps->set_graphics_preemption(level(Get<uint32_t>(*wddm, 0)));
      caps->set_compute_preemption(level(Get<uint32_t>(*wddm, 4)));
    }
    if (const std::string* const mmu = Find(KMTQAITYPE_QUERY_GPUMMU_CAPS, 12)) {
      const auto bits = Get<uint32_t>(*mmu, 4);
      caps->set_read_only_pages((bits & 1) != 0);
      caps->set_no_execute_pages((bits & 2) != 0);
      caps->set_cache_coherent((bits & 4) != 0);
      caps->set_virtual_address_bits(std::clamp<uint32_t>(Get<uint32_t>(*mmu, 8), 32, 57));
    } else {
      NotAsked("the GPU's addresses (QUERY_GPUMMU_CAPS)", "They have 48 bits.");
    }
    if (const std::string* const tier = Find(KMTQAITYPE_CROSSADAPTERRESOURCE_SUPPORT, 4))
      caps->set_cross_adapter_tier(std::min<uint32_t>(Get<uint32_t>(*tier, 0), 3));
  }

  void Strings() {
    AdapterProfile::Strings* const strings = profile_.mutable_strings();
    if (const std::string* const info = Find(KMTQAITYPE_ADAPTERREGISTRYINFO, 2080)) {
      strings->set_adapter(GetText(*info, 0, 260, kPathUnits));
      strings->set_bios(GetText(*info, 520, 260, kVersionUnits));
      strings->set_dac(GetText(*info, 1040, 260, kPathUnits));
      strings->set_chip(GetText(*info, 1560, 260, kPathUnits));
    }
    if (const std::string* const version = Find(KMTQUITYPE_GPUVERSION, 132)) {
      if (!strings->has_bios()) strings->set_bios(GetText(*version, 4, 32, kVersionUnits));
      strings->set_architecture(GetText(*version, 68, 32, kVersionUnits));
    }
  }

  void Performance() {
    AdapterProfile::Performance* const performance = profile_.mutable_performance();
    constexpr uint64_t kBytesPerSecondMax = 1ull << 50;
    if (const std::string* const data = Find(KMTQAITYPE_ADAPTERPERFDATA, 64)) {
      if (const auto most = Get<uint64_t>(*data, 16); most <= 100 * kClockMax)
        performance->set_memory_frequency_hz(most);
    }
    if (const std::string* const caps = Find(KMTQAITYPE_ADAPTERPERFDATA_CAPS, 40)) {
      performance->set_memory_bytes_per_second(std::min(Get<uint64_t>(*caps, 8), kBytesPerSecondMax));
      performance->set_pcie_bytes_per_second(std::min(Get<uint64_t>(*caps, 16), kBytesPerSecondMax));
      performance->set_fan_rpm(std::min(Get<uint32_t>(*caps, 24), 100'000u));
      const uint32_t most = std::min(Get<uint32_t>(*caps, 28), 5000u);
      performance->set_temperature_max_decicelsius(most);
      performance->set_temperature_warning_decicelsius(std::min(Get<uint32_t>(*caps, 32), most));
    } else if (const std::string* const now = Find(KMTQAITYPE_ADAPTERPERFDATA, 64)) {
      Moment(*now, performance);
    }
  }

  // Only what it was at one moment is known. An idle GPU of the simulator shows that part of the ends.
  void Moment(const std::string& now, AdapterProfile::Performance* performance) {
    constexpr uint32_t kIdleFan = 30, kIdleTemperature = 50;
    const uint32_t fan = std::min(Get<uint32_t>(now, 48), 30'000u);
    const uint32_t temperature = std::min(Get<uint32_t>(now, 56), 2400u);
    performance->set_fan_rpm((fan * 100 + kIdleFan - 1) / kIdleFan);
    performance->set_temperature_warning_decicelsius((temperature * 100 + kIdleTemperature - 1) /
                                                     kIdleTemperature);
    performance->set_temperature_max_decicelsius(performance->temperature_warning_decicelsius() + 100);
    notes_->push_back(
        "Not asked: the ends of fan and temperature (ADAPTERPERFDATA_CAPS). They are such that an "
        "idle GPU shows what was recorded.");
  }

  void Features() {
    for (const auto& [id, feature] : seen_.features) {
      constexpr uint32_t kEnabled = 1, kSupportedByDriver = 4;
      if (id == 0 || feature.version > 0xffff || (feature.value & (kEnabled | kSupportedByDriver)) == 0)
        continue;
      AdapterProfile::Feature* const own = profile_.add_features();
      own->set_id(id);
      own->set_version(feature.version);
      own->set_enabled((feature.value & kEnabled) != 0);
      own->set_supported_by_driver((feature.value & kSupportedByDriver) != 0);
    }
    if (seen_.features.empty() && seen_.features_refused)
      profile_.mutable_policy()->set_refuse_feature_queries(true);
  }

  const AdapterSeen& seen_;
  const bool has_base_;
  Notes* const notes_;
  AdapterProfile profile_;
};

}  // namespace

AdapterProfile FactsOf(const AdapterSeen& seen, bool has_base, Notes* notes) {
  return Facts(seen, has_base, notes).Make();
}

}  // namespace dxg::profile
