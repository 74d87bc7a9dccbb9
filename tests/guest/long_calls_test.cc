// Calls that are in memory of their client which does not answer: how many there may be, who goes on
// meanwhile, and what becomes of the rest.
#include "cuse-dxg/guest/long_calls.h"

#include <array>
#include <list>

#include "tests/guest/rig.h"

namespace dxg::guest {
namespace {

class LongCallsTest : public DriverTest {
 protected:
  LongCallsTest() {
    access.before_read = [this](uint64_t address) {
      const auto held = reinterpret_cast<uint64_t>(held_args_.data());
      if (address < held || address >= held + sizeof(held_args_)) return;
      std::unique_lock lock(mutex_);
      ++inside_;
      changed_.notify_all();
      changed_.wait(lock, [this] { return answers_; });
    };
  }
  ~LongCallsTest() override { Answer(); }

  // A call whose argument does not answer, from a thread of its own, as a worker would be; the node hears
  // that it is long, as it does from a session.
  std::shared_ptr<Outcome> StartLong(uint64_t file, pid_t tid) {
    auto outcome = std::make_shared<Outcome>();
    d3dkmt_enumadapters2* const args = &held_args_.at(static_cast<size_t>(wanted_inside_));
    const int inside = ++wanted_inside_;
    workers_.emplace_back([=, this] { StartCallWith(outcome, file, tid, LX_DXENUMADAPTERS2, args); });
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return inside_ >= inside; });
    }
    driver.LookAtLongRequests();
    return outcome;
  }
  // One that is answered at once, unless it has to wait its turn.
  std::shared_ptr<Outcome> StartShort(uint64_t file, pid_t tid) {
    return StartCall(file, tid, LX_DXENUMADAPTERS2, &args_);
  }
  // The memory answers, and all threads are done.
  void Answer() {
    {
      std::lock_guard lock(mutex_);
      answers_ = true;
      changed_.notify_all();
    }
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
  }

 private:
  d3dkmt_enumadapters2 args_{};
  std::array<d3dkmt_enumadapters2, LongCalls::kOfUserMax + 1> held_args_{};  // one for each long call
  std::mutex mutex_;
  std::condition_variable changed_;
  bool answers_ = false;
  int inside_ = 0, wanted_inside_ = 0;
  std::list<std::thread> workers_;
};

TEST_F(LongCallsTest, OfOneProcessLeaveTheOthersAlone) {
  const uint64_t file = Open(100), other = Open(200);
  std::vector<std::shared_ptr<Outcome>> calls;
  for (int i = 0; i < LongCalls::kOfProcessMax; ++i) {
    EXPECT_TRUE(StartShort(file, 101)->done) << "there may be more than " << i;
    calls.push_back(StartLong(file, 100));
  }
  const auto kept = StartShort(file, 101);
  EXPECT_FALSE(kept->done) << "it may need a thread, and the process has as many as it may";
  EXPECT_EQ(Call(other, 200, LX_DXENUMADAPTERS2, std::make_unique<d3dkmt_enumadapters2>().get()), 0);
  Answer();
  EXPECT_EQ(kept->Wait(), 0) << "a thread that came back serves it";
  for (const auto& call : calls) EXPECT_EQ(call->Wait(), 0);
  EXPECT_TRUE(StartShort(file, 101)->done);
}

TEST_F(LongCallsTest, WhatIsKeptEndsByASignal) {
  const uint64_t file = Open(100);
  for (int i = 0; i < LongCalls::kOfProcessMax; ++i) StartLong(file, 100);
  const auto kept = StartShort(file, 101);
  ASSERT_TRUE(kept->Signal());
  EXPECT_EQ(kept->Wait(), attach::IoctlRequest::kRestart);
}

// Another user's go on.
TEST_F(LongCallsTest, OfOneUserAreBounded) {
  constexpr pid_t kFirst = 1000;
  constexpr int kProcesses = LongCalls::kOfUserMax / LongCalls::kOfProcessMax;
  for (pid_t tid = kFirst; tid <= kFirst + kProcesses; ++tid) {
    access.tgid_of[tid] = tid;
    access.start_of[tid] = 1;
  }
  for (pid_t tid = kFirst; tid < kFirst + kProcesses; ++tid) {
    const uint64_t file = Open(tid);
    for (int i = 0; i < LongCalls::kOfProcessMax; ++i) StartLong(file, tid);
  }
  const uint64_t last = Open(kFirst + kProcesses);
  const auto kept = StartShort(last, kFirst + kProcesses);
  EXPECT_FALSE(kept->done);
  Answer();
  EXPECT_EQ(kept->Wait(), 0);
}

// Its memory is being touched, and where that goes on elsewhere its number must not be another's yet.
TEST_F(LongCallsTest, AKilledThreadIsLetGoWhenItIsNotTouchedAnyMore) {
  const uint64_t file = Open(100);
  const auto call = StartLong(file, 100);
  std::function<void()> kill;
  {
    std::lock_guard lock(call->mutex);
    kill = call->kill;
  }
  ASSERT_TRUE(kill) << "nobody would hear of its thread's death";
  kill();
  EXPECT_FALSE(call->done);
  Answer();
  EXPECT_EQ(call->Wait(), -EINTR);
  kill();  // too late, and harmless
}

}  // namespace
}  // namespace dxg::guest
