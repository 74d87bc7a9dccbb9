#include <poll.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/daemon.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "cuse-dxg/attach/attachment.h"
#include "cuse-dxg/attach/cuse.h"
#include "cuse-dxg/attach/fuse_file.h"
#include "cuse-dxg/attach/launch.h"
#include "cuse-dxg/client/injector_process.h"
#include "cuse-dxg/control/address.h"
#include "cuse-dxg/control/ctl.h"
#include "cuse-dxg/control/server.h"
#include "cuse-dxg/doctor.h"
#include "cuse-dxg/dxg_node.h"
#include "cuse-dxg/vmbus_command.h"

namespace dxg {
namespace {

using attach::Attachment;
using attach::Launch;
using attach::Node;
using attach::Session;

constexpr int kExitRefused = 1;  // the reason is on stderr

// Exit statuses of `run`, as those of env(1) and timeout(1). Any other status is the program's.
constexpr int kExitNotStarted = 125;
constexpr int kExitCannotRun = 126;
constexpr int kExitNotFound = 127;

struct Options {
  NodeOptions device;
  int workers = Session::kWorkersDefault;
  std::string log_level;

  // serve
  std::string attach = "auto";
  std::string path = "/dev/dxg";
  int ready_fd = -1;

  // run
  bool preload = false;
  std::vector<std::string> command;
};

int Refused(const Status& status, int exit_status = kExitRefused) {
  spdlog::error("{}", status.why());
  return exit_status;
}

void StartLog(const std::string& level, spdlog::level::level_enum level_default) {
  auto log = spdlog::stderr_color_mt("cuse-dxg");
  log->set_pattern("%H:%M:%S.%e cuse-dxg %^%l%$: %v");
  log->set_level(level.empty() ? level_default : spdlog::level::from_str(level));
  spdlog::set_default_logger(log);
}

Result<std::unique_ptr<Attachment>> AttachAuto(const std::string& path) {
  const Status cuse = attach::CheckCuse();
  if (cuse.ok() && path == "/dev/dxg") {
    spdlog::info("attach: cuse, because /dev/cuse can be opened");
    return attach::AttachCuse();
  }
  if (cuse.ok()) {
    spdlog::info("attach: fuse, because a CUSE device can only be /dev/dxg, and --device asks for {}", path);
  } else {
    spdlog::info("attach: fuse, because CUSE does not work: {}", cuse.why());
  }
  return attach::AttachFuseFile(path);
}

Result<std::unique_ptr<Attachment>> Attach(const Options& options) {
  if (options.attach == "auto") return AttachAuto(options.path);
  if (options.attach == "fuse") return attach::AttachFuseFile(options.path);
  if (options.path != "/dev/dxg")
    return Status::Refuse(EINVAL,
                          "--attach=cuse makes /dev/dxg and no other node; --device {} needs --attach=fuse",
                          options.path);
  return attach::AttachCuse();
}

// Waits for a stop signal (true) or for the end of the kernel's side (false).
bool WaitForEnd(const UniqueFd& signals, const Session& session) {
  pollfd events[] = {{signals.get(), POLLIN, 0}, {session.ended_fd(), POLLIN, 0}};
  while (poll(events, std::size(events), -1) < 0 && errno == EINTR) {
  }
  return events[0].revents != 0;
}

int Serve(Options options) {
  StartLog(options.log_level, spdlog::level::info);
  if (options.device.control == control::kPathNone) options.device.control.clear();
  RaiseLimits();
  Result<UniqueFd> signals = TakeStopSignals();
  if (!signals.ok()) return Refused(signals.status());
  Result<std::unique_ptr<Node>> device = MakeNode(options.device);
  if (!device.ok()) return Refused(device.status());
  Result<std::unique_ptr<Attachment>> attached = Attach(options);
  if (!attached.ok()) return Refused(attached.status());

  std::unique_ptr<Attachment> attachment = *std::move(attached);
  std::unique_ptr<Node> node = *std::move(device);  // after the attachment: it goes first
  if (Status status = attachment->Publish(*node, options.workers); !status.ok()) {
    attachment->session().Stop();
    return Refused(status);
  }
  spdlog::info("serving {} with back-end {}, {} workers, pid {}", attachment->path(), options.device.backend,
               options.workers, getpid());
  ReportReady(options.ready_fd);

  const bool asked = WaitForEnd(*signals, attachment->session());
  attachment->session().Stop();
  if (!asked) {
    spdlog::error("{} was unmounted or aborted by another process; stopping", attachment->path());
    return kExitRefused;
  }
  spdlog::info("stopped; {} is removed", attachment->path());
  return 0;
}

// Serves the program until it ends. Everything made here is destroyed when this returns, because ExitLike
// then ends the process without destructors.
Result<int> RunServed(Options options, Launch launch) {
  RaiseLimits();
  DXG_ASSIGN(std::unique_ptr<Session> session, attach::CreateFuseFileSession());
  DXG_ASSIGN(UniqueFd connection, launch.Connection());
  options.device.agents = launch.TakeAgents().release();
  DXG_ASSIGN(std::unique_ptr<Node> node, MakeNode(options.device));
  DXG_TRY(session->Attach(std::move(connection)));
  session->Start(*node, options.workers);
  int ended = 0;
  if (Status status = launch.Go(); status.ok()) {
    ended = launch.Wait();
  } else {
    spdlog::error("{}", status.why());
    ended = W_EXITCODE(status.value() == -ENOENT ? kExitNotFound : kExitCannotRun, 0);
  }
  session->Stop();
  return ended;
}

// The library is beside the program in a build tree, and in ../lib/cuse-dxg when installed.
Result<std::string> FindPreloadLibrary() {
  const std::filesystem::path here = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  for (const auto& place :
       {here / "libdxg-preload.so", here.parent_path() / "lib/cuse-dxg/libdxg-preload.so"}) {
    if (std::filesystem::exists(place)) return place.string();
  }
  return Status::Refuse(ENOENT, "--preload: libdxg-preload.so is neither in {} nor in ../lib/cuse-dxg of it",
                        here.string());
}

// Chooses a private path for the control socket unless the user has given one, and puts it into the
// environment of the program. To be called before the program is forked.
std::optional<control::PrivateDirectory> PlaceControl(std::string* path) {
  std::optional<control::PrivateDirectory> place;
  if (*path == control::kPathNone) {
    path->clear();
    unsetenv(control::kPathVariable);
    return place;
  }
  if (path->empty()) {
    Result<control::PrivateDirectory> made = control::PrivateDirectory::Create();
    if (!made.ok()) {
      spdlog::warn("{}; continuing without a control socket", made.status().why());
      return place;
    }
    place.emplace(*std::move(made));
    *path = place->socket();
  }
  setenv(control::kPathVariable, std::filesystem::absolute(*path).c_str(), 1);
  return place;
}

int Run(Options options) {
  StartLog(options.log_level, spdlog::level::warn);
  std::string library;
  if (options.preload) {
    Result<std::string> found = FindPreloadLibrary();
    if (!found.ok()) return Refused(found.status(), kExitNotStarted);
    library = *std::move(found);
  }
  std::optional<control::PrivateDirectory> place = PlaceControl(&options.device.control);
  Result<Launch> launch = Launch::Fork(options.command, library);
  if (!launch.ok()) return Refused(launch.status(), kExitNotStarted);
  Result<int> ended = RunServed(options, *std::move(launch));
  place.reset();
  if (ended.ok()) attach::ExitLike(*ended);
  return Refused(ended.status(), kExitNotStarted);
}

void AddDeviceOptions(CLI::App* command, Options* options) {
  command
      ->add_option("--profile", options->device.profiles,
                   "Adapter profile, a name or a file; repeat it for more adapters")
      ->type_name("NAME|FILE")
      ->take_all()
      ->allow_extra_args(false);
  command
      ->add_option(
          "--backend", options->device.backend,
          "The host to use: sim, the simulator in this process; unix:PATH, a `hostsim --listen PATH`; "
          "vmbus, the host of this Hyper-V guest (docs/vmbus.md); vmbus:PATH, a `hostsim "
          "--serve=vmbus:PATH`, over rings, or over the socket with \",packets\"")
      ->capture_default_str();
  AddUioOptions(command, &options->device.vmbus);
  command
      ->add_option("--control", options->device.control,
                   "Listen at PATH for `cuse-dxg ctl`; \"none\" turns that off. Default: none for serve, a "
                   "private path "
                   "for run")
      ->type_name("PATH");
  command->add_option("--workers", options->workers, "Threads that serve requests")
      ->check(CLI::Range(1, Session::kWorkersMax))
      ->capture_default_str();
  command
      ->add_option("--trace-text", options->device.trace_text,
                   "Write each call as a line of text to FILE; - is stdout")
      ->type_name("FILE");
  command->add_option("--log-level", options->log_level, "trace, debug, info, warn, error or off")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error", "off"}));
}

int Main(int argc, char** argv) {
  Options options;
  bool json = false;
  bool foreground = true;
  CLI::App app{"cuse-dxg: a /dev/dxg in userspace"};
  app.set_version_flag("--version", "cuse-dxg " DXG_VERSION);
  app.set_help_all_flag("--help-all", "Print the help of all commands");
  app.require_subcommand(1);
  app.footer(
      "For one program, without root:  cuse-dxg run -- PROGRAM ARGS\n"
      "For all programs, as root:      cuse-dxg serve\n"
      "What works on this machine:     cuse-dxg doctor");

  CLI::App* serve =
      app.add_subcommand("serve", "Serve /dev/dxg to all programs, in the foreground, until SIGTERM");
  serve
      ->add_option("--attach", options.attach,
                   "How to make the node: cuse, fuse, or auto (cuse if this machine has it)")
      ->check(CLI::IsMember({"auto", "cuse", "fuse"}))
      ->capture_default_str();
  serve->add_option("--device", options.path, "Path of the node; a path other than /dev/dxg needs fuse")
      ->type_name("PATH")
      ->capture_default_str();
  serve
      ->add_option("--ready-fd", options.ready_fd,
                   "Write a newline to descriptor N when the node can be opened")
      ->type_name("N");
  serve->add_flag("--foreground", foreground,
                  "Stay in the foreground. It always does; the option is accepted for unit files");
  AddDeviceOptions(serve, &options);

  CLI::App* run =
      app.add_subcommand("run", "Run one program with a private /dev that has a dxg; needs no root");
  AddDeviceOptions(run, &options);
  run->add_flag(
      "--preload", options.preload,
      "Load a helper library into the program, for runs under a debugger or strace (docs/security.md)");
  // Arguments after -- belong to the program. They bypass the parser, which would read "[" and "]" as a list.
  const bool is_run = argc > 1 && argv[1] == std::string_view("run");
  const auto separator = is_run ? std::find(argv, argv + argc, std::string_view("--")) : argv + argc;
  if (separator != argv + argc) options.command.assign(separator + 1, argv + argc);
  CLI::Option* program =
      run->add_option("PROGRAM", options.command, "The program and its arguments, after --");
  if (options.command.empty()) program->required();
  run->footer("Usage: cuse-dxg run [OPTIONS] -- PROGRAM [ARGS...]");

  CLI::App* doctor =
      app.add_subcommand("doctor", "Print what works on this machine, what does not, and how to fix it");
  CLI::App* calls = app.add_subcommand("calls", "List the calls of the ABI, and whether each is served");
  calls->add_flag("--json", json, "As JSON");

  control::Command ctl(app);
  VmbusCommand vmbus(app);

  CLI11_PARSE(app, static_cast<int>(separator - argv), argv);
  if (*serve) return Serve(options);
  if (*run) return Run(options);
  if (*doctor) return Doctor();
  if (ctl.given()) return ctl.Run();
  if (vmbus.given()) return vmbus.Run();
  DXG_CHECK(*calls);
  return PrintCalls(json);
}

}  // namespace
}  // namespace dxg

int main(int argc, char** argv) {
  if (dxg::client::IsInjectorCommand(argc, argv)) return dxg::client::RunInjector();
  return dxg::Main(argc, argv);
}
