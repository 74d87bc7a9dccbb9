#include "tests/conformance/tool/selection.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "base/command_line/shard.h"
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
  if (auto wrong = command_line::ShardFromEnvironment(total_given, shard)) return wrong;
  setenv("GTEST_TOTAL_SHARDS", std::to_string(shard->total).c_str(), 1);
  setenv("GTEST_SHARD_INDEX", std::to_string(shard->index).c_str(), 1);
  return std::nullopt;
}

std::optional<Shard> ShardOfGoogleTest() {
  const auto index = command_line::NumberFrom("GTEST_SHARD_INDEX");
  const auto total = command_line::NumberFrom("GTEST_TOTAL_SHARDS");
  if (!index.value || !total.value || *total.value <= 1) return std::nullopt;
  return Shard{*index.value, *total.value};
}

}  // namespace dxg::conformance
