#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <map>
#include <string>

// Checks that run around every test and every suite.

namespace dxg::conformance {

// Checks that after each test the program has as many open descriptors as before it.
class DescriptorWatch : public testing::EmptyTestEventListener {
 public:
  void OnTestStart(const testing::TestInfo& test) override;
  void OnTestEnd(const testing::TestInfo& test) override;

 private:
  size_t before_ = 0;
};

// Checks after each suite that a new client can open the node, enumerate adapters and create a device, so
// that damage by the suite is noticed.
class NextClientWatch : public testing::EmptyTestEventListener {
 public:
  void OnTestSuiteEnd(const testing::TestSuite& suite) override;
};

// Collects skipped tests with their reasons, because an unnoticed skip hides a defect of the node.
class SkipReport : public testing::EmptyTestEventListener {
 public:
  struct Skip {
    std::string reason;
    bool allowed;
  };
  void OnTestEnd(const testing::TestInfo& test) override;
  // Prints the list. Returns false if a test was skipped that the command line does not allow to skip.
  bool Print() const;

 private:
  std::map<std::string, Skip> skips_;  // by the name of the test; once, however often it ran
};

}  // namespace dxg::conformance
