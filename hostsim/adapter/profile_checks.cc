#include "hostsim/adapter/profile_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <set>
#include <sstream>

#include "hostsim/adapter/adapter.h"
#include "hostsim/adapter/driver_model_checks.h"
#include "hostsim/adapter/profile_place.h"
#include "hostsim/machine/faults.h"
#include "hostsim/machine/utf16.h"
#include "hostsim/memory/private_data.h"
#include "proto/abi/interface.h"

namespace dxg::hostsim {
namespace {

// -- Limits. Those of strings are the sizes of the fields that they go to, without the NUL.

constexpr uint32_t kDriverVersionMin = 2000;
constexpr uint32_t kDriverVersionMax = 3200;
constexpr uint32_t kDriverVersionStep = 100;
constexpr uint32_t kHwSchDriverVersion = 2700;
constexpr uint64_t kMemoryAlignment = 64 * 1024;
constexpr uint64_t kMemoryMax = 1ull << 46;  // 64 TiB
constexpr int kNodesMax = 64;
constexpr uint64_t kClockHzMin = 1'000'000;
constexpr uint64_t kClockHzMax = 10'000'000'000;
constexpr size_t kNameMax = 64;
constexpr size_t kDescriptionUnits = 79;
constexpr size_t kNodeNameUnits = 31;
constexpr size_t kPathUnits = 259;
constexpr size_t kPathPrefixUnits = 60;  // of DriverStorePath, and the file's separator
constexpr size_t kVersionUnits = 31;
constexpr size_t kRegistryBytesMax = 64 * 1024;
constexpr size_t kAnswerBytesMax = kMessageBytesMax;
constexpr size_t kAnswerInputMax = 64;
constexpr int kAnswersMax = 256;
constexpr int kFaultsMax = 32;

void CheckIdentity(const AdapterProfile& profile, const Place& place) {
  place.Required("name", profile.name());
  place.Length("name", profile.name(), kNameMax);
  const bool plain = std::all_of(profile.name().begin(), profile.name().end(), [](unsigned char c) {
    return std::islower(c) || std::isdigit(c) || c == '-' || c == '_';
  });
  if (!plain) {
    place.Complain("name",
                   fmt::format("'{}' has other characters than a-z 0-9 - _; rename it", profile.name()));
  }
  place.Required("description", profile.description());
  place.Length("description", profile.description(), kDescriptionUnits);
  place.Range("driver_version", profile.driver_version(), kDriverVersionMin, kDriverVersionMax);
  if (profile.driver_version() % kDriverVersionStep != 0) {
    place.Complain("driver_version",
                   fmt::format("{} is no WDDM version times 1000; give 2000, 2700, 3000 and such",
                               profile.driver_version()));
  }
  if (profile.hardware_scheduling() != AdapterProfile::OFF &&
      profile.driver_version() < kHwSchDriverVersion) {
    place.Complain("hardware_scheduling",
                   fmt::format("needs driver_version {} or more, not {}; raise that or give OFF",
                               kHwSchDriverVersion, profile.driver_version()));
  }
  if (profile.has_guid()) {
    const std::string shape = "{xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}";
    bool valid = profile.guid().size() == shape.size();
    for (size_t i = 0; valid && i < shape.size(); ++i) {
      const char c = profile.guid()[i];
      valid = shape[i] == 'x' ? std::isxdigit(static_cast<unsigned char>(c)) != 0 : c == shape[i];
    }
    if (!valid) place.Complain("guid", fmt::format("'{}' is no GUID; write it as {}", profile.guid(), shape));
  }
}

void CheckMemory(const AdapterProfile& profile, const Place& place) {
  const AdapterProfile::Memory& memory = profile.memory();
  const std::pair<const char*, uint64_t> sizes[] = {
      {"dedicated_video_bytes", memory.dedicated_video_bytes()},
      {"dedicated_system_bytes", memory.dedicated_system_bytes()},
      {"shared_system_bytes", memory.shared_system_bytes()},
      {"non_budget_bytes", memory.non_budget_bytes()}};
  for (const auto& [field, bytes] : sizes) {
    place.Range(field, bytes, 0, kMemoryMax);
    if (bytes % kMemoryAlignment != 0) {
      place.Complain(field, fmt::format("{} is no multiple of {}; round it", bytes, kMemoryAlignment));
    }
  }
  if (memory.dedicated_video_bytes() == 0 && memory.dedicated_system_bytes() == 0 &&
      memory.shared_system_bytes() == 0) {
    place.Complain("dedicated_video_bytes", "the adapter has no memory; give it dedicated or shared memory");
  }
  if (memory.dedicated_video_bytes() != 0 && memory.dedicated_system_bytes() != 0) {
    place.Complain("dedicated_system_bytes", "does not go with dedicated_video_bytes; leave one of them out");
  }
  place.Range("budget_percent", memory.budget_percent(), 1, 100);
  place.Range("unknown_allocation_bytes", memory.unknown_allocation_bytes(), 0, kAllocationBytesMax);
}

void CheckNodes(const AdapterProfile& profile, const Place& profile_place) {
  if (profile.nodes().empty() || profile.nodes_size() > kNodesMax) {
    profile_place.Complain("nodes",
                           fmt::format("{} are given; give 1 to {}", profile.nodes_size(), kNodesMax));
  }
  for (int i = 0; i < profile.nodes_size(); ++i) {
    const AdapterProfile::Node& node = profile.nodes(i);
    const Place place = profile_place.Nested("nodes", i);
    const bool other = node.engine() == AdapterProfile::OTHER;
    if (other && node.name().empty()) place.Complain("name", "is missing; an engine of kind OTHER needs one");
    if (!other && !node.name().empty())
      place.Complain("name", "only an engine of kind OTHER has one; leave it out");
    place.Length("name", node.name(), kNodeNameUnits);
    place.Range("clock_hz", node.clock_hz(), kClockHzMin, kClockHzMax);
    place.Range("frequency_hz", node.frequency_hz(), kClockHzMin, kClockHzMax);
    if (node.execution_units() == AdapterProfile::GEN12LP && node.commands() != AdapterProfile::INTEL_GEN12)
      place.Complain("execution_units", "GEN12LP goes with commands INTEL_GEN12; set those, or leave it out");
  }
}

void CheckPci(const AdapterProfile::Pci& pci, const Place& place) {
  place.Range("revision", pci.revision(), 0, 0xFF);
  place.Range("bus_type", pci.bus_type(), 0, 0xFF);
  place.Range("bus", pci.bus(), 0, 0xFF);
  place.Range("slot", pci.slot(), 0, 31);
  place.Range("function", pci.function(), 0, 7);
}

bool IsVersion(const std::string& text) {
  std::istringstream in(text);
  std::string part;
  int parts = 0;
  while (std::getline(in, part, '.')) {
    const bool digits =
        !part.empty() && part.size() <= 5 &&
        std::all_of(part.begin(), part.end(), [](unsigned char c) { return std::isdigit(c); });
    if (!digits || std::stoul(part) > 0xFFFF) return false;
    ++parts;
  }
  return parts == 4 && text.back() != '.';
}

void CheckDriver(const AdapterProfile::Driver& driver, const Place& place) {
  constexpr size_t kNameUnits = (kPathUnits - kPathPrefixUnits) / 2;  // for the folder and for a file in it
  place.Required("store_directory", driver.store_directory());
  place.Required("kernel_file", driver.kernel_file());
  place.FileName("store_directory", driver.store_directory(), kNameUnits);
  place.FileName("kernel_file", driver.kernel_file(), kNameUnits);
  place.FileName("direct3d_9", driver.direct3d_9(), kNameUnits);
  place.FileName("direct3d_10", driver.direct3d_10(), kNameUnits);
  place.FileName("direct3d_11", driver.direct3d_11(), kNameUnits);
  place.FileName("direct3d_12", driver.direct3d_12(), kNameUnits);
  place.Length("service", driver.service(), kPathUnits);
  if (!IsVersion(driver.version())) {
    place.Complain("version",
                   fmt::format("'{}' is no version; give four numbers up to 65535, as in 32.0.15.1000",
                               driver.version()));
  }
  place.Range("private_data", driver.private_data().size(), 0, kAnswerBytesMax);
}

void CheckCaps(const AdapterProfile::Caps& caps, const Place& place) {
  auto preemption = [&](const char* field, uint32_t value) {
    place.Range(field, value, 0, 500);
    if (value % 100 != 0)
      place.Complain(field, fmt::format("{} is no level; give 0, 100, 200, 300, 400 or 500", value));
  };
  preemption("graphics_preemption", caps.graphics_preemption());
  preemption("compute_preemption", caps.compute_preemption());
  place.Range("virtual_address_bits", caps.virtual_address_bits(), 32, 57);
  place.Range("cross_adapter_tier", caps.cross_adapter_tier(), 0, 3);
  place.Range("max_in_flight_buffers", caps.max_in_flight_buffers(), 0, 0xFFFF);
}

void CheckStrings(const AdapterProfile::Strings& strings, const Place& place) {
  place.Length("adapter", strings.adapter(), kPathUnits);
  place.Length("bios", strings.bios(), kVersionUnits);
  place.Length("dac", strings.dac(), kPathUnits);
  place.Length("chip", strings.chip(), kPathUnits);
  place.Length("architecture", strings.architecture(), kVersionUnits);
}

void CheckPerformance(const AdapterProfile::Performance& performance, const Place& place) {
  constexpr uint64_t kBytesPerSecondMax = 1ull << 50;
  place.Range("memory_frequency_hz", performance.memory_frequency_hz(), 0, 100 * kClockHzMax);
  place.Range("memory_bytes_per_second", performance.memory_bytes_per_second(), 0, kBytesPerSecondMax);
  place.Range("pcie_bytes_per_second", performance.pcie_bytes_per_second(), 0, kBytesPerSecondMax);
  place.Range("fan_rpm", performance.fan_rpm(), 0, 100'000);
  place.Range("temperature_max_decicelsius", performance.temperature_max_decicelsius(), 0, 5000);
  place.Range("temperature_warning_decicelsius", performance.temperature_warning_decicelsius(), 0,
              performance.temperature_max_decicelsius());
  place.Range("voltage_mv", performance.voltage_mv(), 0, 100'000);
}

void CheckRegistry(const AdapterProfile& profile, const Place& profile_place) {
  std::set<std::pair<int, std::string>> names;
  for (int i = 0; i < profile.registry_size(); ++i) {
    const AdapterProfile::RegistryValue& value = profile.registry(i);
    const Place place = profile_place.Nested("registry", i);
    place.Required("name", value.name());
    place.Length("name", value.name(), kPathUnits);
    std::string folded = value.name();
    std::transform(folded.begin(), folded.end(), folded.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    if (!names.emplace(value.key(), folded).second) {
      place.Complain("name", fmt::format("'{}' is already in this key; leave one of them out", value.name()));
    }
    if (value.value_case() == AdapterProfile::RegistryValue::VALUE_NOT_SET) {
      place.Complain("name",
                     fmt::format("'{}' has no value; give text, number, binary or such", value.name()));
    }
    if (value.ByteSizeLong() > kRegistryBytesMax) {
      place.Complain("name", fmt::format("'{}' has {} bytes; shorten it below {}", value.name(),
                                         value.ByteSizeLong(), kRegistryBytesMax));
    }
  }
}

void CheckFeatures(const AdapterProfile& profile, const Place& profile_place) {
  std::set<uint32_t> ids;
  for (int i = 0; i < profile.features_size(); ++i) {
    const AdapterProfile::Feature& feature = profile.features(i);
    const Place place = profile_place.Nested("features", i);
    if (feature.id() == 0) place.Complain("id", "0 follows hardware_scheduling; change that instead");
    if (!ids.insert(feature.id()).second) {
      place.Complain("id", fmt::format("{} is given twice; leave one of them out", feature.id()));
    }
    place.Range("version", feature.version(), 0, 0xFFFF);
  }
}

void CheckAnswers(const AdapterProfile& profile, const Place& profile_place) {
  if (profile.answers_size() > kAnswersMax) {
    profile_place.Complain(
        "answers", fmt::format("{} are too many; give at most {}", profile.answers_size(), kAnswersMax));
  }
  for (int i = 0; i < profile.answers_size(); ++i) {
    const AdapterProfile::Answer& answer = profile.answers(i);
    const Place place = profile_place.Nested("answers", i);
    place.Range("type", answer.type(), 0, Adapter::kAnswerTypes - 1);
    if (answer.input().size() > kAnswerInputMax) {
      place.Complain("input", fmt::format("{} bytes are too many; keep the {} that tell queries apart",
                                          answer.input().size(), kAnswerInputMax));
    }
    if (answer.data().size() > kAnswerBytesMax) {
      place.Complain("data", fmt::format("{} bytes are too many; no answer is longer than {}",
                                         answer.data().size(), kAnswerBytesMax));
    }
    // A file that is still named could not be read, which has been said.
    const bool answers = !answer.data().empty() || answer.writes_size() != 0 || !answer.data_file().empty();
    if (answers == (answer.refusal() != AdapterProfile::NONE)) {
      place.Complain("data", "exactly one of data (or writes) and refusal is needed; give one");
    }
    place.Range("bytes", answer.bytes(), 0, kAnswerBytesMax);
    const uint64_t room = answer.has_bytes() ? answer.bytes() : kAnswerBytesMax;
    if (answer.has_bytes() && std::max(answer.data().size(), answer.input().size()) > room) {
      place.Complain(
          "bytes",
          fmt::format("{} bytes have no room for data or input; raise it or shorten those", answer.bytes()));
    }
    CheckWrites(answer.writes(), room, false, place);
  }
}

void CheckMessages(const AdapterProfile::Messages& messages, const Place& place) {
  if (messages.interface_version() != kInterfaceVersionOldest &&
      messages.interface_version() != kInterfaceVersionNewest) {
    place.Complain("interface_version", fmt::format("{} is no version that hosts speak; give {} or {}",
                                                    messages.interface_version(), kInterfaceVersionOldest,
                                                    kInterfaceVersionNewest));
  }
}

void CheckPaging(const AdapterProfile::Paging& paging, const Place& place) {
  constexpr uint64_t kBytesPerSecondMax = 1ull << 50;
  constexpr uint64_t kOperationNsMax = 60'000'000'000;
  place.Range("bytes_per_second", paging.bytes_per_second(), 1, kBytesPerSecondMax);
  place.Range("operation_ns", paging.operation_ns(), 0, kOperationNsMax);
  if (paging.immediate() && paging.stalled()) {
    place.Complain("stalled", "does not go with immediate; leave one of them out");
  }
}

void CheckEngines(const AdapterProfile::Engines& engines, const Place& place) {
  constexpr uint64_t kCommandNsMax = 60'000'000'000;
  constexpr uint64_t kInstructionsMax = 1ull << 48;
  constexpr uint32_t kTimeoutMsMax = 3'600'000, kTdrLimitCountMax = 1000, kTdrLimitSecondsMax = 86'400;
  place.Range("command_ns", engines.command_ns(), 0, kCommandNsMax);
  place.Range("jitter_ns", engines.jitter_ns(), 0, kCommandNsMax);
  place.Range("timeout_ms", engines.timeout_ms(), 1, kTimeoutMsMax);
  place.Range("tdr_limit_count", engines.tdr_limit_count(), 0, kTdrLimitCountMax);
  place.Range("tdr_limit_seconds", engines.tdr_limit_seconds(), 1, kTdrLimitSecondsMax);
  place.Range("dispatch_instructions_max", engines.dispatch_instructions_max(), 1, kInstructionsMax);
}

void CheckTrouble(const AdapterProfile& profile, const Place& place) {
  const AdapterProfile::Trouble& trouble = profile.trouble();
  place.Range("lose_video_bytes", trouble.lose_video_bytes(), 0, profile.memory().dedicated_video_bytes());
  if (trouble.discard_offered() && trouble.keep_offered()) {
    place.Complain("keep_offered", "does not go with discard_offered; leave one of them out");
  }
}

void CheckFaults(const AdapterProfile& profile, const Place& profile_place) {
  if (profile.faults_size() > kFaultsMax) {
    profile_place.Complain(
        "faults", fmt::format("{} rules are too many; give at most {}", profile.faults_size(), kFaultsMax));
  }
  for (int i = 0; i < profile.faults_size(); ++i) {
    const FaultRule& rule = profile.faults(i);
    const Place place = profile_place.Nested("faults", i);
    if (const auto complaint = CheckFaultRule(rule)) place.Complain(complaint->field, complaint->what);
    if (rule.node() >= static_cast<uint32_t>(std::max(profile.nodes_size(), 1)))
      place.Complain(
          "node", fmt::format("there is no engine {}; give 0 to {}", rule.node(), profile.nodes_size() - 1));
    if (rule.has_adapter()) place.Complain("adapter", "a profile's faults are for its adapter; leave it out");
  }
}

}  // namespace

void ProfileComplaints::Add(int line, const std::string& what) {
  const std::string complaint =
      line > 0 ? fmt::format("{}:{}: {}", source, line, what) : fmt::format("{}: {}", source, what);
  // Of several adapters with one fault in common, one is enough.
  if (('\n' + text + '\n').find('\n' + complaint + '\n') != std::string::npos) return;
  if (!text.empty()) text += '\n';
  text += complaint;
}

#define DXG_DEFAULT(message, field, value) \
  if (!(message)->has_##field()) (message)->set_##field(value)

void FillProfileDefaults(AdapterProfile* profile) {
  DXG_DEFAULT(profile, driver_version, 3000);
  DXG_DEFAULT(profile->mutable_memory(), budget_percent, 90);
  for (AdapterProfile::Node& node : *profile->mutable_nodes()) {
    DXG_DEFAULT(&node, clock_hz, 1'000'000'000);
    DXG_DEFAULT(&node, frequency_hz, 1'500'000'000);
  }
  AdapterProfile::Pci* pci = profile->mutable_pci();
  DXG_DEFAULT(pci, vendor, 0x1414);
  DXG_DEFAULT(pci, device, 0x0088);
  DXG_DEFAULT(pci, bus_type, 3);
  DXG_DEFAULT(pci, bus, 1);
  AdapterProfile::Driver* driver = profile->mutable_driver();
  DXG_DEFAULT(driver, store_directory, "simgpu.inf_amd64_0123456789abcdef");
  DXG_DEFAULT(driver, kernel_file, "simgpu.sys");
  DXG_DEFAULT(driver, version, "32.0.15.1000");
  DXG_DEFAULT(driver, service, "simgpu");
  AdapterProfile::Caps* caps = profile->mutable_caps();
  DXG_DEFAULT(caps, graphics_preemption, 100);
  DXG_DEFAULT(caps, compute_preemption, 300);
  DXG_DEFAULT(caps, virtual_address_bits, 48);
  AdapterProfile::Strings* strings = profile->mutable_strings();
  DXG_DEFAULT(strings, adapter, profile->description());
  DXG_DEFAULT(strings, bios, "1.0");
  DXG_DEFAULT(strings, dac, "n/a");
  DXG_DEFAULT(strings, chip, profile->description());
  DXG_DEFAULT(strings, architecture, "sim");
  AdapterProfile::Performance* performance = profile->mutable_performance();
  DXG_DEFAULT(performance, memory_frequency_hz, 2'000'000'000);
  DXG_DEFAULT(performance, memory_bytes_per_second, 512ull << 30);
  DXG_DEFAULT(performance, pcie_bytes_per_second, 32ull << 30);
  DXG_DEFAULT(performance, fan_rpm, 3000);
  DXG_DEFAULT(performance, temperature_max_decicelsius, 950);
  DXG_DEFAULT(performance, temperature_warning_decicelsius, 850);
  DXG_DEFAULT(performance, voltage_mv, 1100);
  AdapterProfile::Messages* messages = profile->mutable_messages();
  DXG_DEFAULT(messages, interface_version, kInterfaceVersionNewest);
  DXG_DEFAULT(messages, asynchronous, true);
  AdapterProfile::Paging* paging = profile->mutable_paging();
  DXG_DEFAULT(paging, bytes_per_second, 4ull << 30);
  DXG_DEFAULT(paging, operation_ns, 20'000);
  AdapterProfile::Engines* engines = profile->mutable_engines();
  DXG_DEFAULT(engines, timeout_ms, 2000);
  DXG_DEFAULT(engines, tdr_limit_count, 5);
  DXG_DEFAULT(engines, tdr_limit_seconds, 60);
  DXG_DEFAULT(engines, dispatch_instructions_max, 1ull << 28);
}

#undef DXG_DEFAULT

void CheckProfile(const AdapterProfile& profile, const ProfileLines& lines, ProfileComplaints* complaints) {
  const Place place(profile, lines, complaints);
  CheckIdentity(profile, place);
  CheckMemory(profile, place.Nested("memory"));
  CheckNodes(profile, place);
  CheckPci(profile.pci(), place.Nested("pci"));
  CheckDriver(profile.driver(), place.Nested("driver"));
  CheckCaps(profile.caps(), place.Nested("caps"));
  CheckStrings(profile.strings(), place.Nested("strings"));
  CheckPerformance(profile.performance(), place.Nested("performance"));
  CheckRegistry(profile, place);
  CheckFeatures(profile, place);
  CheckAnswers(profile, place);
  CheckMessages(profile.messages(), place.Nested("messages"));
  CheckPaging(profile.paging(), place.Nested("paging"));
  CheckEngines(profile.engines(), place.Nested("engines"));
  if (profile.vertical_sync_ns() != 0) {
    place.Range("vertical_sync_ns", profile.vertical_sync_ns(), 1'000'000, 1'000'000'000);
  }
  CheckTrouble(profile, place.Nested("trouble"));
  CheckFaults(profile, place);
  CheckDriverModel(profile, place.Nested("driver_model"));
}

}  // namespace dxg::hostsim
