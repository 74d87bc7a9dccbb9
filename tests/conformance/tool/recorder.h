#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/command_line/progress.h"
#include "tests/conformance/tool/expectations.h"
#include "tests/conformance/tool/results.h"
#include "tests/conformance/tool/results_file.h"

namespace dxg::conformance {

// What a run is judged by, besides the tests themselves.
struct Judge {
  Expectations expectations;
  MustPass must_pass;
  std::vector<std::string> allow_skip;

  // The outcome of a test that did this. Sets its reason and tracker.
  void Decide(bool passed, bool skipped, TestResult* test) const;
};

// Judges each test as it ends, and writes it down at once. A failure of the judge's (a skip without leave, a
// pass that is not expected) becomes a failure of the test, so that GoogleTest's own report has it too.
class Recorder : public testing::EmptyTestEventListener {
 public:
  // Both outlive the recorder.
  Recorder(const Judge& judge, ResultsWriter* writer) : judge_(judge), writer_(*writer) {}

  RunInfo info;
  std::vector<TestResult> not_run;  // tests that are left out, with the reason

  void OnTestProgramStart(const testing::UnitTest& all) override;
  void OnTestStart(const testing::TestInfo& test) override;
  void OnTestPartResult(const testing::TestPartResult& part) override;
  void OnTestEnd(const testing::TestInfo& test) override;
  void OnTestSuiteEnd(const testing::TestSuite& suite) override;

  // Ends the results and prints what is not a plain pass. `all_fine` is what GoogleTest says of the run,
  // which knows no expectations. Returns whether the run passed.
  bool Finish(bool all_fine);
  // Tests that have begun, those that ran again counted again.
  int begun() const { return begun_; }

 private:
  double Elapsed_ms() const;
  void Add(TestResult test);
  void Print() const;

  const Judge& judge_;
  ResultsWriter& writer_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  Results results_;
  bool in_test_ = false;
  int begun_ = 0;
  // Below what GoogleTest's printer has said of the test: it hears of a beginning before us, and of an end
  // after us.
  std::optional<command_line::Progress> progress_;
  std::string beside_tests_;  // failures after a suite, or in its set-up
};

}  // namespace dxg::conformance
