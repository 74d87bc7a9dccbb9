#include "cuse-dxg/outside_hosts.h"

#include <cerrno>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cuse-dxg/backend/socket/socket_backend.h"
#include "cuse-dxg/backend/uio/uio_bus.h"
#include "cuse-dxg/backend/vmbus/simulated_bus.h"
#include "cuse-dxg/backend/vmbus/vmbus_backend.h"
#include "cuse-dxg/live_shadow.h"
#include "cuse-dxg/replay/replay_host.h"
#include "cuse-dxg/replay/shadow.h"
#include "link/trace/trace_file.h"
#include "link/vmbus/bus_address.h"

namespace dxg {
namespace {

// The one of the machine that we are in, as far as uio_hv_generic shows it.
Result<ConnectOutside> FindRealVmbus(const NodeOptions& options) {
  return ConnectOutside([uio = options.vmbus]() -> Result<std::unique_ptr<Backend>> {
    DXG_ASSIGN(auto bus, vmbus::CreateUioBus(uio));
    return CreateVmbusBackend(std::move(bus));
  });
}

Result<ConnectOutside> FindVmbus(const NodeOptions& options) {
  if (!options.profiles.empty() || !options.scenario.empty())
    return Status::Refuse(EINVAL,
                          "{}: the host of a VMBus has its adapters; give it to `dxg-hostsim --serve`",
                          options.profiles.empty() ? "--scenario" : "--profile");
  if (options.backend == "vmbus") return FindRealVmbus(options);
  DXG_ASSIGN(const auto place, vmbus::ParseBusAddress(options.backend, "--backend", {"packets"}));
  const auto data = place.has("packets") ? vmbus::LinkData::kPackets : vmbus::LinkData::kRings;
  return ConnectOutside([path = place.path, data]() -> Result<std::unique_ptr<Backend>> {
    DXG_ASSIGN(auto bus, vmbus::ConnectLinkBus(path, data));
    return CreateVmbusBackend(std::move(bus));
  });
}

// A recording that is read cannot be the one that is made.
Status CheckIsNotRecorded(const NodeOptions& options, const char* option, const std::string& file) {
  if (options.record.file.empty() || !trace::IsSameFile(options.record.file, file)) return Status::Ok();
  return Status::Refuse(EINVAL, "--record {}: {} reads that file; name another one", options.record.file,
                        option);
}

Result<ConnectOutside> FindRecording(const NodeOptions& options, const std::string& text) {
  if (!options.profiles.empty() || !options.scenario.empty())
    return Status::Refuse(EINVAL,
                          "{}: a recording has its adapters; leave that out with --backend replay:FILE",
                          options.profiles.empty() ? "--scenario" : "--profile");
  const auto given = replay::ReplayHost::Parse(text, options.recorded_times);
  DXG_TRY(CheckIsNotRecorded(options, "--backend", given.file));
  return ConnectOutside([given]() -> Result<std::unique_ptr<Backend>> {
    DXG_ASSIGN(auto host, replay::ReplayHost::Create(given));
    return std::unique_ptr<Backend>(std::move(host));
  });
}

}  // namespace

Result<ConnectOutside> FindOutsideHost(const NodeOptions& options) {
  constexpr std::string_view kUnix = "unix:", kReplay = "replay:";
  if (options.backend.starts_with(kUnix)) {
    SocketOptions socket;
    socket.path = options.backend.substr(kUnix.size());
    socket.profiles = options.profiles;
    socket.scenario = options.scenario;
    return ConnectOutside([socket] { return CreateSocketBackend(socket); });
  }
  if (options.backend.starts_with(kReplay))
    return FindRecording(options, options.backend.substr(kReplay.size()));
  if (options.backend.starts_with("vmbus")) return FindVmbus(options);
  return Status::Refuse(
      EINVAL,
      "--backend {}: no such back-end; \"sim\" is the simulator in this process, \"unix:PATH\" one that "
      "listens there, "
      "\"vmbus\" the host of this machine, \"vmbus:PATH\" a simulated one that serves a VMBus there, "
      "\"replay:FILE\" a recording",
      options.backend);
}

namespace {

// The words of a `cuse-dxg run` that has that host, for the player.
Result<std::vector<std::string>> WordsOfShadow(const NodeOptions& options) {
  const std::string& host = options.shadow;
  const bool known =
      host == "sim" || host == "vmbus" || host.starts_with("unix:") || host.starts_with("vmbus:");
  if (!known)
    return Status::Refuse(
        EINVAL,
        "--shadow {}: no such host; expected \"replay:FILE\", or a back-end as --backend has "
        "them: \"sim\", \"unix:PATH\", \"vmbus\", \"vmbus:PATH\"",
        host);
  if (!options.shadow_profiles.empty() && host != "sim")
    return Status::Refuse(EINVAL, "--shadow-profile: only --shadow sim makes adapters; leave it out with {}",
                          host);
  if (host != "sim" && host == options.backend)
    return Status::Refuse(EINVAL, "--shadow {}: that is the host that answers; name another one", host);
  std::vector<std::string> words{"--backend", host};
  if (host == "vmbus") {
    if (const auto& window = options.vmbus.window) {
      const std::string start = window->start ? std::to_string(*window->start) : "hole";
      words.insert(words.end(), {"--vmbus-window", start + "+" + std::to_string(window->length)});
    }
    if (!options.vmbus.window_file.empty())
      words.insert(words.end(), {"--vmbus-window-file", options.vmbus.window_file});
    if (options.vmbus.unpinned_pages) words.emplace_back("--vmbus-unpinned-pages");
  }
  if (host != "sim") return words;
  for (const std::string& profile :
       options.shadow_profiles.empty() ? options.profiles : options.shadow_profiles)
    words.insert(words.end(), {"--profile", profile});
  if (options.shadow_profiles.empty() && !options.scenario.empty())
    words.insert(words.end(), {"--scenario", options.scenario});
  return words;
}

}  // namespace

Result<UniqueFd> StartShadowPlayer(const NodeOptions& options) {
  if (options.shadow.empty() || options.shadow.starts_with("replay:")) return UniqueFd();
  DXG_ASSIGN(const std::vector<std::string> words, WordsOfShadow(options));
  return LiveShadow::StartPlayer(words);
}

// What --shadow names; null: nothing.
Result<std::unique_ptr<guest::CallObserver>> FindShadow(const NodeOptions& options) {
  constexpr std::string_view kReplay = "replay:";
  std::unique_ptr<guest::CallObserver> none;
  if (options.shadow.empty() && !options.shadow_profiles.empty())
    return Status::Refuse(EINVAL, "--shadow-profile: is of a shadow; give --shadow sim as well");
  if (options.shadow.empty()) return none;
  if (!options.shadow.starts_with(kReplay)) return LiveShadow::Start(UniqueFd(options.shadow_player));
  const auto given = replay::ReplayHost::Parse(options.shadow.substr(kReplay.size()), false);
  DXG_TRY(CheckIsNotRecorded(options, "--shadow", given.file));
  DXG_ASSIGN(auto recording, replay::Recording::Open(given.file));
  DXG_ASSIGN(auto shadow, replay::Shadow::Create(std::move(recording), given.strict));
  return std::unique_ptr<guest::CallObserver>(std::move(shadow));
}

}  // namespace dxg
