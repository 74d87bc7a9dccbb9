#include "tests/conformance/tool/results.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace dxg::conformance {
namespace {

constexpr std::array<std::pair<Outcome, std::string_view>, 10> kNames = {{
    {Outcome::kPass, "Pass"},
    {Outcome::kFail, "Fail"},
    {Outcome::kSkip, "Skip"},
    {Outcome::kForbiddenSkip, "ForbiddenSkip"},
    {Outcome::kExpectedFail, "ExpectedFail"},
    {Outcome::kUnexpectedPass, "UnexpectedPass"},
    {Outcome::kKnownFlake, "KnownFlake"},
    {Outcome::kCrash, "Crash"},
    {Outcome::kMissing, "Missing"},
    {Outcome::kNotRun, "NotRun"},
}};

}  // namespace

std::string_view ToString(Outcome outcome) {
  for (const auto& [value, name] : kNames)
    if (value == outcome) return name;
  return "";
}

std::optional<Outcome> OutcomeNamed(std::string_view name) {
  for (const auto& [value, known] : kNames)
    if (known == name) return value;
  return std::nullopt;
}

bool IsFailure(Outcome outcome) {
  constexpr std::array kFailures = {Outcome::kFail, Outcome::kForbiddenSkip, Outcome::kUnexpectedPass,
                                    Outcome::kCrash, Outcome::kMissing};
  return std::find(kFailures.begin(), kFailures.end(), outcome) != kFailures.end();
}

std::map<Outcome, int> Results::Counts() const {
  std::map<Outcome, int> counts;
  for (const TestResult& test : tests) ++counts[test.outcome];
  return counts;
}

std::string Summary(const std::map<Outcome, int>& counts) {
  std::string text;
  for (const auto& [outcome, count] : counts)
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, ToString(outcome));
  return text.empty() ? "nothing" : text;
}

}  // namespace dxg::conformance
