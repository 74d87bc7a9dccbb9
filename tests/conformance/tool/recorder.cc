#include "tests/conformance/tool/recorder.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "tests/conformance/tool/selection.h"

namespace dxg::conformance {
namespace {

std::string FullName(const testing::TestInfo& test) {
  return fmt::format("{}.{}", test.test_suite_name(), test.name());
}

std::string OneLine(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

std::string TextOf(const testing::TestPartResult& part) {
  if (part.file_name() == nullptr) return part.message();
  return fmt::format("{}:{}: {}", part.file_name(), part.line_number(), part.message());
}

// What failed, or why the test was skipped.
std::string MessageOf(const testing::TestResult& result) {
  std::string message;
  for (int i = 0; i < result.total_part_count(); ++i) {
    const testing::TestPartResult& part = result.GetTestPartResult(i);
    if (part.failed())
      message += (message.empty() ? "" : "\n") + TextOf(part);
    else if (part.skipped() && result.Skipped() && message.empty())
      message = OneLine(part.message());
  }
  return message.empty() && result.Skipped() ? "no reason given" : message;
}

}  // namespace

void Judge::Decide(bool passed, bool skipped, TestResult* test) const {
  const Expectation* expectation = expectations.Find(test->name);
  const auto is = [&](Expected expected) {
    return expectation != nullptr && expectation->expected == expected;
  };
  const bool leave = std::any_of(allow_skip.begin(), allow_skip.end(),
                                 [&](const std::string& pattern) { return FitsGlob(pattern, test->name); });
  if (passed)
    test->outcome = is(Expected::kFail) || is(Expected::kSkip) ? Outcome::kUnexpectedPass : Outcome::kPass;
  else if (is(Expected::kFlake))
    test->outcome = Outcome::kKnownFlake;
  else if (skipped)
    test->outcome = is(Expected::kSkip) || leave ? Outcome::kSkip : Outcome::kForbiddenSkip;
  else
    test->outcome = is(Expected::kFail) ? Outcome::kExpectedFail : Outcome::kFail;
  const bool as_expected = test->outcome == Outcome::kUnexpectedPass ||
                           test->outcome == Outcome::kKnownFlake || test->outcome == Outcome::kExpectedFail ||
                           (skipped && is(Expected::kSkip));
  if (!as_expected) return;
  test->reason = expectation->reason;
  test->tracker = expectation->tracker;
}

double Recorder::Elapsed_ms() const {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin_).count();
}

void Recorder::OnTestProgramStart(const testing::UnitTest& all) {
  progress_.emplace("tests", static_cast<uint64_t>(all.test_to_run_count()));
  begin_ = std::chrono::steady_clock::now();
  info.seed = GTEST_FLAG_GET(shuffle) ? all.random_seed() : 0;
  writer_.Begin(info);
  for (const TestResult& test : not_run) Add(test);
}

void Recorder::Add(TestResult test) {
  writer_.Add(test, Elapsed_ms());
  results_.tests.push_back(std::move(test));
}

void Recorder::OnTestStart(const testing::TestInfo& test) {
  in_test_ = true;
  ++begun_;
  writer_.Starts(FullName(test), Elapsed_ms());
  progress_->At(static_cast<uint64_t>(begun_));
}

void Recorder::OnTestPartResult(const testing::TestPartResult& part) {
  progress_->Clear();
  if (part.failed() && !in_test_)  // GoogleTest holds its lock here, so it cannot be asked
    beside_tests_ += (beside_tests_.empty() ? "" : "\n") + TextOf(part);
}

void Recorder::OnTestEnd(const testing::TestInfo& test) {
  progress_->Clear();
  TestResult result;
  result.name = FullName(test);
  result.ms = static_cast<double>(test.result()->elapsed_time());
  result.message = MessageOf(*test.result());
  judge_.Decide(test.result()->Passed(), test.result()->Skipped(), &result);
  if (result.outcome == Outcome::kForbiddenSkip)
    ADD_FAILURE() << "the test was skipped, and neither --allow-skip nor an expectation allows that: "
                  << result.message;
  if (result.outcome == Outcome::kUnexpectedPass)
    ADD_FAILURE() << "the test passed, which is not expected: " << result.reason << " (" << result.tracker
                  << "). If that holds no more, remove the expectation.";
  if (!IsFailure(result.outcome) && result.outcome != Outcome::kPass &&
      judge_.must_pass.Requires(result.name)) {
    ADD_FAILURE() << "the test must pass, and has the outcome " << ToString(result.outcome);
    result.message =
        fmt::format("must pass, and has the outcome {}: {}", ToString(result.outcome), result.message);
    result.outcome = Outcome::kFail;
  }
  in_test_ = false;
  Add(std::move(result));
}

void Recorder::OnTestSuiteEnd(const testing::TestSuite& suite) {
  if (beside_tests_.empty()) return;
  TestResult result;
  result.name = fmt::format("{}.AroundTheSuite", suite.name());
  result.outcome = Outcome::kFail;
  result.message = std::move(beside_tests_);
  beside_tests_.clear();
  Add(std::move(result));
}

bool Recorder::Finish(bool all_fine) {
  // What GoogleTest counts and no test did.
  const bool explained =
      std::any_of(results_.tests.begin(), results_.tests.end(), [](const TestResult& test) {
        return IsFailure(test.outcome) || test.outcome == Outcome::kExpectedFail ||
               test.outcome == Outcome::kKnownFlake;
      });
  if (!beside_tests_.empty() || (!all_fine && !explained)) {
    TestResult result;
    result.name = "AllSuites.Environment";
    result.outcome = Outcome::kFail;
    result.message = beside_tests_;
    Add(std::move(result));
  }
  writer_.End(true, Elapsed_ms());
  results_.complete = true;
  Print();
  const bool failed = std::any_of(results_.tests.begin(), results_.tests.end(),
                                  [](const TestResult& test) { return IsFailure(test.outcome); });
  if (!writer_.ok()) fmt::print("The results could not be written in whole.\n");
  return !failed && writer_.ok();
}

void Recorder::Print() const {
  std::map<std::string, TestResult> skips;  // once, however often a test ran
  std::map<std::string, TestResult> others;
  for (const TestResult& test : results_.tests) {
    if (test.outcome == Outcome::kSkip || test.outcome == Outcome::kForbiddenSkip)
      skips[test.name] = test;
    else if (test.outcome != Outcome::kPass && test.outcome != Outcome::kFail &&
             test.outcome != Outcome::kNotRun)
      others[test.name] = test;
  }
  if (!skips.empty())
    fmt::print("\n{} skipped:\n",
               skips.size() == 1 ? "1 test was" : fmt::format("{} tests were", skips.size()));
  bool all_allowed = true;
  for (const auto& [name, skip] : skips) {
    const bool allowed = skip.outcome == Outcome::kSkip;
    fmt::print("  {}{}\n      {}\n", name, allowed ? "" : "   NOT ALLOWED", skip.message);
    all_allowed = all_allowed && allowed;
  }
  if (!all_allowed)
    fmt::print(
        "A skip is a failure unless --allow-skip or an expectation names the test: nothing is left untested "
        "unnoticed.\n");
  if (!others.empty()) fmt::print("\nNot as usual:\n");
  std::map<std::string, std::vector<std::string>> by_reason;
  for (const auto& [name, test] : others) {
    const std::string why =
        test.reason.empty() ? OneLine(test.message) : fmt::format("{} ({})", test.reason, test.tracker);
    by_reason[fmt::format("{}: {}", ToString(test.outcome), why)].push_back(name);
  }
  for (const auto& [reason, names] : by_reason) {
    fmt::print("  {}\n", reason);
    for (const std::string& name : names) fmt::print("      {}\n", name);
  }
  fmt::print("\nOutcomes: {}\n", Summary(results_.Counts()));
}

}  // namespace dxg::conformance
