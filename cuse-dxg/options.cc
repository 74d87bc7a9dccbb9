#include "cuse-dxg/options.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string_view>

#include "cuse-dxg/vmbus_command.h"

namespace dxg {
namespace {

using attach::Session;

void AddDeviceOptions(CLI::App* command, Options* options) {
  command
      ->add_option("--profile", options->device.profiles,
                   "Adapter profile, a name or a file; repeat it for more adapters")
      ->type_name(DXG_PROFILE_NAMES "|FILE")
      ->envname("DXG_PROFILE")
      ->take_all()
      ->allow_extra_args(false);
  command
      ->add_option("--scenario", options->device.scenario,
                   "What befalls the adapters: faults and answers as users of real ones have reported them "
                   "(docs/scenarios.md)")
      ->type_name(DXG_SCENARIO_NAMES)
      ->envname("DXG_SCENARIO");
  command
      ->add_option(
          "--backend", options->device.backend,
          "The host to use: sim, the simulator in this process; unix:PATH, a `dxg-hostsim --listen PATH`; "
          "vmbus, the host of this Hyper-V guest (docs/vmbus.md); vmbus:PATH, a `dxg-hostsim "
          "--serve=vmbus:PATH`, over rings, or over the socket with \",packets\"")
      ->type_name("sim|unix:PATH|vmbus|vmbus:PATH")
      ->envname("DXG_BACKEND")
      ->capture_default_str();
  AddUioOptions(command, &options->device.vmbus);
  command
      ->add_option("--control", options->device.control,
                   "Listen at PATH for `cuse-dxg ctl`; \"none\" turns that off. Default: none for serve, "
                   "a socket in the private /dev for run")
      ->type_name("none|PATH");
  command->add_option("--workers", options->workers, "Threads that serve requests")
      ->check(CLI::Range(1, Session::kWorkersMax))
      ->capture_default_str();
  command
      ->add_option("--trace-text", options->device.trace_text,
                   "Write each call as a line of text to FILE; - is stdout")
      ->type_name("FILE")
      ->envname("DXG_TRACE");
  command
      ->add_option("--record", options->device.record,
                   "Record all calls in FILE, for `cuse-dxg trace` (docs/recording.md)")
      ->type_name("FILE")
      ->envname("DXG_RECORD");
  command
      ->add_option("--record-max", options->device.record_max,
                   "The largest size of that file, such as 500MiB; records beyond it are lost and counted")
      ->type_name("SIZE")
      ->transform(CLI::AsSizeValue(false).description(""))
      ->default_str("16GiB");
  command->add_flag("--no-sandbox", options->no_sandbox,
                    "Keep all rights and make any system call: to debug this process (docs/security.md)");
  command
      ->add_option("--sandbox", options->sandbox,
                   "What a system call does that is not in the list: kill (this process ends), log (in the "
                   "kernel's log), or off, as --no-sandbox")
      ->check(CLI::IsMember(confinement::ForbiddenNames()))
      ->capture_default_str();
  command->add_option("--log-level", options->log_level, "How much is said on stderr")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error", "off"}));
}

}  // namespace

CLI::App* AddServe(CLI::App& app, Options* options) {
  CLI::App* serve =
      app.add_subcommand("serve", "Serve /dev/dxg to all programs, in the foreground, until SIGTERM");
  serve
      ->add_option("--attach", options->attach,
                   "How to make the node: cuse, fuse, or auto (cuse if this machine has it)")
      ->check(CLI::IsMember({"auto", "cuse", "fuse"}))
      ->capture_default_str();
  serve->add_option("--device", options->path, "Path of the node; a path other than /dev/dxg needs fuse")
      ->type_name("PATH")
      ->capture_default_str();
  serve
      ->add_option("--mode", options->mode,
                   "Who may open the node, in octal; 0660 leaves it to a group (docs/security.md)")
      ->type_name("MODE")
      ->default_str("0666");
  serve->add_option("--group", options->group, "Group of the node, a name or a number")->type_name("GROUP");
  serve
      ->add_option("--ready-fd", options->ready_fd,
                   "Write a newline to descriptor N when the node can be opened")
      ->type_name("N");
  serve->add_flag("--foreground", options->foreground,
                  "Stay in the foreground. It always does; the option is accepted for unit files");
  AddDeviceOptions(serve, options);
  serve->footer(
      "Exit status: 0 when SIGTERM or SIGINT has ended it; 1 if it is refused, or the node was unmounted or\n"
      "aborted by another process; 2 if the command line is wrong.");
  return serve;
}

RunCommand::RunCommand(CLI::App& app, Options* options, int argc, char** argv)
    : options_(options), argv_(argv), argc_(argc) {
  // The first word that is no option of the program itself; of those, --config and --completion take a word.
  int at = 1;
  for (; at < argc && argv[at][0] == '-'; ++at) {
    const std::string_view word = argv[at];
    if (word == "--config" || word == "--completion") ++at;
  }
  if (at < argc && argv[at] == std::string_view("run")) word_ = at;
  char** const separator =
      is_asked_for() ? std::find(argv + at, argv + argc, std::string_view("--")) : argv + argc;
  argc_ = static_cast<int>(separator - argv);
  if (argc_ != argc) options->command.assign(separator + 1, argv + argc);

  run_ = app.add_subcommand("run", "Run one program with a private /dev that has a dxg; needs no root");
  AddDeviceOptions(run_, options);
  run_->add_option(
          "--attach", options->run_attach,
          "How the program meets the node: fuse, in a private /dev; preload, by a library in the program, "
          "where neither FUSE nor mounts nor namespaces are to be had; or auto (fuse if that works)")
      ->check(CLI::IsMember({"auto", "fuse", "preload"}))
      ->envname("DXG_ATTACH")
      ->capture_default_str();
  run_->add_flag(
      "--preload", options->preload,
      "Load a helper library into the program, for runs under a debugger or strace (docs/security.md)");
  run_->add_flag(
          "--wsl-libs{on},--no-wsl-libs{off}", options->wsl_libs,
          "Show the program a libdxcore.so in /usr/lib/wsl/lib, and the folders of the profiles' drivers "
          "(docs/wsl-libraries.md). Default: with a profile of a real vendor's adapter")
      ->check(CLI::IsMember({"auto", "on", "off"}));
  run_->add_option(
          "--report", options->report,
          "At the end, write to FILE what the program asked for, and how far that was done as by the "
          "real device; - is stdout. JSON where FILE ends in .json (docs/fidelity.md)")
      ->type_name("FILE")
      ->envname("DXG_REPORT");
  run_->add_option("--report-format", options->report_format, "Whatever FILE is called")
      ->check(CLI::IsMember({"text", "json"}));
  program_ = run_->add_option("PROGRAM", options->command, "The program and its arguments, after --");
  program_->configurable(false);
  run_->footer(
      "Usage: cuse-dxg run [OPTIONS] -- PROGRAM [ARGS...]\n"
      "Exit status: that of PROGRAM; a signal that ends it also ends cuse-dxg. 125 if cuse-dxg itself "
      "fails,\n"
      "whatever the reason; 126 if PROGRAM is there and cannot be run; 127 if it is not found.");
}

Status RunCommand::CheckWords() const {
  const std::vector<std::string>& program = program_->results();
  if (program.empty()) {
    if (!options_->command.empty()) return Status::Ok();
    return Status::Refuse(EINVAL, "run: which program? cuse-dxg run [OPTIONS] -- PROGRAM [ARGS...]");
  }
  // Without "--" the program has to be all that is left: else an option of its own would be one of ours, or
  // unknown.
  const std::vector<std::string> words(argv_ + word_ + 1, argv_ + argc_);
  if (argv_[argc_] == nullptr && std::equal(program.rbegin(), program.rend(), words.rbegin()))
    return Status::Ok();
  std::string ours, theirs;
  bool is_theirs = false;
  for (char** word = argv_ + word_ + 1; *word != nullptr; ++word) {
    is_theirs |= *word == program.front();
    (is_theirs ? theirs : ours) += std::string(" ") + *word;
  }
  return Status::Refuse(EINVAL, "run: put -- before the program: cuse-dxg run{} --{}", ours, theirs);
}

void AddConfig(CLI::App& app) {
  const char* const file = std::getenv("DXG_CONFIG");
  app.allow_config_extras(CLI::config_extras_mode::error);  // a wrong word is refused, wherever it is given
  app.set_config(
         "--config", file ? file : "",
         "Read options from FILE, as `profile = \"compute\"` below [run] or [serve] (docs/packages.md)",
         file && *file)
      ->type_name("FILE")
      ->envname("DXG_CONFIG");
}

}  // namespace dxg
