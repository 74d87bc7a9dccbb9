#include "tests/conformance/tool/selection.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <iterator>

#include "tests/conformance/tool/expectations.h"

namespace dxg::conformance {
namespace {

// GoogleTest's patterns know only * and ?. A shell's, by which we match, know [ and \ as well.
std::string ShellPattern(std::string_view pattern) {
  std::string escaped;
  for (const char c : pattern) {
    if (c == '[' || c == '\\') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

bool FitsOneOf(std::string_view patterns, const std::string& test) {
  while (!patterns.empty()) {
    const size_t end = patterns.find(':');
    if (FitsGlob(ShellPattern(patterns.substr(0, end)), test)) return true;
    patterns.remove_prefix(end == std::string_view::npos ? patterns.size() : end + 1);
  }
  return false;
}

// A whole number in a variable of the environment. `present` is whether there is the variable.
struct Variable {
  bool present = false;
  std::optional<int> value;
};

Variable NumberFrom(const char* name) {
  const char* text = std::getenv(name);
  if (text == nullptr || *text == 0) return {};
  const std::string_view view(text);
  int value = 0;
  const auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), value);
  if (error != std::errc() || end != view.data() + view.size()) return {true, std::nullopt};
  return {true, value};
}

// A batch system: its variables for the task's number, how many there are, the first number, the step.
struct BatchSystem {
  const char* index;
  const char* total;
  const char* first;  // nullptr: first_number
  const char* step;
  int first_number;
};

constexpr BatchSystem kBatchSystems[] = {
    {"SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP", 0},
    {"JOB_COMPLETION_INDEX", nullptr, nullptr, nullptr, 0},  // Kubernetes tells no total
    {"CI_NODE_INDEX", "CI_NODE_TOTAL", nullptr, nullptr, 1},
};

// The value, a default where there is no such variable, or nothing if it is no number.
std::optional<int> NumberOr(const char* name, int otherwise) {
  if (name == nullptr) return otherwise;
  const Variable variable = NumberFrom(name);
  return variable.present ? variable.value : otherwise;
}

}  // namespace

std::vector<std::string> AllTests() {
  std::vector<std::string> names;
  const testing::UnitTest& all = *testing::UnitTest::GetInstance();
  for (int i = 0; i < all.total_test_suite_count(); ++i) {
    const testing::TestSuite& suite = *all.GetTestSuite(i);
    for (int j = 0; j < suite.total_test_count(); ++j)
      names.push_back(fmt::format("{}.{}", suite.name(), suite.GetTestInfo(j)->name()));
  }
  return names;
}

bool FitsFilter(const std::string& filter, const std::string& test) {
  const std::string_view view = filter;
  const size_t dash = view.find('-');
  const std::string_view positive = view.substr(0, dash);
  const std::string_view negative = dash == std::string_view::npos ? "" : view.substr(dash + 1);
  return (positive.empty() ? dash != std::string_view::npos : FitsOneOf(positive, test)) &&
         !FitsOneOf(negative, test);
}

std::vector<std::string> SelectedTests() {
  const std::string filter = GTEST_FLAG_GET(filter);
  const bool disabled_too = GTEST_FLAG_GET(also_run_disabled_tests);
  std::vector<std::string> selected;
  for (const std::string& name : AllTests()) {
    const bool disabled = FitsGlob("*DISABLED_*", name);
    if (FitsFilter(filter, name) && (!disabled || disabled_too)) selected.push_back(name);
  }
  return selected;
}

void LeaveOutOfFilter(const std::vector<std::string>& patterns) {
  std::string filter = GTEST_FLAG_GET(filter);
  for (const std::string& pattern : patterns)
    filter += (filter.find('-') == std::string::npos ? "-" : ":") + pattern;
  GTEST_FLAG_SET(filter, filter);
}

std::optional<std::string> TakeShardFromEnvironment(int total_given, Shard* shard) {
  const auto found = std::find_if(std::begin(kBatchSystems), std::end(kBatchSystems),
                                  [](const BatchSystem& system) { return NumberFrom(system.index).present; });
  if (found == std::end(kBatchSystems))
    return "--shard-from-env found no shard: expected SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX or "
           "CI_NODE_INDEX "
           "in the environment";
  const BatchSystem& system = *found;
  const std::optional<int> number = NumberFrom(system.index).value;
  const std::optional<int> first = NumberOr(system.first, system.first_number);
  const std::optional<int> step = NumberOr(system.step, 1);
  const std::optional<int> total = total_given != 0 ? total_given : NumberOr(system.total, 0);
  if (!number || !first || !step || *step < 1 || !total)
    return fmt::format("--shard-from-env: {} and the variables beside it have to be numbers", system.index);
  if (*total < 1)
    return fmt::format("--shard-from-env: {} is set, but not how many there are. Give --shards N{}",
                       system.index, system.total == nullptr ? "" : fmt::format(", or set {}", system.total));
  *shard = {(*number - *first) / *step, *total};
  if (*number < *first || shard->index >= *total || (*number - *first) % *step != 0)
    return fmt::format("--shard-from-env: {}={} is none of {} shards that begin at {}", system.index, *number,
                       *total, *first);
  setenv("GTEST_TOTAL_SHARDS", std::to_string(*total).c_str(), 1);
  setenv("GTEST_SHARD_INDEX", std::to_string(shard->index).c_str(), 1);
  return std::nullopt;
}

std::optional<Shard> ShardOfGoogleTest() {
  const Variable index = NumberFrom("GTEST_SHARD_INDEX");
  const Variable total = NumberFrom("GTEST_TOTAL_SHARDS");
  if (!index.value || !total.value || *total.value <= 1) return std::nullopt;
  return Shard{*index.value, *total.value};
}

}  // namespace dxg::conformance
