#include "tests/conformance/race.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <thread>
#include <vector>

#include "tests/conformance/node.h"

namespace dxg::conformance {

void ExpectOneWinner(const std::function<int()>& call) {
  int results[4] = {};
  std::vector<std::thread> threads;
  for (int& result : results) threads.emplace_back([&] { result = call(); });
  for (std::thread& thread : threads) thread.join();
  int successes = 0;
  for (int result : results) {
    EXPECT_TRUE(result == 0 || result == -EINVAL) << ResultName(result);
    if (result == 0) ++successes;
  }
  EXPECT_EQ(successes, 1);
}

}  // namespace dxg::conformance
