// attach-client PATH [CHECK]...
// What a client can see of an attach mode with the echo device behind it: every check by name, or all of
// them. Runs unchanged on a CUSE node, a FUSE file and in a private /dev; where those differ, the kind of the
// node decides what is expected. Prints what was wrong; the exit status is 0 when nothing was.

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "base/unique_fd.h"
#include "tests/attach/checks.h"
#include "tests/attach/echo_device.h"

namespace dxg::attach {
namespace {

using echo::Small;

bool is_device = false;  // a character device, so CUSE: unrestricted

UniqueFd Open(int flags = O_RDWR) {
  UniqueFd node(open(path.c_str(), flags | O_CLOEXEC));
  EXPECT(node.valid());
  return node;
}

int Call(const UniqueFd& node, uint32_t code, void* argument) { return ioctl(node.get(), code, argument); }
int Call(const UniqueFd& node, uint32_t code) { return ioctl(node.get(), code, nullptr); }

bool Fails(int result, int error) { return result == -1 && errno == error; }

void CheckEcho() {
  UniqueFd node = Open();
  Small small = {.value = 41};
  EXPECT(Call(node, echo::kEcho, &small) == 0);
  EXPECT(small.value == 42);
  EXPECT(small.tid == gettid());
  EXPECT(small.uid == getuid());
  std::thread([&] {
    EXPECT(Call(node, echo::kEcho, &small) == 0);
    EXPECT(small.tid == gettid());
  }).join();
}

void CheckFiles() {
  UniqueFd first = Open(), second = Open(O_RDONLY);
  Small of_first = {}, of_second = {}, again = {};
  EXPECT(Call(first, echo::kEcho, &of_first) == 0);
  EXPECT(Call(second, echo::kEcho, &of_second) == 0);
  EXPECT(Call(first, echo::kEcho, &again) == 0);
  EXPECT(of_first.file != of_second.file);
  EXPECT(of_first.file == again.file);
}

void CheckLarge() {
  UniqueFd node = Open();
  echo::Large large;
  for (size_t i = 0; i < sizeof(large.bytes); ++i) large.bytes[i] = static_cast<unsigned char>(i * 7);
  EXPECT(Call(node, echo::kEchoLarge, &large) == 0);
  for (size_t i = 0; i < sizeof(large.bytes); ++i) {
    if (large.bytes[i] == static_cast<unsigned char>(~(i * 7))) continue;
    EXPECT(!"every byte inverted");
    return;
  }
}

void CheckResults() {
  UniqueFd node = Open();
  Small small = {.value = 1};
  EXPECT(Fails(Call(node, echo::kFail, &small), EPERM));
  EXPECT(small.value == 2);  // copied with the error
  EXPECT(Call(node, echo::kRawStatus, &small) == static_cast<int32_t>(0xc000000d));
  EXPECT(small.value == 3);
  EXPECT(ioctl(node.get(), echo::kNoData, 77) == 77);
  small.value = 100;
  EXPECT(Call(node, echo::kOnlyIn, &small) == 100);
  EXPECT(small.value == 100);
  EXPECT(Call(node, echo::kOnlyOut, &small) == 0);
  EXPECT(small.value == 1);
}

void CheckRefusals() {
  UniqueFd node = Open();
  Small small = {};
  constexpr uint32_t kUnknown = _IOWR('E', 200, Small);
  EXPECT(Fails(Call(node, kUnknown, &small), ENOTTY));
  // A file's struct is copied by the kernel before anybody looks at the code.
  EXPECT(Fails(Call(node, kUnknown, nullptr), is_device ? ENOTTY : EFAULT));
  EXPECT(Fails(Call(node, echo::kEcho, nullptr), EFAULT));
  const auto page = static_cast<Small*>(mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  EXPECT(
      Fails(Call(node, echo::kEcho, page), EFAULT));  // readable, so found out only when the answer is stored
  munmap(page, 4096);
}

void CheckOtherOperations() {
  UniqueFd node = Open();
  char byte = 0;
  EXPECT(Fails(static_cast<int>(read(node.get(), &byte, 1)), EINVAL));
  EXPECT(Fails(static_cast<int>(write(node.get(), &byte, 1)), EINVAL));
  if (is_device) {
    EXPECT(lseek(node.get(), 0, SEEK_SET) == 0);  // the CUSE module ignores what we say here
  } else {
    EXPECT(lseek(node.get(), 0, SEEK_SET) == -1 && errno == ESPIPE);
  }
  EXPECT(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, node.get(), 0) == MAP_FAILED && errno == ENODEV);
  pollfd ready = {node.get(), POLLIN | POLLOUT, 0};
  EXPECT(poll(&ready, 1, -1) == 1 && ready.revents == (POLLIN | POLLOUT));
}

void CheckOpenFlags() {
  for (int flags :
       {O_RDONLY, O_WRONLY, O_RDWR, O_RDWR | O_TRUNC, O_WRONLY | O_APPEND, O_RDONLY | O_NONBLOCK}) {
    UniqueFd node = Open(flags);
    EXPECT(ioctl(node.get(), echo::kNoData, 5) == 5);
  }
  struct stat status;
  EXPECT(stat(path.c_str(), &status) == 0 && (status.st_mode & 0777) == 0666);
}

// Other clients may be there, but none comes or goes meanwhile.
void CheckReleaseBeforeOpen() {
  UniqueFd node = Open();
  const int others = Call(node, echo::kOpenFiles);
  for (int i = 0; i < 300; ++i) {
    UniqueFd second = Open(O_RDONLY);
    const int now = Call(second, echo::kOpenFiles);
    if (now == others + 1) continue;
    std::printf("%d files open, expected %d\n", now, others + 1);
    EXPECT(!"every release is complete before the next open");
    return;
  }
}

void CheckWaitAndWake() {
  UniqueFd node = Open();
  Small small = {};
  int result = -1;
  std::thread waiter([&] { result = Call(node, echo::kWait, &small); });
  while (Call(node, echo::kWake) == 0) std::this_thread::yield();
  waiter.join();
  EXPECT(result == 0);
}

// Starts kWaitRestart in a thread that is of interest to signals.
class Waiter {
 public:
  explicit Waiter(const UniqueFd& node)
      : node_(node), thread_([this] {
          tid_ = gettid();
          Small small = {};
          result_ = Call(node_, echo::kWaitRestart, &small);
          error_ = errno;
          ended_ = true;
        }) {
    UntilItWaits();
  }
  ~Waiter() { thread_.join(); }
  void UntilItWaits() const {
    while (tid_ == 0 || ioctl(node_.get(), echo::kWaiting, tid_.load()) == 0) std::this_thread::yield();
  }
  void Signal(int signal) const { syscall(SYS_tgkill, getpid(), tid_.load(), signal); }
  int Join() {
    while (!ended_) std::this_thread::yield();
    return result_ == 0 ? 0 : error_.load();
  }
  bool ended() const { return ended_; }

 private:
  const UniqueFd& node_;
  std::atomic<pid_t> tid_ = 0;
  std::atomic<int> result_ = 0, error_ = 0;
  std::atomic<bool> ended_ = false;
  std::thread thread_;  // last: it uses the rest
};

std::atomic<int> handled = 0;

void Handle(int signal, int flags) {
  struct sigaction action = {};
  action.sa_handler = [](int) { ++handled; };
  action.sa_flags = flags;
  sigaction(signal, &action, nullptr);
}

void CheckSignalRestartsAWait() {
  UniqueFd node = Open();
  Handle(SIGUSR1, SA_RESTART);
  Waiter waiter(node);
  for (int i = 1; i <= 20; ++i) {
    handled = 0;
    waiter.Signal(SIGUSR1);
    while (handled == 0) std::this_thread::yield();
    waiter.UntilItWaits();  // again
  }
  EXPECT(!waiter.ended());
  while (Call(node, echo::kWake) == 0) std::this_thread::yield();
  EXPECT(waiter.Join() == 0);
}

void CheckSignalWithoutRestartEndsIt() {
  UniqueFd node = Open();
  Handle(SIGUSR2, 0);
  Waiter waiter(node);
  waiter.Signal(SIGUSR2);
  EXPECT(waiter.Join() == EINTR);
}

void CheckIgnoredSignalsAreNotSeen() {
  UniqueFd node = Open();
  signal(SIGUSR2, SIG_IGN);
  Waiter waiter(node);
  for (int i = 0; i < 20; ++i) waiter.Signal(SIGUSR2);
  EXPECT(ioctl(node.get(), echo::kWaiting, 0) == 1);
  EXPECT(Call(node, echo::kWake) == 1);
  EXPECT(waiter.Join() == 0);
}

// A stopped process goes on waiting as if nothing had been.
void CheckStopAndContinue() {
  const pid_t child = fork();
  if (child == 0) {
    UniqueFd node = Open();
    Small small = {};
    _exit(Call(node, echo::kWaitRestart, &small) == 0 ? 0 : 1);
  }
  UniqueFd watch = Open();
  const auto until_it_waits = [&] {
    while (ioctl(watch.get(), echo::kWaiting, child) == 0) std::this_thread::yield();
  };
  for (int i = 0; i < 5; ++i) {
    until_it_waits();
    kill(child, SIGSTOP);
    int status = 0;
    EXPECT(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
    kill(child, SIGCONT);
  }
  until_it_waits();
  while (Call(watch, echo::kWake) == 0) std::this_thread::yield();
  int status = 1;
  EXPECT(waitpid(child, &status, 0) == child && status == 0);
}

void CheckKilledRestartableWaiter() {
  const pid_t child = fork();
  if (child == 0) {
    UniqueFd node = Open();
    Small small = {};
    Call(node, echo::kWaitRestart, &small);
    _exit(0);
  }
  UniqueFd watch = Open();
  while (ioctl(watch.get(), echo::kWaiting, child) == 0) std::this_thread::yield();
  kill(child, SIGKILL);
  int status = 0;
  EXPECT(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  EXPECT(Call(watch, echo::kWaiting) == 0);
}

// Whoever is first ends it: every wait ends once, with the one or the other.
void CheckSignalsRaceWithTheAnswer() {
  UniqueFd node = Open();
  Handle(SIGUSR2, 0);
  for (int round = 0; round < 200; ++round) {
    Waiter waiter(node);
    std::thread waker([&] {
      while (!waiter.ended() && Call(node, echo::kWake) == 0) std::this_thread::yield();
    });
    waiter.Signal(SIGUSR2);
    const int result = waiter.Join();
    EXPECT(result == 0 || result == EINTR);
    waker.join();
    EXPECT(Call(node, echo::kWaiting) == 0);
  }
}

short Polled(const UniqueFd& node, short events, int timeout_ms = 0) {
  pollfd ready = {node.get(), events, 0};
  EXPECT(poll(&ready, 1, timeout_ms) >= 0);
  return ready.revents;
}

void CheckPollIsAsked() {
  UniqueFd node = Open(), other = Open();
  EXPECT(Polled(node, POLLIN | POLLOUT) == (POLLIN | POLLOUT));
  EXPECT(ioctl(node.get(), echo::kReady, 0) == 0);
  EXPECT(Polled(node, POLLIN | POLLOUT) == 0);
  EXPECT(ioctl(node.get(), echo::kReady, POLLIN) == 0);
  EXPECT(Polled(node, POLLIN | POLLOUT) == POLLIN);
  EXPECT(Polled(node, POLLOUT) == 0);
  EXPECT(ioctl(node.get(), echo::kReady, POLLIN | POLLERR) == 0);
  EXPECT(Polled(node, 0) == POLLERR);
  EXPECT(Polled(other, POLLIN) == POLLIN);
}

// Sleepers of every kind are woken, on all copies of the descriptor.
void CheckPollWakes() {
  UniqueFd node = Open();
  UniqueFd copy(dup(node.get()));
  EXPECT(ioctl(node.get(), echo::kReady, 0) == 0);
  UniqueFd set(epoll_create1(EPOLL_CLOEXEC));
  epoll_event event = {.events = EPOLLIN, .data = {.u64 = 5}};
  EXPECT(epoll_ctl(set.get(), EPOLL_CTL_ADD, node.get(), &event) == 0);
  EXPECT(epoll_wait(set.get(), &event, 1, 0) == 0);
  std::atomic<int> woken = 0;
  std::vector<std::thread> sleepers;
  sleepers.emplace_back([&] {
    EXPECT(Polled(node, POLLIN, -1) == POLLIN);
    ++woken;
  });
  sleepers.emplace_back([&] {
    EXPECT(Polled(copy, POLLIN, -1) == POLLIN);
    ++woken;
  });
  sleepers.emplace_back([&] {
    fd_set readable;
    FD_ZERO(&readable);
    FD_SET(node.get(), &readable);
    EXPECT(select(node.get() + 1, &readable, nullptr, nullptr, nullptr) == 1);
    ++woken;
  });
  sleepers.emplace_back([&] {
    epoll_event woke = {};
    EXPECT(epoll_wait(set.get(), &woke, 1, -1) == 1 && woke.data.u64 == 5 && woke.events == EPOLLIN);
    ++woken;
  });
  constexpr int kAsked = 4;  // by epoll_ctl, two polls and select
  while (ioctl(node.get(), echo::kPolls, 0) < kAsked) std::this_thread::yield();
  EXPECT(woken == 0);
  EXPECT(ioctl(node.get(), echo::kReady, POLLIN) == 0);
  for (std::thread& sleeper : sleepers) sleeper.join();
  EXPECT(ioctl(node.get(), echo::kReady, 0) == 0);
  EXPECT(epoll_wait(set.get(), &event, 1, 0) == 0);
}

// No wake-up is lost where readiness comes at the very moment of going to sleep.
void CheckPollRace() {
  UniqueFd node = Open();
  for (int round = 0; round < 300; ++round) {
    EXPECT(ioctl(node.get(), echo::kReady, 0) == 0);
    std::thread maker([&] { ioctl(node.get(), echo::kReady, POLLIN); });
    EXPECT(Polled(node, POLLIN, -1) == POLLIN);
    maker.join();
  }
}

void CheckSignalEndsAWait() {
  struct sigaction nothing = {};
  nothing.sa_handler = [](int) {};
  sigaction(SIGUSR1, &nothing, nullptr);
  UniqueFd node = Open();
  Small small = {};
  std::atomic<bool> ended = false;
  std::thread waiter([&] {
    EXPECT(Fails(Call(node, echo::kWait, &small), EINTR));
    ended = true;
  });
  while (!ended) {
    pthread_kill(waiter.native_handle(), SIGUSR1);
    std::this_thread::yield();
  }
  waiter.join();
}

void CheckKilledWaiterLeaves() {
  UniqueFd watch = Open();
  const pid_t child = fork();
  if (child == 0) {
    UniqueFd node = Open();
    Small small = {};
    Call(node, echo::kWait, &small);
    _exit(1);
  }
  while (ioctl(watch.get(), echo::kWaiting, child) == 0) std::this_thread::yield();
  kill(child, SIGKILL);
  int status = 0;
  EXPECT(waitpid(child, &status, 0) == child);  // hangs where a call of a killed client is not ended
  EXPECT(WIFSIGNALED(status));
}

void CheckFork() {
  UniqueFd node = Open();
  const pid_t child = fork();
  if (child == 0) {
    Small small = {};
    _exit(Call(node, echo::kEcho, &small) == 0 && small.tid == getpid() ? 0 : 1);
  }
  int status = 0;
  EXPECT(waitpid(child, &status, 0) == child && status == 0);
}

void CheckTerminals() {
  int controller = -1, terminal = -1;
  EXPECT(openpty(&controller, &terminal, nullptr, nullptr, nullptr) == 0);
  EXPECT(ttyname(terminal) != nullptr);
  UniqueFd closes_controller(controller), closes_terminal(terminal);
}

// The daemon dies while one call waits: that one, the next one and the next open fail, and none hangs.
void CheckDaemonIsKilled() {
  UniqueFd node = Open();
  const int daemon = Call(node, echo::kServerPid);
  std::atomic<bool> failed = false;
  std::thread waiter([&] {
    Small small = {};
    EXPECT(Call(node, echo::kWait, &small) == -1 && (errno == ECONNABORTED || errno == ENOTCONN));
    failed = true;
  });
  while (Call(node, echo::kWaiting) == 0) std::this_thread::yield();
  kill(daemon, SIGKILL);
  waiter.join();
  EXPECT(failed);
  EXPECT(Call(node, echo::kNoData) == -1 && (errno == ENOTCONN || errno == ENODEV || errno == ECONNABORTED));
  EXPECT(open(path.c_str(), O_RDONLY) == -1);
}

const std::vector<Check> kChecks = {
    {"echo", CheckEcho},
    {"files", CheckFiles},
    {"large", CheckLarge},
    {"results", CheckResults},
    {"refusals", CheckRefusals},
    {"other-operations", CheckOtherOperations},
    {"open-flags", CheckOpenFlags},
    {"release-before-open", CheckReleaseBeforeOpen},
    {"wait-and-wake", CheckWaitAndWake},
    {"signal-ends-a-wait", CheckSignalEndsAWait},
    {"signal-restarts-a-wait", CheckSignalRestartsAWait},
    {"signal-without-restart", CheckSignalWithoutRestartEndsIt},
    {"ignored-signals", CheckIgnoredSignalsAreNotSeen},
    {"stop-and-continue", CheckStopAndContinue},
    {"killed-restartable-waiter", CheckKilledRestartableWaiter},
    {"signals-race-with-the-answer", CheckSignalsRaceWithTheAnswer},
    {"poll-is-asked", CheckPollIsAsked},
    {"poll-wakes", CheckPollWakes},
    {"poll-race", CheckPollRace},
    {"killed-waiter-leaves", CheckKilledWaiterLeaves},
    {"fork", CheckFork},
    {"terminals", CheckTerminals},
    {"daemon-is-killed", CheckDaemonIsKilled, true},
};

int Main(int argc, char** argv) {
  struct stat status;
  is_device = argc > 1 && stat(argv[1], &status) == 0 && S_ISCHR(status.st_mode);
  return RunChecks("attach-client", kChecks, argc, argv);
}

}  // namespace
}  // namespace dxg::attach

int main(int argc, char** argv) { return dxg::attach::Main(argc, argv); }
