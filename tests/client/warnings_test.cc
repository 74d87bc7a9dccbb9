// Warnings that a client can cause without end.
#include "cuse-dxg/client/warnings.h"

#include <gtest/gtest.h>

namespace dxg::client {
namespace {

using Max = WarningLimit;
constexpr auto kWhile = WarningLimit::kWhile;

Identity Process(pid_t tgid) {
  Identity process;
  process.tgid = tgid;
  process.start_time = 1;
  return process;
}

TEST(WarningLimit, AProcessIsHeardAFewTimesAndTheRestIsCounted) {
  WarningLimit limit;
  const Max::Clock::time_point now{};
  for (uint32_t i = 0; i < Max::kPerProcessMax; ++i) EXPECT_EQ(limit.MayWarn(Process(1), now), 0u) << i;
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(limit.MayWarn(Process(1), now + kWhile / 2));
  EXPECT_EQ(limit.MayWarn(Process(2), now), 0u) << "another one is not silenced by it";
  EXPECT_EQ(limit.MayWarn(Process(1), now + kWhile), 1000u);
  EXPECT_EQ(limit.MayWarn(Process(1), now + kWhile), 0u);
}

TEST(WarningLimit, ManyProcessesAreHeardTogetherNotWithoutEnd) {
  WarningLimit limit;
  const Max::Clock::time_point now{};
  uint32_t heard = 0;
  for (pid_t tgid = 1; tgid <= 10000; ++tgid) heard += limit.MayWarn(Process(tgid), now).has_value();
  EXPECT_EQ(heard, Max::kTogetherMax);
  EXPECT_TRUE(limit.MayWarn(Process(1), now + kWhile));
}

}  // namespace
}  // namespace dxg::client
