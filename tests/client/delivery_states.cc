// What state a client's thread, or its process, can be in when something is brought into it.

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <thread>
#include <vector>

#include "tests/client/delivery_client.h"

namespace dxg::client::delivery {
namespace {

// The kernel promises to keep all registers but rax, rcx and r11; so does a visit.
void CheckRegisters() {
  UniqueFd node = Open();
  Visit visit = Wanted({Map(0, kPageBytes), GiveFile()}, 0x123);
  struct Frame {
    uint64_t node, visit;
    uint64_t rax, rdi, rsi, rdx, r8, r9, r10, r12, r13, r14, r15;
    double marker, xmm;
  } frame = {.node = static_cast<uint64_t>(node.get()),
             .visit = reinterpret_cast<uint64_t>(&visit),  // Safety: for the kernel
             .marker = 1234.5};
  asm volatile(
      "mov $0x2222, %%r12; mov $0x3333, %%r13; mov $0x4444, %%r14; mov $0x5555, %%r15\n"
      "mov $0x6666, %%r8; mov $0x7777, %%r9; mov $0x8888, %%r10; movsd 104(%%rbx), %%xmm15\n"
      "mov %[number], %%eax; mov 0(%%rbx), %%rdi; mov %[code], %%esi; mov 8(%%rbx), %%rdx\n"
      "syscall\n"
      "mov %%rax, 16(%%rbx); mov %%rdi, 24(%%rbx); mov %%rsi, 32(%%rbx); mov %%rdx, 40(%%rbx)\n"
      "mov %%r8, 48(%%rbx); mov %%r9, 56(%%rbx); mov %%r10, 64(%%rbx)\n"
      "mov %%r12, 72(%%rbx); mov %%r13, 80(%%rbx); mov %%r14, 88(%%rbx); mov %%r15, 96(%%rbx)\n"
      "movsd %%xmm15, 112(%%rbx)\n"
      :
      : "b"(&frame), [number] "i"(SYS_ioctl), [code] "i"(kVisit)
      : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm15",
        "memory");
  static_assert(offsetof(Frame, marker) == 104);
  EXPECT(frame.rax == 0x123);
  EXPECT(frame.r12 == 0x2222 && frame.r13 == 0x3333 && frame.r14 == 0x4444 && frame.r15 == 0x5555);
  EXPECT(frame.r8 == 0x6666 && frame.r9 == 0x7777 && frame.r10 == 0x8888);
  EXPECT(frame.rdi == frame.node && frame.rsi == kVisit && frame.rdx == frame.visit);
  EXPECT(frame.xmm == frame.marker);
  munmap(Bytes(visit.steps[0].result), kPageBytes);
  close(static_cast<int>(visit.steps[1].result));
}

// Visits on a thread with that much stack, all of it ours.
void VisitOnAStackOf(size_t bytes) {
  void* stack = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstack(&attributes, stack, bytes);
  pthread_t thread;
  EXPECT(pthread_create(
             &thread, &attributes,
             [](void*) -> void* {
               ExpectUndamaged(Open());
               return nullptr;
             },
             nullptr) == 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
  munmap(stack, bytes);
}

void CheckTinyStack() { VisitOnAStackOf(PTHREAD_STACK_MIN); }

// From a handler, on a stack of its own.
const UniqueFd* node_of_handler;
void CheckAlternateStack() {
  UniqueFd node = Open();
  node_of_handler = &node;
  std::vector<char> memory(SIGSTKSZ);
  const stack_t stack = {.ss_sp = memory.data(), .ss_flags = 0, .ss_size = memory.size()},
                none = {.ss_flags = SS_DISABLE};
  sigaltstack(&stack, nullptr);
  struct sigaction action = {};
  action.sa_handler = [](int) { ExpectUndamaged(*node_of_handler); };
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGUSR1, &action, nullptr);
  raise(SIGUSR1);
  sigaltstack(&none, nullptr);
}

std::atomic<int> handled = 0;
void Count(int signal, bool restart) {
  struct sigaction action = {};
  action.sa_handler = [](int) { ++handled; };
  action.sa_flags = restart ? SA_RESTART : 0;
  sigaction(signal, &action, nullptr);
}

// A signal that comes during the visit: its handler runs once, afterwards, and the result of the call is the
// visit's.
void SignalDuringAVisit(Hold hold, bool restart) {
  UniqueFd node = Open();
  Count(SIGUSR1, restart);
  handled = 0;
  const pid_t tid = gettid();
  std::thread helper([&] {
    UntilHeld(node, 1);
    EXPECT(handled == 0);
    syscall(SYS_tgkill, getpid(), tid, SIGUSR1);
    EXPECT(ioctl(node.get(), kGoOn, 0) == 1);
  });
  Visit visit = HeldVisit(hold, {Map(0, kPageBytes)}, 5);
  EXPECT(Ask(node, &visit) == 5);
  EXPECT(handled == 1);
  helper.join();
  munmap(Bytes(visit.steps[0].result), kPageBytes);
}

void CheckSignals() {
  for (Hold hold : {Hold::kBeforeEnter, Hold::kBeforeAnswer, Hold::kBeforeSteps, Hold::kBeforeLeave}) {
    SignalDuringAVisit(hold, false);
    SignalDuringAVisit(hold, true);
  }
}

void CheckBlockedSignals() {
  UniqueFd node = Open();
  Count(SIGUSR2, false);
  handled = 0;
  sigset_t blocked, before, after;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  raise(SIGUSR2);
  Visit visit = Wanted({Map(0, kPageBytes)});
  EXPECT(Ask(node, &visit) == 0);
  EXPECT(handled == 0);
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  for (int signal = 1; signal <= SIGRTMAX; ++signal)
    EXPECT(sigismember(&before, signal) == sigismember(&after, signal));
  pthread_sigmask(SIG_UNBLOCK, &blocked, nullptr);
  EXPECT(handled == 1);
  munmap(Bytes(visit.steps[0].result), kPageBytes);
}

// The visit goes on while the process is stopped; its thread stops when it is left.
void CheckStopped() {
  UniqueFd watch = Open();
  for (Hold hold : {Hold::kBeforeAnswer, Hold::kBeforeSteps, Hold::kBeforeLeave}) {
    const pid_t child = fork();
    if (child == 0) {
      UniqueFd node = Open();
      Visit visit = HeldVisit(hold, {Map(0, kPageBytes)}, 3);
      _exit(Ask(node, &visit) == 3 && Bytes(visit.steps[0].result)[1] == Bytes(visit.steps[0].result)[1] ? 3
                                                                                                         : 1);
    }
    UntilHeld(watch, 1);
    kill(child, SIGSTOP);
    EXPECT(ioctl(watch.get(), kGoOn, 0) == 1);
    int status = 0;
    EXPECT(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
    kill(child, SIGCONT);
    EXPECT(Ended(child) == 3);
  }
}

void CheckMainThreadEnded() {
  const pid_t child = fork();
  if (child == 0) {
    static UniqueFd node = Open();
    std::thread([] {
      Until([] { return StatusOf(getpid(), "State")[0] == 'Z'; });
      ExpectUndamaged(node);
      Visit visit = Wanted({GiveNode(5)});
      EXPECT(Ask(node, &visit) == 0);
      _exit(ioctl(node.get(), kIdentify, visit.steps[0].result) == 5 ? 0 : 1);
    }).detach();
    pthread_exit(nullptr);
  }
  EXPECT(Ended(child) == 0);
}

// A thread whose descriptors are its own.
void CheckOwnDescriptors() {
  std::thread([] {
    EXPECT(unshare(CLONE_FILES) == 0);
    UniqueFd node = Open();
    ExpectUndamaged(node);
    Visit visit = Wanted({GiveFile()});
    EXPECT(Ask(node, &visit) == 0);
    UniqueFd given(static_cast<int>(visit.steps[0].result));
    EXPECT(fcntl(given.get(), F_GETFD) == FD_CLOEXEC);
  }).join();
}

// There may be no number to look by.
size_t FilesOpenUnlimited() {
  size_t open = 0;
  for (int number = 0; number < 1024; ++number) open += fcntl(number, F_GETFD) >= 0;
  return open;
}

bool MayRaise(const rlimit& files) {
  const pid_t child = fork();
  const rlimit more = {files.rlim_cur, files.rlim_max + 1};
  if (child == 0) _exit(setrlimit(RLIMIT_NOFILE, &more) == 0 ? 7 : 0);
  return Ended(child) == 7;
}

void CheckNoDescriptorsLeft() {
  const pid_t child = fork();
  if (child == 0) {
    UniqueFd node = Open();
    Visit visit = Wanted({GiveFile()});
    rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    // The sockets need two, what is given one. There is room for it where the client has a number for it.
    for (rlim_t room : {0, 1, 2, 3}) {
      files.rlim_cur = static_cast<rlim_t>(node.get()) + 1 + room;
      EXPECT(setrlimit(RLIMIT_NOFILE, &files) == 0);
      if (room == 0) {
        EXPECT(Fails(Ask(node, &visit), EMFILE));
      } else {
        EXPECT(Ask(node, &visit) == 0);
        UniqueFd given(static_cast<int>(visit.steps[0].result));
        EXPECT(static_cast<rlim_t>(given.get()) < files.rlim_cur);
      }
      const size_t open = FilesOpenUnlimited();
      ExpectUndamaged(node);  // to map takes none
      EXPECT(FilesOpenUnlimited() == open);
      rlimit now;
      EXPECT(getrlimit(RLIMIT_NOFILE, &now) == 0 && now.rlim_cur == files.rlim_cur &&
             now.rlim_max == files.rlim_max);
    }
    // Here nobody but who may raise a hard limit makes room, and that one puts it back too.
    files.rlim_max = files.rlim_cur = static_cast<rlim_t>(node.get()) + 1;
    EXPECT(setrlimit(RLIMIT_NOFILE, &files) == 0);
    if (MayRaise(files)) {
      ExpectUndamaged(node);
    } else {
      visit = Wanted({Map(0, kPageBytes)});
      EXPECT(Fails(Ask(node, &visit), EMFILE));
    }
    rlimit last;
    EXPECT(getrlimit(RLIMIT_NOFILE, &last) == 0 && last.rlim_cur == files.rlim_cur &&
           last.rlim_max == files.rlim_max);
    std::fflush(stdout);
    _exit(0);
  }
  EXPECT(Ended(child) == 0);
}

// Several threads of one process at once, with no descriptor left for any of them.
void CheckNoDescriptorsLeftForMany() {
  const pid_t child = fork();
  if (child == 0) {
    UniqueFd node = Open();
    rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = static_cast<rlim_t>(node.get()) + 1;
    EXPECT(setrlimit(RLIMIT_NOFILE, &files) == 0);
    std::vector<std::thread> threads;
    for (int i = 0; i < 6; ++i) {
      threads.emplace_back([&node] {
        for (int round = 0; round < 10; ++round) {
          Visit visit = Wanted({Map(0, kPageBytes), Map(kPageBytes, kPageBytes)});
          EXPECT(Ask(node, &visit) == 0);
          munmap(Bytes(visit.steps[0].result), kPageBytes);
          munmap(Bytes(visit.steps[1].result), kPageBytes);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    rlimit now;
    EXPECT(getrlimit(RLIMIT_NOFILE, &now) == 0 && now.rlim_cur == files.rlim_cur);
    std::fflush(stdout);
    _exit(0);
  }
  EXPECT(Ended(child) == 0);
}

// What the visit needs is not on the list, and killing is the answer to it.
void ForbidEverything() {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 3, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};
  EXPECT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  EXPECT(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

int VisitInASandbox() {
  const pid_t child = fork();
  if (child == 0) {
    UniqueFd node = Open();
    Visit visit = Wanted({Map(0, kPageBytes), GiveFile()}, 9);
    ForbidEverything();
    const int result = Ask(node, &visit);
    if (result == -1) _exit(errno);
    Bytes(visit.steps[0].result)[0] = 1;
    _exit(result == 9 ? 0 : 255);
  }
  return Ended(child);
}
void CheckSandbox() { EXPECT(VisitInASandbox() == 0); }
void CheckSandboxRefused() { EXPECT(VisitInASandbox() == EPERM); }

void CheckTraced() {
  const pid_t child = fork();
  if (child == 0) {
    ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    UniqueFd node = Open();
    Visit visit = Wanted({Map(0, kPageBytes)});
    _exit(Fails(Ask(node, &visit), EPERM) ? 7 : 1);
  }
  EXPECT(Ended(child) == 7);
  // Attached to afterwards, its memory is still there.
  int ready[2];
  EXPECT(pipe(ready) == 0);
  const pid_t early = fork();
  if (early == 0) {
    UniqueFd node = Open();
    Visit visit = Wanted({Map(3 * kPageBytes, kPageBytes)});
    if (Ask(node, &visit) != 0) _exit(1);
    raise(SIGSTOP);
    Bytes(visit.steps[0].result)[0] = 0x42;
    _exit(ioctl(node.get(), kPeek, 3 * kPageBytes) == 0x42 ? 7 : 2);
  }
  int status = 0;
  EXPECT(waitpid(early, &status, WUNTRACED) == early && WIFSTOPPED(status));
  EXPECT(ptrace(PTRACE_SEIZE, early, nullptr, nullptr) == 0);
  kill(early, SIGCONT);
  while (waitpid(early, &status, 0) == early && WIFSTOPPED(status))
    ptrace(PTRACE_CONT, early, nullptr, nullptr);
  EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 7);
  close(ready[0]);
  close(ready[1]);
}

void CheckNotDumpable() {
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    UniqueFd node = Open();
    Visit visit = Wanted({Map(0, kPageBytes), GiveNode(4)}, 7);
    _exit(Ask(node, &visit));
  }
  EXPECT(Ended(child) == 7);
}

void VisitIn(int namespaces) {
  const pid_t child = fork();
  if (child == 0) {
    if (unshare(namespaces) != 0) _exit(2);
    const pid_t inside = fork();  // a pid namespace holds the children
    if (inside != 0) _exit(Ended(inside));
    UniqueFd node = Open();
    ExpectUndamaged(node);
    Visit visit = Wanted({GiveNode(6)});
    EXPECT(Ask(node, &visit) == 0);
    _exit(ioctl(node.get(), kIdentify, visit.steps[0].result) == 6 ? 7 : 1);
  }
  EXPECT(Ended(child) == 7);
}

void CheckNamespaces() {
  VisitIn(CLONE_NEWUSER);
  VisitIn(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC);
}

void CheckForkDuringAVisit() {
  UniqueFd node = Open();
  std::thread helper([&] {
    UntilHeld(node, 1);
    const pid_t child = fork();
    if (child == 0) _exit(7);
    EXPECT(Ended(child) == 7);
    EXPECT(ioctl(node.get(), kGoOn, 0) == 1);
  });
  Visit visit = HeldVisit(Hold::kBeforeLeave, {Map(0, kPageBytes)});
  EXPECT(Ask(node, &visit) == 0);
  helper.join();
  Bytes(visit.steps[0].result)[2] = 0x21;
  EXPECT(ioctl(node.get(), kPeek, 2) == 0x21);
  munmap(Bytes(visit.steps[0].result), kPageBytes);
}

void VisitFromThreads(const UniqueFd& node, int count) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([&node, i] {
      Visit visit =
          HeldVisit(Hold::kBeforeSteps, {Map(static_cast<uint64_t>(i) * kPageBytes, kPageBytes)}, i);
      EXPECT(Ask(node, &visit) == i);
      munmap(Bytes(visit.steps[0].result), kPageBytes);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// More than a process may have at once, in more processes than a user may have visits; each is held until all
// that can be are.
void CheckManyAtOnce() {
  constexpr int kProcesses = 20, kThreads = 8, kOfProcess = 4, kOfUser = 16;
  static_assert(kProcesses * kOfProcess > kOfUser && kThreads > kOfProcess);
  UniqueFd node = Open();
  std::atomic<bool> ended = false;
  const auto go_on = [&node, &ended] {
    while (!ended) ioctl(node.get(), kGoOn, 0);
  };
  {
    std::thread alone([&] {
      VisitFromThreads(node, kThreads);
      ended = true;
    });
    UntilHeld(node, kOfProcess);
    // What comes later is over, and still no more are held: the others wait for those.
    const pid_t later = fork();
    if (later == 0) {
      ExpectUndamaged(Open());
      _exit(7);
    }
    EXPECT(Ended(later) == 7);
    EXPECT(ioctl(node.get(), kHeld) == kOfProcess);
    go_on();
    alone.join();
  }
  ended = false;
  std::vector<pid_t> children;
  for (int i = 0; i < kProcesses; ++i) {
    children.push_back(fork());
    if (children.back() != 0) continue;
    UniqueFd own = Open();
    VisitFromThreads(own, kThreads);
    _exit(7);
  }
  UntilHeld(node, kOfUser);
  std::thread all([&] {
    for (const pid_t child : children) EXPECT(Ended(child) == 7);
    ended = true;
  });
  go_on();
  all.join();
}

int SendAndReceive(int file) {
  int ends[2];
  EXPECT(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == 0);
  UniqueFd first(ends[0]), second(ends[1]);
  char byte = 1;
  iovec data = {&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header = {
      .msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
  cmsghdr* rights = CMSG_FIRSTHDR(&header);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(rights), &file, sizeof(int));
  EXPECT(sendmsg(first.get(), &header, 0) == 1);
  close(file);
  EXPECT(recvmsg(second.get(), &header, 0) == 1);
  std::memcpy(&file, CMSG_DATA(CMSG_FIRSTHDR(&header)), sizeof(int));
  return file;
}

// A number means the open file behind it, however it came to be a number of this process.
void CheckIdentify() {
  UniqueFd node = Open();
  Visit visit = Wanted({GiveNode(11)});
  EXPECT(Ask(node, &visit) == 0);
  UniqueFd moved(SendAndReceive(static_cast<int>(visit.steps[0].result)));
  EXPECT(ioctl(node.get(), kIdentify, moved.get()) == 11);
  const pid_t child = fork();
  if (child == 0) {
    UniqueFd own = Open();
    _exit(ioctl(own.get(), kIdentify, moved.get()) == 11 ? 7 : 1);
  }
  EXPECT(Ended(child) == 7);
  UniqueFd pathless(open(path.c_str(), O_PATH | O_CLOEXEC));
  EXPECT(ioctl(node.get(), kIdentify, pathless.get()) == 0);
  EXPECT(ioctl(node.get(), kIdentify, -1) == 0);
}

// Another thread puts a socket of its own, which is full, in the place of those of a visit. The visit gives
// its file or fails, and nobody waits for room in that socket.
void CheckAnotherSocketInItsPlace() {
  constexpr int kRounds = 400;
  UniqueFd node = Open();
  int ends[2];
  EXPECT(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
  const UniqueFd full(ends[0]), unread(ends[1]);
  char byte = 1;
  while (send(full.get(), &byte, 1, MSG_DONTWAIT) == 1) {
  }
  const int first = dup(node.get());  // where a visit finds room for its sockets
  close(first);
  std::atomic<bool> over = false;
  std::thread other([&] {
    while (!over) {
      for (int number = first; number < first + 2; ++number) {
        if (fcntl(number, F_GETFD) >= 0) dup2(full.get(), number);
      }
    }
  });
  for (int round = 0; round < kRounds; ++round) {
    Visit visit = Wanted({GiveFile()});
    const int result = Ask(node, &visit);
    EXPECT(result == 0 || errno == EIO || errno == EBADF);
    for (int number = first; number < first + 8; ++number) close(number);
  }
  over = true;
  other.join();
  for (int number = first; number < first + 8; ++number) close(number);
  ExpectUndamaged(node);
}

}  // namespace

const std::vector<Check> kStates = {
    {"registers", CheckRegisters},
    {"tiny-stack", CheckTinyStack},
    {"alternate-stack", CheckAlternateStack},
    {"signals", CheckSignals},
    {"blocked-signals", CheckBlockedSignals},
    {"stopped", CheckStopped},
    {"main-thread-ended", CheckMainThreadEnded, true},  // Linux 6.9
    {"own-descriptors", CheckOwnDescriptors, true},     // Linux 6.9
    {"no-descriptors-left", CheckNoDescriptorsLeft},
    {"no-descriptors-left-for-many", CheckNoDescriptorsLeftForMany},
    {"sandbox", CheckSandbox, true},                 // root, and a kernel that can put filters aside
    {"sandbox-refused", CheckSandboxRefused, true},  // any other
    {"traced", CheckTraced},
    {"not-dumpable", CheckNotDumpable},
    {"namespaces", CheckNamespaces},
    {"fork-during-a-visit", CheckForkDuringAVisit},
    {"many-at-once", CheckManyAtOnce},
    {"identify", CheckIdentify},
    {"another-socket-in-its-place", CheckAnotherSocketInItsPlace},
};

}  // namespace dxg::client::delivery
