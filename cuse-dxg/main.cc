#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <poll.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/command_line/parse.h"
#include "base/confinement/capabilities.h"
#include "base/container.h"
#include "base/daemon.h"
#include "base/memory_reserve.h"
#include "base/status.h"
#include "base/stop_deadline.h"
#include "base/unique_fd.h"
#include "cuse-dxg/attach/attachment.h"
#include "cuse-dxg/attach/cuse.h"
#include "cuse-dxg/attach/fuse_file.h"
#include "cuse-dxg/attach/launch.h"
#include "cuse-dxg/attach/node_mode.h"
#include "cuse-dxg/cdi.h"
#include "cuse-dxg/client/injector_process.h"
#include "cuse-dxg/confinement.h"
#include "cuse-dxg/control/address.h"
#include "cuse-dxg/control/ctl.h"
#include "cuse-dxg/control/report.h"
#include "cuse-dxg/control/server.h"
#include "cuse-dxg/doctor.h"
#include "cuse-dxg/dxg_node.h"
#include "cuse-dxg/meeting.h"
#include "cuse-dxg/options.h"
#include "cuse-dxg/profile/command.h"
#include "cuse-dxg/profile_trial.h"
#include "cuse-dxg/replay/command.h"
#include "cuse-dxg/replay/live_player.h"
#include "cuse-dxg/top/command.h"
#include "cuse-dxg/trace/command.h"
#include "cuse-dxg/tracer/command.h"
#include "cuse-dxg/trial.h"
#include "cuse-dxg/vmbus_command.h"

namespace dxg {
namespace {

using attach::Attachment;
using attach::Launch;
using attach::Node;
using attach::Session;

constexpr int kExitRefused = 1;  // the reason is on stderr

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

Result<std::unique_ptr<Attachment>> AttachAuto(const std::string& path, const attach::NodeMode& mode) {
  const Status cuse = attach::CheckCuse();
  if (cuse.ok() && path == "/dev/dxg") {
    spdlog::info("attach: cuse, because /dev/cuse can be opened");
    return attach::AttachCuse(mode);
  }
  if (cuse.ok()) {
    spdlog::info("attach: fuse, because a CUSE device can only be /dev/dxg, and --device asks for {}", path);
  } else {
    spdlog::info("attach: fuse, because CUSE does not work: {}", cuse.why());
  }
  return attach::AttachFuseFile(path, mode);
}

Result<std::unique_ptr<Attachment>> Attach(const Options& options) {
  DXG_ASSIGN(const attach::NodeMode mode, attach::ParseNodeMode(options.mode, options.group));
  if (options.attach == "auto") return AttachAuto(options.path, mode);
  if (options.attach == "fuse") return attach::AttachFuseFile(options.path, mode);
  if (options.path != "/dev/dxg")
    return Status::Refuse(EINVAL,
                          "--attach=cuse makes /dev/dxg and no other node; --device {} needs --attach=fuse",
                          options.path);
  return attach::AttachCuse(mode);
}

// Waits for a stop signal (true) or for the end of the kernel's side (false).
bool WaitForEnd(const UniqueFd& signals, const Session& session) {
  pollfd events[] = {{signals.get(), POLLIN, 0}, {session.ended_fd(), POLLIN, 0}};
  while (poll(events, std::size(events), -1) < 0 && errno == EINTR) {
  }
  return events[0].revents != 0;
}

// Of clients with root's rights, their user's daemon gets the memory by that right only.
void WarnOfRightsOfRoot() {
  constexpr auto kTrace = confinement::Only(CAP_SYS_PTRACE);
  if (geteuid() != 0 || (confinement::OwnCapabilities() & kTrace) != 0) return;
  spdlog::warn(
      "without CAP_SYS_PTRACE the calls of other users' clients, and of clients with more rights than "
      "this process, fail with EFAULT: {}",
      InContainer() ? "start the container with --cap-add SYS_PTRACE" : "give cuse-dxg that capability");
}

int Serve(Options options) {
  StartLog(options.log_level, spdlog::level::info);
  if (options.device.control == control::kPathNone) options.device.control.clear();
  RaiseLimits();
  Result<UniqueFd> signals = TakeStopSignals();
  if (!signals.ok()) return Refused(signals.status());
  Confinement confinement(options.forbidden());
  Result<std::unique_ptr<Attachment>> attached = Attach(options);
  if (!attached.ok()) return Refused(attached.status());
  std::unique_ptr<Attachment> attachment = *std::move(attached);
  if (Status status = confinement.GiveUpRights(attachment.get(), &options.device); !status.ok())
    return Refused(status);
  options.device.node = fmt::format("{} {}", attachment->kind(), attachment->path());
  Result<std::unique_ptr<Node>> device = MakeNode(options.device);
  if (!device.ok()) return Refused(device.status());
  std::unique_ptr<Node> node = *std::move(device);  // after the attachment: it goes first
  if (Status status = attachment->Publish(*node, options.workers); !status.ok()) {
    attachment->session().Stop();
    return Refused(status);
  }
  confinement.CloseDoors(0);
  WarnOfRightsOfRoot();
  spdlog::info("serving {} with back-end {}, {} workers, pid {}", attachment->path(), options.device.backend,
               options.workers, getpid());
  ReportReady(options.ready_fd);

  const bool asked = WaitForEnd(*signals, attachment->session());
  NotifyServiceManager("STOPPING=1");
  FinishObservers(*node);
  if (!asked) spdlog::error("{} was unmounted or aborted by another process; stopping", attachment->path());
  {
    const StopDeadline deadline(asked ? 0 : kExitRefused, [&] {
      attachment->Withdraw();
      if (!options.device.control.empty()) unlink(options.device.control.c_str());
    });
    attachment->session().Stop();
    node.reset();
  }
  if (!asked) return kExitRefused;
  const std::string path = attachment->path();
  attachment.reset();
  struct stat left;
  if (lstat(path.c_str(), &left) != 0 && errno == ENOENT) {
    spdlog::info("stopped; {} is removed", path);
  } else {
    spdlog::info("stopped; {} is left", path);
  }
  return 0;
}

// What execvp said is of the program; that there is nobody to run it (ECHILD) is of ours.
int StatusOfNoProgram(const Status& status) {
  if (status.value() == -ENOENT) return kExitNotFound;
  return status.value() == -ECHILD ? kExitNotStarted : kExitCannotRun;
}

// Where `run --report` goes.
class ReportFile {
 public:
  // Opened before the program begins: it is then that the user hears of a bad name, and later we open
  // nothing.
  static Result<ReportFile> Open(const Options& options) {
    ReportFile report;
    const std::string& path = options.report;
    report.json_ = options.report_format.empty() ? path.ends_with(".json") : options.report_format == "json";
    if (path.empty() || path == "-") {
      report.descriptor_ = UniqueFd(path.empty() ? -1 : fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0));
      return report;
    }
    constexpr mode_t kMode = 0666;
    report.descriptor_ = UniqueFd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kMode));
    if (report.descriptor_.valid()) return report;
    const int error = errno;
    return Status::Refuse(
        error, "--report: cannot write {}: {}; name a file in a directory that can be written, or -", path,
        std::strerror(error));
  }

  void Write(const ControlReply& report, const std::vector<std::string>& program) const {
    if (!descriptor_.valid()) return;
    const std::string text =
        json_ ? control::ReportJson(report, program) : control::ReportText(report, program);
    for (size_t at = 0; at < text.size();) {
      const ssize_t written = write(descriptor_.get(), text.data() + at, text.size() - at);
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0)
        return spdlog::error("--report: not all of it could be written: {}", std::strerror(errno));
      at += static_cast<size_t>(written);
    }
  }

 private:
  UniqueFd descriptor_;
  bool json_ = false;
};

// What was left out is said in any case: results that nobody computed look like results.
void Report(const ControlReply& report, const ReportFile& file, const std::vector<std::string>& program) {
  if (const std::string left_out = control::NotExecutedText(report); !left_out.empty())
    spdlog::warn("{}", std::string_view(left_out).substr(0, left_out.size() - 1));
  file.Write(report, program);
}

// Serves the program until it ends. Everything made here is destroyed when this returns, because ExitLike
// then ends the process without destructors.
Result<int> RunServed(Options options, Launched launched, const ReportFile& report) {
  Launch launch = std::move(launched.launch);
  Meeting& meeting = *launched.meeting;
  RaiseLimits();
  Confinement confinement(options.forbidden());
  meeting.Tell(&options.device);
  DXG_TRY(confinement.GiveUpRights(nullptr, &options.device));
  options.device.injector.family = client::FamilyOf(launch.child());
  options.device.agents = launch.TakeAgents().release();
  options.device.control_listener = launch.TakeControl().release();
  DXG_ASSIGN(std::unique_ptr<Node> node, MakeNode(options.device));
  DXG_TRY(meeting.Start(*node, options.workers));
  confinement.CloseDoors(launch.child());
  int ended = 0;
  if (Status status = launch.Go(); status.ok()) {
    ended = launch.Wait();
  } else {
    spdlog::error("{}", status.why());
    ended = W_EXITCODE(StatusOfNoProgram(status), 0);
  }
  FinishObservers(*node);
  const StopDeadline deadline(WIFEXITED(ended) ? WEXITSTATUS(ended) : 128 + WTERMSIG(ended), [&options] {
    const std::string& control = options.device.control;
    if (!control.empty()) unlink(control.c_str());
  });
  meeting.Stop();
  Report(ReportOf(*node), report, options.command);
  node.reset();
  return ended;
}

Result<std::string> ReadLibrary(const std::string& name) {
  DXG_ASSIGN(const std::string path, FindLibrary("--wsl-libs", name));
  std::ifstream file(path, std::ios::binary);
  std::string content(std::istreambuf_iterator<char>(file), {});
  if (!file) return Status::Refuse(EIO, "--wsl-libs: cannot read {}", path);
  return content;
}

// What the program is shown below /usr/lib/wsl. "auto" is on where a runtime of the adapter's vendor would
// look there.
Result<std::vector<attach::PrivateFile>> FindWslFiles(const Options& options) {
  std::vector<attach::PrivateFile> files;
  if (options.wsl_libs == "off") return files;
  Result<DriverStore> store = FindDriverStore(options.device);
  if (options.wsl_libs == "auto" && !(store.ok() && store->is_vendors)) return files;  // MakeNode says why
  if (!store.ok()) return std::move(store).status();
  DXG_ASSIGN(const std::string library, ReadLibrary("wsl/libdxcore.so"));
  DXG_ASSIGN(const std::string helper, ReadLibrary("wsl/libwsl_compute_helper.so"));
  files.push_back({"lib/libdxcore.so", library});
  for (const std::string& folder : store->folders)
    files.push_back({"drivers/" + folder + "/libwsl_compute_helper.so", helper});
  return files;
}

// Puts the path of the control socket into the environment of the program, before that is forked. True: the
// user has given none, and it is one of the launcher's.
bool PlaceControl(std::string* path) {
  if (*path == control::kPathNone) {
    path->clear();
    unsetenv(control::kPathVariable);
    return false;
  }
  const std::string place = path->empty() ? Launch::kControlPath : std::filesystem::absolute(*path).string();
  setenv(control::kPathVariable, place.c_str(), 1);
  return path->empty();
}

int Run(const RunCommand& command, Options options) {
  StartLog(options.log_level, spdlog::level::warn);
  if (Status status = command.words().Check(); !status.ok()) return Refused(status, kExitNotStarted);
  std::string library;
  if (options.preload) {
    Result<std::string> found = FindLibrary("--preload", "libdxg-preload.so");
    if (!found.ok()) return Refused(found.status(), kExitNotStarted);
    library = *std::move(found);
  }
  Result<std::vector<attach::PrivateFile>> wsl_files = FindWslFiles(options);
  if (!wsl_files.ok()) {
    if (options.wsl_libs == "on") return Refused(wsl_files.status(), kExitNotStarted);
    spdlog::warn("the program has no {}: {}", attach::kWslDirectory, wsl_files.status().why());
    wsl_files = std::vector<attach::PrivateFile>();
  }
  Result<ReportFile> report = ReportFile::Open(options);
  if (!report.ok()) return Refused(report.status(), kExitNotStarted);
  const bool control = PlaceControl(&options.device.control);
  Launch::Extras extras = {.preload = library,
                           .control = control,
                           .wsl_files = *std::move(wsl_files),
                           .needs_wsl_files = options.wsl_libs == "on"};
  Result<Launched> launched = LaunchProgram(&options, std::move(extras));
  if (!launched.ok()) return Refused(launched.status(), kExitNotStarted);
  Result<int> ended = RunServed(options, *std::move(launched), *report);
  if (ended.ok()) attach::ExitLike(*ended);
  return Refused(ended.status(), kExitNotStarted);
}

int Record(tracer::Command& command) {
  StartLog({}, spdlog::level::warn);
  Result<int> ended = command.Run();
  if (ended.ok()) attach::ExitLike(*ended);
  return Refused(ended.status(), StatusOfNoProgram(ended.status()));
}

int Main(int argc, char** argv) {
  Options to_serve, to_run;
  bool json = false;
  CLI::App app{"A /dev/dxg in userspace, for one program or for all of them", "cuse-dxg"};
  app.set_version_flag("--version", "cuse-dxg " DXG_VERSION);
  app.set_help_all_flag("--help-all", "Print the help of all commands");
  app.require_subcommand(1);
  app.footer(
      "For one program, without root:  cuse-dxg run -- PROGRAM ARGS\n"
      "For all programs, as root:      cuse-dxg serve\n"
      "What works on this machine:     cuse-dxg doctor\n"
      "Exit status: 0; 1 if something is refused, with the reason on stderr; 2 if the command line is "
      "wrong.\n"
      "`run` and `record` have others.");

  AddConfig(app);
  CLI::App* serve = AddServe(app, &to_serve);
  RunCommand run(app, &to_run, argc, argv);
  CLI::App* doctor =
      app.add_subcommand("doctor", "Print what works on this machine, what does not, and how to fix it");
  doctor->add_flag("--json", json, "As JSON");
  doctor->footer(
      "Exit status: 0 if all that was tried works, 1 if no program can be served, 3 if not all calls work on "
      "one.");
  CLI::App* calls = app.add_subcommand("calls", "List the calls of the ABI, and whether each is served");
  calls->add_flag("--json", json, "As JSON");
  CLI::App* version = app.add_subcommand("version", "Print the version, and those of what it speaks");
  version->add_flag("--json", json, "As JSON");

  control::Command ctl(app);
  VmbusCommand vmbus(app);
  CdiCommand cdi(app);
  top::Command top(app);
  trace::Command trace(app);
  profile::Command profile(app);
  tracer::Command record(app, argc, argv);
  replay::Command replay(app);

  command_line::AddPages(app);
  const ProgramWords& words = record.words().is_asked_for() ? record.words() : run.words();
  try {
    app.parse(words.argc(), argv);
  } catch (const CLI::ParseError& error) {
    return words.is_asked_for() ? words.Explain(app, error) : command_line::Explain(app, error);
  }
  if (*serve) return Serve(to_serve);
  if (run.given()) return Run(run, to_run);
  if (*doctor) return Doctor(json);
  if (ctl.given()) return ctl.Run();
  if (vmbus.given()) return vmbus.Run();
  if (cdi.given()) return cdi.Run();
  if (top.given()) return top.Run();
  if (trace.given()) return trace.Run();
  if (profile.given()) return profile.Run(TryProfile);
  if (record.given()) return Record(record);
  if (replay.given()) return replay.Run();
  if (*version) return PrintVersion(json);
  DXG_CHECK(*calls);
  return PrintCalls(json);
}

}  // namespace
}  // namespace dxg

int main(int argc, char** argv) {
  if (dxg::client::IsInjectorCommand(argc, argv)) return dxg::client::RunInjector();
  dxg::PrepareMemory();
  if (argc == 3 && argv[1] == std::string_view("trial")) return dxg::RunTrial(argv[2]);
  if (argc == 3 && argv[1] == dxg::replay::kShadowCommand) return dxg::replay::PlayLive(argv[2]);
  return dxg::Main(argc, argv);
}
