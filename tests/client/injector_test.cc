// The injector process against threads that are not in the call that it was sent for: they are left alone.
#include "cuse-dxg/client/injector.h"

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "base/unique_fd.h"
#include "cuse-dxg/client/injector_process.h"
#include "cuse-dxg/client/process_vm.h"
#include "cuse-dxg/client/tracee.h"
#include "cuse-dxg/client/waiting.h"
#include "tests/client/own_process.h"

namespace dxg::client {
namespace {

// A process that waits for an event, which any disturbance ends with EINTR.
class Stranger {
 public:
  explicit Stranger(uid_t user = getuid()) : event_(eventfd(0, EFD_CLOEXEC)), child_(fork()) {
    if (child_ == 0) {
      if (setuid(user) != 0) _exit(errno);
      prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);  // its files in /proc are its user's, as those of other programs
      prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);  // as far as Yama goes: the injector is no ancestor
      const int epoll = epoll_create1(EPOLL_CLOEXEC);
      epoll_event event = {.events = EPOLLIN, .data = {}};
      epoll_ctl(epoll, EPOLL_CTL_ADD, event_.get(), &event);
      _exit(epoll_wait(epoll, &event, 1, -1) == 1 ? 0 : errno);
    }
    while (!IsWaiting()) std::this_thread::yield();
  }
  ~Stranger() {
    if (child_ != 0) (void)End();
  }

  // Sends the event. 0, or the errno with which its wait ended.
  int End() {
    const uint64_t one = 1;
    (void)!write(event_.get(), &one, sizeof(one));
    int status = 0;
    waitpid(std::exchange(child_, 0), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  pid_t pid() const { return child_; }
  int event() const { return event_.get(); }
  Identity identity() const { return ProcessVm().Identify(child_).value(); }

 private:
  bool IsWaiting() const {
    long number = -1;
    std::ifstream("/proc/" + std::to_string(child_) + "/syscall") >> number;
    return number == SYS_epoll_wait;
  }

  UniqueFd event_;
  pid_t child_;
};

class InjectorTest : public testing::Test {
 protected:
  void SetUp() override {
    auto started = StartInjector({});
    ASSERT_TRUE(started.ok()) << started.status().why();
    injector_ = *std::move(started);
  }

  // The reason why the thread is not visited; 0: it is.
  int Enter(const Waiting& at, const Identity& process) { return -WhyNotEntered(at, process).value(); }
  Status WhyNotEntered(const Waiting& at, const Identity& process) {
    std::promise<Status> entered;
    injector_->Enter(
        at, process, [this] { answered_ = true; },
        [&](Result<std::unique_ptr<Visit>> visit) { entered.set_value(visit.status()); });
    return entered.get_future().get();
  }
  bool Takes(const Waiting& at, const Identity& process, int descriptor) {
    std::promise<bool> taken;
    injector_->TakeEventFile(at, process, descriptor, [&](auto file) { taken.set_value(file.ok()); });
    return taken.get_future().get();
  }

  std::unique_ptr<Injector> injector_;
  std::atomic<bool> answered_ = false;
};

constexpr uint32_t kCode = 0xc0184748;

// A process at the beginning of an ioctl, which says that it came by the way of 32-bit programs: not every
// kernel has such programs, but any says what a tracer has put there.
class Compat {
 public:
  Compat() : child_(fork()) {
    if (child_ == 0) {
      ptrace(PTRACE_TRACEME, 0, 0, 0);
      raise(SIGSTOP);
      syscall(SYS_ioctl, -1, kCode, 0x1000);
      _exit(0);
    }
    user_regs_struct registers = {};
    do {
      waitpid(child_, nullptr, 0);
      ptrace(PTRACE_GETREGS, child_, nullptr, &registers);
      if (registers.orig_rax == SYS_ioctl && static_cast<uint32_t>(registers.rsi) == kCode) break;
    } while (ptrace(PTRACE_SYSCALL, child_, 0, 0) == 0);
    SetNumber(54);
  }
  ~Compat() {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }
  void SetNumber(uint64_t number) {
    ptrace(PTRACE_POKEUSER, child_, offsetof(user_regs_struct, orig_rax), number);
  }
  Waiting at() const { return {child_, kCode, 0x1000}; }
  Identity identity() const { return ProcessVm().Identify(child_).value(); }

 private:
  pid_t child_;
};

TEST(Waiting, ACallOfA32BitProgramIsToldApart) {
  Compat compat;
  const auto thread = FindWaiting(compat.at(), compat.identity());
  ASSERT_TRUE(thread);
  EXPECT_TRUE(MayWait(*thread));
  EXPECT_TRUE(IsOf32BitProgram(*thread));
  compat.SetNumber(SYS_ioctl);
  EXPECT_FALSE(IsOf32BitProgram(*thread));
}

// Nothing is done to it: to be traced by somebody else would be the next reason.
TEST_F(InjectorTest, ACallOfA32BitProgramIsRefusedBeforeAnythingIsDone) {
  Compat compat;
  const Status why = WhyNotEntered(compat.at(), compat.identity());
  EXPECT_EQ(why.value(), -EPERM);
  EXPECT_NE(why.why().find("32-bit"), std::string::npos) << why.why();
  EXPECT_FALSE(answered_);
}

// What a killed client's number means when its visit comes at last.
TEST_F(InjectorTest, AThreadThatIsInAnotherCallIsNotDisturbed) {
  Stranger stranger;
  EXPECT_EQ(Enter({stranger.pid(), kCode, 0x1000}, stranger.identity()), EINTR);
  EXPECT_FALSE(answered_) << "the call of somebody else";
  EXPECT_EQ(stranger.End(), 0);
}

// The injector has few of root's rights, and needs the one to see in which call another user's thread is.
TEST_F(InjectorTest, NorIsOneOfAnotherUsers) {
  constexpr uid_t kNobody = 65534;
  Stranger stranger(getuid() == 0 ? kNobody : getuid());
  EXPECT_EQ(Enter({stranger.pid(), kCode, 0x1000}, stranger.identity()), EINTR);
  EXPECT_FALSE(answered_);
  EXPECT_EQ(stranger.End(), 0);
}

TEST_F(InjectorTest, AProcessThatHasTheNumberOfAnotherIsNotDisturbed) {
  Stranger stranger;
  Identity before = stranger.identity();
  before.start_time -= 1;
  EXPECT_EQ(Enter({stranger.pid(), kCode, 0x1000}, before), EINTR);
  EXPECT_FALSE(answered_);
  EXPECT_EQ(stranger.End(), 0);
}

// As after an execve by another thread: the numbers are the old ones, the descriptors another program's.
TEST_F(InjectorTest, NoEventOfAThreadThatIsInAnotherCallIsTaken) {
  Stranger stranger;
  EXPECT_FALSE(Takes({stranger.pid(), kCode, 0x1000}, stranger.identity(), stranger.event()));
  EXPECT_EQ(stranger.End(), 0);
}

// As after an execve too, and the new program is in no call.
TEST_F(InjectorTest, NorOfOneThatRuns) {
  const UniqueFd event(eventfd(0, EFD_CLOEXEC));
  const pid_t child = fork();
  if (child == 0) {
    for (volatile uint64_t turns = 0;;) turns = turns + 1;
  }
  EXPECT_FALSE(Takes({child, kCode, 0x1000}, ProcessVm().Identify(child).value(), event.get()));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
}

// A node that ends tells its handlers, and they may ask once more before they are gone.
TEST_F(InjectorTest, AStoppedOneRefusesAndIsStillThere) {
  const pid_t process = OnlyChild();
  ASSERT_NE(process, 0);
  Stranger stranger;
  const Waiting at = {stranger.pid(), kCode, 0x1000};
  const Identity identity = stranger.identity();
  kill(process, SIGSTOP);  // so that it is asked, and does not answer
  std::atomic<int> refused = 0, again = 0;
  injector_->Enter(
      at, identity, [this] { answered_ = true; },
      [&](const Result<std::unique_ptr<Visit>>& visit) {
        refused = -visit.status().value();
        again = Enter(at, identity);
        kill(process, SIGCONT);  // its end is waited for
      });
  injector_->Stop();
  EXPECT_EQ(refused, EIO);
  EXPECT_EQ(again, EIO);
  EXPECT_EQ(Enter(at, identity), EIO);
  EXPECT_FALSE(Takes(at, identity, stranger.event()));
  EXPECT_FALSE(answered_);
  EXPECT_EQ(stranger.End(), 0);
}

// Where /proc does not tell in which call a thread is, its registers do, at the latest.
TEST(Tracee, AThreadInAnotherCallIsNotTaken) {
  Stranger stranger;
  Result<Tracee> tracee = Tracee::Seize(stranger.pid(), stranger.pid(), {});
  ASSERT_TRUE(tracee.ok()) << tracee.status().why();
  ASSERT_TRUE(tracee->Interrupt().ok());
  ASSERT_TRUE(tracee->WaitStop().ok());
  EXPECT_EQ(tracee->Take({stranger.pid(), kCode, 0x1000}).value(), -EINTR);
  tracee->Leave(-EIO);
  EXPECT_EQ(stranger.End(), EINTR) << "what the kernel gave it, and not the result of a call of ours";
}

TEST(Waiting, AThreadInAnotherCallIsKnown) {
  Stranger stranger;
  const auto thread = FindWaiting({stranger.pid(), kCode, 0x1000}, stranger.identity());
  ASSERT_TRUE(thread);
  EXPECT_FALSE(MayWait(*thread));
  EXPECT_FALSE(IsAsleepInCall(*thread));
}

TEST(Waiting, AnotherProcessOfTheNumberIsNotFound) {
  Stranger stranger;
  Identity before = stranger.identity();
  before.start_time -= 1;
  EXPECT_FALSE(FindWaiting({stranger.pid(), kCode, 0x1000}, before));
  EXPECT_FALSE(FindWaiting({getpid(), kCode, 0x1000}, stranger.identity())) << "a thread of another process";
}

// A thread that runs may be on its way into any call: only its start tells.
TEST(Waiting, AnotherThreadOfTheNumberIsToldApart) {
  std::atomic<pid_t> tid = 0;
  std::atomic<bool> end = false;
  std::thread runner([&] {
    tid = static_cast<pid_t>(syscall(SYS_gettid));
    while (!end) {
    }
  });
  while (tid == 0) std::this_thread::yield();
  auto thread = FindWaiting({tid, kCode, 0x1000}, ProcessVm().Identify(getpid()).value());
  EXPECT_TRUE(thread && MayWait(*thread));
  EXPECT_FALSE(thread && IsAsleepInCall(*thread)) << "another program may run under its number";
  if (thread) ++thread->start_time;
  EXPECT_FALSE(thread && MayWait(*thread));
  end = true;
  runner.join();
}

}  // namespace
}  // namespace dxg::client

int main(int argc, char** argv) {
  if (dxg::client::IsInjectorCommand(argc, argv)) return dxg::client::RunInjector();
  if (argc == 3 && std::string_view(argv[1]) == "map-again") return dxg::client::MapAgain(argv[2]);
  if (argc == 3 && std::string_view(argv[1]) == "stay-untouched") return dxg::client::StayUntouched(argv[2]);
  if (argc == 3 && std::string_view(argv[1]) == "short-lived-agent")
    return dxg::client::BeShortLivedAgent(argv[2]);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
