// Runs of the simulation, by kind and seed.
#include <fmt/format.h>

#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "base/command_line/parse.h"
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

// False, and why on stderr, where the run is not as the model says.
bool Check(const Seed& seed, bool verbose, bool twice) {
  const RunKind& kind = kRunKinds.at(seed.kind);
  Outcome outcome = kind.run({seed.steps, verbose}, seed.seed);
  if (twice && outcome.broken.empty()) {
    const uint64_t first = outcome.hash;
    outcome = kind.run({seed.steps, false}, seed.seed);
    if (outcome.hash != first)
      outcome.broken =
          fmt::format("two runs differ: their hashes are {:016x} and {:016x}", first, outcome.hash);
  }
  if (outcome.broken.empty()) return true;
  fmt::print(stderr,
             "{} seed {}, step {}: {}\nAgain: dxg-simulation --kind {} --seed {} --steps {} --verbose\n",
             seed.kind, seed.seed, outcome.step, outcome.broken, seed.kind, seed.seed, seed.steps);
  return false;
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

int Main(int argc, char** argv) {
  std::string kind = "memory", kept_file;
  uint64_t first = 1, seeds = 100;
  std::optional<uint64_t> only;
  int steps = 0;
  bool verbose = false, twice = false;
  CLI::App app("Random calls of several clients against a model, on virtual time; one machine for each seed.",
               "dxg-simulation");
  app.set_version_flag("--version", "dxg-simulation " DXG_VERSION);
  app.footer(
      "Exit status: 0; 1 where guest and host do not do as the model says, which prints the seed; 2 where a\n"
      "file cannot be read, or the command line is wrong.");
  app.add_option("--kind", kind,
                 "What the clients do: memory (allocations, residency, GPU addresses), or work (queues, "
                 "fences, waits, faults)")
      ->check(CLI::IsMember({"memory", "work"}))
      ->capture_default_str();
  app.add_option("--seed", only, "This seed alone");
  app.add_option("--first", first, "The first seed")->capture_default_str();
  app.add_option("--seeds", seeds, "How many seeds")->capture_default_str();
  app.add_option("--steps", steps, "Steps for each seed; 0: 60 of memory, 40 of work")->capture_default_str();
  app.add_option("--kept", kept_file, "Instead the seeds of a file, with lines KIND SEED STEPS")
      ->type_name("FILE");
  app.add_flag("--twice", twice, "Run each seed twice, which must do and see the same");
  app.add_flag("--verbose", verbose, "Print every step");
  if (const auto status = command_line::Parse(app, argc, argv)) return *status;
  if (!kept_file.empty()) {
    const auto kept = ReadKept(kept_file);
    if (!kept) {
      fmt::print(stderr, "--kept {}: cannot be read\n", kept_file);
      return 2;
    }
    for (const Seed& seed : *kept) {
      if (!kRunKinds.contains(seed.kind)) {
        fmt::print(stderr, "--kept {}: the kind '{}' is neither memory nor work\n", kept_file, seed.kind);
        return 2;
      }
      if (!Check(seed, verbose, twice)) return 1;
    }
    fmt::print("{} kept seeds: all as the model says\n", kept->size());
    return 0;
  }
  if (only) {
    first = *only;
    seeds = 1;
  }
  if (steps == 0) steps = kRunKinds.at(kind).steps;
  for (uint64_t seed = first; seed < first + seeds; ++seed) {
    if (!Check({kind, seed, steps}, verbose, twice)) return 1;
  }
  fmt::print("{} seeds of {} {}: all as the model says\n", seeds, steps,
             kind == "memory" ? "calls" : "steps");
  return 0;
}

}  // namespace
}  // namespace dxg::simulation

int main(int argc, char** argv) { return dxg::simulation::Main(argc, argv); }
