#include "hostsim/serve/tbx_options.h"

#include <charconv>
#include <string_view>

#include "hostsim/adapter/profile.h"

namespace dxg::hostsim::serve {
namespace {

// All of the text is a number, and it is in the range.
bool ReadNumber(std::string_view text, uint64_t least, uint64_t most, uint64_t* number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
  return error == std::errc() && end == text.data() + text.size() && *number >= least && *number <= most;
}

}  // namespace

Result<std::optional<TbxPlace>> ParseTbxPlace(const std::string& text) {
  constexpr std::string_view kKind = "tbx:", kMemory = "memory-mib=";
  constexpr uint64_t kPortMax = 65535, kMemoryMax = 1u << 20;
  std::string_view rest = text;
  if (!rest.starts_with(kKind)) return std::optional<TbxPlace>();
  rest.remove_prefix(kKind.size());
  TbxPlace place;
  const size_t comma = rest.find(',');
  uint64_t number = 0;
  if (!ReadNumber(rest.substr(0, comma), 0, kPortMax, &number))
    return Status::Refuse(EINVAL,
                          "--serve={}: expected tbx:PORT, a port of 127.0.0.1 from 1 to {}, or 0 for any. "
                          "Other machines are not served",
                          text, kPortMax);
  place.port = static_cast<uint16_t>(number);
  if (comma == std::string_view::npos) return std::optional(place);
  rest.remove_prefix(comma + 1);
  if (!rest.starts_with(kMemory) || !ReadNumber(rest.substr(kMemory.size()), 1, kMemoryMax, &number))
    return Status::Refuse(EINVAL, "--serve={}: after the comma, expected memory-mib=N from 1 to {}", text,
                          kMemoryMax);
  place.memory_bytes = number << 20;
  return std::optional(place);
}

Result<TbxOptions> TbxOptionsOf(const TbxPlace& place,
                                const std::vector<ControlRequest::AddAdapter>& adapters) {
  if (adapters.size() > 1)
    return Status::Refuse(EINVAL, "--profile: --serve=tbx has one GPU for each connection; give one profile");
  ControlRequest::AddAdapter wanted;
  wanted.set_name("intel-tgl");
  if (!adapters.empty()) wanted = adapters[0];
  DXG_ASSIGN(const std::vector<AdapterProfile> profiles, ReadProfiles(wanted));
  TbxOptions options;
  options.room = std::make_shared<TbxRoom>(place.memory_bytes);
  for (const AdapterProfile& profile : profiles) {
    for (const AdapterProfile::Node& node : profile.nodes()) {
      if (node.commands() != AdapterProfile::INTEL_GEN12 || node.execution_units() != AdapterProfile::GEN12LP)
        continue;
      options.gpu.clock_hz = node.clock_hz();
      options.gpu.execution = {.executes = true,
                               .frequency_hz = node.frequency_hz(),
                               .instructions_max = profile.engines().dispatch_instructions_max()};
      return options;
    }
  }
  return Status::Refuse(EINVAL,
                        "--profile: --serve=tbx needs a node with commands: INTEL_GEN12 and execution_units: "
                        "GEN12LP, as intel-tgl has one");
}

}  // namespace dxg::hostsim::serve
