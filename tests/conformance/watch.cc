#include "tests/conformance/watch.h"

#include <fmt/format.h>

#include <exception>
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

// Runs `check`, whose exception is a failure.
template <typename Check>
void Guarded(const char* what, const Check& check) {
  try {
    check();
  } catch (const std::exception& error) {
    ADD_FAILURE() << what << ": " << error.what();
  }
}

}  // namespace

void DescriptorWatch::OnTestStart(const testing::TestInfo&) {
  Guarded("open descriptors cannot be counted", [&] { before_ = OpenDescriptors(); });
}

void DescriptorWatch::OnTestEnd(const testing::TestInfo&) {
  Guarded("open descriptors cannot be counted", [&] {
    EXPECT_EQ(OpenDescriptors(), before_) << "the test left descriptors open, or closed foreign ones";
  });
}

void NextClientWatch::OnTestSuiteEnd(const testing::TestSuite& suite) {
  if (suite.test_to_run_count() == 0) return;
  SCOPED_TRACE(fmt::format("the next client after suite {}", suite.name()));
  Guarded("there is no next client", [] {
    InFreshProcess([] {
      Node node = OpenNode();
      const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
      EXPECT_EQ(node.ExecutionState(device), _D3DKMT_DEVICEEXECUTION_ACTIVE);
      node.DestroyDevice(device);
    });
  });
}

}  // namespace dxg::conformance
