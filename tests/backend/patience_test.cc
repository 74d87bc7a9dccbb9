// Who is waited for, and by a process that may be stopped meanwhile.
#include "base/patience.h"

#include <gtest/gtest.h>

#include "link/liveness.h"

namespace dxg {
namespace {

using std::chrono::milliseconds;
using Verdict = Liveness::Verdict;

TEST(Patience, EndsExactlyAtItsLimitForWhoLooksInTime) {
  Patience patience(1600, 50);
  for (uint64_t now = 150; now < 1650; now += 100) EXPECT_FALSE(patience.IsOver(now)) << now;
  EXPECT_FALSE(patience.IsOver(1649));
  EXPECT_EQ(patience.next_look_ns(), 1650u);
  EXPECT_TRUE(patience.IsOver(1650));
  EXPECT_TRUE(patience.IsOver(1650)) << "and stays so";
}

TEST(Patience, AStopCountsAsOneStep) {
  Patience patience(1600, 0);
  EXPECT_EQ(patience.next_look_ns(), 100u);
  EXPECT_FALSE(patience.IsOver(1'000'000));
  EXPECT_EQ(patience.next_look_ns(), 1'000'100u);
  for (uint64_t step = 1; step < 15; ++step) EXPECT_FALSE(patience.IsOver(1'000'000 + 100 * step)) << step;
  EXPECT_TRUE(patience.IsOver(1'001'500));
}

TEST(Patience, DoesNotCountWhatIsNotTheOthers) {
  Patience patience(1600, 0);
  EXPECT_FALSE(patience.IsOver(100, 60));
  EXPECT_FALSE(patience.IsOver(200, 80)) << "before the last look: nothing";
  EXPECT_EQ(patience.next_look_ns(), 300u);
  for (uint64_t now = 300; now <= 1700; now += 100) EXPECT_FALSE(patience.IsOver(now)) << now;
  EXPECT_FALSE(patience.IsOver(1739));
  EXPECT_TRUE(patience.IsOver(1740));
}

TEST(Patience, MayBeEndlessOrNone) {
  Patience endless, none(0, 7);
  EXPECT_FALSE(endless.IsOver(~0ull));
  EXPECT_EQ(endless.next_look_ns(), Patience::kEndless);
  EXPECT_TRUE(none.IsOver(7));
}

// Looks at a peer that says nothing as somebody would whose waits end in time.
struct Looks {
  Liveness::Clock::time_point now{};
  Liveness liveness{milliseconds(400), now};
  Verdict After(int ms) {
    now += milliseconds(ms);
    return liveness.Look(now);
  }
};

TEST(Liveness, WhoSaysNothingIsAskedAndThenLost) {
  Looks looks;
  EXPECT_EQ(looks.After(99), Verdict::kWait);
  EXPECT_EQ(looks.After(1), Verdict::kAsk);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(looks.After(100), Verdict::kWait) << i;
  EXPECT_EQ(looks.After(99), Verdict::kWait);
  EXPECT_EQ(looks.After(1), Verdict::kSilent);
  looks.liveness.Heard(looks.now);
  EXPECT_EQ(looks.After(50), Verdict::kWait);
}

// Both were stopped: the peer gets the time to answer that it would have had.
TEST(Liveness, AStopOfOurOwnIsNoSilence) {
  Looks looks;
  EXPECT_EQ(looks.After(100), Verdict::kAsk);
  EXPECT_EQ(looks.After(100), Verdict::kWait);
  EXPECT_EQ(looks.After(5000), Verdict::kWait);
  EXPECT_EQ(looks.After(100), Verdict::kWait);
  looks.liveness.Heard(looks.now);
  EXPECT_EQ(looks.After(5000), Verdict::kAsk) << "and not lost, though nothing came for long";
  for (int i = 0; i < 3; ++i) EXPECT_EQ(looks.After(5000), Verdict::kWait) << i;
  EXPECT_EQ(looks.After(5000), Verdict::kSilent) << "five looks in which nothing had come";
}

}  // namespace
}  // namespace dxg
