// dxg-hostsim: the simulated host as a process of its own, for device processes (cuse-dxg
// --backend=unix:PATH).
#include <fmt/format.h>
#include <linux/capability.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <charconv>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/command_line/parse.h"
#include "base/confinement/capabilities.h"
#include "base/confinement/files.h"
#include "base/confinement/system_calls.h"
#include "base/daemon.h"
#include "base/memory_reserve.h"
#include "base/stop_deadline.h"
#include "hostsim/backend/in_process.h"
#include "hostsim/serve/loopback.h"
#include "hostsim/serve/server.h"
#include "hostsim/serve/tbx_options.h"
#include "hostsim/serve/vmbus_session.h"
#include "link/profile_file.h"
#include "link/trace/recording.h"
#include "link/vmbus/bus_address.h"

namespace dxg::hostsim::serve {
namespace {

struct Options {
  std::string listen, serve;
  std::vector<std::string> profiles;
  std::string scenario;
  std::string record;  // file for a recording; empty: none
  uint64_t record_max = 16ull << 30;
  std::string log_level = "info";
  int ready_fd = -1;
  std::string sandbox = "kill";
  bool no_sandbox = false;
};

// Of root's rights, those without which a file is not to be had: the window in /dev/mem, and a directory of
// somebody else's for the socket, which goes at the end.
confinement::Capabilities RightsFor(const std::string& directory, const std::string& window) {
  struct stat place = {}, file = {};
  confinement::Capabilities needed = 0;
  if (stat(directory.c_str(), &place) != 0 || place.st_uid != geteuid())
    needed |= confinement::Only(CAP_DAC_OVERRIDE);
  if (window.empty()) return needed;
  if (stat(window.c_str(), &file) != 0 || file.st_uid != geteuid())
    needed |= confinement::Only(CAP_DAC_OVERRIDE);
  return S_ISCHR(file.st_mode) ? needed | confinement::Only(CAP_SYS_RAWIO) : needed;
}

// Everything but the socket is opened by now, or comes from the guests. No thread is there yet. `socket`: of
// the file system; empty: none.
Status Confine(const Options& options, const std::string& socket, const std::string& window) {
  const auto forbidden =
      options.no_sandbox ? confinement::Forbidden::kAllow : confinement::ForbiddenOf(options.sandbox);
  if (forbidden == confinement::Forbidden::kAllow) {
    spdlog::info("not confined (--no-sandbox): this process keeps all its rights");
    return Status::Ok();
  }
  confinement::Files files;
  confinement::Capabilities rights = 0;
  if (!socket.empty()) {
    const auto slash = socket.rfind('/');
    files.emptied.push_back(slash == std::string::npos ? "." : socket.substr(0, slash + 1));
    rights = RightsFor(files.emptied[0], window);
  }
  DXG_TRY(confinement::KeepCapabilities(rights));
  DXG_TRY(confinement::ForbidNewPrivileges());
  if (!window.empty()) files.opened.push_back(window);
  tzset();  // the log is in local time, whose file cannot be read later
  const Status touches = confinement::TouchOnly(files);
  const Status calls = confinement::AllowOnly({}, forbidden);
  for (const Status* each : {&touches, &calls}) {
    if (!each->ok()) spdlog::info("not all of the confinement is in force: {}", each->why());
  }
  return Status::Ok();
}

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

// The file's, which is opened before the confinement. The thread that writes it begins after that, so that it
// is confined as all threads are.
Result<std::shared_ptr<trace::Recording>> Begin(std::unique_ptr<trace::Sink> sink, const Options& options) {
  if (sink == nullptr) return std::shared_ptr<trace::Recording>();
  TraceHeader header;
  header.set_product("dxg-hostsim " DXG_VERSION);
  header.set_node(options.serve.empty() ? "device processes" : "VMBus");
  header.set_side(TraceHeader::HOST);
  DXG_ASSIGN(auto recording, trace::Recording::Begin(std::move(sink), header));
  return std::shared_ptr<trace::Recording>(std::move(recording));
}

// Until one of the signals comes.
void RunUntil(const UniqueFd& signals, Server& server, const std::string& place, int ready_fd) {
  spdlog::info("listening at {}, pid {}", place, getpid());
  ReportReady(ready_fd);
  server.Run(signals.get());
  {
    // An engine, and a session that ends, may be in such memory.
    const StopDeadline deadline(0, [&server] { server.Withdraw(); });
    server.End();
  }
  spdlog::info("stopped");
}

Status ServePrograms(const Options& options, const TbxPlace& place, const UniqueFd& signals,
                     const std::vector<ControlRequest::AddAdapter>& adapters) {
  if (!options.record.empty() || !options.scenario.empty())
    return Status::Refuse(EINVAL, "--serve=tbx: without --record and --scenario, which are of devices");
  DXG_ASSIGN(TbxOptions gpu, TbxOptionsOf(place, adapters));
  DXG_ASSIGN(LoopbackListener listener, LoopbackListener::At(place.port, "--serve"));
  DXG_TRY(Confine(options, "", ""));
  const uint16_t port = listener.port();
  const auto server = Server::Listen(std::move(listener), ForPrograms(std::move(gpu)));
  RunUntil(signals, *server, fmt::format("127.0.0.1 port {}", port), options.ready_fd);
  return Status::Ok();
}

Status Serve(const Options& options) {
  DXG_ASSIGN(const UniqueFd signals, TakeStopSignals());  // before any thread is made
  std::vector<ControlRequest::AddAdapter> adapters;
  for (const std::string& name : options.profiles) {
    DXG_ASSIGN(adapters.emplace_back(), ReadProfileFile(name, "--profile"));
  }
  DXG_ASSIGN(const auto tbx, ParseTbxPlace(options.serve));
  if (tbx) return ServePrograms(options, *tbx, signals, adapters);
  // So that a bad profile is heard of now.
  DXG_ASSIGN(const auto tried, CreateInProcessBackendOf(adapters, options.scenario));
  std::string path = options.listen, window;
  VmbusOptions guests;
  if (!options.serve.empty()) {
    DXG_ASSIGN(const auto place, vmbus::ParseBusAddress(options.serve, "--serve",
                                                        {"window", "window-mib", "map-guest-memory"}));
    DXG_ASSIGN(guests, GuestsAt(place));
    path = place.path;
    window = guests.window_file;
  }
  std::unique_ptr<trace::Sink> sink;
  if (!options.record.empty()) {
    DXG_ASSIGN(sink, trace::FileSink::Create(options.record, options.record_max));
  }
  Service service;  // made when the confinement is in force; nobody is served before that
  DXG_ASSIGN(const auto server, Server::Listen(path, {options.serve.empty() ? SOCK_STREAM : SOCK_SEQPACKET,
                                                      options.serve.empty() ? "--listen" : "--serve",
                                                      [&service](UniqueFd peer, std::string name) {
                                                        return service.connect(std::move(peer),
                                                                               std::move(name));
                                                      }}));
  DXG_TRY(Confine(options, path, window));
  DXG_ASSIGN(auto recording, Begin(std::move(sink), options));
  if (options.serve.empty()) {
    service = ForDevices(std::move(adapters), options.scenario, std::move(recording));
  } else {
    guests.adapters = std::move(adapters);
    guests.scenario = options.scenario;
    guests.recording = std::move(recording);
    service = ForGuests(std::move(guests));
  }
  RunUntil(signals, *server, path, options.ready_fd);
  return Status::Ok();
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app{"The simulated host behind /dev/dxg, as a process of its own", "dxg-hostsim"};
  app.set_version_flag("--version", "dxg-hostsim " DXG_VERSION);
  CLI::Option_group* where = app.add_option_group("Where", "One of the two");
  where->add_option("--listen", options.listen, "Serve device processes at this Unix socket")
      ->type_name("PATH");
  where
      ->add_option(
          "--serve", options.serve,
          "Play the other side of a guest's VMBus at this Unix socket. After commas: window=FILE "
          "holds what the guest's CPU sees "
          "(default: memory), window-mib=N its size, map-guest-memory takes a guest's pages by "
          "their frame numbers. Or be the simulated GPU to which Intel's compute runtime connects at "
          "this port of 127.0.0.1, without a device node (0: any port); memory-mib=N is what all "
          "connections may have (default: 4096)")
      ->type_name("vmbus:PATH[,...]|tbx:PORT[,memory-mib=N]");
  where->require_option(1);
  app.add_option("--profile", options.profiles,
                 "Adapter profile, a name or a file; once per adapter. A device may ask for others")
      ->type_name(DXG_PROFILE_NAMES "|FILE")
      ->envname("DXG_PROFILE")
      ->take_all()
      ->allow_extra_args(false);
  app.add_option("--scenario", options.scenario,
                 "What befalls the adapters (docs/scenarios.md). A device may ask for another")
      ->type_name(DXG_SCENARIO_NAMES)
      ->envname("DXG_SCENARIO");
  app.add_option("--record", options.record,
                 "Record what guests say to the host in FILE, with its packets, for `cuse-dxg trace` "
                 "(docs/recording.md)")
      ->type_name("FILE")
      ->envname("DXG_RECORD_HOST");
  app.add_option("--record-max", options.record_max,
                 "The largest size of that file, such as 500MiB; records beyond it are lost and counted")
      ->type_name("SIZE")
      ->transform(CLI::AsSizeValue(false).description(""))
      ->default_str("16GiB");
  app.add_option("--ready-fd", options.ready_fd, "Write a newline to descriptor N when devices can connect")
      ->type_name("N");
  app.add_option("--log-level", options.log_level, "How much is said on stderr")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error", "off"}))
      ->capture_default_str();
  app.add_flag("--no-sandbox", options.no_sandbox,
               "Keep all rights and make any system call: to debug this process (docs/security.md)");
  app.add_option("--sandbox", options.sandbox,
                 "What a system call does that is not in the list: kill (this process ends), log (in the "
                 "kernel's log), or off, as --no-sandbox")
      ->check(CLI::IsMember(confinement::ForbiddenNames()))
      ->capture_default_str();
  app.footer(
      "Examples:  dxg-hostsim --listen /tmp/host &\n"
      "           cuse-dxg run --backend=unix:/tmp/host -- PROGRAM ARGS\n"
      "           dxg-hostsim --serve=vmbus:/tmp/bus &\n"
      "           cuse-dxg run --backend=vmbus:/tmp/bus -- PROGRAM ARGS\n"
      "           dxg-hostsim --serve=tbx:4321 &\n"
      "           NEOReadDebugKeys=1 SetCommandStreamReceiver=2 TbxPort=4321 ProductFamilyOverride=tgllp "
      "PROGRAM\n"
      "Exit status: 0 when SIGTERM or SIGINT has ended it; 1 if something is refused, with the reason on\n"
      "stderr; 2 if the command line is wrong.");
  if (const auto status = command_line::Parse(app, argc, argv)) return *status;

  auto log = spdlog::stderr_color_mt("dxg-hostsim");
  log->set_pattern("%H:%M:%S.%e dxg-hostsim %^%l%$: %v");
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

int main(int argc, char** argv) {
  dxg::PrepareMemory();
  return dxg::hostsim::serve::Main(argc, argv);
}
