// dxg-bench: what calls, memory, work, hosts, rings and many objects cost, as ratios to a bare FUSE echo, to
// plain memory or to a bare ping-pong in the same run. Absolute times say more about the machine than about
// us.
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include "base/command_line/parse.h"
#include "tests/bench/bench.h"
#include "tests/bench/by_library.h"
#include "tests/bench/report.h"
#include "tests/bench/subcommands.h"

using namespace dxg;
using namespace dxg::bench;

namespace {

struct Subcommand {
  const char* name;
  void (*measure)(Run& run);
  const char* help;
};
constexpr Subcommand kSubcommands[] = {
    {"calls", MeasureCalls, "What a call costs, in bare FUSE echoes of the same size"},
    {"memory", MeasureMemory, "What allocations, mappings, and touching memory cost"},
    {"work", MeasureWork, "What submissions, fences and waits cost, and the speed of GPU copies"},
    {"ops", MeasureOps,
     "What the GPU's own ops reach beside memcpy, memset and, if it is installed, OpenBLAS"},
    {"host", MeasureHost, "What a host in another process costs, by a socket and by VMBus rings"},
    {"rings", MeasureRings, "What the rings of a VMBus channel cost, in bare futex ping-pongs"},
    {"load", MeasureLoad,
     "What many processes and objects cost, and a flood of calls; needs minutes and 4 GiB"},
    {"throughput", MeasureThroughput,
     "Calls a second of many clients, beside a bare echo of as many threads"},
    {"record", MeasureRecord, "What recording costs a program, and printing a recording"},
};

constexpr char kFooter[] =
    "Exit status: 0 when all was measured, whatever the figures are; 1 where compare found a figure that is\n"
    "surely worse; 2 if something cannot be measured, or the command line is wrong.";

int Measure(const Subcommand& subcommand, const Limits& limits, bool as_json) {
  const Load load;
  Run run(limits, [&](const Result& result) {
    fmt::print(as_json ? stderr : stdout, "{}\n", Line(result, limits.smoke));
    std::fflush(as_json ? stderr : stdout);
  });
  subcommand.measure(run);
  if (as_json) {
    fmt::print("{}\n", RunAsJson(subcommand.name, run, limits, load).dump(2));
  } else {
    fmt::print("{}\n", load.Text());
  }
  return 0;
}

void AddOptions(CLI::App& app, Limits* limits, bool* as_json) {
  app.add_flag("--json", *as_json,
               "Print one JSON object with the figures, the machine and its load; the text goes to stderr");
  app.add_flag("--smoke", limits->smoke,
               "A short run, which shows that everything works, and measures little");
  app.add_option("--precision", limits->precision_percent,
                 "Repeat until the 95 % interval of each figure is narrower than this part of it")
      ->type_name("PERCENT")
      ->check(CLI::Range(0.1, 100.0))
      ->capture_default_str();
  app.add_option(
         "--time-max", limits->seconds_max,
         "Give up after that long for figures that are measured together, and say that the machine is "
         "too noisy")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.1, 86400.0))
      ->capture_default_str();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && argv[1] == std::string_view(kByLibrary))
    return RunByLibrary(argv[2] == std::string_view(kFewCalls));
  if (argc == 2 && argv[1] == std::string_view(kRecordedInTurns)) return TakeRecordedTurns();
  if (argc == 2 && argv[1] == std::string_view(kRecordedCalls)) return MakeRecordedCalls();
  CLI::App app("Measures what cuse-dxg costs, as ratios that hold on any machine.", "dxg-bench");
  app.set_version_flag("--version", "dxg-bench " DXG_VERSION);
  app.require_subcommand(1);
  app.footer(kFooter);
  Limits limits;
  bool as_json = false;
  for (const Subcommand& subcommand : kSubcommands)
    AddOptions(*app.add_subcommand(subcommand.name, subcommand.help), &limits, &as_json);
  std::string file_a, file_b;
  CLI::App* const compare = app.add_subcommand("compare", "What differs between two runs of one command");
  compare->add_option("A", file_a, "What `--json` printed before")->required()->type_name("FILE");
  compare->add_option("B", file_b, "What `--json` printed after")->required()->type_name("FILE");
  if (const auto ended = command_line::Parse(app, argc, argv)) return *ended;
  if (compare->parsed()) return Compare(file_a, file_b);
  for (const Subcommand& subcommand : kSubcommands) {
    if (app.got_subcommand(subcommand.name)) return Measure(subcommand, limits, as_json);
  }
  return command_line::kExitWrong;
}
