#include "tests/conformance/watch.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <filesystem>

#include "tests/conformance/node.h"
#include "tests/conformance/peer.h"

namespace dxg::conformance {
namespace {

size_t OpenDescriptors() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

std::string FullName(const testing::TestInfo& test) {
  return fmt::format("{}.{}", test.test_suite_name(), test.name());
}

std::string SkipReason(const testing::TestInfo& test) {
  for (int i = 0; i < test.result()->total_part_count(); ++i) {
    const testing::TestPartResult& part = test.result()->GetTestPartResult(i);
    if (!part.skipped()) continue;
    std::string reason = part.message();
    std::replace(reason.begin(), reason.end(), '\n', ' ');
    return reason;
  }
  return "no reason given";
}

bool MaySkip(const std::string& test) {
  const auto& allowed = options().allow_skip;
  return std::any_of(allowed.begin(), allowed.end(), [&](const std::string& pattern) {
    return fnmatch(pattern.c_str(), test.c_str(), 0) == 0;
  });
}

}  // namespace

void DescriptorWatch::OnTestStart(const testing::TestInfo&) { before_ = OpenDescriptors(); }

void DescriptorWatch::OnTestEnd(const testing::TestInfo&) {
  EXPECT_EQ(OpenDescriptors(), before_) << "the test left descriptors open, or closed foreign ones";
}

void NextClientWatch::OnTestSuiteEnd(const testing::TestSuite& suite) {
  if (suite.test_to_run_count() == 0) return;
  SCOPED_TRACE(fmt::format("the next client after suite {}", suite.name()));
  InFreshProcess([] {
    Node node = OpenNode();
    const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
    EXPECT_EQ(node.ExecutionState(device), _D3DKMT_DEVICEEXECUTION_ACTIVE);
    node.DestroyDevice(device);
  });
}

void SkipReport::OnTestEnd(const testing::TestInfo& test) {
  if (!test.result()->Skipped()) return;
  const std::string name = FullName(test);
  skips_[name] = {SkipReason(test), MaySkip(name)};
}

bool SkipReport::Print() const {
  if (skips_.empty()) return true;
  fmt::print("\n{} skipped:\n",
             skips_.size() == 1 ? "1 test was" : fmt::format("{} tests were", skips_.size()));
  bool all_allowed = true;
  for (const auto& [test, skip] : skips_) {
    fmt::print("  {}{}\n      {}\n", test, skip.allowed ? "" : "   NOT ALLOWED", skip.reason);
    all_allowed = all_allowed && skip.allowed;
  }
  if (!all_allowed)
    fmt::print(
        "A skip is a failure unless --allow-skip names the test: nothing is left untested unnoticed.\n");
  return all_allowed;
}

}  // namespace dxg::conformance
