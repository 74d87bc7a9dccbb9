// The client, the injector or the daemon dies, at every point of a visit.

#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <thread>
#include <vector>

#include "tests/client/delivery_client.h"

namespace dxg::client::delivery {
namespace {

constexpr Hold kEverywhere[] = {Hold::kBeforeEnter, Hold::kBeforeAnswer, Hold::kBeforeSteps,
                                Hold::kBeforeLeave};

void CheckClientKilled() {
  UniqueFd watch = Open();
  ExpectUndamaged(watch);  // a worker is there already
  const int files = ioctl(watch.get(), kServerFiles);
  for (Hold hold : kEverywhere) {
    const pid_t child = fork();
    if (child == 0) {
      UniqueFd node = Open();
      Visit visit = HeldVisit(hold, {Map(0, kPageBytes), GiveFile()});
      Ask(node, &visit);
      _exit(1);
    }
    UntilHeld(watch, 1);
    kill(child, SIGKILL);
    EXPECT(ioctl(watch.get(), kGoOn, 0) == 1);
    EXPECT(Ended(child) == 128 + SIGKILL);
    ExpectUndamaged(watch);
  }
  EXPECT(ioctl(watch.get(), kServerFiles) == files);
}

// The thread that visits is the main thread, or is not; the other one executes a program, or ends the
// process.
void SiblingOf(Hold hold, bool main_thread_visits, bool executes) {
  UniqueFd watch = Open();
  const pid_t child = fork();
  if (child == 0) {
    auto visit_it = [hold] {
      UniqueFd node = Open();
      Visit visit = HeldVisit(hold, {Map(0, kPageBytes), GiveFile()});
      Ask(node, &visit);
      for (;;) pause();
    };
    auto end_it = [executes, &watch] {
      UntilHeld(watch, 1);
      if (executes) execl("/bin/sh", "sh", "-c", "exit 7", nullptr);
      _exit(7);
    };
    if (main_thread_visits) {
      std::thread(end_it).detach();
      visit_it();
    }
    std::thread(visit_it).detach();
    end_it();
  }
  UntilHeld(watch, 1);
  // The visitor is told to die, but waits in its call, or in the visit, so the other one waits for it; or it
  // is dead.
  Until([&] {
    for (pid_t tid = child; tid < child + 16; ++tid) {
      if (StatusOf(tid, "Tgid") == std::to_string(child) && KillIsPending(tid)) return true;
    }
    siginfo_t info = {};
    if (waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
        info.si_pid == child)
      return true;
    return StatusOf(child, "Name") == "sh" || StatusOf(child, "State")[0] == 'Z';
  });
  EXPECT(ioctl(watch.get(), kGoOn, 0) == 1);
  EXPECT(Ended(child) == 7);
  ExpectUndamaged(watch);
}

void CheckSiblingExecutes() {
  for (Hold hold : kEverywhere) {
    SiblingOf(hold, false, true);
    SiblingOf(hold, true, true);
  }
}
void CheckSiblingExits() {
  for (Hold hold : kEverywhere) {
    SiblingOf(hold, false, false);
    SiblingOf(hold, true, false);
  }
}

// A process that dumps core does so when all its threads have come; one of them waits in a call, and what
// that is answered with may depend on the end of another's visit.
void CheckCrash() {
  UniqueFd watch = Open();
  const int ended = ioctl(watch.get(), kEnded);
  const pid_t child = fork();
  if (child == 0) {
    const rlimit no_file = {0, 0};
    setrlimit(RLIMIT_CORE, &no_file);
    for (Hold hold : {Hold::kBeforeEnter, Hold::kBeforeSteps}) {
      std::thread([hold] {
        UniqueFd node = Open();
        Visit visit = HeldVisit(hold, {Map(0, kPageBytes)});
        Ask(node, &visit);
      }).detach();
    }
    UntilHeld(watch, 2);
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
  }
  UntilHeld(watch, 2);
  Until([&] {
    for (pid_t tid = child + 1; tid < child + 16; ++tid) {
      if (StatusOf(tid, "Tgid") == std::to_string(child) && KillIsPending(tid)) return true;
    }
    return false;
  });
  EXPECT(ioctl(watch.get(), kGoOn, Hold::kBeforeSteps) == 1);
  Until([&] { return ioctl(watch.get(), kEnded) == ended + 1; });
  EXPECT(ioctl(watch.get(), kGoOn, 0) == 1);
  EXPECT(Ended(child) == 128 + SIGSEGV);
  ExpectUndamaged(watch);
}

enum class Victim { kInjector, kDaemon };
void KillDuringAVisit(Hold hold, Victim which, int signal = SIGKILL) {
  const bool injector = which == Victim::kInjector;
  UniqueFd node = Open();
  ExpectUndamaged(node);
  const pid_t victim = injector ? InjectorPid(node) : ioctl(node.get(), kServerPid);
  EXPECT(victim > 1);
  sigset_t before, after;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  std::thread helper([&] {
    UntilHeld(node, 1);
    kill(victim, signal);
    if (!injector) return;
    Until([&] { return InjectorPid(node) == 0; });
    EXPECT(ioctl(node.get(), kGoOn, 0) == 1);
  });
  Visit visit = HeldVisit(hold, {Map(0, kPageBytes)}, 4);
  const int result = Ask(node, &visit);
  const int error = errno;
  helper.join();
  if (injector) {
    // Before the steps there is nothing to go wrong: a new one does them, or the call fails.
    EXPECT(hold == Hold::kBeforeEnter ? result == 4 : result == -1 && error == EIO);
  } else {
    // One that stops may drop the request in peace.
    EXPECT(result == -1);
    EXPECT(error == ECONNABORTED || error == ENOTCONN || (error == EIO && signal == SIGTERM));
  }
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  for (int signal = 1; signal <= SIGRTMAX; ++signal)
    EXPECT(sigismember(&before, signal) == sigismember(&after, signal));
  if (injector) ExpectUndamaged(node);
}

void CheckInjectorKilled() {
  for (Hold hold : kEverywhere) KillDuringAVisit(hold, Victim::kInjector);
}

}  // namespace

const std::vector<Check> kDeaths = {
    {"client-killed", CheckClientKilled},
    {"crash", CheckCrash},
    {"sibling-executes", CheckSiblingExecutes},
    {"sibling-exits", CheckSiblingExits},
    {"injector-killed", CheckInjectorKilled, true},  // others would see it
    {"daemon-killed-before-enter", [] { KillDuringAVisit(Hold::kBeforeEnter, Victim::kDaemon); }, true},
    {"daemon-killed-before-answer", [] { KillDuringAVisit(Hold::kBeforeAnswer, Victim::kDaemon); }, true},
    {"daemon-killed-before-steps", [] { KillDuringAVisit(Hold::kBeforeSteps, Victim::kDaemon); }, true},
    {"daemon-killed-before-leave", [] { KillDuringAVisit(Hold::kBeforeLeave, Victim::kDaemon); }, true},
    {"daemon-stopped-before-enter", [] { KillDuringAVisit(Hold::kBeforeEnter, Victim::kDaemon, SIGTERM); },
     true},
    {"daemon-stopped-before-answer", [] { KillDuringAVisit(Hold::kBeforeAnswer, Victim::kDaemon, SIGTERM); },
     true},
    {"daemon-stopped-before-steps", [] { KillDuringAVisit(Hold::kBeforeSteps, Victim::kDaemon, SIGTERM); },
     true},
    {"daemon-stopped-before-leave", [] { KillDuringAVisit(Hold::kBeforeLeave, Victim::kDaemon, SIGTERM); },
     true},
};

}  // namespace dxg::client::delivery
