#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/command_line/shard.h"

// What a run of the suite found, as it stands in result files. The words for outcomes are those of
// deqp-runner where it has one.

namespace dxg::conformance {

enum class Outcome {
  kPass,
  kFail,
  kSkip,            // skipped itself, with leave
  kForbiddenSkip,   // skipped itself, and nobody allows that
  kExpectedFail,    // failed, as an expectation says
  kUnexpectedPass,  // passed, although an expectation says that it fails or skips
  kKnownFlake,      // failed or skipped, and an expectation says that it sometimes does
  kCrash,           // the program ended in it
  kMissing,         // must pass, and did not run
  kNotRun,          // left out, as an expectation or its danger says
};

std::string_view ToString(Outcome outcome);
std::optional<Outcome> OutcomeNamed(std::string_view name);
// Whether the run fails for it.
bool IsFailure(Outcome outcome);

struct TestResult {
  std::string name;  // Suite.Test, as GoogleTest says it
  Outcome outcome = Outcome::kPass;
  double ms = 0;
  std::string message;  // what failed, or why it skipped
  std::string reason;   // of the expectation that applies
  std::string tracker;  // the same
};

using command_line::Shard;

struct RunInfo {
  std::string version;  // of this program
  std::string node;     // its path
  std::string node_kind;
  std::string product;         // what serves the node: the driver and its version, or a program
  std::string adapter;         // the tested adapter's name
  std::string driver_version;  // that of the adapter's user-mode driver
  std::string host_name;
  std::string system;  // kernel and its release
  std::string architecture;
  int processors = 0;
  int seed = 0;  // of --gtest_shuffle; 0 without
  std::string filter;
  std::vector<std::string> expectations;  // names of the files that apply
  std::vector<Shard> shards;              // one, or those that were merged; empty: all tests ran here
  std::string started;                    // UTC, as in ISO 8601
};

struct Results {
  RunInfo info;
  std::vector<TestResult> tests;
  bool complete = false;  // false: the program ended early, or a shard is missing
  double elapsed_ms = 0;

  std::map<Outcome, int> Counts() const;
};

// "3 Pass, 1 Fail"; "nothing" of none.
std::string Summary(const std::map<Outcome, int>& counts);

}  // namespace dxg::conformance
