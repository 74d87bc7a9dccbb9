#include "cuse-dxg/client/tracee.h"

#include <linux/capability.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <sstream>
#include <utility>

#include "base/confinement/capabilities.h"
#include "base/container.h"
#include "base/printable.h"
#include "base/proc_status.h"

namespace dxg::client {
namespace {

constexpr int kSyscallStop = SIGTRAP | 0x80;  // by PTRACE_O_TRACESYSGOOD
constexpr uint64_t kAllSignals = ~uint64_t{0};

// The kernel's interface, not the C library's: 64 signals.
constexpr size_t kMaskBytes = 8;

// It takes CAP_SYS_ADMIN, no filter of our own, and a kernel with checkpoint and restore: nothing of a
// client's.
bool can_suspend_seccomp = false;

long Trace(int request, pid_t tid, uint64_t address, uint64_t data) {
  // Safety: the kernel knows by the request whether these are addresses, and whose.
  return ptrace(static_cast<__ptrace_request>(request), tid, reinterpret_cast<void*>(address),
                reinterpret_cast<void*>(data));
}

uint64_t AddressOf(void* here) { return reinterpret_cast<uint64_t>(here); }  // Safety: for Trace only

std::string NameOf(pid_t pid) {
  std::string name;
  std::getline(std::ifstream(fmt::format("/proc/{}/comm", pid)), name);
  return Printable(name);
}

// What gives this process the right that it lacks.
std::string HowToMayTrace(const Family& family) {
  const bool has_right = (confinement::OwnCapabilities() & confinement::Only(CAP_SYS_PTRACE)) != 0;
  if (has_right)
    return "not even CAP_SYS_PTRACE gives the right (/proc/sys/kernel/yama/ptrace_scope is 3, or the program "
           "is "
           "in a user namespace above, or a security policy forbids it)";
  if (InContainer()) return "start the container with --cap-add SYS_PTRACE";
  if (geteuid() == 0) return "give cuse-dxg the capability CAP_SYS_PTRACE";
  if (family.program != 0)
    return "the program has more rights than cuse-dxg, or another user's: run cuse-dxg as root";
  return "run cuse-dxg as root, or start the program by 'cuse-dxg run'";
}

Status WhyNotSeized(pid_t tid, int error, const Family& family) {
  if (error == ESRCH) return Status::Refuse(EINTR, "thread {} was killed while its call waited", tid);
  if (error != EPERM) return Status::Refuse(EIO, "cannot trace thread {}: {}", tid, std::strerror(error));
  const std::string tracer = ProcStatus(tid).Field("TracerPid").value_or("");
  if (!tracer.empty() && tracer != "0")
    return Status::Refuse(EPERM,
                          "thread {} is traced by process {} ({}), and a thread has one tracer: start the "
                          "program by 'cuse-dxg run "
                          "--preload', or attach the debugger after the program has made its first device",
                          tid, tracer, NameOf(std::atoi(tracer.c_str())));
  return Status::Refuse(EPERM, "this process may not trace thread {}, and so brings nothing into it: {}", tid,
                        HowToMayTrace(family));
}

bool TrySeize(pid_t tid, uint64_t options) { return Trace(PTRACE_SEIZE, tid, 0, options) == 0; }

}  // namespace

Status Is32Bit(pid_t tid) {
  return Status::Refuse(EPERM,
                        "thread {} is of a 32-bit program, and memory and descriptors are given to 64-bit "
                        "ones only: build the program for x86-64",
                        tid);
}

bool IsBeingKilled(pid_t tid) {
  const ProcStatus status(tid);
  const std::string state = status.Field("State").value_or("");
  if (state.empty() || state[0] == 'Z' || state[0] == 'X') return true;
  // Waiting for the dump, a thread has taken its SIGKILL already.
  return status.KillIsPending() || status.Field("CoreDumping") == "1";
}

// Tried on a child, because a client could make an attempt on itself fail.
void Tracee::LearnRights() {
  const pid_t child = fork();
  if (child < 0) return;
  if (child == 0) {
    for (;;) pause();
  }
  can_suspend_seccomp = TrySeize(child, PTRACE_O_TRACESYSGOOD | PTRACE_O_SUSPEND_SECCOMP);
  kill(child, SIGKILL);
  waitpid(child, nullptr, __WALL);
}

Result<Tracee> Tracee::Seize(pid_t tid, pid_t tgid, const Family& family) {
  if (can_suspend_seccomp) {
    if (TrySeize(tid, PTRACE_O_TRACESYSGOOD | PTRACE_O_SUSPEND_SECCOMP)) return Tracee(tid);
    return WhyNotSeized(tid, errno, family);
  }
  const std::optional<SeccompFilters> filters = FiltersOf(tid);
  // A kernel without seccomp says nothing of it.
  if (!filters && !ProcStatus(tid).found())
    return Status::Refuse(EIO, "the seccomp filters of thread {} cannot be read", tid);
  if (filters && filters->mode != 0) DXG_TRY(MayBeVisitedFiltered(tid, tgid, *filters, family));
  if (!TrySeize(tid, PTRACE_O_TRACESYSGOOD)) return WhyNotSeized(tid, errno, family);
  Tracee tracee(tid);
  tracee.filters_ = filters;
  return tracee;
}

Tracee::Tracee(Tracee&& other) noexcept
    : tid_(other.tid_),
      attached_(std::exchange(other.attached_, false)),
      interrupted_(other.interrupted_),
      stopped_(other.stopped_),
      at_call_(other.at_call_),
      taken_(other.taken_),
      filters_(other.filters_),
      saved_(other.saved_),
      saved_mask_(other.saved_mask_) {}

Tracee::~Tracee() { Leave(std::nullopt); }

// A thread that was killed under us still has to be reaped, or it stays a zombie for as long as we live.
Status Tracee::Gone() {
  if (std::exchange(attached_, false)) {
    int status = 0;
    do {
      while (waitpid(tid_, &status, __WALL) < 0 && errno == EINTR) {
      }
    } while (WIFSTOPPED(status) && errno != ECHILD && Trace(PTRACE_CONT, tid_, 0, 0) == 0);
  }
  return Status::Refuse(EINTR, "thread {} was killed during its call", tid_);
}

bool Tracee::Resume(int request, int signal) {
  return Trace(request, tid_, 0, static_cast<uint64_t>(signal)) == 0;
}

// The status of its next stop; none where it ended.
std::optional<int> Tracee::Wait() {
  int status = 0;
  pid_t waited;
  do {
    waited = waitpid(tid_, &status, __WALL);
  } while (waited < 0 && errno == EINTR);
  if (waited == tid_ && WIFSTOPPED(status)) return status;
  attached_ = false;
  return std::nullopt;
}

// The wait in the kernel goes on; what waits there gets a FUSE_INTERRUPT, which nobody has to answer.
Status Tracee::Interrupt() {
  if (Trace(PTRACE_INTERRUPT, tid_, 0, 0) != 0) return Gone();
  interrupted_ = true;
  return Status::Ok();
}

Status Tracee::WaitStop() {
  for (;;) {
    const std::optional<int> status = Wait();
    if (!status) return Gone();
    stopped_ = *status >> 16 == PTRACE_EVENT_STOP;
    if (stopped_) return Status::Ok();
    if (!Resume(PTRACE_CONT, WSTOPSIG(*status))) return Gone();
  }
}

Status Tracee::Take(const Waiting& at) {
  if (Trace(PTRACE_GETREGS, tid_, 0, AddressOf(&saved_)) != 0) return Gone();
  errno = 0;
  const long code = Trace(PTRACE_PEEKTEXT, tid_, saved_.rip - 2, 0);
  const unsigned instruction = errno ? 0 : static_cast<unsigned>(code & 0xffff);
  constexpr unsigned kSyscall = 0x050f, kInt80 = 0x80cd;
  at_call_ = instruction == kSyscall || instruction == kInt80;
  if (instruction == kInt80) return Is32Bit(tid_);
  if (!at_call_)
    return Status::Refuse(EIO, "thread {} is not at a system call (the bytes before {:#x} are {:#06x})", tid_,
                          saved_.rip, instruction);
  if (saved_.orig_rax != SYS_ioctl || static_cast<uint32_t>(saved_.rsi) != at.code ||
      saved_.rdx != at.argument) {
    at_call_ = false;  // of ours, that is: it goes on as it is
    return Status::Refuse(EINTR, "thread {} has left its call, and is in another one", tid_);
  }
  if (!MakeSafe()) return Gone();
  taken_ = true;
  return Status::Ok();
}

bool Tracee::MakeSafe() {
  user_regs_struct safe = saved_;
  safe.rax = static_cast<uint64_t>(-int64_t{EIO});
  safe.orig_rax = ~0ull;  // it is in no system call now, so the kernel must not restart one
  return Trace(PTRACE_SETREGS, tid_, 0, AddressOf(&safe)) == 0;
}

// Its other threads may give it a filter at any moment (SECCOMP_FILTER_FLAG_TSYNC).
Status Tracee::CheckFilters() const {
  if (!filters_ || FiltersOf(tid_) == filters_) return Status::Ok();
  return Status::Refuse(
      EPERM,
      "thread {} has got a seccomp filter during its call, which could kill it for a call of "
      "ours: close the sandbox before, or after",
      tid_);
}

Status Tracee::BeginCalls() {
  uint64_t all = kAllSignals;
  if (attached_) DXG_TRY(CheckFilters());
  if (attached_ && Trace(PTRACE_GETSIGMASK, tid_, kMaskBytes, AddressOf(&saved_mask_)) == 0 &&
      Trace(PTRACE_SETSIGMASK, tid_, kMaskBytes, AddressOf(&all)) == 0)
    return Status::Ok();
  return Gone();
}

void Tracee::EndCalls() {
  if (!attached_) return;
  if (!MakeSafe() || Trace(PTRACE_SETSIGMASK, tid_, kMaskBytes, AddressOf(&saved_mask_)) != 0) (void)Gone();
}

// To the next entry into, or exit out of, a system call. A SIGSTOP is passed on: it stops the others at once,
// and this one when we have left. PTRACE_SINGLESTEP would also get there, but resets an ignored SIGTRAP.
Status Tracee::RunToSyscallStop() {
  int signal = 0;
  for (;;) {
    if (!Resume(PTRACE_SYSCALL, signal)) return Gone();
    const std::optional<int> status = Wait();
    if (!status) return Gone();
    if (WSTOPSIG(*status) == kSyscallStop) return Status::Ok();
    signal = *status >> 16 ? 0 : WSTOPSIG(*status);  // an event (a group stop) is no signal to pass on
  }
}

Result<int64_t> Tracee::Call(long number, const Arguments& arguments) {
  if (!attached_) return Gone();
  if (filters_) DXG_TRY(CheckFilters());
  user_regs_struct registers = saved_;
  registers.rax = static_cast<uint64_t>(number);
  registers.rdi = arguments[0];
  registers.rsi = arguments[1];
  registers.rdx = arguments[2];
  registers.r10 = arguments[3];
  registers.r8 = arguments[4];
  registers.r9 = arguments[5];
  registers.rip = saved_.rip - 2;
  registers.orig_rax = ~0ull;
  if (Trace(PTRACE_SETREGS, tid_, 0, AddressOf(&registers)) != 0) return Gone();
  DXG_TRY(RunToSyscallStop());
  DXG_TRY(RunToSyscallStop());
  if (Trace(PTRACE_GETREGS, tid_, 0, AddressOf(&registers)) != 0) return Gone();
  return static_cast<int64_t>(registers.rax);
}

void Tracee::Leave(std::optional<int32_t> result) {
  if (attached_ && !interrupted_ && !Interrupt().ok()) return;
  if (attached_ && !stopped_ && !WaitStop().ok()) return;
  if (!attached_) return;
  if (taken_ || (at_call_ && result)) {
    user_regs_struct registers = saved_;
    registers.orig_rax = ~0ull;
    if (result) registers.rax = static_cast<uint64_t>(int64_t{*result});
    if (Trace(PTRACE_SETREGS, tid_, 0, AddressOf(&registers)) != 0) return (void)Gone();
  }
  if (!Resume(PTRACE_DETACH, 0)) return (void)Gone();
  attached_ = false;
}

}  // namespace dxg::client
