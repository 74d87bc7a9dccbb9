#include "cuse-dxg/options.h"

#include <cerrno>
#include <cstdlib>

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
          "--serve=vmbus:PATH`, over rings, or over the socket with \",packets\"; replay:FILE, what a "
          "recording "
          "has, in its order with \",strict\" (docs/replay.md)")
      ->type_name("sim|unix:PATH|vmbus|vmbus:PATH|replay:FILE")
      ->envname("DXG_BACKEND")
      ->capture_default_str();
  command
      ->add_option("--shadow", options->device.shadow,
                   "Compare all answers with those of another host, as of --backend, which is asked the same "
                   "by clients "
                   "of its own, or with those of a recording; say in the log what differs (docs/replay.md)")
      ->type_name("sim|unix:PATH|vmbus|vmbus:PATH|replay:FILE");
  command
      ->add_option(
          "--shadow-profile", options->device.shadow_profiles,
          "Adapter profile of --shadow sim; repeat it for more adapters. Default: those of --profile")
      ->type_name(DXG_PROFILE_NAMES "|FILE")
      ->take_all()
      ->allow_extra_args(false);
  command
      ->add_option_function<std::string>(
          "--timing",
          [options](const std::string& timing) { options->device.recorded_times = timing == "recorded"; },
          "With --backend replay:FILE: answers take as long as they took (recorded), or no time (fast)")
      ->check(CLI::IsMember({"recorded", "fast"}))
      ->default_str("fast");
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
      ->add_option(
          "--trace-json", options->device.trace_json,
          "Write each call as a JSON object on a line, as `cuse-dxg trace print --json` does; - is stdout")
      ->type_name("FILE")
      ->envname("DXG_TRACE_JSON");
  command
      ->add_option("--record", options->device.record.file,
                   "Record all calls in FILE, for `cuse-dxg trace` (docs/recording.md)")
      ->type_name("FILE")
      ->envname("DXG_RECORD");
  command
      ->add_option("--record-max", options->device.record.file_max,
                   "The largest size of that file, such as 500MiB; records beyond it are lost and counted")
      ->type_name("SIZE")
      ->transform(CLI::AsSizeValue(false).description(""))
      ->default_str("16GiB");
  command
      ->add_option(
          "--memory", options->device.record.memory,
          "What a recording has of the memory that calls name: hash (a hash of it), full (its contents)")
      ->check(CLI::IsMember({"none", "hash", "full"}))
      ->capture_default_str();
  command->add_flag("--redact", options->device.record.redact,
                    "Record private data and names as their sizes and hashes only");
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

RunCommand::RunCommand(CLI::App& app, Options* options, int argc, char** argv) : words_("run", argc, argv) {
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
  words_.AddTo(run_, &options->command);
  run_->footer(
      "Usage: cuse-dxg run [OPTIONS] -- PROGRAM [ARGS...]\n"
      "Exit status: that of PROGRAM; a signal that ends it also ends cuse-dxg. 125 if cuse-dxg itself "
      "fails,\n"
      "whatever the reason; 126 if PROGRAM is there and cannot be run; 127 if it is not found.");
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
