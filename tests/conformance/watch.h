#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <map>
#include <string>

// What is checked around every test without the test saying so.

namespace dxg::conformance {

// After every test the program holds as many descriptors as before it.
class DescriptorWatch : public testing::EmptyTestEventListener {
 public:
  void OnTestStart(const testing::TestInfo& test) override;
  void OnTestEnd(const testing::TestInfo& test) override;

 private:
  size_t before_ = 0;
};

// After every suite a client that the node has never seen can open it, enumerate and create a device. What
// the suite left behind would show here.
class NextClientWatch : public testing::EmptyTestEventListener {
 public:
  void OnTestSuiteEnd(const testing::TestSuite& suite) override;
};

// Collects what was skipped and why, because a skip that nobody reads hides a hole in the node.
class SkipReport : public testing::EmptyTestEventListener {
 public:
  struct Skip {
    std::string reason;
    bool allowed;
  };
  void OnTestEnd(const testing::TestInfo& test) override;
  // Prints the list. False when a test was skipped that the command line does not allow to skip.
  bool Print() const;

 private:
  std::map<std::string, Skip> skips_;  // by the name of the test; once, however often it ran
};

}  // namespace dxg::conformance
