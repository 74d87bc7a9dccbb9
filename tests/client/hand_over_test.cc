// What a process, and a user, has at once of the injector's workers.
#include "cuse-dxg/client/hand_over.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace dxg::client {
namespace {

constexpr int kOfProcessMax = 4, kOfUserMax = 16;

// A way into clients on which everything takes until the test ends it.
class SlowDelivery final : public Delivery {
 public:
  void Enter(const Waiting&, const Identity& process, std::function<void()>, Entered entered) override {
    Hold(process.user, [entered] { entered(Status::Refuse(EINTR, "the test ends it")); });
  }
  uint64_t TokenOfOpener(pid_t) override { return 0; }
  void Identify(const Waiting&, const Identity& process, int, std::function<void(uint64_t)> done) override {
    Hold(process.user, [done] { done(0); });
  }
  bool IsIdentifyCall(pid_t, uint32_t, uint64_t, uint64_t) override { return false; }
  void TakeEventFile(const Waiting&, const Identity& process, int, TookEventFile done) override {
    Hold(process.user, [done] { done(NoEventFile(3)); });
  }

  int begun(uid_t user) {
    std::lock_guard lock(mutex_);
    return begun_[user];
  }
  void WaitUntilBegun(uid_t user, int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return begun_[user] >= count; });
  }
  void EndOne(uid_t user) {
    std::function<void()> end;
    {
      std::lock_guard lock(mutex_);
      end = std::move(held_[user].front());
      held_[user].pop_front();
    }
    end();
  }

 private:
  void Hold(uid_t user, std::function<void()> end) {
    std::lock_guard lock(mutex_);
    held_[user].push_back(std::move(end));
    ++begun_[user];
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<uid_t, std::list<std::function<void()>>> held_;
  std::map<uid_t, int> begun_;
};

class HandOverTest : public testing::TestWithParam<const char*> {
 protected:
  HandOverTest() {
    auto owned = std::make_unique<SlowDelivery>();
    slow_ = owned.get();
    delivery_ = HandOver(std::move(owned));
  }
  void Ask(uid_t user, pid_t tgid) {
    Identity process;
    process.tgid = tgid;
    process.user = user;
    const std::string what = GetParam();
    const auto ended = [this] {
      std::lock_guard lock(mutex_);
      ++ended_;
      changed_.notify_all();
    };
    if (what == "Visits")
      delivery_->Enter(
          {}, process, [] {}, [ended](auto) { ended(); });
    if (what == "Names") delivery_->Identify({}, process, 3, [ended](auto) { ended(); });
    if (what == "EventFiles") delivery_->TakeEventFile({}, process, 3, [ended](auto) { ended(); });
  }
  void WaitUntilEnded(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ended_ >= count; });
  }

  SlowDelivery* slow_;
  std::unique_ptr<Delivery> delivery_;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int ended_ = 0;
};

TEST_P(HandOverTest, AProcessAndAUserHaveSomeAtOnce) {
  constexpr int kProcesses = 10, kOfEach = 2 * kOfProcessMax;
  for (int i = 0; i < kOfEach; ++i) Ask(1, 100);
  EXPECT_EQ(slow_->begun(1), kOfProcessMax);
  for (pid_t tgid = 101; tgid < 100 + kProcesses; ++tgid) {
    for (int i = 0; i < kOfEach; ++i) Ask(1, tgid);
  }
  EXPECT_EQ(slow_->begun(1), kOfUserMax);
  Ask(2, 200);
  EXPECT_EQ(slow_->begun(2), 1) << "another user waits for this one";
  // Each that ends lets one begin at most, until all are over.
  constexpr int kAll = kProcesses * kOfEach;
  for (int i = 0; i < kAll; ++i) {
    slow_->WaitUntilBegun(1, i + 1);
    EXPECT_LE(slow_->begun(1), kOfUserMax + i);
    slow_->EndOne(1);
  }
  slow_->EndOne(2);
  WaitUntilEnded(kAll + 1);
}

TEST_P(HandOverTest, TheEndRefusesWhatWaits) {
  for (int i = 0; i < 2 * kOfUserMax; ++i) Ask(1, 100 + i);
  delivery_->Stop();
  WaitUntilEnded(kOfUserMax);
  EXPECT_EQ(slow_->begun(1), kOfUserMax);
  for (int i = 0; i < kOfUserMax; ++i) slow_->EndOne(1);
  WaitUntilEnded(2 * kOfUserMax);
}

INSTANTIATE_TEST_SUITE_P(Of, HandOverTest, testing::Values("Visits", "Names", "EventFiles"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace dxg::client
