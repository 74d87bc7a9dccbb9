#pragma once

#include <gtest/gtest.h>

#include <cstddef>

// Checks that run around every test and every suite. They report what they cannot check as a failure: an
// exception that leaves a listener would end the program.

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

}  // namespace dxg::conformance
