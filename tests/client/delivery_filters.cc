// Clients that run under the seccomp filters of the daemon itself, as all of a container does, and what they
// add to them.

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

#include "tests/client/call_filter.h"
#include "tests/client/delivery_client.h"

namespace dxg::client::delivery {
namespace {

// The parent has ended, and with it what led to the program by ancestors.
void CheckOrphan() {
  int ends[2];
  EXPECT(pipe(ends) == 0);
  const pid_t child = fork();
  if (child == 0) {
    if (fork() != 0) _exit(0);
    Until([parent = getppid()] { return getppid() != parent || getppid() == 1; });
    UniqueFd node = Open();
    ExpectUndamaged(node);
    (void)!write(ends[1], "y", 1);
    _exit(0);
  }
  EXPECT(Ended(child) == 0);
  close(ends[1]);
  char said = 0;
  EXPECT(read(ends[0], &said, 1) == 1 && said == 'y');
  close(ends[0]);
}

// A sibling closes a sandbox around all threads while this one is held in its call.
void CheckSandboxDuringAVisit() {
  const pid_t child = fork();
  if (child == 0) {
    UniqueFd node = Open();
    std::thread helper([&] {
      UntilHeld(node, 1);
      sock_filter kill_visits[] = {
          BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socketpair, 0, 1),
          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      };
      const sock_fprog program = {sizeof(kill_visits) / sizeof(kill_visits[0]), kill_visits};
      EXPECT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
      EXPECT(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0);
      EXPECT(ioctl(node.get(), kGoOn, 0) == 1);
    });
    Visit visit = HeldVisit(Hold::kBeforeSteps, {Map(0, kPageBytes)}, 5);
    EXPECT(Fails(Ask(node, &visit), EPERM));
    helper.join();
    _exit(0);
  }
  EXPECT(Ended(child) == 0);
}

// Refused for what the filter does, which nobody feels.
void CheckVisitRefused() {
  UniqueFd node = Open();
  for (int i = 0; i < 3; ++i) {
    Visit visit = Wanted({Map(0, kPageBytes)});
    EXPECT(Fails(Ask(node, &visit), EPERM));
    EXPECT(ioctl(node.get(), kNothing, 0) == 0);
  }
}

// With the preload agent: a filter around all threads ends the agent's in the middle of what it is asked, and
// with `action` the client too. The call must not wait for it. Nobody else notices.
void AgentEnded(uint32_t action) {
  UniqueFd watch = Open();
  const pid_t child = fork();
  if (child == 0) {
    const rlimit no_file = {0, 0};
    setrlimit(RLIMIT_CORE, &no_file);
    UniqueFd node = Open();
    ExpectUndamaged(node);
    EXPECT(AddFilter({SYS_madvise, {2, ~0u, MADV_DONTDUMP}}, action, SECCOMP_FILTER_FLAG_TSYNC));
    Visit visit = Wanted({Map(0, kPageBytes)});
    EXPECT(Fails(Ask(node, &visit), EINTR));
    EXPECT(ioctl(node.get(), kNothing, 0) == 0);
    _exit(7);
  }
  EXPECT(Ended(child) == (action == SECCOMP_RET_KILL_THREAD ? 7 : 128 + SIGSYS));
  ExpectUndamaged(watch);
}

}  // namespace

const std::vector<Check> kFilters = {
    {"agent-ended", [] { AgentEnded(SECCOMP_RET_KILL_THREAD); }, true},  // they need an agent
    {"client-of-an-agent-ended", [] { AgentEnded(SECCOMP_RET_KILL_PROCESS); }, true},
    {"orphan", CheckOrphan},
    {"sandbox-during-a-visit", CheckSandboxDuringAVisit, true},  // where filters cannot be put aside
    {"visit-refused", CheckVisitRefused, true},                  // where the common filter kills visits
};

}  // namespace dxg::client::delivery
