// Which thread of a client is reached, with --attach=preload: the one that waits in the call, and no other.
// Numbers of threads come again, and clients choose what they say they are.

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "tests/attach/library_fixture.h"

namespace dxg::attach::library {
namespace {

// -- Threads with one number

// A thread that has ended and one that has its number now are two connections: here, both of this thread.
class SameThread : public LibraryTest {
 protected:
  SameThread() {
    node_.ioctl = [this](auto request) {
      if (!holds_) return request->Answer(0, {});
      request->OnKilled([this] {
        told_dead_.Set();
        return false;
      });
      (kept_[0] == nullptr ? kept_[0] : kept_[1]) = std::move(request);
      (kept_[1] == nullptr ? one_waits_ : two_wait_).Set();
    };
    file_ = first_.Greet().Open();
    second_.Greet();
  }
  ~SameThread() override {
    session_->Stop();
    for (auto& call : kept_)
      if (call != nullptr) call->Answer(0, {});
  }
  // Where Say() waits.
  client::Waiting Here() const { return {gettid(), kCode, 0x1000}; }
  void SaySecond() {
    const int shown = file_.files[0].get();
    second_.Say(file_.told.file, 0, std::span(&shown, 1));
  }
  void TheSecondIsReached() {
    const auto delivery = session_->MakeDelivery();
    Event entered, took;
    delivery->Enter(
        Here(), {}, [] {},
        [&](Result<std::unique_ptr<client::Visit>> visit) {
          ASSERT_TRUE(visit.ok());
          std::vector<client::Step> steps(1);
          steps[0].kind = client::Step::Kind::kUnmap;
          (*visit)->Do(std::move(steps), [&](Result<std::vector<uint64_t>> results) {
            EXPECT_TRUE(results.ok());
            entered.Set();
          });
        });
    ASSERT_FALSE(second_.HearsNothing());
    Heard ask = second_.Hear();
    EXPECT_EQ(ask.told.kind, tell::kUnmap);
    second_.Done(ask.told, 0);
    entered.Wait();
    delivery->TakeEventFile(Here(), {}, 3, [&](auto) { took.Set(); });
    ASSERT_FALSE(second_.HearsNothing());
    ask = second_.Hear();
    EXPECT_EQ(ask.told.kind, tell::kTakeFile);
    second_.Done(ask.told, 0, EBADF);
    took.Wait();
  }

  std::atomic<bool> holds_ = false;  // calls are not answered
  std::unique_ptr<IoctlRequest> kept_[2];
  Event one_waits_, two_wait_, told_dead_;
  Connection first_ = Connect(), second_ = Connect();
  Heard file_;
};

TEST_F(SameThread, AVisitIsNotForTheOneWhoseCallIsAnswered) {
  first_.Say(file_.told.file);
  EXPECT_EQ(first_.Hear().told.kind, tell::kAnswer);
  holds_ = true;
  SaySecond();
  one_waits_.Wait();
  TheSecondIsReached();
  EXPECT_TRUE(first_.HearsNothing());
}

TEST_F(SameThread, AVisitIsNotForTheOneThatWaitsInAnotherCall) {
  holds_ = true;
  Said elsewhere = {};
  elsewhere.kind = say::kIoctl;
  elsewhere.number = 2;
  elsewhere.file = file_.told.file;
  elsewhere.code = kCode;
  elsewhere.argument = 0x2000;
  const uint64_t value = 0;
  first_.Send(elsewhere, std::as_bytes(std::span(&value, 1)));
  one_waits_.Wait();
  SaySecond();
  two_wait_.Wait();
  TheSecondIsReached();
  EXPECT_TRUE(first_.HearsNothing());
}

TEST_F(SameThread, AVisitIsNotForTheOneThatDiedInItsCall) {
  holds_ = true;
  first_.Say(file_.told.file);
  one_waits_.Wait();
  first_.Close();
  told_dead_.Wait();
  SaySecond();
  two_wait_.Wait();
  TheSecondIsReached();
}

TEST_F(SameThread, NobodyIsVisitedAfterTheEnd) {
  holds_ = true;
  first_.Say(file_.told.file);
  one_waits_.Wait();
  session_->Stop();
  const auto delivery = session_->MakeDelivery();
  bool answered = false;
  delivery->Enter(
      Here(), {}, [] {},
      [&](Result<std::unique_ptr<client::Visit>> visit) {
        answered = true;
        ASSERT_FALSE(visit.ok());
        EXPECT_EQ(visit.status().value(), -EINTR);
      });
  EXPECT_TRUE(answered);
}

// -- Memory

class Reach : public LibraryTest {
 protected:
  bool Reads(pid_t tid) {
    uint64_t got = 0;
    const bool read = access_->Read(tid, address_, std::as_writable_bytes(std::span(&got, 1)));
    EXPECT_EQ(got, read ? value_ : 0);
    return read;
  }
  bool ReadsPieces(pid_t tid) {
    uint64_t got = 0;
    const client::ReadPiece piece = {.address = address_, .to = std::as_writable_bytes(std::span(&got, 1))};
    return access_->ReadPieces(tid, std::span(&piece, 1));
  }
  bool Writes(pid_t tid) {
    const uint64_t other = 99;
    return access_->Write(tid, address_, std::as_bytes(std::span(&other, 1)));
  }
  bool WritesPieces(pid_t tid) {
    const uint64_t other = 99;
    const client::WritePiece piece = {.address = address_, .from = std::as_bytes(std::span(&other, 1))};
    return access_->WritePieces(tid, std::span(&piece, 1));
  }
  void IsNotReached(pid_t tid) {
    EXPECT_FALSE(Reads(tid));
    EXPECT_FALSE(ReadsPieces(tid));
    EXPECT_FALSE(Writes(tid));
    EXPECT_FALSE(WritesPieces(tid));
    EXPECT_EQ(value_, 42u);
  }

  const std::unique_ptr<client::Access> access_ = session_->MakeAccess();
  const pid_t self_ = gettid();
  uint64_t value_ = 42;
  const uint64_t address_ = reinterpret_cast<uint64_t>(&value_);  // Safety: for the system call
};

TEST_F(Reach, AThreadInNoCallIsNotReached) {
  Event ended;
  node_.ioctl = [&](auto request) {
    request->Answer(0, {});
    request = nullptr;
    ended.Set();
  };
  IsNotReached(self_);  // it has never spoken
  Connection client = Connect();
  const Heard opened = client.Greet().Open();
  IsNotReached(self_);
  client.Say(opened.told.file);
  EXPECT_EQ(client.Hear().told.kind, tell::kAnswer);
  ended.Wait();
  IsNotReached(self_);
  EXPECT_TRUE(client.HearsNothing());
}

// It would be reached by the system call: the process is the same.
TEST_F(Reach, AThreadBesideTheCallerIsNotReached) {
  std::atomic<pid_t> beside = 0;
  Event there, over;
  std::thread thread([&] {
    beside = gettid();
    there.Set();
    over.Wait();
  });
  there.Wait();
  node_.ioctl = [&](auto request) {
    IsNotReached(beside);
    request->Answer(Reads(request->caller().tid), {});
  };
  Connection client = Connect();
  const Heard opened = client.Greet().Open();
  client.Say(opened.told.file);
  Heard heard = client.Hear();
  if (heard.told.kind == tell::kLoad) {  // other processes cannot be read here
    client.Done(heard.told, 0, 0, {}, std::as_bytes(std::span(&value_, 1)));
    heard = client.Hear();
  }
  EXPECT_EQ(heard.told.kind, tell::kAnswer);
  EXPECT_EQ(heard.told.result, 1);
  over.Set();
  thread.join();
}

// -- Callers that die

// Files that become ready again and again are another kind of talk: it is never over when it is heard.
TEST_F(LibraryTest, ACallHearsThatItsThreadIsDeadWhileFilesWake) {
  constexpr int kWakesMax = 1'000'000;
  std::mutex mutex;
  std::unique_ptr<PollWaiter> sleeper;
  std::unique_ptr<IoctlRequest> kept;
  std::atomic<int> asked = 0, wakes = 0;
  Event waits, answered;
  node_.poll = [&](uint64_t, auto waiter) {
    const std::lock_guard lock(mutex);
    sleeper = std::move(waiter);
    if (asked > 0 && asked < 3 && ++wakes < kWakesMax) sleeper->Wake();
    return 0u;
  };
  node_.ioctl = [&](auto request) {
    kept = std::move(request);
    kept->OnKilled([&] {
      if (++asked == 1) {
        const std::lock_guard lock(mutex);
        sleeper->Wake();
      }
      if (asked < 3) return false;
      kept->Answer(-EINTR, {});
      answered.Set();
      return true;
    });
    waits.Set();
  };
  Connection client = Connect();
  const Heard opened = client.Greet().Open();
  client.Say(opened.told.file);
  waits.Wait();
  client.Close();
  answered.Wait();
  EXPECT_LT(wakes, kWakesMax) << "it is told when nothing wakes any more";
  session_->Stop();  // the node asks again, by what is here
}

TEST_F(LibraryTest, ACallHearsThatItsThreadIsDeadWhileOthersTalk) {
  constexpr int kTalkers = 4, kWordsMax = 200'000, kLooks = 10;
  std::unique_ptr<IoctlRequest> kept;
  std::atomic<int> asked = 0;
  std::atomic<bool> told = false, talked_out = false;
  Event waits, answered;
  node_.ioctl = [&](auto request) {
    kept = std::move(request);
    kept->OnKilled([&] {
      if (++asked < kLooks) return false;
      kept->Answer(-EINTR, {});
      told = true;
      answered.Set();
      return true;
    });
    waits.Set();
  };
  Connection client = Connect();
  const Heard opened = client.Greet().Open();
  client.Say(opened.told.file);
  waits.Wait();
  // What they say has no answer, so that more waits to be read at any time.
  std::vector<std::thread> talkers;
  for (int i = 0; i < kTalkers; ++i) {
    talkers.emplace_back([&] {
      Connection talker = Connect();
      talker.Greet();
      int words = 0;
      while (!told && words < kWordsMax) {
        talker.Interrupt(0);
        ++words;
      }
      if (words == kWordsMax) talked_out = true;
    });
  }
  client.Close();
  for (std::thread& talker : talkers) talker.join();
  EXPECT_FALSE(talked_out) << "it is told when nobody talks any more";
  answered.Wait();
  EXPECT_EQ(asked, kLooks);
}

}  // namespace
}  // namespace dxg::attach::library
