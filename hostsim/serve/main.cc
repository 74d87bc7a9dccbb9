// hostsim: the simulated host as a process of its own, for device processes (cuse-dxg --backend=unix:PATH).
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <string>
#include <vector>

#include "base/daemon.h"
#include "hostsim/backend/in_process.h"
#include "hostsim/serve/server.h"
#include "hostsim/serve/vmbus_session.h"
#include "link/profile_file.h"
#include "link/vmbus/bus_address.h"

namespace dxg::hostsim::serve {
namespace {

struct Options {
  std::string listen, serve;
  std::vector<std::string> profiles;
  std::string log_level = "info";
  int ready_fd = -1;
};

Result<VmbusOptions> GuestsAt(const vmbus::BusAddress& place) {
  constexpr uint32_t kMegabytesMax = 65535;  // 16 bits of the offer hold no more
  VmbusOptions options;
  if (place.path.empty())
    return Status::Refuse(EINVAL, "--serve: expected vmbus:PATH, where the guests' end of the bus connects");
  options.window_file = place.value("window");
  options.map_guest_memory = place.has("map-guest-memory");
  if (place.has("window-mib")) {
    const std::string text = place.value("window-mib");
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), options.window_megabytes);
    if (error != std::errc() || end != text.data() + text.size() || options.window_megabytes == 0 ||
        options.window_megabytes > kMegabytesMax)
      return Status::Refuse(EINVAL, "--serve: window-mib={}: expected 1 to {}", text, kMegabytesMax);
  }
  DXG_TRY(OpenWindow(options).status());  // so that a bad one is heard of now
  return options;
}

Status Serve(const Options& options) {
  DXG_ASSIGN(const UniqueFd signals, TakeStopSignals());  // before any thread is made
  std::vector<ControlRequest::AddAdapter> adapters;
  for (const std::string& name : options.profiles) {
    DXG_ASSIGN(adapters.emplace_back(), ReadProfileFile(name, "--profile"));
  }
  DXG_ASSIGN(const auto tried, CreateInProcessBackendOf(adapters));  // so that a bad profile is heard of now
  std::string path = options.listen;
  Service service;
  if (options.serve.empty()) {
    service = ForDevices(std::move(adapters));
  } else {
    DXG_ASSIGN(const auto place, vmbus::ParseBusAddress(options.serve, "--serve",
                                                        {"window", "window-mib", "map-guest-memory"}));
    DXG_ASSIGN(VmbusOptions guests, GuestsAt(place));
    guests.adapters = std::move(adapters);
    path = place.path;
    service = ForGuests(std::move(guests));
  }
  DXG_ASSIGN(const auto server, Server::Listen(path, std::move(service)));
  spdlog::info("listening at {}, pid {}", path, getpid());
  ReportReady(options.ready_fd);
  server->Run(signals.get());
  spdlog::info("stopped");
  return Status::Ok();
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app{"hostsim: the simulated host behind /dev/dxg, as a process of its own"};
  app.set_version_flag("--version", "hostsim " DXG_VERSION);
  CLI::Option_group* where = app.add_option_group("Where", "One of the two");
  where->add_option("--listen", options.listen, "Serve device processes at this Unix socket")
      ->type_name("PATH");
  where
      ->add_option("--serve", options.serve,
                   "Play the other side of a guest's VMBus at this Unix socket. After commas: window=FILE "
                   "holds what the guest's CPU sees "
                   "(default: memory), window-mib=N its size, map-guest-memory takes a guest's pages by "
                   "their frame numbers")
      ->type_name("vmbus:PATH[,...]");
  where->require_option(1);
  app.add_option("--profile", options.profiles,
                 "Adapter profile, a name or a file; once per adapter. A device may ask for others")
      ->type_name("NAME|FILE")
      ->take_all()
      ->allow_extra_args(false);
  app.add_option("--ready-fd", options.ready_fd, "Write a newline to descriptor N when devices can connect")
      ->type_name("N");
  app.add_option("--log-level", options.log_level, "trace, debug, info, warn, error or off")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error", "off"}))
      ->capture_default_str();
  app.footer(
      "Examples:  hostsim --listen /tmp/host &        cuse-dxg run --backend=unix:/tmp/host -- PROGRAM ARGS\n"
      "           hostsim --serve=vmbus:/tmp/bus &   cuse-dxg run --backend=vmbus:/tmp/bus -- PROGRAM ARGS");
  CLI11_PARSE(app, argc, argv);

  auto log = spdlog::stderr_color_mt("hostsim");
  log->set_pattern("%H:%M:%S.%e hostsim %^%l%$: %v");
  log->set_level(spdlog::level::from_str(options.log_level));
  spdlog::set_default_logger(log);
  RaiseLimits();
  const Status status = Serve(options);
  if (status.ok()) return 0;
  spdlog::error("{}", status.why());
  return 1;
}

}  // namespace
}  // namespace dxg::hostsim::serve

int main(int argc, char** argv) { return dxg::hostsim::serve::Main(argc, argv); }
