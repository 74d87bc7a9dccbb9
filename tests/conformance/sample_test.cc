// dxg-conformance-sample: the program without the suite, around tests that pass, fail, skip, throw, crash and
// hang. It shows what the program says of such tests.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>
#include <thread>

#include "tests/conformance/tool/command_line.h"

namespace dxg::conformance {
namespace {

TEST(Sample, Passes) {}
TEST(Sample, PassesToo) {}
TEST(Sample, Fails) { FAIL() << "by intention: <&\"> \x01 \xff"; }
TEST(Sample, Skips) { GTEST_SKIP() << "by intention"; }
TEST(Sample, Throws) { throw std::runtime_error("by intention"); }
TEST(Sample, ThrowsANumber) { throw 7; }
TEST(SimSample, Passes) {}

class Numbered : public testing::TestWithParam<int> {};
TEST_P(Numbered, Passes) {}
INSTANTIATE_TEST_SUITE_P(All, Numbered, testing::Range(0, 10));

// Those that end the program. Only a filter that names them runs them.
TEST(Ending, ByASignal) { abort(); }
TEST(Ending, ByAnExceptionInAThread) {
  std::thread([] { throw std::runtime_error("by intention"); }).join();
}
TEST(Ending, ByAnExit) { exit(0); }
TEST(Ending, ByAnExitAtOnce) { _exit(0); }
TEST(Ending, Never) {
  if (write(STDOUT_FILENO, "hangs\n", 6) != 6) abort();
  pause();
}

// Ends the program when no test runs.
class EndingBetween : public testing::Test {
 protected:
  static void SetUpTestSuite() { _exit(0); }
};
TEST_F(EndingBetween, Tests) {}

class Environment : public testing::Test {
 protected:
  static void SetUpTestSuite() { throw std::runtime_error("by intention, before the suite"); }
};
TEST_F(Environment, Passes) {}

}  // namespace
}  // namespace dxg::conformance

int main(int argc, char** argv) { return dxg::conformance::RunCommandLine(argc, argv); }
