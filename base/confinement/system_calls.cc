#include "base/confinement/system_calls.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace dxg::confinement {
namespace {

// Allowed with whatever arguments, in each of our programs.
constexpr int kEverywhere[] = {
    // What is open.
    SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(pread64), SCMP_SYS(pwrite64),
    SCMP_SYS(preadv), SCMP_SYS(pwritev), SCMP_SYS(lseek), SCMP_SYS(close), SCMP_SYS(close_range),
    SCMP_SYS(dup), SCMP_SYS(dup2), SCMP_SYS(dup3), SCMP_SYS(pipe2), SCMP_SYS(poll), SCMP_SYS(ppoll),
    SCMP_SYS(pselect6), SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait), SCMP_SYS(eventfd2), SCMP_SYS(timerfd_create), SCMP_SYS(timerfd_settime),
    SCMP_SYS(timer_create), SCMP_SYS(timer_settime), SCMP_SYS(timer_delete), SCMP_SYS(signalfd4),
    SCMP_SYS(splice), SCMP_SYS(ftruncate), SCMP_SYS(fallocate),
    // Signals of eventfds, which clients may have made blocking.
    SCMP_SYS(io_setup), SCMP_SYS(io_submit), SCMP_SYS(io_getevents), SCMP_SYS(io_destroy),
    // Files that exist.
    SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(statx), SCMP_SYS(statfs),
    SCMP_SYS(fstatfs), SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(readlink),
    SCMP_SYS(readlinkat), SCMP_SYS(getdents64), SCMP_SYS(getcwd), SCMP_SYS(unlink), SCMP_SYS(unlinkat),
    SCMP_SYS(rmdir), SCMP_SYS(fgetxattr),
    // Sockets; which ones can be made is below.
    SCMP_SYS(socketpair), SCMP_SYS(connect), SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(shutdown),
    SCMP_SYS(sendto), SCMP_SYS(sendmsg), SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(getsockopt),
    SCMP_SYS(setsockopt), SCMP_SYS(getsockname), SCMP_SYS(getpeername),
    // Memory; none that can be executed, below.
    SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(msync), SCMP_SYS(brk),
    SCMP_SYS(memfd_create), SCMP_SYS(membarrier),
    // Threads, signals, time.
    SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(get_robust_list), SCMP_SYS(rseq),
    SCMP_SYS(set_tid_address), SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity), SCMP_SYS(sched_getparam),
    SCMP_SYS(sched_getscheduler), SCMP_SYS(getcpu), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigtimedwait), SCMP_SYS(sigaltstack), SCMP_SYS(restart_syscall),
    SCMP_SYS(nanosleep), SCMP_SYS(clock_nanosleep), SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres),
    SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(exit), SCMP_SYS(exit_group),
    // Who and where we are.
    SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getppid), SCMP_SYS(getuid), SCMP_SYS(geteuid),
    SCMP_SYS(getgid), SCMP_SYS(getegid), SCMP_SYS(capget), SCMP_SYS(getrusage), SCMP_SYS(getrandom),
    SCMP_SYS(uname), SCMP_SYS(sysinfo)};

// For whoever reaches into other processes. A process that is traced, started or named by a number alone is
// not among them: for that there are the injector and the keeper.
constexpr int kOtherProcesses[] = {SCMP_SYS(process_vm_readv),
                                   SCMP_SYS(process_vm_writev),
                                   SCMP_SYS(kcmp),
                                   SCMP_SYS(pidfd_open),
                                   SCMP_SYS(wait4),
                                   SCMP_SYS(waitid)};

// Of terminals (isatty) and of descriptors.
constexpr uint32_t kHarmlessIoctls[] = {TCGETS, TIOCGWINSZ, FIOCLEX, FIONCLEX, FIONREAD, FIONBIO};

constexpr uint32_t kPrctls[] = {PR_SET_NAME, PR_GET_NAME, PR_GET_DUMPABLE, PR_SET_VMA};

uint32_t OnForbidden(Forbidden forbidden) {
  return forbidden == Forbidden::kKill ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_LOG;
}

// A filter under construction. The first failure is kept.
class Filter {
 public:
  explicit Filter(Forbidden forbidden) : context_(seccomp_init(OnForbidden(forbidden))) {}
  ~Filter() {
    if (context_ != nullptr) seccomp_release(context_);
  }
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;

  template <size_t kCount>
  void Allow(const int (&calls)[kCount]) {
    for (const int call : calls) Allow(call);
  }
  template <typename... Comparisons>
  void Allow(int call, Comparisons... comparisons) {
    Add(SCMP_ACT_ALLOW, call, comparisons...);
  }
  // Not made, and no reason to end anybody: callers have another way.
  void Refuse(int call, int error) { Add(SCMP_ACT_ERRNO(static_cast<uint32_t>(error)), call); }
  void Set(scmp_filter_attr attribute, uint32_t value) {
    Keep(context_ != nullptr ? seccomp_attr_set(context_, attribute, value) : -ENOMEM);
  }

  Status Load() {
    if (error_ == 0) Keep(seccomp_load(context_));
    if (error_ == 0) return Status::Ok();
    return Status::Refuse(-error_, "this kernel takes no filter of system calls: {}", std::strerror(-error_));
  }

 private:
  template <typename... Comparisons>
  void Add(uint32_t action, int call, Comparisons... comparisons) {
    const scmp_arg_cmp list[] = {comparisons..., scmp_arg_cmp{}};  // never empty
    Keep(context_ != nullptr ? seccomp_rule_add_array(context_, action, call, sizeof...(comparisons), list)
                             : -ENOMEM);
  }
  void Keep(int result) {
    if (error_ == 0 && result < 0) error_ = result;
  }

  void* const context_;  // a scmp_filter_ctx
  int error_ = 0;
};

// Arguments are compared with all their bits only where the kernel looks at all of them: of an int, the upper
// half is anybody's.
scmp_arg_cmp Is(unsigned argument, uint64_t value) {
  return {.arg = argument, .op = SCMP_CMP_MASKED_EQ, .datum_a = 0xffffffff, .datum_b = value & 0xffffffff};
}
scmp_arg_cmp HasNone(unsigned argument, uint64_t bits) {
  return {.arg = argument, .op = SCMP_CMP_MASKED_EQ, .datum_a = bits, .datum_b = 0};
}
scmp_arg_cmp HasAll(unsigned argument, uint64_t bits) {
  return {.arg = argument, .op = SCMP_CMP_MASKED_EQ, .datum_a = bits, .datum_b = bits};
}

void AllowByArgument(Filter* filter, const SystemCalls& calls) {
  filter->Allow(SCMP_SYS(mmap), HasNone(2, PROT_EXEC));
  filter->Allow(SCMP_SYS(mprotect), HasNone(2, PROT_EXEC));
  constexpr uint64_t kMakesFiles = O_CREAT | (O_TMPFILE & ~O_DIRECTORY);
  filter->Allow(SCMP_SYS(open), HasNone(1, kMakesFiles));
  filter->Allow(SCMP_SYS(openat), HasNone(2, kMakesFiles));
  // Threads, and no processes. What clone3 is asked for stands in memory, where a filter cannot look; C
  // libraries then take clone.
  filter->Allow(SCMP_SYS(clone), HasAll(0, CLONE_THREAD | CLONE_VM | CLONE_SIGHAND));
  filter->Refuse(SCMP_SYS(clone3), ENOSYS);
  filter->Allow(SCMP_SYS(socket), Is(0, AF_UNIX));
  if (calls.real_vmbus) filter->Allow(SCMP_SYS(socket), Is(0, AF_NETLINK));
  if (calls.real_vmbus) filter->Allow(SCMP_SYS(bind));
  filter->Allow(SCMP_SYS(prlimit64), Is(0, 0));
  // Without F_SETOWN and F_SETSIG, by which a file sends signals to anybody.
  for (const int command : {F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_ADD_SEALS,
                            F_GET_SEALS, F_GETPIPE_SZ, F_SETPIPE_SZ})
    filter->Allow(SCMP_SYS(fcntl), Is(1, static_cast<uint64_t>(command)));
  for (const uint32_t request : kHarmlessIoctls) filter->Allow(SCMP_SYS(ioctl), Is(1, request));
  for (const uint32_t request : calls.ioctls) filter->Allow(SCMP_SYS(ioctl), Is(1, request));
  for (const uint32_t option : kPrctls) filter->Allow(SCMP_SYS(prctl), Is(0, option));
  // To ourselves, and to the one program that we serve. Signal 0 only asks whether somebody is there.
  const auto self = static_cast<uint64_t>(getpid());
  filter->Allow(SCMP_SYS(tgkill), Is(0, self));
  filter->Allow(SCMP_SYS(kill), Is(0, self));
  if (calls.signalled > 0) filter->Allow(SCMP_SYS(kill), Is(0, static_cast<uint64_t>(calls.signalled)));
  if (!calls.other_processes) return;
  filter->Allow(SCMP_SYS(tgkill), Is(2, 0));
  filter->Allow(SCMP_SYS(pidfd_send_signal), Is(1, 0));
}

}  // namespace

const std::vector<std::string>& ForbiddenNames() {
  static const std::vector<std::string> names = {"kill", "log", "off"};
  return names;
}

Forbidden ForbiddenOf(const std::string& name) {
  const auto& names = ForbiddenNames();
  const auto found = std::find(names.begin(), names.end(), name);
  DXG_CHECK(found != names.end());
  return static_cast<Forbidden>(found - names.begin());
}

Status AllowOnly(const SystemCalls& calls, Forbidden forbidden) {
  if (forbidden == Forbidden::kAllow) return Status::Ok();
#ifdef DXG_SANITIZED
  return Status::Refuse(ENOTSUP, "this build has sanitizers, whose runtime makes calls of its own");
#endif
  Filter filter(forbidden);
  filter.Set(SCMP_FLTATR_CTL_TSYNC, 1);
  constexpr uint32_t kBinaryTree = 2;  // a search instead of a walk through the list
  filter.Set(SCMP_FLTATR_CTL_OPTIMIZE, kBinaryTree);
  // Calls of another interface: of 32-bit programs, or x32.
  filter.Set(SCMP_FLTATR_ACT_BADARCH, OnForbidden(forbidden));
  filter.Allow(kEverywhere);
  if (calls.other_processes) filter.Allow(kOtherProcesses);
  AllowByArgument(&filter, calls);
  return filter.Load();
}

}  // namespace dxg::confinement
