// dxg-conformance: does a /dev/dxg node behave as the real driver does?

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "tests/conformance/after_exec.h"
#include "tests/conformance/node.h"
#include "tests/conformance/options.h"
#include "tests/conformance/watch.h"

namespace dxg::conformance {
namespace {

constexpr int kUsageError = 2;

constexpr const char* kFooter = R"(Flags of GoogleTest are passed on; those used most:
  --gtest_list_tests          print the names of the tests and stop
  --gtest_filter=PATTERN      run only these tests, e.g. 'CreateDevice.*:-*Stale*'
  --gtest_repeat=N            run everything N times
  --gtest_shuffle             in another order each time
  --gtest_output=xml:FILE     write a report for a CI system
  --gtest_help                the complete list

Suites whose name begins with Sim check what the simulated host answers (sizes, budgets, names). They run only
with --simulator. Suites whose name begins with SimTrouble need a simulated host that lets a test make trouble
for everybody. They run only with --trouble. All others hold on a real WSL2 machine too.

Exit status: 0 when all tests passed; 1 when one failed, or was skipped without leave; 2 when nothing could be
tested.)";

// Parameterised suites are called Instance/Suite.
bool NameBegins(std::string_view suite, std::string_view prefix) {
  return suite.substr(suite.rfind('/') + 1).substr(0, prefix.size()) == prefix;  // npos + 1 is 0
}

void LeaveOut(std::string_view prefix, const char* why) {
  int count = 0;
  const testing::UnitTest& all = *testing::UnitTest::GetInstance();
  for (int i = 0; i < all.total_test_suite_count(); ++i)
    if (NameBegins(all.GetTestSuite(i)->name(), prefix)) count += all.GetTestSuite(i)->total_test_count();
  std::string filter = GTEST_FLAG_GET(filter);
  filter += fmt::format("{}{}*:*/{}*", filter.find('-') == std::string::npos ? '-' : ':', prefix, prefix);
  GTEST_FLAG_SET(filter, filter);
  fmt::print("{} tests of the suites {}* are left out: {}\n", count, prefix, why);
}

void LeaveOutSimulatorSuites() {
  if (!options().simulator)
    LeaveOut("Sim", "they check what the simulated host answers. Run them with --simulator.");
  else if (!options().trouble)
    LeaveOut("SimTrouble", "they make trouble for the simulated host. Run them with --trouble.");
  if (options().simulator && options().ctl.empty())
    LeaveOut("SimArrival", "adapters come and go in them. Run them with --ctl.");
}

bool NodeCanBeTested() {
  const int fd = TryOpenNode();
  if (fd < 0) {
    fmt::print(stderr, "dxg-conformance: cannot open {}: {}.\n", options().device, strerror(-fd));
    fmt::print(stderr,
               "Start it under a launcher that makes the node (cuse-dxg run -- dxg-conformance), or name the "
               "node with "
               "--device.\n");
    return false;
  }
  const Node node(fd);
  d3dkmt_enumadapters2 count = {};
  const int result = node.TryIoctl(LX_DXENUMADAPTERS2, count);
  if (result != 0)
    fmt::print(stderr, "dxg-conformance: {} is not a /dev/dxg node: EnumAdapters2 gave {}.\n",
               options().device, ResultName(result));
  else if (count.num_adapters == 0)
    fmt::print(stderr, "dxg-conformance: {} has no adapter to test.\n", options().device);
  return result == 0 && count.num_adapters != 0;
}

int Run(int argc, char** argv) {
  CLI::App app("Checks that a /dev/dxg node behaves as the published driver does, call by call.",
               "dxg-conformance");
  app.allow_extras();  // the flags of GoogleTest
  app.footer(kFooter);
  Options& opts = options();
  app.add_option("--device", opts.device, "The node to test")->capture_default_str();
  app.add_flag("--simulator", opts.simulator,
               "The node's host is the simulator: run the suites Sim* as well");
  app.add_flag("--trouble", opts.trouble,
               "The simulator's profile serves test escapes: run the suites SimTrouble* as well");
  app.add_option("--ctl", opts.ctl,
                 "The program that takes orders for the simulator's host (cuse-dxg): run the suites "
                 "SimArrival* as well")
      ->type_name("PROGRAM");
  app.add_option("--allow-skip", opts.allow_skip,
                 "Tests that may be skipped, with * and ? as in a shell; any other skip is a failure")
      ->type_name("NAME[,NAME...]")
      ->delimiter(',')
      ->allow_extra_args(false);
  app.add_option("--stress-seconds", opts.stress_s, "How long each test of the suite Stress runs")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsageError;
  }

  opts.simulator |= opts.trouble;

  std::vector<std::string> rest = app.remaining();
  std::vector<char*> gtest_argv = {argv[0]};
  for (std::string& arg : rest) gtest_argv.push_back(arg.data());
  gtest_argv.push_back(nullptr);
  int gtest_argc = static_cast<int>(gtest_argv.size()) - 1;
  testing::InitGoogleTest(&gtest_argc, gtest_argv.data());
  if (std::find(rest.begin(), rest.end(), "--gtest_help") != rest.end()) return 0;  // it has been printed
  if (gtest_argc > 1) {
    fmt::print(stderr, "dxg-conformance: unknown argument {}; --help lists all.\n", gtest_argv[1]);
    return kUsageError;
  }
  if (GTEST_FLAG_GET(list_tests)) return RUN_ALL_TESTS();
  if (!NodeCanBeTested()) return kUsageError;

  fmt::print("{}: {}\n", opts.device, ToString(KindOfNode()));
  LeaveOutSimulatorSuites();
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  auto* skips = new SkipReport;  // owned by the listeners, like the others
  listeners.Append(skips);
  listeners.Append(new NextClientWatch);
  listeners.Append(new DescriptorWatch);
  const int failed = RUN_ALL_TESTS();
  const bool skips_allowed = skips->Print();
  fflush(stdout);
  return failed != 0 || !skips_allowed ? 1 : 0;
}

}  // namespace
}  // namespace dxg::conformance

int main(int argc, char** argv) {
  using namespace dxg::conformance;
  if (argc > 1 && std::string_view(argv[1]) == kAfterExecFlag) return AfterExec(argc, argv);
  return Run(argc, argv);
}
