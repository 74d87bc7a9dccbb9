// dxg-record-client WHAT LOG: a client that keeps a log of what it said to /dev/dxg and what it was answered,
// to be compared with a recording of it. A line for each call, written by who made it: thread, descriptor,
// request code, result. It speaks to adapters alone, so no call needs a visit, and links statically.
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "proto/abi/d3dkmthk.h"

namespace {

constexpr char kNode[] = "/dev/dxg";
constexpr unsigned kUnknown = _IOC(_IOC_READ | _IOC_WRITE, 'G', 0xf0, 16);
int log_fd = -1;
const char* log_path = nullptr;
const char* program = nullptr;

void Require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "record client: %s (%s)\n", what, std::strerror(errno));
  _exit(1);
}

int Call(int fd, unsigned code, void* args) {
  const int returned = ioctl(fd, code, args);
  const int result = returned == -1 ? -errno : returned;
  char line[100];
  const int bytes =
      std::snprintf(line, sizeof(line), "%ld %d %08x %d\n", syscall(SYS_gettid), fd, code, result);
  Require(write(log_fd, line, static_cast<size_t>(bytes)) == bytes, "the log cannot be written");
  return result;
}

int Open(int flags = O_RDONLY | O_CLOEXEC) {
  const int fd = open(kNode, flags);
  Require(fd >= 0, "the node cannot be opened");
  return fd;
}

// Some calls, of which some are refused and one is unknown. `seed` is in them, so that no two are alike.
void Speak(int fd, unsigned seed) {
  d3dkmt_enumadapters3 count{};
  count.filter.include_compute_only = 1;
  Call(fd, LX_DXENUMADAPTERS3, &count);
  d3dkmt_adapterinfo adapters[4] = {};
  d3dkmt_enumadapters2 list{};
  list.num_adapters = 4;
  list.adapters = reinterpret_cast<uint64_t>(adapters);
  if (Call(fd, LX_DXENUMADAPTERS2, &list) == 0) {
    uint32_t type = seed;
    d3dkmt_queryadapterinfo query{};
    query.adapter = adapters[0].adapter_handle;
    query.type = _KMTQAITYPE_ADAPTERTYPE;
    query.private_data = reinterpret_cast<uint64_t>(&type);
    query.private_data_size = sizeof(type);
    Call(fd, LX_DXQUERYADAPTERINFO, &query);
    for (uint32_t i = 0; i < list.num_adapters; ++i) {
      d3dkmt_closeadapter closing{adapters[i].adapter_handle};
      Call(fd, LX_DXCLOSEADAPTER, &closing);
    }
  }
  d3dkmt_destroydevice none{};
  none.device.v = 0x40000000 + 64 * seed;
  Call(fd, LX_DXDESTROYDEVICE, &none);
  uint64_t unknown[2] = {seed, ~0ull};
  Call(fd, kUnknown, unknown);
  Call(fd, LX_DXQUERYADAPTERINFO, reinterpret_cast<void*>(0x10));  // unreadable
}

int WaitFor(pid_t child) {
  int status = 0;
  Require(waitpid(child, &status, 0) == child, "a child cannot be waited for");
  return status;
}

template <typename Body>
pid_t Fork(Body body) {
  const pid_t child = fork();
  Require(child >= 0, "no fork");
  if (child != 0) return child;
  body();
  _exit(0);
}

void Calls() {
  const int fd = Open();
  for (unsigned i = 0; i < 20; ++i) Speak(fd, i);
  close(fd);
}

// Descriptors with the same numbers as others before them.
void Reopen() {
  const int first = Open();
  int second = Open(O_RDWR);
  Speak(first, 1);
  Speak(second, 2);
  close(second);
  second = Open(O_WRONLY);
  Speak(second, 3);
  Speak(first, 4);
  close(first);
  Require(Open() == first, "the number is not used again");
  Speak(first, 5);
  Speak(second, 6);
  Require(open("/nonexistent/dxg", O_RDONLY) < 0, "a file that is not there is opened");
  Require(open("/dev/null", O_RDWR) >= 0, "no /dev/null");
}

void Duplicates() {
  const int fd = Open();
  const int copies[] = {dup(fd), dup2(fd, 50), dup3(fd, 51, O_CLOEXEC), fcntl(fd, F_DUPFD, 60),
                        fcntl(fd, F_DUPFD_CLOEXEC, 60)};
  for (const int copy : copies) {
    Require(copy >= 0, "no duplicate");
    Speak(copy, static_cast<unsigned>(copy));
  }
  close(fd);
  const int other = Open();
  Require(other == fd, "the number is not used again");
  Require(dup2(other, 50) == 50, "no duplicate");
  Speak(50, 1);
  Speak(51, 2);
}

void Forks() {
  const int fd = Open();
  Speak(fd, 1);
  WaitFor(Fork([&] {
    Speak(fd, 2);  // inherited
    close(fd);
    Speak(Open(), 3);
    WaitFor(Fork([] { Speak(Open(), 4); }));
  }));
  // Like those of other languages' runtimes: without the C library.
  const long raw = syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr);
  Require(raw >= 0, "no clone");
  if (raw == 0) {
    close(fd);
    Speak(Open(), 5);
    _exit(0);
  }
  WaitFor(static_cast<pid_t>(raw));
  const pid_t shared = vfork();
  if (shared == 0) {
    execl(program, program, "calls", log_path, nullptr);
    _exit(9);
  }
  Require(WaitFor(shared) == 0, "what was executed after vfork has failed");
  Speak(fd, 6);
}

void SendFd(int socket, int fd) {
  char byte = 'f';
  iovec data{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &fd, sizeof(fd));
  Require(sendmsg(socket, &message, 0) == 1, "a descriptor cannot be sent");
}

int ReceiveFd(int socket) {
  char byte;
  iovec data{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  Require(recvmsg(socket, &message, 0) == 1 && CMSG_FIRSTHDR(&message) != nullptr, "no descriptor arrives");
  int fd;
  std::memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
  return fd;
}

// One is sent and kept, one is sent and closed before it arrives, one is taken.
void Passes() {
  int ends[2], go[2];
  Require(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 && pipe(go) == 0, "no sockets");
  const pid_t child = Fork([&] {
    const int kept = ReceiveFd(ends[1]), alone = ReceiveFd(ends[1]);
    char byte;
    Require(read(go[0], &byte, 1) == 1, "the parent is gone");
    Speak(kept, 1);
    Speak(alone, 2);
  });
  const int kept = Open(), alone = Open();
  Speak(kept, 3);
  Speak(alone, 4);
  SendFd(ends[0], kept);
  SendFd(ends[0], alone);
  close(alone);
  Require(write(go[1], "g", 1) == 1, "no pipe");
  Require(WaitFor(child) == 0, "the child that receives has failed");
  const long pidfd = syscall(SYS_pidfd_open, getpid(), 0);
  const long taken = syscall(SYS_pidfd_getfd, pidfd, kept, 0);
  Require(taken >= 0, "no descriptor can be taken");
  Speak(static_cast<int>(taken), 5);
}

void Threads() {
  constexpr unsigned kThreads = 64;
  const int fd = Open();
  pthread_barrier_t together;
  pthread_barrier_init(&together, nullptr, kThreads);
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      pthread_barrier_wait(&together);
      for (unsigned round = 0; round < 20; ++round) Speak(fd, i * 100 + round);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// The first thread ends, and the others go on.
void Leaderless() {
  const int one = Open(), other = Open();
  Speak(one, 1);
  Speak(other, 2);
  pthread_t thread;
  static int both[2];
  both[0] = one, both[1] = other;
  pthread_create(
      &thread, nullptr,
      [](void*) -> void* {
        char state = 'R';
        while (state != 'Z') {
          const std::string path = "/proc/self/task/" + std::to_string(getpid()) + "/stat";
          FILE* const file = fopen(path.c_str(), "re");
          Require(file != nullptr && std::fscanf(file, "%*d (%*[^)]) %c", &state) == 1,
                  "no state of a thread");
          fclose(file);
        }
        for (unsigned i = 0; i < 3; ++i) {
          Speak(both[0], i);
          Speak(both[1], i);
        }
        _exit(0);
      },
      nullptr);
  pthread_exit(nullptr);
}

// A thread that is not the first executes another program: it gets the number of the process.
void Exec() {
  const int fd = Open(O_RDWR);  // not closed by it
  Speak(fd, 1);
  std::thread([&] {
    Speak(fd, 2);
    execl(program, program, "calls", log_path, nullptr);
  }).join();
  _exit(9);
}

volatile sig_atomic_t signals_taken = 0;

// What a parent learns of its child, and a process of signals, between calls.
void Signals() {
  struct sigaction action {};
  action.sa_handler = [](int) { signals_taken = signals_taken + 1; };
  sigaction(SIGUSR1, &action, nullptr);
  const int fd = Open();
  for (int i = 0; i < 100; ++i) {
    Speak(fd, 1);
    Require(raise(SIGUSR1) == 0 && signals_taken == i + 1, "a signal is lost");
  }
  const pid_t child = Fork([&] {
    const int own = Open();
    Speak(own, 2);
    raise(SIGSTOP);
    Speak(own, 3);
    raise(SIGKILL);
  });
  int status = 0;
  Require(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP,
          "a child that stops itself is not seen to");
  kill(child, SIGCONT);
  Require(waitpid(child, &status, WCONTINUED) == child && (WIFCONTINUED(status) || WIFSIGNALED(status)),
          "a child that goes on is not seen to");
  if (WIFCONTINUED(status)) status = WaitFor(child);
  Require(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "a child that was killed is not seen to be");
  const pid_t dead = Fork([] { _exit(42); });
  Require(WEXITSTATUS(WaitFor(dead)) == 42, "a child's exit status is another one");
}

void Install(const std::vector<sock_filter>& filter) {
  const sock_fprog installed = {static_cast<unsigned short>(filter.size()),
                                const_cast<sock_filter*>(filter.data())};
  Require(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
              prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &installed) == 0,
          "no filter of its own");
}

// A filter of its own: it refuses one call before the node sees that, and would ask a tracer about another.
void Filter() {
  const int fd = Open();
  Speak(fd, 1);
  Install(
      {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
       BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
       BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE | 7), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
       BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args) + 8),
       BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, LX_DXESCAPE, 0, 1),
       BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)});
  d3dkmt_escape escape{};
  Require(ioctl(fd, LX_DXESCAPE, &escape) == -1 && errno == EACCES,
          "the program's own filter is not in force");
  Require(syscall(SYS_getppid) == -1 && errno == ENOSYS, "a filter that asks a tracer finds one");
  Speak(fd, 2);
}

// What it starts outlives it.
void Daemon() {
  const int fd = Open();
  Speak(fd, 1);
  int ready[2];
  Require(pipe(ready) == 0, "no pipe");
  Fork([&] {
    char byte;
    close(ready[1]);
    Require(read(ready[0], &byte, 1) == 0, "the parent is not gone");
    const int own = Open();
    for (unsigned i = 0; i < 5; ++i) Speak(own, i);
  });
}

// So many calls and nothing else that stops it: how often it is stopped is exact.
void Counted() {
  const int fd = Open();
  for (int i = 0; i < 1000; ++i) {
    d3dkmt_destroydevice none{};
    none.device.v = 0x40000000;
    Call(fd, LX_DXDESTROYDEVICE, &none);
    Require(getppid() != 0, "no parent");
  }
}

struct Mode {
  const char* name;
  void (*run)();
};
constexpr Mode kModes[] = {{"calls", Calls},   {"reopen", Reopen},         {"duplicates", Duplicates},
                           {"forks", Forks},   {"passes", Passes},         {"threads", Threads},
                           {"exec", Exec},     {"leaderless", Leaderless}, {"signals", Signals},
                           {"filter", Filter}, {"daemon", Daemon},         {"counted", Counted}};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  program = argv[0];
  log_path = argv[2];
  log_fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  Require(log_fd >= 0, "the log cannot be opened");
  for (const Mode& mode : kModes) {
    if (std::strcmp(mode.name, argv[1]) != 0) continue;
    mode.run();
    return 0;
  }
  return 2;
}
