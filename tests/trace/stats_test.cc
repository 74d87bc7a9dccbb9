#include "cuse-dxg/trace/stats.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "proto/contract/calls.gen.h"
#include "tests/trace/random_message.h"

namespace dxg::trace {
namespace {

constexpr uint64_t kSeed = 20261130;  // any number

TEST(Durations, PercentilesAreAtMostAPartOfSixtyFourTooHigh) {
  Random random(kSeed);
  for (const uint32_t bits : {5u, 12u, 33u, 64u}) {
    Durations durations;
    std::vector<uint64_t> all;
    for (int i = 0; i < 1000; ++i) {
      all.push_back(random() >> (64 - bits));
      durations.Add(all.back());
    }
    std::ranges::sort(all);
    for (const uint32_t percent : {1u, 50u, 99u, 100u}) {
      const uint64_t exact = all[percent * 10 - 1], given = durations.Percentile(percent);
      EXPECT_GE(given, exact) << bits << " bits, " << percent;
      EXPECT_LE(given - exact, exact / 64) << bits << " bits, " << percent;
    }
    EXPECT_EQ(durations.max_ns(), all.back());
  }
  EXPECT_EQ(Durations().Percentile(50), 0u);
}

void Add(Stats* stats, uint32_t code, uint32_t tid, uint64_t begin_ns, uint64_t ns, int32_t result) {
  TraceRecord record;
  record.set_pid(3);
  record.set_tid(tid);
  record.set_begin_ns(begin_ns);
  record.set_end_ns(begin_ns + ns);
  record.set_result(result);
  record.mutable_call()->set_code(code);
  stats->Add(record);
}

TEST(Stats, CountsByCallByErrnoAndByThread) {
  Stats stats;
  Add(&stats, LX_DXCREATEDEVICE, 4, 1'000'000, 3000, 0);
  Add(&stats, LX_DXCREATEDEVICE, 5, 1'100'000, 3000, -EINVAL);
  Add(&stats, LX_DXCREATEDEVICE, 5, 1'200'000, 3000, -ENOMEM);
  Add(&stats, LX_DXDESTROYDEVICE, 5, 2'000'000, 1000, -EINVAL);
  EXPECT_EQ(
      stats.Text(),
      "4 records in 0.001001 s\n\n"
      "call                                        count     p50 us     p99 us     max us  time %  errors\n"
      "CreateDevice                                    3        3.0        3.0        3.0    90.0  1 EINVAL, "
      "1 ENOMEM\n"
      "DestroyDevice                                   1        1.0        1.0        1.0    10.0  1 EINVAL\n"
      "\n"
      "thread         process    calls   errors  time %\n"
      "4                    3        1        0    30.0\n"
      "5                    3        3        3    70.0\n");
}

// A file says how many there are.
TEST(Stats, AreOfBoundedSize) {
  Stats stats;
  for (uint32_t i = 1; i <= Stats::kThreadsMax + 10; ++i)
    Add(&stats, LX_DXCREATEDEVICE, i, i, 1, -static_cast<int32_t>(i));
  const std::string text = stats.Text();
  EXPECT_NE(text.find("and 10 calls of more threads"), std::string::npos);
  EXPECT_NE(text.find("others"), std::string::npos);
  EXPECT_EQ(std::ranges::count(text, ','), static_cast<ptrdiff_t>(Stats::kErrorsMax));
}

}  // namespace
}  // namespace dxg::trace
