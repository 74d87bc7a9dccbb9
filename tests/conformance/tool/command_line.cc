#include "tests/conformance/tool/command_line.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/types.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "base/command_line/parse.h"
#include "tests/conformance/node.h"
#include "tests/conformance/options.h"
#include "tests/conformance/tool/identity.h"
#include "tests/conformance/tool/recorder.h"
#include "tests/conformance/tool/results_commands.h"
#include "tests/conformance/tool/selection.h"
#include "tests/conformance/watch.h"

namespace dxg::conformance {
namespace {

constexpr int kUsageError = 2;

constexpr const char* kFooter = R"(Flags of GoogleTest are passed on; those used most:
  --gtest_filter=PATTERN      run only these tests, e.g. 'CreateDevice.*:-*Stale*'
  --gtest_repeat=N            run everything N times
  --gtest_shuffle             in another order each time
  --gtest_output=xml:FILE     GoogleTest's own report, which knows no expected failures
  --gtest_help                the complete list

Suites whose name begins with Sim check what the simulated host answers (sizes, budgets, names). They run only
with --simulator. Suites whose name begins with SimTrouble need a simulated host that lets a test make trouble
for everybody. They run only with --trouble. All others hold on a real WSL2 machine too.

Exit status: 0 when all tests passed, or did what is expected of them; 1 when one failed, was skipped without
leave, or passed against an expectation; 2 when nothing could be tested.)";

// What the command line says beside what the tests ask for.
struct RunOptions {
  bool list = false;
  bool dangerous = false;
  bool shard_from_env = false;
  int shards = 0;
  std::string kind;
  std::string product;
  std::string json;
  std::string junit;
  std::string must_pass;
  std::vector<std::string> expectations;
};

// What the exception says that is being handled, with a colon in front.
std::string What() {
  try {
    throw;
  } catch (const std::exception& error) {
    return fmt::format(": {}", error.what());
  } catch (...) {
    return "";  // it may be anything
  }
}

int Refuse(const std::string& what) {
  fmt::print(stderr, "dxg-conformance: {}\n", what);
  return kUsageError;
}

// Leaves suites out whose name begins so, of whatever instance: parameterised ones are called Instance/Suite.
void LeaveOut(std::string_view prefix, const char* why) {
  const size_t before = SelectedTests().size();
  LeaveOutOfFilter({fmt::format("{}*", prefix), fmt::format("*/{}*", prefix)});
  const size_t count = before - SelectedTests().size();
  if (count != 0) fmt::print("{} tests of the suites {}* are left out: {}\n", count, prefix, why);
}

void LeaveOutSimulatorSuites() {
  if (!options().simulator)
    LeaveOut("Sim", "they check what the simulated host answers. Run them with --simulator.");
  else if (!options().trouble)
    LeaveOut("SimTrouble", "they make trouble for the simulated host. Run them with --trouble.");
  if (options().simulator && options().ctl.empty())
    LeaveOut("SimArrival", "adapters come and go in them. Run them with --ctl.");
}

// A test that calls exit(0) must not end a run that passes. _exit() cannot be seen from here, only in the
// files.
pid_t running_tests = 0;
void RefuseToEndWithinATest() {
  if (running_tests != getpid()) return;
  fmt::print(stderr, "dxg-conformance: a test has ended the program.\n");
  fflush(nullptr);
  _exit(1);
}

// The recorder listens as long as this lives, also when an exception leaves a test, which GoogleTest lets
// through with --gtest_catch_exceptions=0 and --gtest_throw_on_failure.
class Listening {
 public:
  explicit Listening(Recorder* recorder) : recorder_(recorder) {
    auto& listeners = testing::UnitTest::GetInstance()->listeners();
    listeners.Append(recorder);
    listeners.Append(new NextClientWatch);
    listeners.Append(new DescriptorWatch);
    running_tests = getpid();
  }
  Listening(const Listening&) = delete;
  Listening& operator=(const Listening&) = delete;
  ~Listening() {
    running_tests = 0;
    testing::UnitTest::GetInstance()->listeners().Release(recorder_);
  }

 private:
  Recorder* recorder_;
};

// Why nothing can be tested, if that is so.
std::optional<std::string> WhyNotTested() {
  const std::string& device = options().device;
  const int fd = TryOpenNode();
  if (fd < 0)
    return fmt::format(
        "cannot open {}: {}.\nStart it under a launcher that makes the node (cuse-dxg run -- "
        "dxg-conformance), or name "
        "the node with --device.",
        device, strerror(-fd));
  const Node node(fd);
  d3dkmt_enumadapters2 count = {};
  const int result = node.TryIoctl(LX_DXENUMADAPTERS2, count);
  if (result != 0)
    return fmt::format("{} is not a /dev/dxg node: EnumAdapters2 gave {}.", device, ResultName(result));
  if (count.num_adapters == 0) return fmt::format("{} has no adapter to test.", device);
  return std::nullopt;
}

void AddOptions(CLI::App* app, RunOptions* run) {
  Options& opts = options();
  app->add_option("--device", opts.device, "The node to test")->type_name("PATH")->capture_default_str();
  app->add_option("--kind", run->kind,
                  "What the node is, where /sys does not say: driver, cuse, file or preload")
      ->check(CLI::IsMember({"driver", "cuse", "file", "preload"}));
  app->add_flag("--simulator", opts.simulator,
                "The node's host is the simulator: run the suites Sim* as well");
  app->add_flag("--trouble", opts.trouble,
                "The simulator's profile serves test escapes: run the suites SimTrouble* as well");
  app->add_option("--ctl", opts.ctl,
                  "The program that takes orders for the simulator's host (cuse-dxg): run the suites "
                  "SimArrival* as well")
      ->type_name("PROGRAM");
  app->add_flag(
      "--dangerous", run->dangerous,
      "On the real driver, run also the tests that harm the machine, such as those that crash its kernel");
  app->add_option("--allow-skip", opts.allow_skip,
                  "Tests that may be skipped, with * and ? as in a shell; any other skip is a failure")
      ->type_name("NAME[,NAME...]")
      ->delimiter(',')
      ->allow_extra_args(false);
  app->add_option(
         "--expectations", run->expectations,
         "Tests that are expected to fail or skip: a file, the name of a shipped one, or auto for those that "
         "fit the node. Repeatable; the last that names a test counts")
      ->type_name("FILE|auto")
      ->allow_extra_args(false);
  app->add_option("--must-pass", run->must_pass,
                  "Tests that have to pass in this run; auto for the shipped list")
      ->type_name("FILE|auto");
  app->add_option("--json", run->json, "Write the results as JSON, whole after every test")
      ->type_name("FILE");
  app->add_option("--junit", run->junit, "Write the results as JUnit's XML, whole after every test")
      ->type_name("FILE");
  app->add_option("--product", run->product, "Product and version under test, for the results")
      ->type_name("TEXT");
  app->add_flag(
      "--shard-from-env", run->shard_from_env,
      "Run one shard: the one that SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX or CI_NODE_INDEX names");
  app->add_option("--shards", run->shards, "How many shards there are, where the environment does not say")
      ->check(CLI::Range(1, 100000));
  app->add_option("--stress-seconds", opts.stress_s, "How long each test of the suite Stress runs")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
  app->add_flag("--list", run->list, "Print the names of the tests that the filter selects, and stop");
}

// Reads the expectations that the command line names. Returns what is wrong, or nothing.
std::optional<std::string> ReadExpectations(const RunOptions& run, Judge* judge, RunInfo* info) {
  for (const std::string& name : run.expectations) {
    const std::vector<std::string> files =
        name == "auto" ? FittingExpectations() : std::vector<std::string>{name};
    for (const std::string& file : files) {
      if (auto wrong = judge->expectations.AddFile(file)) return wrong;
      info->expectations.push_back(file);
    }
  }
  // A test that is to be left out and has another name would run: it may crash the machine, or not end.
  const std::vector<std::string> tests = AllTests();
  for (const Expectation& one : judge->expectations.all()) {
    if (one.expected != Expected::kNotRun && one.expected != Expected::kDangerous) continue;
    if (std::none_of(tests.begin(), tests.end(),
                     [&](const std::string& test) { return FitsGlob(one.pattern, test); }))
      return fmt::format(
          "{}: no test is called {}, so it leaves nothing out. Expected a name or a glob that fits one; "
          "--list shows "
          "the names",
          one.source, one.pattern);
  }
  if (!run.must_pass.empty()) return judge->must_pass.AddFile(run.must_pass);
  return std::nullopt;
}

// Leaves out what is not to run by its expectations, and on the real driver what is dangerous.
void LeaveOutByExpectation(bool dangerous, const Judge& judge, Recorder* recorder) {
  Expectations dangers;
  // The shipped file is read by a test. Dangers count whatever else is expected.
  if (dangers.AddFile("dangerous"))
    throw std::logic_error("the shipped list of dangerous tests cannot be read");
  const bool spared = KindOfNode() == NodeKind::kDriver && !dangerous;
  std::vector<std::string> names;
  for (const std::string& test : SelectedTests()) {
    const Expectation* danger = spared ? dangers.Find(test) : nullptr;
    const Expectation* expectation = judge.expectations.Find(test);
    if (danger == nullptr && expectation != nullptr &&
        (expectation->expected == Expected::kNotRun ||
         (expectation->expected == Expected::kDangerous && spared)))
      danger = expectation;
    if (danger == nullptr) continue;
    const bool required = judge.must_pass.Requires(test);
    recorder->not_run.push_back({test, required ? Outcome::kMissing : Outcome::kNotRun, 0,
                                 required ? "must pass, and is left out" : "", danger->reason,
                                 danger->tracker});
    names.push_back(test);
    fmt::print("{} is left out: {}{}\n", test, danger->reason,
               danger->expected == Expected::kDangerous ? " (--dangerous runs it)" : "");
  }
  LeaveOutOfFilter(names);
}

// Names that must pass and that no test of this program has.
void AddUnknownNames(const Judge& judge, Recorder* recorder) {
  const std::vector<std::string> all = AllTests();
  for (const std::string& name : judge.must_pass.names())
    if (std::find(all.begin(), all.end(), name) == all.end())
      recorder->not_run.push_back(
          {name, Outcome::kMissing, 0, "must pass, and this program has no such test", "", ""});
}

int RunTests(const RunOptions& run, const Shard* shard, ResultsWriter* writer) {
  const std::string filter = GTEST_FLAG_GET(filter);
  if (SelectedTests().empty())
    return Refuse(fmt::format("no test fits the filter {}; --list shows the names.", filter));
  if (const auto why = WhyNotTested()) return Refuse(*why);
  fmt::print("{}: {}\n", options().device, ToString(KindOfNode()));

  Judge judge;
  judge.allow_skip = options().allow_skip;
  Recorder recorder(judge, writer);  // the listeners must not own it: it is read after them
  const auto add_run = [&] {
    recorder.info.version = DXG_VERSION;
    recorder.info.filter = filter;
    if (shard != nullptr) recorder.info.shards = {*shard};
  };
  add_run();
  writer->Begin(recorder.info);  // a node may end us, or never answer, before the first test
  recorder.info = Identify(run.product);
  add_run();
  if (const auto wrong = ReadExpectations(run, &judge, &recorder.info)) return Refuse(*wrong + ".");
  LeaveOutSimulatorSuites();
  LeaveOutByExpectation(run.dangerous, judge, &recorder);
  const bool first_shard = shard == nullptr || shard->index == 0;
  if (first_shard) AddUnknownNames(judge, &recorder);
  if (SelectedTests().empty())
    return Refuse(fmt::format("all tests that fit the filter {} are left out.", filter));
  if (!first_shard) recorder.not_run.clear();  // the first one names them

  std::atexit(RefuseToEndWithinATest);
  bool all_fine = false;
  try {
    const Listening listening(&recorder);
    all_fine = RUN_ALL_TESTS() == 0;
  } catch (...) {
    if (recorder.begun() == 0) throw;
    // The files say so of the test that ran.
    fmt::print(stderr, "dxg-conformance: an exception has left a test, and the run has ended{}.\n", What());
    return 1;
  }
  const bool empty_shard = shard != nullptr && testing::UnitTest::GetInstance()->test_to_run_count() == 0;
  if (recorder.begun() == 0 && !empty_shard)
    return Refuse(
        fmt::format("no test ran, of {} that the filter {} selects.", SelectedTests().size(), filter));
  const bool passed = recorder.Finish(all_fine);
  fflush(stdout);
  return passed ? 0 : 1;
}

}  // namespace

int RunCommandLine(int argc, char** argv) {
  CLI::App app("Checks that a /dev/dxg node behaves as the published driver does, call by call.",
               "dxg-conformance");
  app.allow_extras();  // the flags of GoogleTest
  app.footer(kFooter);
  app.set_version_flag("--version", "dxg-conformance " DXG_VERSION);
  RunOptions run;
  AddOptions(&app, &run);
  ResultsCommands results(app);
  if (const auto status = command_line::Parse(app, argc, argv, kUsageError)) return *status;
  if (results.given()) return results.Run();
  options().simulator |= options().trouble;
  if (!run.kind.empty()) SetKindOfNode(run.kind);

  std::vector<std::string> rest = app.remaining();
  std::vector<char*> gtest_argv = {argv[0]};
  for (std::string& arg : rest) gtest_argv.push_back(arg.data());
  gtest_argv.push_back(nullptr);
  int gtest_argc = static_cast<int>(gtest_argv.size()) - 1;
  std::optional<Shard> shard;
  if (run.shard_from_env) {
    shard.emplace();
    if (const auto wrong = TakeShardFromEnvironment(run.shards, &*shard)) return Refuse(*wrong + ".");
  } else {
    shard = ShardOfGoogleTest();
  }
  testing::InitGoogleTest(&gtest_argc, gtest_argv.data());
  if (std::find(rest.begin(), rest.end(), "--gtest_help") != rest.end()) return 0;  // it has been printed
  if (gtest_argc > 1) return Refuse(fmt::format("unknown argument {}; --help lists all.", gtest_argv[1]));
  if (GTEST_FLAG_GET(list_tests)) return RUN_ALL_TESTS();
  if (run.list) {
    for (const std::string& test : SelectedTests()) fmt::print("{}\n", test);
    return SelectedTests().empty() ? kUsageError : 0;
  }

  ResultsWriter writer;
  if (!run.json.empty())
    if (const auto wrong = writer.OpenJson(run.json)) return Refuse(*wrong + ".");
  if (!run.junit.empty())
    if (const auto wrong = writer.OpenJunit(run.junit)) return Refuse(*wrong + ".");
  int status = kUsageError;
  try {
    status = RunTests(run, shard ? &*shard : nullptr, &writer);
  } catch (...) {
    Refuse(fmt::format("{} cannot be tested{}.", options().device, What()));
  }
  if (status == kUsageError) writer.Discard();  // an old file of that name would tell of another run
  return status;
}

}  // namespace dxg::conformance
