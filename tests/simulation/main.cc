// Runs of the simulation, by kind and seed.
#include <fmt/format.h>

#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "base/command_line/parse.h"
#include "base/command_line/progress.h"
#include "base/command_line/shard.h"
#include "tests/simulation/results.h"
#include "tests/simulation/run.h"

namespace dxg::simulation {
namespace {

struct RunKind {
  Outcome (*run)(const Options& options, uint64_t seed);
  int steps;
};

const std::map<std::string, RunKind> kRunKinds = {{"memory", {RunMemory, 60}}, {"work", {RunWork, 40}}};

struct Seed {
  std::string kind;
  uint64_t seed;
  int steps;
};

// What is not as the model says, or nothing.
std::optional<BrokenSeed> Check(const Seed& seed, bool verbose, bool twice) {
  const RunKind& kind = kRunKinds.at(seed.kind);
  Outcome outcome = kind.run({seed.steps, verbose}, seed.seed);
  if (twice && outcome.broken.empty()) {
    const uint64_t first = outcome.hash;
    outcome = kind.run({seed.steps, false}, seed.seed);
    if (outcome.hash != first)
      outcome.broken =
          fmt::format("two runs differ: their hashes are {:016x} and {:016x}", first, outcome.hash);
  }
  if (outcome.broken.empty()) return std::nullopt;
  return BrokenSeed{seed.seed, outcome.step, outcome.broken};
}

void Print(const Seed& seed, const BrokenSeed& broken) {
  fmt::print(stderr,
             "{} seed {}, step {}: {}\nAgain: dxg-simulation --kind {} --seed {} --steps {} --verbose\n",
             seed.kind, seed.seed, broken.step, broken.what, seed.kind, seed.seed, seed.steps);
}

// Lines "KIND SEED STEPS", '#' begins a comment.
std::optional<std::vector<Seed>> ReadKept(const std::string& path) {
  std::ifstream file(path);
  if (!file) return std::nullopt;
  std::vector<Seed> kept;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line.substr(0, line.find('#')));
    Seed seed;
    if (words >> seed.kind >> seed.seed >> seed.steps) kept.push_back(seed);
  }
  return kept;
}

struct MainOptions {
  std::string kind = "memory", kept_file;
  uint64_t first = 1, seeds = 100;
  std::optional<uint64_t> only;
  int steps = 0;
  bool verbose = false, twice = false, keep_going = false;
  bool shard_from_env = false;
  int shards = 0;
  std::string json;
};

int RunKept(const MainOptions& options) {
  const auto kept = ReadKept(options.kept_file);
  if (!kept) {
    fmt::print(stderr, "--kept {}: cannot be read\n", options.kept_file);
    return 2;
  }
  for (const Seed& seed : *kept) {
    if (!kRunKinds.contains(seed.kind)) {
      fmt::print(stderr, "--kept {}: the kind '{}' is neither memory nor work\n", options.kept_file,
                 seed.kind);
      return 2;
    }
    if (const auto broken = Check(seed, options.verbose, options.twice)) return Print(seed, *broken), 1;
  }
  fmt::print("{} kept seeds: all as the model says\n", kept->size());
  return 0;
}

// The file is there from the beginning, so that a run that is killed leaves one which says so.
int RunSeeds(const MainOptions& options) {
  Results results = {.version = DXG_VERSION,
                     .kind = options.kind,
                     .steps = options.steps != 0 ? options.steps : kRunKinds.at(options.kind).steps,
                     .first = options.only.value_or(options.first),
                     .seeds = options.only ? 1 : options.seeds,
                     .shards = {command_line::Shard{}}};
  std::optional<std::string> wrong;
  if (options.shard_from_env) wrong = ShardFromEnvironment(options.shards, &results.shards.front());
  const auto write = [&] {
    if (!wrong && !options.json.empty()) wrong = WriteResults(options.json, results);
  };
  write();
  const Seeds mine = SeedsOf(results, results.shards.front());
  command_line::Progress progress("seeds", mine.count);
  for (uint64_t seed = mine.first; !wrong && seed < mine.first + mine.count; ++seed) {
    const auto broken = Check({results.kind, seed, results.steps}, options.verbose, options.twice);
    ++results.done;
    progress.At(results.done);
    if (!broken) continue;
    progress.Clear();
    Print({results.kind, seed, results.steps}, *broken);
    results.broken.push_back(*broken);
    write();
    if (!options.keep_going) return wrong ? 2 : 1;
  }
  progress.Clear();
  results.complete = true;
  write();
  if (wrong) {
    fmt::print(stderr, "dxg-simulation: {}\n", *wrong);
    return 2;
  }
  return Conclude(results);
}

int Main(int argc, char** argv) {
  MainOptions options;
  std::vector<std::string> files;
  std::string merged;
  CLI::App app("Random calls of several clients against a model, on virtual time; one machine for each seed.",
               "dxg-simulation");
  app.set_version_flag("--version", "dxg-simulation " DXG_VERSION);
  app.footer(
      "Exit status: 0; 1 where guest and host do not do as the model says, which prints the seed; 2 where a\n"
      "file cannot be read or written, or the command line is wrong.");
  app.add_option("--kind", options.kind,
                 "What the clients do: memory (allocations, residency, GPU addresses), or work (queues, "
                 "fences, waits, faults)")
      ->check(CLI::IsMember({"memory", "work"}))
      ->capture_default_str();
  app.add_option("--seed", options.only, "This seed alone");
  app.add_option("--first", options.first, "The first seed")->capture_default_str();
  app.add_option("--seeds", options.seeds, "How many seeds")->capture_default_str();
  app.add_option("--steps", options.steps, "Steps for each seed; 0: 60 of memory, 40 of work")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--kept", options.kept_file, "Instead the seeds of a file, with lines KIND SEED STEPS")
      ->type_name("FILE");
  app.add_flag("--twice", options.twice, "Run each seed twice, which must do and see the same");
  app.add_flag("--keep-going", options.keep_going, "Go on after a seed that is not as the model says");
  app.add_flag("--shard-from-env", options.shard_from_env,
               "Run a part of the seeds: the one that SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX or "
               "CI_NODE_INDEX names");
  app.add_option("--shards", options.shards, "How many parts there are, where the environment does not say")
      ->check(CLI::Range(1, 100000));
  app.add_option("--json", options.json, "Write the results as JSON; `complete` is false until the end")
      ->type_name("FILE");
  app.add_flag("--verbose", options.verbose, "Print every step");
  app.require_subcommand(0, 1);
  CLI::App* merge = app.add_subcommand("merge", "One file of the results of all parts");
  merge->add_option("--json", merged, "Write JSON to FILE")->type_name("FILE");
  merge->add_option("SHARD", files, "The JSON files of the parts")->required();
  merge->footer(
      "A part that ran again after it died counts as it ended.\n"
      "Exit status: 0 when all parts are there, are complete and as the model says; 1 otherwise; 2 when\n"
      "files do not belong together or cannot be read.");
  if (const auto status = command_line::Parse(app, argc, argv)) return *status;
  if (*merge) return Merge(files, merged);
  return options.kept_file.empty() ? RunSeeds(options) : RunKept(options);
}

}  // namespace
}  // namespace dxg::simulation

int main(int argc, char** argv) { return dxg::simulation::Main(argc, argv); }
