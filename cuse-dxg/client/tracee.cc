#include "cuse-dxg/client/tracee.h"

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

namespace dxg::client {
namespace {

constexpr int kSyscallStop = SIGTRAP | 0x80;  // by PTRACE_O_TRACESYSGOOD
constexpr uint64_t kAllSignals = ~uint64_t{0};

// The kernel's interface, not the C library's: 64 signals.
constexpr size_t kMaskBytes = 8;

// Learned from the first attempt: it takes CAP_SYS_ADMIN, and a kernel with checkpoint and restore.
std::atomic<bool> can_suspend_seccomp = true;

long Trace(int request, pid_t tid, uint64_t address, uint64_t data) {
  // Safety: the kernel knows by the request whether these are addresses, and whose.
  return ptrace(static_cast<__ptrace_request>(request), tid, reinterpret_cast<void*>(address),
                reinterpret_cast<void*>(data));
}

uint64_t AddressOf(void* here) { return reinterpret_cast<uint64_t>(here); }  // Safety: for Trace only

std::string NameOf(pid_t pid) {
  std::string name;
  std::getline(std::ifstream(fmt::format("/proc/{}/comm", pid)), name);
  return name;
}

Status WhyNotSeized(pid_t tid, int error) {
  if (error == ESRCH) return Status::Refuse(EINTR, "thread {} was killed while its call waited", tid);
  if (error != EPERM) return Status::Refuse(EIO, "cannot trace thread {}: {}", tid, std::strerror(error));
  const std::string tracer = StatusField(tid, "TracerPid");
  if (!tracer.empty() && tracer != "0")
    return Status::Refuse(EPERM,
                          "thread {} is traced by process {} ({}), and a thread has one tracer: start the "
                          "program by 'cuse-dxg run "
                          "--preload', or attach the debugger after the program has made its first device",
                          tid, tracer, NameOf(std::atoi(tracer.c_str())));
  return Status::Refuse(
      EPERM,
      "this process may not trace thread {}: run cuse-dxg as root or as the client's user (see "
      "/proc/sys/kernel/yama/ptrace_scope), or start the program by 'cuse-dxg run'",
      tid);
}

Status WhyNotFiltered(pid_t tid) {
  return Status::Refuse(EPERM,
                        "thread {} runs under a seccomp filter, which could kill it for a call of ours, and "
                        "putting the filter aside "
                        "needs CAP_SYS_ADMIN and a kernel with CONFIG_CHECKPOINT_RESTORE: run cuse-dxg as "
                        "root. Memory that was mapped "
                        "before the sandbox closed keeps working",
                        tid);
}

bool IsFiltered(pid_t tid) {
  const std::string mode = StatusField(tid, "Seccomp");
  return !mode.empty() && mode != "0";
}

bool TrySeize(pid_t tid, uint64_t options) { return Trace(PTRACE_SEIZE, tid, 0, options) == 0; }

}  // namespace

std::string StatusField(pid_t tid, const std::string& key) {
  std::ifstream status(fmt::format("/proc/{}/status", tid));
  for (std::string line; std::getline(status, line);) {
    if (line.compare(0, key.size() + 2, key + ":\t") == 0) return line.substr(key.size() + 2);
  }
  return "";
}

bool IsDead(pid_t tid) {
  const std::string state = StatusField(tid, "State");
  return state.empty() || state[0] == 'Z' || state[0] == 'X';
}

bool IsBeingKilled(pid_t tid) {
  constexpr uint64_t kKill = uint64_t{1} << (SIGKILL - 1);
  for (const char* key : {"SigPnd", "ShdPnd"}) {
    if (std::strtoull(StatusField(tid, key).c_str(), nullptr, 16) & kKill) return true;
  }
  // Waiting for the dump, a thread has taken its SIGKILL already.
  return StatusField(tid, "CoreDumping") == "1" || IsDead(tid);
}

Result<Tracee> Tracee::Seize(pid_t tid) {
  if (can_suspend_seccomp) {
    if (TrySeize(tid, PTRACE_O_TRACESYSGOOD | PTRACE_O_SUSPEND_SECCOMP)) return Tracee(tid);
    const bool traced = errno == EPERM && StatusField(tid, "TracerPid") != "0";
    if (traced || errno == ESRCH) return WhyNotSeized(tid, errno);
    // Not the right, or not the kernel, to suspend filters; or not the right to trace at all, which the next
    // one tells.
  }
  if (IsFiltered(tid)) return WhyNotFiltered(tid);
  if (!TrySeize(tid, PTRACE_O_TRACESYSGOOD)) return WhyNotSeized(tid, errno);
  can_suspend_seccomp = false;
  return Tracee(tid);
}

Tracee::Tracee(Tracee&& other) noexcept
    : tid_(other.tid_),
      attached_(std::exchange(other.attached_, false)),
      interrupted_(other.interrupted_),
      stopped_(other.stopped_),
      at_call_(other.at_call_),
      taken_(other.taken_),
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
  if (instruction == kInt80)
    return Status::Refuse(
        EPERM, "thread {} is a 32-bit program: memory and descriptors are given to 64-bit ones only", tid_);
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

Status Tracee::BeginCalls() {
  uint64_t all = kAllSignals;
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
