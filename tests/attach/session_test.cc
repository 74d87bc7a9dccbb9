#include "cuse-dxg/attach/session.h"

#include <gtest/gtest.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/reading_turn.h"
#include "tests/attach/echo_device.h"
#include "tests/attach/fake_kernel.h"
#include "tests/attach/scripted_node.h"
#include "tests/guest/counted_memory.h"

namespace dxg::attach {
namespace {

using echo::Small;

// How long to look for something that must not happen: enough for another worker to take the turn, were it
// offered.
constexpr auto kLongEnough = 10 * ReadingTurn::kTick;

class SessionTest : public testing::TestWithParam<Kind> {
 protected:
  ~SessionTest() override { kernel_.session().Stop(); }

  void SetUp() override { init_ = kernel_.Init(); }
  bool restricted() const { return GetParam() == Kind::kFuseFile; }

  ScriptedNode node_;
  FakeKernel kernel_{GetParam(), node_};
  Reply init_;
};

INSTANTIATE_TEST_SUITE_P(Kinds, SessionTest, testing::Values(Kind::kCuse, Kind::kFuseFile),
                         [](const auto& info) { return info.param == Kind::kCuse ? "Cuse" : "FuseFile"; });

TEST_P(SessionTest, ReadIsRefused) {
  const Reply reply = kernel_.ReceiveOf(kernel_.Send(FUSE_READ, BytesOf(fuse_read_in{.size = 4})));
  EXPECT_EQ(reply.error, -EINVAL);
}

TEST_P(SessionTest, WriteIsRefused) {
  std::vector<std::byte> payload = BytesOf(fuse_write_in{.size = 4});
  payload.resize(payload.size() + 4);
  EXPECT_EQ(kernel_.ReceiveOf(kernel_.Send(FUSE_WRITE, payload)).error, -EINVAL);
}

TEST_P(SessionTest, ClientOutsideOurPidNamespaceIsRefused) {
  node_.open = [](auto) { FAIL() << "an open of nobody reached the node"; };
  EXPECT_EQ(kernel_.ReceiveOf(kernel_.SendOpen(0)).error, -EIO);
  node_.ioctl = [](auto) { FAIL() << "an ioctl of nobody reached the node"; };
  EXPECT_EQ(kernel_.ReceiveOf(kernel_.SendIoctl(7, echo::kNoData, nullptr, 0)).error, -EIO);
}

TEST_P(SessionTest, OpenIsRefusedWithTheNodesError) {
  node_.open = [](auto request) { request->Refuse(EBADF); };
  EXPECT_EQ(kernel_.ReceiveOf(kernel_.SendOpen()).error, -EBADF);
}

TEST_P(SessionTest, DroppedRequestsAreAnsweredAllTheSame) {
  node_.open = [](auto) {};
  EXPECT_EQ(kernel_.ReceiveOf(kernel_.SendOpen()).error, -EIO);
  node_.ioctl = [](auto) {};
  EXPECT_EQ(kernel_.ReceiveOf(kernel_.SendIoctl(7, echo::kNoData, nullptr)).result(), -EIO);
}

TEST_P(SessionTest, InitAsksForWhatTheKindNeeds) {
  EXPECT_TRUE(kernel_.session().WaitInitialized().ok());
  ASSERT_EQ(init_.error, 0);
  if (restricted()) return;
  EXPECT_EQ(init_.As<cuse_init_out>().flags, static_cast<uint32_t>(CUSE_UNRESTRICTED_IOCTL));
  // Safety: bytes of the reply, read as the characters that they are.
  const std::string description(reinterpret_cast<const char*>(init_.payload.data()) + sizeof(cuse_init_out));
  EXPECT_EQ(description, "DEVNAME=dxg");
}

TEST_P(SessionTest, OpenTellsWhoCallsAndGivesTheFileBack) {
  Caller caller;
  node_.open = [&](auto request) {
    caller = request->caller();
    request->Accept(99);
  };
  const Reply reply = kernel_.ReceiveOf(kernel_.SendOpen());
  ASSERT_EQ(reply.error, 0);
  EXPECT_EQ(reply.As<fuse_open_out>().fh, 99u);
  EXPECT_EQ(reply.As<fuse_open_out>().open_flags, static_cast<uint32_t>(FOPEN_DIRECT_IO | FOPEN_NONSEEKABLE));
  EXPECT_EQ(caller.tid, static_cast<pid_t>(FakeKernel::kPid));
  EXPECT_EQ(caller.uid, 1000u);
  EXPECT_EQ(caller.gid, 100u);
}

TEST_P(SessionTest, ACallWithoutMemoryIsRefused) {
  const auto read_on = [](auto request) {
    request->Accept(7);
    guest::FailAllocation(1);  // of this worker, who reads the next request
  };
  node_.open = read_on;
  kernel_.Open();
  EXPECT_EQ(kernel_.ReceiveOf(kernel_.SendOpen()).error, -ENOMEM);
  kernel_.Open();
  EXPECT_EQ(kernel_.ReceiveOf(kernel_.SendIoctl(7, echo::kNoData, nullptr)).error, -ENOMEM);
  EXPECT_EQ(kernel_.ReceiveOf(kernel_.SendIoctl(7, echo::kNoData, nullptr)).result(), 0);
}

TEST_P(SessionTest, OpenMayBeAnsweredLater) {
  std::unique_ptr<OpenRequest> parked;
  Event is_parked;
  node_.open = [&](auto request) {
    parked = std::move(request);
    is_parked.Set();
  };
  const uint64_t open = kernel_.SendOpen();
  is_parked.Wait();
  parked->Accept(5);
  EXPECT_EQ(kernel_.ReceiveOf(open).As<fuse_open_out>().fh, 5u);
}

TEST_P(SessionTest, AnOpenWhoseClientWasKilledIsReleased) {
  std::vector<uint64_t> released;
  node_.release = [&](uint64_t file) { released.push_back(file); };
  uint64_t file = 8;
  node_.open = [&](auto request) {
    if (file == 8) kernel_.ForgetNext();
    request->Accept(file++);
  };
  kernel_.SendOpen();
  EXPECT_EQ(kernel_.Open(), 9u);  // opens are processed one after the other
  EXPECT_EQ(released, std::vector<uint64_t>{8});
}

TEST_P(SessionTest, IoctlBringsTheCallAndTheStructWhereTheKernelCopies) {
  const Small argument = {.value = 41};
  node_.ioctl = [&](std::unique_ptr<IoctlRequest> request) {
    EXPECT_EQ(request->file(), 7u);
    EXPECT_EQ(request->code(), echo::kEcho);
    EXPECT_EQ(request->argument(), reinterpret_cast<uintptr_t>(&argument));
    EXPECT_EQ(request->caller().tid, static_cast<pid_t>(FakeKernel::kPid));
    EXPECT_EQ(request->kernel_copies_out(), restricted());
    ASSERT_EQ(request->in().size(), restricted() ? sizeof(Small) : 0);
    if (!restricted()) return request->Answer(3, {});
    Small small = FromBytes<Small>({request->in().begin(), request->in().end()});
    ++small.value;
    request->Answer(3, std::as_bytes(std::span(&small, 1)));
  };
  const Reply reply = kernel_.ReceiveOf(kernel_.SendIoctl(7, echo::kEcho, &argument));
  EXPECT_EQ(reply.result(), 3);
  if (restricted()) {
    EXPECT_EQ(FromBytes<Small>(reply.out()).value, 42u);
  }
  EXPECT_EQ(reply.out().size(), restricted() ? sizeof(Small) : 0);
}

TEST_P(SessionTest, ErrorCarriesData) {
  if (!restricted()) return;  // nothing is copied for us
  node_.ioctl = [](std::unique_ptr<IoctlRequest> request) {
    const Small small = {.value = 5};
    request->Answer(-EPERM, std::as_bytes(std::span(&small, 1)));
  };
  const Small argument = {};
  const Reply reply = kernel_.ReceiveOf(kernel_.SendIoctl(7, echo::kEcho, &argument));
  EXPECT_EQ(reply.error, 0);
  EXPECT_EQ(reply.result(), -EPERM);
  EXPECT_EQ(FromBytes<Small>(reply.out()).value, 5u);
}

TEST_P(SessionTest, RawNtStatusPasses) {
  node_.ioctl = [](auto request) { request->Answer(static_cast<int32_t>(0xc000000d), {}); };
  EXPECT_EQ(kernel_.ReceiveOf(kernel_.SendIoctl(7, echo::kNoData, nullptr)).result(),
            static_cast<int32_t>(0xc000000d));
}

TEST_P(SessionTest, NoMoreGoesBackThanTheCodeSays) {
  node_.ioctl = [&](std::unique_ptr<IoctlRequest> request) {
    const std::vector<std::byte> much(restricted() ? 4096 : 0);
    request->Answer(0, much);
  };
  const Small argument = {};
  EXPECT_EQ(kernel_.ReceiveOf(kernel_.SendIoctl(7, echo::kOnlyIn, &argument)).out().size(), 0u);
  EXPECT_EQ(kernel_.ReceiveOf(kernel_.SendIoctl(7, echo::kOnlyOut, &argument)).out().size(),
            restricted() ? sizeof(Small) : 0);
}

TEST_P(SessionTest, CodeWithoutDataBringsNone) {
  node_.ioctl = [](std::unique_ptr<IoctlRequest> request) {
    EXPECT_TRUE(request->in().empty());
    request->Answer(static_cast<int32_t>(request->argument()), {});
  };
  int anything;
  const auto low_bits = static_cast<int32_t>(reinterpret_cast<uintptr_t>(&anything));
  EXPECT_EQ(kernel_.ReceiveOf(kernel_.SendIoctl(7, echo::kNoData, &anything)).result(), low_bits);
}

TEST_P(SessionTest, LargeStructOutlivesTheReadBuffer) {
  if (!restricted()) return;
  std::unique_ptr<IoctlRequest> parked;
  Event is_parked;
  node_.ioctl = [&](std::unique_ptr<IoctlRequest> request) {
    if (request->code() != echo::kEchoLarge) return request->Answer(0, {});
    parked = std::move(request);
    is_parked.Set();
  };
  echo::Large large = {};
  large.bytes[4095] = 77;
  const uint64_t parked_call = kernel_.SendIoctl(7, echo::kEchoLarge, &large);
  is_parked.Wait();
  large.bytes[4095] = 0;
  kernel_.ReceiveOf(kernel_.SendIoctl(7, echo::kOnlyIn, &large));  // goes through the same buffers
  parked->Answer(0, parked->in());
  EXPECT_EQ(FromBytes<echo::Large>(kernel_.ReceiveOf(parked_call).out()).bytes[4095], 77);
}

TEST_P(SessionTest, InterruptReachesAParkedCall) {
  std::unique_ptr<IoctlRequest> parked;
  Event is_parked;
  node_.ioctl = [&](std::unique_ptr<IoctlRequest> request) {
    parked = std::move(request);
    parked->OnInterrupt([&] { parked->Answer(-EINTR, {}); });
    is_parked.Set();
  };
  const uint64_t call = kernel_.SendIoctl(7, echo::kNoData, nullptr);
  is_parked.Wait();
  kernel_.SendInterrupt(call);
  EXPECT_EQ(kernel_.ReceiveOf(call).result(), -EINTR);
}

TEST_P(SessionTest, InterruptThatComesFirstIsNotLost) {
  std::mutex held_while_arming;  // a node may well hold its lock there, and take it in the callback
  std::unique_ptr<IoctlRequest> parked;
  node_.ioctl = [&](std::unique_ptr<IoctlRequest> request) {
    std::lock_guard lock(held_while_arming);
    parked = std::move(request);
    parked->OnInterrupt([&] {
      std::lock_guard lock(held_while_arming);
      parked->Answer(-EINTR, {});
    });
  };
  constexpr uint64_t kUnique = 1000;
  kernel_.SendInterrupt(kUnique);
  kernel_.SendIoctl(7, echo::kNoData, nullptr, FakeKernel::kPid, kUnique);
  EXPECT_EQ(kernel_.ReceiveOf(kUnique).result(), -EINTR);
  kernel_.session().Stop();  // before the mutex goes
}

TEST_P(SessionTest, ACallMayWatchForDeathAndForSignals) {
  std::unique_ptr<IoctlRequest> parked;
  Event is_parked;
  node_.ioctl = [&](std::unique_ptr<IoctlRequest> request) {
    parked = std::move(request);
    parked->OnKilled([] { return true; });
    parked->OnInterrupt([&] { parked->Answer(IoctlRequest::kRestart, {}); });
    is_parked.Set();
  };
  const uint64_t call = kernel_.SendIoctl(7, echo::kNoData, nullptr);
  is_parked.Wait();
  kernel_.SendInterrupt(call);
  EXPECT_EQ(kernel_.ReceiveOf(call).result(), -512);
}

// The kernel tells of the first signal only, and that was while nothing but death counted.
TEST_P(SessionTest, AnInterruptThatCameBeforeItWasWantedCounts) {
  std::unique_ptr<IoctlRequest> parked;
  Event is_parked, seen;
  node_.ioctl = [&](std::unique_ptr<IoctlRequest> request) {
    parked = std::move(request);
    parked->OnKilled([&] {  // no such thread: it looks dead
      seen.Set();
      return true;
    });
    is_parked.Set();
  };
  const uint64_t call = kernel_.SendIoctl(7, echo::kNoData, nullptr, 0x7ffffff0);
  is_parked.Wait();
  kernel_.SendInterrupt(call);
  seen.Wait();
  parked->OnInterrupt([&] { parked->Answer(IoctlRequest::kRestart, {}); });
  EXPECT_EQ(kernel_.ReceiveOf(call).result(), -512);
}

// A call by a thread, which hears of its death.
class DeathTest : public SessionTest {
 protected:
  // The thread is looked at once, by the time this returns.
  void CallAndInterrupt(pid_t tid) {
    node_.ioctl = [this](std::unique_ptr<IoctlRequest> request) {
      if (call_ == nullptr) {
        call_ = std::move(request);
        call_->OnKilled([this] {
          dead_.Set();
          return true;
        });
        return;
      }
      next_ = std::move(request);
      next_->OnInterrupt([this] { next_->Answer(0, {}); });
      parked_.Set();
    };
    const uint64_t call = kernel_.SendIoctl(7, echo::kNoData, nullptr, tid);
    const uint64_t next = kernel_.SendIoctl(7, echo::kNoData, nullptr);
    parked_.Wait();
    // Interrupts are handled one after the other.
    kernel_.SendInterrupt(call);
    kernel_.SendInterrupt(next);
    kernel_.ReceiveOf(next);
  }

  std::unique_ptr<IoctlRequest> call_, next_;
  Event parked_, dead_;
};

INSTANTIATE_TEST_SUITE_P(Kinds, DeathTest, testing::Values(Kind::kCuse, Kind::kFuseFile),
                         [](const auto& info) { return info.param == Kind::kCuse ? "Cuse" : "FuseFile"; });

TEST_P(DeathTest, NoOtherSignalIsOne) {
  sigset_t signals, before;
  sigemptyset(&signals);
  for (const int each : {SIGFPE, SIGUSR1, SIGTERM}) sigaddset(&signals, each);
  pthread_sigmask(SIG_BLOCK, &signals, &before);
  for (const int each : {SIGFPE, SIGUSR1, SIGTERM}) pthread_kill(pthread_self(), each);  // they wait
  CallAndInterrupt(gettid());
  EXPECT_FALSE(dead_.WaitFor(std::chrono::seconds(0)));
  call_->Answer(0, {});
  kernel_.session().Stop();
  for (int i = 0, taken; i < 3; ++i) sigwait(&signals, &taken);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST_P(DeathTest, OfAThreadThatLivedWhenItWasInterruptedIsSeenLater) {
  std::promise<pid_t> tid;
  Event end;
  std::thread thread([&] {
    tid.set_value(gettid());
    end.Wait();
  });
  CallAndInterrupt(tid.get_future().get());
  EXPECT_FALSE(dead_.WaitFor(std::chrono::seconds(0)));
  end.Set();
  thread.join();
  dead_.Wait();
  call_->Answer(-EINTR, {});
  kernel_.session().Stop();
}

TEST_P(SessionTest, PollIsAnsweredAtOnceAndWakesLater) {
  std::unique_ptr<PollWaiter> sleeper;
  node_.poll = [&](uint64_t file, std::unique_ptr<PollWaiter> waiter) {
    EXPECT_EQ(file, 7u);
    sleeper = std::move(waiter);
    return uint32_t{POLLOUT};
  };
  fuse_poll_in poll = {.fh = 7, .kh = 33, .flags = FUSE_POLL_SCHEDULE_NOTIFY, .events = POLLIN};
  Reply reply = kernel_.ReceiveOf(kernel_.Send(FUSE_POLL, BytesOf(poll)));
  EXPECT_EQ(reply.As<fuse_poll_out>().revents, uint32_t{POLLOUT});
  ASSERT_NE(sleeper, nullptr);
  sleeper->Wake();
  reply = kernel_.Receive();
  EXPECT_EQ(reply.unique, 0u);
  EXPECT_EQ(reply.error, FUSE_NOTIFY_POLL);
  EXPECT_EQ(reply.As<fuse_notify_poll_wakeup_out>().kh, 33u);
  poll.flags = 0;
  kernel_.ReceiveOf(kernel_.Send(FUSE_POLL, BytesOf(poll)));
  EXPECT_EQ(sleeper, nullptr);
}

// A kernel that serves lsattr wants attributes, or an error instead of an answer.
TEST_P(SessionTest, TheKernelsOwnCallsForAttributesGetAnErrorWithoutAnAnswer) {
  if (!restricted()) return;  // there it makes none
  node_.ioctl = [](auto) { FAIL() << "it reached the node"; };
  for (const uint32_t code : {_IOR('f', 1, long), _IOW('f', 2, long)}) {
    const std::byte argument[8] = {};
    const Reply reply = kernel_.ReceiveOf(kernel_.SendIoctl(7, code, argument));
    EXPECT_EQ(reply.error, -ENOTTY);
    EXPECT_TRUE(reply.payload.empty());
  }
}

TEST_P(SessionTest, InterruptOfAnAnsweredCallIsNothing) {
  node_.ioctl = [](std::unique_ptr<IoctlRequest> request) {
    request->OnInterrupt([] { FAIL() << "interrupted after its answer"; });
    request->Answer(0, {});
  };
  const uint64_t call = kernel_.SendIoctl(7, echo::kNoData, nullptr);
  kernel_.ReceiveOf(call);
  kernel_.SendInterrupt(call);
  EXPECT_EQ(kernel_.ReceiveOf(kernel_.SendIoctl(7, echo::kNoData, nullptr)).result(), 0);
}

TEST_P(SessionTest, AnAnsweredCallHoldsNothing) {
  const auto held = std::make_shared<int>();
  node_.ioctl = [&](std::unique_ptr<IoctlRequest> request) {
    request->OnInterrupt([held] {});
    request->OnKilled([held] { return true; });
    request->Answer(0, {});
  };
  for (int i = 0; i < 3; ++i) kernel_.ReceiveOf(kernel_.SendIoctl(7, echo::kNoData, nullptr));
  kernel_.session().Stop();
  EXPECT_EQ(held.use_count(), 1);
}

// Whether a thread, named by its directory in /proc, blocks a signal.
bool BlocksSignal(const std::filesystem::path& thread, int signal) {
  std::ifstream status(thread / "status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("SigBlk:", 0) == 0) return std::stoull(line.substr(7), nullptr, 16) >> (signal - 1) & 1;
  }
  return true;  // it has ended
}

// Somebody else's signals, of the one kind that its threads do not block: each gets some while it reads.
TEST_P(SessionTest, ASignalDoesNotEndIt) {
  static std::atomic<int> handled;
  struct sigaction action = {}, before = {};
  action.sa_handler = [](int) { ++handled; };  // without SA_RESTART
  ASSERT_EQ(sigaction(SIGURG, &action, &before), 0);
  node_.ioctl = [](auto request) { request->Answer(0, {}); };
  pollfd ended = {kernel_.session().ended_fd(), POLLIN, 0};
  for (int round = 0; round < 50 && !HasFailure(); ++round) {
    handled = 0;
    int sent = 0;
    for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
      const pid_t tid = std::stoi(thread.path().filename());
      if (tid == gettid() || BlocksSignal(thread.path(), SIGURG)) continue;  // ThreadSanitizer's thread does
      if (syscall(SYS_tgkill, getpid(), tid, SIGURG) == 0) ++sent;
    }
    ASSERT_GE(sent, 1) << "no worker takes it";
    while (handled < sent) std::this_thread::yield();
    ASSERT_EQ(poll(&ended, 1, 0), 0) << "it ended";
    EXPECT_EQ(kernel_.ReceiveOf(kernel_.SendIoctl(7, echo::kNoData, nullptr)).result(), 0);
  }
  sigaction(SIGURG, &before, nullptr);
}

TEST_P(SessionTest, ReleaseIsCompleteBeforeALaterOpenIsSeen) {
  Event opened;
  bool opened_during_release = true;
  node_.release = [&](uint64_t file) {
    EXPECT_EQ(file, 7u);
    opened_during_release = opened.WaitFor(kLongEnough);
  };
  kernel_.Open();
  node_.open = [&](auto request) {
    opened.Set();
    request->Accept(8);
  };
  const uint64_t release = kernel_.SendRelease(7);
  const uint64_t open = kernel_.SendOpen();
  EXPECT_EQ(kernel_.ReceiveOf(release).error, 0);
  EXPECT_EQ(kernel_.ReceiveOf(open).error, 0);
  EXPECT_FALSE(opened_during_release);
}

// What the kernel has at once is served in turns, and what has to be in order is not put off.
TEST_P(SessionTest, ProcessesAreServedInTurn) {
  constexpr uint64_t kFloods = 1, kAsksLittle = 2;
  Event may_open;
  node_.open = [&](auto request) {
    may_open.Wait();  // nobody reads on meanwhile
    request->Accept(7);
  };
  std::vector<std::string> served;
  node_.ioctl = [&](std::unique_ptr<IoctlRequest> request) {
    served.push_back(std::to_string(request->file()) + ":" + std::to_string(request->argument()));
    request->Answer(0, {});
  };
  node_.release = [&](uint64_t) { served.push_back("release"); };
  const uint64_t open = kernel_.SendOpen();
  std::vector<uint64_t> sent;
  const auto send = [&](uint64_t file, uintptr_t argument) {
    // Safety: a number that the node gives back, and no address.
    sent.push_back(kernel_.SendIoctl(file, echo::kNoData, reinterpret_cast<const void*>(argument)));
  };
  for (uintptr_t i = 0; i < 4; ++i) send(kFloods, i);
  send(kAsksLittle, 0);
  kernel_.SendRelease(3);
  send(kAsksLittle, 1);
  may_open.Set();
  kernel_.ReceiveOf(open);
  for (const uint64_t each : sent) EXPECT_EQ(kernel_.ReceiveOf(each).result(), 0);
  EXPECT_EQ(served, (std::vector<std::string>{"release", "1:0", "2:0", "1:1", "2:1", "1:2", "1:3"}));
  // Afterwards it waits for the kernel as before.
  EXPECT_EQ(kernel_.ReceiveOf(kernel_.SendIoctl(kFloods, echo::kNoData, nullptr)).result(), 0);
}

// The kernel is asked for more once for four that wait here: who comes meanwhile waits for three others at
// most.
TEST_P(SessionTest, WhoComesWhileOthersWaitIsServedSoon) {
  constexpr uint64_t kFloods = 1, kComesLater = 2;
  constexpr uintptr_t kWaiting = 16, kMeanwhile = 5;
  Event may_open;
  node_.open = [&](auto request) {
    may_open.Wait();  // nobody reads on meanwhile
    request->Accept(7);
  };
  uint64_t later = 0;
  std::vector<uint64_t> served;
  node_.ioctl = [&](std::unique_ptr<IoctlRequest> request) {
    served.push_back(request->file());
    if (request->argument() == kMeanwhile) later = kernel_.SendIoctl(kComesLater, echo::kNoData, nullptr);
    request->Answer(0, {});
  };
  const uint64_t open = kernel_.SendOpen();
  for (uintptr_t i = 0; i < kWaiting; ++i) {
    // Safety: a number that the node gives back, and no address.
    kernel_.SendIoctl(kFloods, echo::kNoData, reinterpret_cast<const void*>(i));
  }
  may_open.Set();
  kernel_.ReceiveOf(open);
  for (uintptr_t i = 0; i <= kWaiting; ++i) EXPECT_EQ(kernel_.Receive().result(), 0);
  EXPECT_NE(later, 0u);
  const auto at = std::find(served.begin(), served.end(), kComesLater) - served.begin();
  EXPECT_EQ(at, 7) << "one of the others had its turn before";
}

// Opens are processed when they are read, and may come without end.
TEST_P(SessionTest, WhoOpensWithoutEndKeepsNobodyWaiting) {
  constexpr size_t kOpens = 64;
  Event may_go_on;
  size_t opened = 0, opened_before = 0;
  node_.open = [&](auto request) {
    if (opened++ == 0) may_go_on.Wait();
    request->Accept(7);
  };
  node_.ioctl = [&](auto request) {
    opened_before = opened;
    request->Answer(0, {});
  };
  std::vector<uint64_t> sent = {kernel_.SendOpen()};
  const uint64_t call = kernel_.SendIoctl(7, echo::kNoData, nullptr);
  while (sent.size() < kOpens) sent.push_back(kernel_.SendOpen());
  may_go_on.Set();
  EXPECT_EQ(kernel_.ReceiveOf(call).result(), 0);
  for (const uint64_t each : sent) EXPECT_EQ(kernel_.ReceiveOf(each).error, 0);
  EXPECT_LT(opened_before, kOpens / 2);
}

TEST_P(SessionTest, LongCallDoesNotKeepTheNextOneWaiting) {
  Event next_is_served;
  node_.ioctl = [&](std::unique_ptr<IoctlRequest> request) {
    request->argument() ? next_is_served.Set() : next_is_served.Wait();
    request->Answer(0, {});
  };
  const uint64_t slow = kernel_.SendIoctl(7, echo::kNoData, nullptr);
  const uint64_t next = kernel_.SendIoctl(7, echo::kNoData, this);
  EXPECT_EQ(kernel_.ReceiveOf(next).result(), 0);
  EXPECT_EQ(kernel_.ReceiveOf(slow).result(), 0);
}

// More than there are workers, and none of them ends before the last.
TEST_P(SessionTest, CallsThatNeverEndDoNotKeepTheNextOneWaiting) {
  constexpr int kLongCalls = 8;
  std::atomic<int> begun = 0, looks = 0;
  Event last_is_served;
  node_.look = [&] { ++looks; };
  node_.ioctl = [&](std::unique_ptr<IoctlRequest> request) {
    if (request->argument()) {
      last_is_served.Set();
    } else {
      ++begun;
      last_is_served.Wait();
    }
    request->Answer(0, {});
  };
  for (int i = 0; i < kLongCalls; ++i) kernel_.SendIoctl(7, echo::kNoData, nullptr);
  kernel_.SendIoctl(7, echo::kNoData, this);
  for (int i = 0; i <= kLongCalls; ++i) EXPECT_EQ(kernel_.Receive().result(), 0);
  EXPECT_EQ(begun, kLongCalls);
  EXPECT_GE(looks, kLongCalls) << "the node does not hear that they are long";
  kernel_.session().Stop();  // before what they use goes
}

// The turn goes from the first worker to the second, and back while the second is busy: Stop has to find the
// reader.
TEST_P(SessionTest, StopsAfterTheTurnHasMoved) {
  Event second_is_served, third_is_served;
  node_.ioctl = [&](std::unique_ptr<IoctlRequest> request) {
    switch (request->code()) {
      case _IO('E', 1):
        second_is_served.Wait();
        break;
      case _IO('E', 2):
        second_is_served.Set(), third_is_served.Wait();
        break;
      case _IO('E', 3):
        third_is_served.Set();
        break;
    }
    request->Answer(0, {});
  };
  for (uint32_t code : {_IO('E', 1), _IO('E', 2), _IO('E', 3)}) kernel_.SendIoctl(7, code, nullptr);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(kernel_.Receive().result(), 0);
  kernel_.session().Stop();
}

TEST_P(SessionTest, StopsWithCallsStillParked) {
  std::mutex mutex;
  std::vector<std::unique_ptr<IoctlRequest>> parked;
  Event all_parked;
  node_.ioctl = [&](std::unique_ptr<IoctlRequest> request) {
    std::lock_guard lock(mutex);
    parked.push_back(std::move(request));
    parked.back()->OnInterrupt([] {});
    if (parked.size() == 3) all_parked.Set();
  };
  for (int i = 0; i < 3; ++i) kernel_.SendIoctl(7, echo::kNoData, nullptr);
  all_parked.Wait();
  kernel_.session().Stop();
  for (auto& request : parked)
    request->Answer(-EINTR, {});  // late, but not wrong: the session is still there
}

TEST_P(SessionTest, HangUpIsReported) {
  kernel_.HangUp();
  pollfd ended = {kernel_.session().ended_fd(), POLLIN, 0};
  EXPECT_EQ(poll(&ended, 1, -1), 1);
}

TEST_P(SessionTest, ManyCallsOfManyKindsThenStop) {
  node_.ioctl = [](auto request) { request->Answer(static_cast<int32_t>(request->file()), {}); };
  for (int32_t round = 0; round < 500; ++round) {
    const uint64_t open = kernel_.SendOpen();
    const uint64_t call = kernel_.SendIoctl(static_cast<uint64_t>(round), echo::kNoData, nullptr);
    const uint64_t release = kernel_.SendRelease(7);
    EXPECT_EQ(kernel_.ReceiveOf(call).result(), round);
    EXPECT_EQ(kernel_.ReceiveOf(open).error, 0);
    EXPECT_EQ(kernel_.ReceiveOf(release).error, 0);
  }
}

TEST(ReadingTurn, AWatcherThatSleepsIsWokenByAnOffer) {
  ReadingTurn turn;
  ASSERT_TRUE(turn.Take());
  Event taken;
  std::thread watcher([&] {
    if (turn.Take()) taken.Set();
  });
  EXPECT_FALSE(taken.WaitFor(kLongEnough)) << "nobody offers it";
  turn.Offer();
  taken.Wait();
  turn.Stop();
  watcher.join();
}

TEST(SessionWithoutInit, HangUpIsARefusalToStart) {
  ScriptedNode node;
  FakeKernel kernel(Kind::kCuse, node);
  kernel.HangUp();
  EXPECT_EQ(kernel.session().WaitInitialized().value(), -ENOTCONN);
}

}  // namespace
}  // namespace dxg::attach
