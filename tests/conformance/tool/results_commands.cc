#include "tests/conformance/tool/results_commands.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/conformance/tool/results_file.h"

namespace dxg::conformance {
namespace {

constexpr int kFailed = 1;
constexpr int kUsage = 2;

int Wrong(const std::string& what) {
  fmt::print(stderr, "dxg-conformance: {}.\n", what);
  return kUsage;
}

// One of each name: the worst of those that ran several times, and the shortest time.
std::map<std::string, TestResult> ByName(const Results& results) {
  std::map<std::string, TestResult> tests;
  for (const TestResult& test : results.tests) {
    const auto [entry, is_new] = tests.emplace(test.name, test);
    if (is_new) continue;
    const double ms = std::min(entry->second.ms, test.ms);
    if (IsFailure(test.outcome) && !IsFailure(entry->second.outcome)) entry->second = test;
    entry->second.ms = ms;
  }
  return tests;
}

void PrintList(const char* title, const std::vector<std::string>& lines) {
  if (lines.empty()) return;
  fmt::print("{} ({}):\n", title, lines.size());
  for (const std::string& line : lines) fmt::print("  {}\n", line);
}

bool Works(Outcome outcome) { return outcome == Outcome::kPass || outcome == Outcome::kUnexpectedPass; }
// Fails, and did not pass either: an unexpected pass fails the run, and works.
bool Breaks(Outcome outcome) { return IsFailure(outcome) && !Works(outcome); }

void SayIncomplete(const std::string& file, const Results& results) {
  if (!results.complete)
    fmt::print("{} is not complete: the run ended early, or a shard is missing.\n", file);
}

int Compare(const CompareOptions& options) {
  Results before, after;
  if (const auto wrong = ReadResults(options.before, &before)) return Wrong(*wrong);
  if (const auto wrong = ReadResults(options.after, &after)) return Wrong(*wrong);
  const auto old_tests = ByName(before), new_tests = ByName(after);
  std::vector<std::string> failing, passing, no_longer, slower, gone, added;
  for (const auto& [name, test] : new_tests) {
    const auto found = old_tests.find(name);
    const bool known = found != old_tests.end();
    const bool failed_before =
        known && (Works(test.outcome) ? IsFailure(found->second.outcome) : Breaks(found->second.outcome));
    if (IsFailure(test.outcome) && !failed_before)
      failing.push_back(
          fmt::format("{}  {}{}", name, ToString(test.outcome),
                      known ? fmt::format(", was {}", ToString(found->second.outcome)) : ", is new"));
    else if (!known)
      added.push_back(fmt::format("{}  {}", name, ToString(test.outcome)));
    else if (Works(test.outcome) && !Works(found->second.outcome))
      passing.push_back(fmt::format("{}  was {}", name, ToString(found->second.outcome)));
    else if (!Works(test.outcome) && Works(found->second.outcome))
      no_longer.push_back(
          fmt::format("{}  {}, was {}", name, ToString(test.outcome), ToString(found->second.outcome)));
    if (known && Works(test.outcome) && Works(found->second.outcome) &&
        test.ms > options.factor * found->second.ms && test.ms - found->second.ms >= options.least_ms)
      slower.push_back(fmt::format("{}  {:.0f} ms, was {:.0f} ms", name, test.ms, found->second.ms));
  }
  for (const auto& [name, test] : old_tests)
    if (new_tests.count(name) == 0) gone.push_back(fmt::format("{}  was {}", name, ToString(test.outcome)));
  PrintList("Newly failing", failing);
  PrintList("Newly passing", passing);
  PrintList("No longer passing", no_longer);
  PrintList("Slower", slower);
  PrintList("Gone", gone);
  PrintList("New", added);
  fmt::print("{}: {}\n{}: {}\n", options.before, Summary(before.Counts()), options.after,
             Summary(after.Counts()));
  SayIncomplete(options.before, before);
  SayIncomplete(options.after, after);
  return failing.empty() && after.complete ? 0 : kFailed;
}

// Shards of one run have these in common.
std::string KindOfRun(const RunInfo& info) {
  return fmt::format("version {}, node kind {}, filter {}", info.version, info.node_kind, info.filter);
}

int Merge(const MergeOptions& options) {
  if (options.json.empty() && options.junit.empty())
    return Wrong("merge needs --json FILE or --junit FILE to write to");
  std::map<int, std::pair<std::string, Results>> shards;  // by number, with the file
  int total = 0;
  std::string kind;
  for (const std::string& file : options.files) {
    Results results;
    if (const auto wrong = ReadResults(file, &results)) return Wrong(*wrong);
    if (results.info.shards.size() > 1) return Wrong(fmt::format("{} has been merged already", file));
    const Shard shard = results.info.shards.empty() ? Shard{} : results.info.shards.front();
    const std::string its_kind = KindOfRun(results.info);
    if (total != 0 && (shard.total != total || its_kind != kind))
      return Wrong(fmt::format("{} is of another run: {} shards, {}; expected {} shards, {}", file,
                               shard.total, its_kind, total, kind));
    total = shard.total;
    kind = its_kind;
    const auto found = shards.find(shard.index);
    if (found != shards.end()) {
      // A batch system repeats what died: the run that came to its end counts.
      if (found->second.second.complete && results.complete)
        return Wrong(fmt::format("{} and {} are both shard {}", found->second.first, file, shard.index));
      if (!results.complete) continue;
    }
    shards[shard.index] = {file, std::move(results)};
  }

  RunInfo info = shards.begin()->second.second.info;
  info.shards.clear();
  for (const auto& [index, shard] : shards) {
    info.shards.push_back({index, total});
    info.started = std::min(info.started, shard.second.info.started);
  }
  ResultsWriter writer;
  if (!options.json.empty())
    if (const auto wrong = writer.OpenJson(options.json)) return Wrong(*wrong);
  if (!options.junit.empty())
    if (const auto wrong = writer.OpenJunit(options.junit)) return Wrong(*wrong);
  writer.Begin(info);
  Results all;
  all.complete = true;
  double elapsed_ms = 0;
  std::vector<TestResult> ends;  // of shards that are not whole
  const auto lacks = [&](int index, const std::string& why) {
    ends.push_back({fmt::format("Shard.{}", index), Outcome::kCrash, 0, why, "", ""});
  };
  std::set<std::string> left_out;  // every shard names those
  for (int index = 0; index < total; ++index) {
    const auto found = shards.find(index);
    if (found == shards.end()) {
      fmt::print("Shard {} of {} is missing.\n", index, total);
      lacks(index, fmt::format("shard {} of {} is missing", index, total));
      all.complete = false;
      continue;
    }
    const Results& shard = found->second.second;
    if (!shard.complete) {
      fmt::print("Shard {} of {} ended early: {}\n", index, total, found->second.first);
      if (shard.tests.empty() || shard.tests.back().outcome != Outcome::kCrash)  // else its test says so
        lacks(index, fmt::format("shard {} of {} ended early, and not in a test", index, total));
    }
    all.complete = all.complete && shard.complete;
    elapsed_ms = std::max(elapsed_ms, shard.elapsed_ms);
    for (const TestResult& test : shard.tests) {
      if (test.outcome == Outcome::kNotRun && !left_out.insert(test.name).second) continue;
      writer.Add(test, elapsed_ms);
      all.tests.push_back(test);
    }
  }
  writer.End(all.complete, elapsed_ms, std::move(ends));
  fmt::print("Outcomes: {}\n", Summary(all.Counts()));
  const bool failed = std::any_of(all.tests.begin(), all.tests.end(),
                                  [](const TestResult& test) { return IsFailure(test.outcome); });
  return all.complete && !failed && writer.ok() ? 0 : kFailed;
}

}  // namespace

ResultsCommands::ResultsCommands(CLI::App& app) {
  compare_ = app.add_subcommand("compare", "What fails, passes or is slower in AFTER than in BEFORE");
  compare_->add_option("BEFORE", comparing_.before, "The earlier results")->required();
  compare_->add_option("AFTER", comparing_.after, "The later results")->required();
  compare_->add_option("--slower-factor", comparing_.factor, "How many times as long is slower")
      ->check(CLI::Range(1.0, 1e6))
      ->capture_default_str();
  compare_->add_option("--slower-ms", comparing_.least_ms, "And by at least so many milliseconds")
      ->check(CLI::Range(0.0, 1e9))
      ->capture_default_str();
  compare_->footer(
      "Exit status: 0; 1 when a test newly fails or AFTER is not complete; 2 when a file cannot be read. "
      "What is\n"
      "slower is only said: times depend on what else a machine does.");
  merge_ = app.add_subcommand("merge", "One file of the results of all shards");
  merge_->add_option("--json", merging_.json, "Write JSON to FILE")->type_name("FILE");
  merge_->add_option("--junit", merging_.junit, "Write JUnit's XML to FILE")->type_name("FILE");
  merge_->add_option("SHARD", merging_.files, "The JSON files of the shards")->required();
  merge_->footer(
      "A shard that ran again after it died counts as it ended.\n"
      "Exit status: 0 when all shards are there, are complete and have no failure; 1 otherwise; 2 when "
      "files\n"
      "do not belong together or cannot be read.");
  // GoogleTest's flags are the suite's.
  compare_->allow_extras(false);
  merge_->allow_extras(false);
}

int ResultsCommands::Run() const { return compare_->parsed() ? Compare(comparing_) : Merge(merging_); }

}  // namespace dxg::conformance
