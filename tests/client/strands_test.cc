// Threads for what may never end: jobs (Strands), loops (Relay) and requests (Workers).
#include "base/strands.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <vector>

#include "base/relay.h"
#include "base/workers.h"

namespace dxg {
namespace {

// Jobs that wait until they may end.
class StrandsTest : public testing::Test {
 protected:
  void Hold() {
    std::unique_lock lock(mutex_);
    ++held_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return go_on_; });
  }
  void WaitUntilHeld(int jobs) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return held_ >= jobs; });
  }
  void GoOn() {
    std::lock_guard lock(mutex_);
    go_on_ = true;
    changed_.notify_all();
  }
  void Note(int job) {
    std::lock_guard lock(mutex_);
    done_.push_back(job);
    changed_.notify_all();
  }
  std::vector<int> WaitUntilDone(size_t jobs) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return done_.size() >= jobs; });
    return done_;
  }
  size_t done() {
    std::lock_guard lock(mutex_);
    return done_.size();
  }

  Strands strands_;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool go_on_ = false;
  int held_ = 0;
  std::vector<int> done_;
};

TEST_F(StrandsTest, JobsThatLastHoldUpTheirOwnKeyAlone) {
  for (int i = 0; i < Strands::kAtOnceMax; ++i) strands_.Run(1, 0, [this] { Hold(); });
  WaitUntilHeld(Strands::kAtOnceMax);
  strands_.Run(1, 0, [this] { Note(1); });
  for (int i = 0; i < 3; ++i) {
    strands_.Run(2, 0, [this] { Note(2); });
    WaitUntilDone(static_cast<size_t>(i) + 1);
  }
  EXPECT_EQ(WaitUntilDone(3), (std::vector<int>{2, 2, 2})) << "more at once than there may be";
  GoOn();
  EXPECT_EQ(WaitUntilDone(4).back(), 1);
}

TEST_F(StrandsTest, JobsOfManyKeysLastAtOnce) {
  constexpr int kKeys = 100;
  for (int i = 0; i < kKeys; ++i) strands_.Run(i, i, [this] { Hold(); });
  WaitUntilHeld(kKeys);
  GoOn();
}

// Of one group, which has as many keys as it likes.
TEST_F(StrandsTest, JobsOfAGroupHoldUpThatGroupAlone) {
  for (int i = 0; i < 2 * Strands::kOfGroupMax; ++i) strands_.Run(i, 1, [this] { Hold(); });
  WaitUntilHeld(Strands::kOfGroupMax);
  strands_.Run(1000, 1, [this] { Note(1); });
  for (size_t i = 1; i <= 3; ++i) {
    strands_.Run(2000, 2, [this] { Note(2); });
    WaitUntilDone(i);
  }
  EXPECT_EQ(WaitUntilDone(3), (std::vector<int>{2, 2, 2})) << "more of it than there may be";
  GoOn();
  EXPECT_EQ(WaitUntilDone(4).back(), 1);
  WaitUntilHeld(2 * Strands::kOfGroupMax);
}

// Nothing else comes that would begin what the group held back.
TEST_F(StrandsTest, WhatAGroupHeldBackIsDone) {
  for (int i = 0; i < 3 * Strands::kOfGroupMax; ++i) strands_.Run(i, 1, [this] { Hold(); });
  WaitUntilHeld(Strands::kOfGroupMax);
  GoOn();
  WaitUntilHeld(3 * Strands::kOfGroupMax);
}

TEST_F(StrandsTest, TheEndWaitsForAllJobs) {
  for (int i = 0; i < 50; ++i) {
    strands_.Run(i % 3, 0, [this, i] {
      if (i < 25) strands_.Run(7, 0, [this, i] { Note(i); });
      Note(i);
    });
  }
  strands_.Stop();
  EXPECT_EQ(done(), 75u);
  strands_.Run(1, 0, [this] { Note(0); });
  EXPECT_EQ(done(), 76u) << "what comes later is done at once";
}

class RelayTest : public StrandsTest {
 protected:
  enum Job { kEnd, kHold, kNote };

  void Give(Job job) {
    std::lock_guard lock(jobs_mutex_);
    jobs_.push_back(job);
    given_.notify_all();
  }
  // False: it is over.
  bool Loop() {
    for (;;) {
      const Job job = TakeJob();
      if (job == kEnd) return false;
      if (job == kHold) {
        const Relay::Pause pause, nested;
        Hold();
      }
      if (Relay::Lost()) return true;
      Note(job);
    }
  }
  Job TakeJob() {
    std::unique_lock lock(jobs_mutex_);
    given_.wait(lock, [this] { return !jobs_.empty(); });
    const Job job = jobs_.front();
    jobs_.pop_front();
    return job;
  }

 private:
  std::mutex jobs_mutex_;
  std::condition_variable given_;
  std::deque<Job> jobs_;
};

TEST_F(RelayTest, AnotherThreadGoesOnWhereOneIsGone) {
  constexpr int kGone = 5;
  Relay relay;
  ASSERT_TRUE(relay.Start([this] { return Loop(); }));
  Give(kNote);
  WaitUntilDone(1);
  for (int i = 0; i < kGone; ++i) Give(kHold);
  Give(kNote);
  WaitUntilHeld(kGone);
  WaitUntilDone(2);
  GoOn();
  Give(kEnd);
  relay.Stop();
  EXPECT_EQ(done(), 2u) << "one that has lost the loop went on with it";
}

TEST_F(RelayTest, AShortPauseEndsNothing) {
  GoOn();
  Relay relay;
  ASSERT_TRUE(relay.Start([this] { return Loop(); }));
  for (int i = 0; i < 100; ++i) Give(kHold);
  Give(kEnd);
  relay.Stop();
  EXPECT_FALSE(Relay::Lost());
}

class WorkersTest : public RelayTest {
 protected:
  [[nodiscard]] bool Start(int kept) {
    return workers_.Start(kept, [this] {
      CountRunning(1);
      workers_.Serve([this] { return Read(); });
      CountRunning(-1);
    });
  }
  bool Read() {
    for (;;) {
      const Job job = TakeJob();
      if (job == kEnd) return false;
      workers_.turn().Offer();
      if (job == kHold) Hold();
      if (job == kNote) Note(job);
      if (!workers_.turn().Resume()) return true;
    }
  }
  void Stop() {
    workers_.Stop();
    Give(kEnd);
    workers_.Join();
  }
  void CountRunning(int more) {
    std::lock_guard lock(running_mutex_);
    running_ += more;
    counted_.notify_all();
  }
  void WaitUntilRunning(int workers) {
    std::unique_lock lock(running_mutex_);
    counted_.wait(lock, [&] { return running_ == workers; });
  }

 private:
  Workers workers_;
  std::mutex running_mutex_;
  std::condition_variable counted_;
  int running_ = 0;
};

TEST_F(WorkersTest, AreMoreWhileRequestsTakeLongAndEndAfterwards) {
  constexpr int kKept = 2, kLong = 5;
  ASSERT_TRUE(Start(kKept));
  for (int i = 0; i < kLong; ++i) Give(kHold);
  WaitUntilHeld(kLong);
  Give(kNote);
  WaitUntilDone(1);
  WaitUntilRunning(kLong + 2);  // one reads, one watches
  GoOn();
  WaitUntilRunning(kKept);
  Give(kNote);
  WaitUntilDone(2);
  Stop();
  WaitUntilRunning(0);
}

// As a user who may have no more threads (`ulimit -u`). Returns 0, or the number of what went wrong.
int WithoutThreads() {
  constexpr rlimit kNone = {0, 0};
  if (setrlimit(RLIMIT_NPROC, &kNone) != 0 || setresuid(65534, 65534, 65534) != 0) return 2;
  Relay relay;
  if (relay.Start([] { return false; })) return 3;
  Workers workers;
  if (workers.Start(2, [] {})) return 5;
  Strands strands;
  bool done = false;
  strands.Run(1, 0, [&done] { done = true; });
  return done ? 0 : 4;
}

// The process is a new one: a thread that ends just then would be in a forked one for the thread sanitizer.
TEST(WithoutThreads, WhatCanBeDoneIsDoneAndTheRestIsRefused) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(_exit(WithoutThreads()), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace dxg
