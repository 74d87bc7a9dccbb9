// The injector process against threads that are not in the call that it was sent for: they are left alone.
#include "cuse-dxg/client/injector.h"

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include "base/unique_fd.h"
#include "cuse-dxg/client/injector_process.h"
#include "cuse-dxg/client/process_vm.h"
#include "cuse-dxg/client/tracee.h"
#include "cuse-dxg/client/waiting.h"

namespace dxg::client {
namespace {

// A process that waits for an event, which any disturbance ends with EINTR.
class Stranger {
 public:
  Stranger() : event_(eventfd(0, EFD_CLOEXEC)), child_(fork()) {
    if (child_ == 0) {
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
  int Enter(const Waiting& at, const Identity& process) {
    std::promise<int> entered;
    injector_->Enter(
        at, process, [this] { answered_ = true; },
        [&](Result<std::unique_ptr<Visit>> visit) { entered.set_value(-visit.status().value()); });
    return entered.get_future().get();
  }
  bool Takes(const Waiting& at, const Identity& process, int descriptor) {
    std::promise<bool> taken;
    injector_->TakeEventFile(at, process, descriptor,
                             [&](std::shared_ptr<EventFile> file) { taken.set_value(file != nullptr); });
    return taken.get_future().get();
  }

  std::unique_ptr<Injector> injector_;
  std::atomic<bool> answered_ = false;
};

constexpr uint32_t kCode = 0xc0184748;

// What a killed client's number means when its visit comes at last.
TEST_F(InjectorTest, AThreadThatIsInAnotherCallIsNotDisturbed) {
  Stranger stranger;
  EXPECT_EQ(Enter({stranger.pid(), kCode, 0x1000}, stranger.identity()), EINTR);
  EXPECT_FALSE(answered_) << "the call of somebody else";
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

// Where /proc does not tell in which call a thread is, its registers do, at the latest.
TEST(Tracee, AThreadInAnotherCallIsNotTaken) {
  Stranger stranger;
  Result<Tracee> tracee = Tracee::Seize(stranger.pid());
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
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
