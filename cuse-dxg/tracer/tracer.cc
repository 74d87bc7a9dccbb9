#include "cuse-dxg/tracer/tracer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <limits.h>
#include <spdlog/spdlog.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <string>
#include <utility>

#include "base/printable.h"
#include "base/proc_status.h"
#include "cuse-dxg/tracer/executable.h"
#include "cuse-dxg/tracer/stop_filter.h"
#include "cuse-dxg/tracer/tracee_memory.h"

namespace dxg::tracer {
namespace {

constexpr int kSyscallStop = SIGTRAP | 0x80;  // by PTRACE_O_TRACESYSGOOD
// The kernel's own results of a call that a signal ended (ERESTARTSYS to ERESTART_RESTARTBLOCK). The program
// never sees one: the call begins again, or returns EINTR.
constexpr int64_t kRestartsFirst = -512, kRestartsLast = -516;

// The ones that a user or a supervisor sends to end, or to tell something to, the program.
constexpr int kPassedOn[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGCONT};
constexpr int kTerminalStops[] = {SIGTSTP, SIGTTIN, SIGTTOU};

long Trace(int request, pid_t tid, uint64_t address, uint64_t data) {
  // Safety: the kernel knows by the request whether these are addresses, and whose.
  return ptrace(static_cast<__ptrace_request>(request), tid, reinterpret_cast<void*>(address),
                reinterpret_cast<void*>(data));
}

uint64_t AddressOf(void* here) { return reinterpret_cast<uint64_t>(here); }  // Safety: for Trace only

uint64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

bool IsGroupStop(int signal) {
  return signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
}

uint64_t EventMessage(pid_t tid) {
  uint64_t message = 0;
  Trace(PTRACE_GETEVENTMSG, tid, 0, AddressOf(&message));
  return message;
}

pid_t ProcessOf(pid_t tid) {
  const std::vector<uint64_t> numbers = ProcStatus(tid).Numbers("Tgid");
  return numbers.empty() ? tid : static_cast<pid_t>(numbers.front());
}

// O_PATH: a descriptor that no call goes through.
bool NamesAPlaceOnly(pid_t tid, int fd) {
  std::ifstream lines(fmt::format("/proc/{}/fdinfo/{}", tid, fd));
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("flags:")) return (std::stoul(line.substr(6), nullptr, 8) & O_PATH) != 0;
  }
  return false;
}

// The stop is of a filter of the program's own, whose tracer is not there: what the kernel answers then.
void RefuseAsWithoutTracer(pid_t tid) {
  user_regs_struct registers;
  if (Trace(PTRACE_GETREGS, tid, 0, AddressOf(&registers)) != 0) return;
  registers.orig_rax = ~0ull;
  registers.rax = static_cast<uint64_t>(-int64_t{ENOSYS});
  Trace(PTRACE_SETREGS, tid, 0, AddressOf(&registers));
}

}  // namespace

Tracer::Tracer(std::string node, Tell tell)
    : tell_(std::move(tell)), descriptors_(std::move(node), [this](TraceRecord& record) {
        const uint64_t now = NowNs();
        counts_.descriptions += record.has_open() && record.result() == 0;
        TellRecord(record, now, now);
      }) {}

sigset_t Tracer::HandledSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  for (const int signal : kPassedOn) sigaddset(&set, signal);
  for (const int signal : kTerminalStops) sigaddset(&set, signal);
  return set;
}

int Tracer::Run(Program& program) {
  program_ = program.pid();
  threads_[program_].tgid = program_;
  counts_.processes = 1;
  program.Go();
  int ended = 0;
  for (;;) {
    int status = 0;
    const pid_t tid = waitpid(-1, &status, __WALL | WNOHANG);
    if (tid < 0 && errno == ECHILD) break;
    if (tid < 0) continue;
    if (tid == 0) {
      TakeSignal();
    } else if (WIFSTOPPED(status)) {
      OnStop(tid, status);
    } else {
      if (tid == program_) ended = status;
      OnEnd(tid, status);
    }
  }
  return ended;
}

// -- Stops --

void Tracer::OnStop(pid_t tid, int status) {
  const auto known = threads_.find(tid);
  if (known == threads_.end()) {
    early_.insert(tid);
    return;
  }
  if (tid == program_) program_stopped_ = false;
  const int signal = WSTOPSIG(status), event = status >> 16;
  switch (event) {
    case PTRACE_EVENT_SECCOMP:
      return OnEntry(tid, known->second);
    case PTRACE_EVENT_FORK:
    case PTRACE_EVENT_VFORK:
    case PTRACE_EVENT_CLONE:
      OnNew(tid, known->second);
      return Resume(tid);
    case PTRACE_EVENT_EXEC:
      OnExec(tid);
      return Resume(tid);
    case PTRACE_EVENT_STOP:
      return IsGroupStop(signal) ? OnGroupStop(tid) : Resume(tid);
    default:
      break;
  }
  if (event != 0) return Resume(tid);
  if (signal == kSyscallStop) {
    OnExit(tid, known->second);
    return Resume(tid);
  }
  Resume(tid, signal);
}

// Where it is killed meanwhile, its end is told by waitpid.
void Tracer::Resume(pid_t tid, int signal) {
  const auto thread = threads_.find(tid);
  const bool stops_at_exit = thread != threads_.end() && thread->second.pending.number != 0;
  Trace(stops_at_exit ? PTRACE_SYSCALL : PTRACE_CONT, tid, 0, static_cast<uint64_t>(signal));
}

// It stays stopped, and is told when it is continued.
void Tracer::OnGroupStop(pid_t tid) {
  Trace(PTRACE_LISTEN, tid, 0, 0);
  if (tid != program_) return;
  program_stopped_ = true;
  StopWithProgram();
}

void Tracer::OnEntry(pid_t tid, Thread& thread) {
  thread.pending = {};
  if (EventMessage(tid) != kStopMark) {
    RefuseAsWithoutTracer(tid);
    return Resume(tid);
  }
  __ptrace_syscall_info info{};
  if (Trace(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), AddressOf(&info)) <= 0) return Resume(tid);
  thread.pending.number = static_cast<long>(info.seccomp.nr);
  const bool is_ioctl = thread.pending.number == SYS_ioctl;
  const bool to_record = is_ioctl ? EnterIoctl(tid, thread, info) : EnterOther(tid, thread, info);
  if (to_record && is_ioctl) {
    ++counts_.calls;
    ++counts_.call_stops;
  } else {
    ++counts_.others;
    ++counts_.other_stops;
  }
  if (!to_record) thread.pending = {};
  thread.pending.begin_ns = NowNs();
  Resume(tid);
}

bool Tracer::EnterIoctl(pid_t tid, Thread& thread, const __ptrace_syscall_info& info) {
  Pending& pending = thread.pending;
  pending.fd = static_cast<int>(info.seccomp.args[0]);
  pending.file = descriptors_.Of({tid, thread.tgid}, pending.fd);
  if (pending.file.number == 0) return false;
  const auto code = static_cast<uint32_t>(info.seccomp.args[1]);
  pending.call = std::make_unique<ObservedCall>(tid, code, info.seccomp.args[2]);
  if (pending.call->is_raw()) SayOfRaw(*pending.call, code);
  return true;
}

bool Tracer::EnterOther(pid_t tid, Thread& thread, const __ptrace_syscall_info& info) {
  Pending& pending = thread.pending;
  const Descriptors::Who who{tid, thread.tgid};
  const auto argument = [&info](int index) { return info.seccomp.args[index]; };
  switch (pending.number) {
    case SYS_open:
    case SYS_openat:
    case SYS_openat2:
      // A filter cannot look at names, so this is as often as any file is opened: one stop is enough for
      // those.
      pending.path = ReadString(tid, argument(pending.number == SYS_open ? 0 : 1), PATH_MAX);
      return descriptors_.MayBeNode(pending.path);
    case SYS_dup2:
    case SYS_dup3:
      pending.fd = static_cast<int>(argument(0));
      return descriptors_.Has(who, pending.fd) || descriptors_.Has(who, static_cast<int>(argument(1))) ||
             descriptors_.Of(who, pending.fd).number != 0;
    case SYS_dup:
    case SYS_fcntl:
      pending.fd = static_cast<int>(argument(0));
      return descriptors_.Has(who, pending.fd) || descriptors_.Of(who, pending.fd).number != 0;
    default:
      return true;
  }
}

void Tracer::OnExit(pid_t tid, Thread& thread) {
  if (thread.pending.number == 0) return;
  const uint64_t now = NowNs();
  __ptrace_syscall_info info{};
  const bool known = Trace(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), AddressOf(&info)) > 0 &&
                     info.op == PTRACE_SYSCALL_INFO_EXIT;
  const int64_t value = known ? info.exit.rval : -int64_t{EINTR};
  if (thread.pending.call != nullptr) {
    ++counts_.call_stops;
    LeaveIoctl(tid, thread, value, now);
  } else {
    ++counts_.other_stops;
    LeaveOther(tid, thread, value);
  }
  thread.pending = {};
}

TraceRecord Tracer::RecordOf(pid_t tid, const Thread& thread) {
  const Pending& pending = thread.pending;
  TraceRecord record;
  record.set_pid(static_cast<uint32_t>(pending.file.opener));
  record.set_tid(static_cast<uint32_t>(tid));
  TraceCall& call = *record.mutable_call();
  call.set_file(pending.file.number);
  call.set_fd(pending.fd);
  call.set_inherited(thread.tgid != pending.file.opener);
  return record;
}

void Tracer::LeaveIoctl(pid_t tid, Thread& thread, int64_t value, uint64_t now) {
  Pending& pending = thread.pending;
  // The kernel's own answer, where the call has not reached the node: the descriptor names a place only.
  if (value == -EBADF && NamesAPlaceOnly(tid, pending.fd)) return;
  TraceRecord record = RecordOf(tid, thread);
  auto result = static_cast<int32_t>(value);
  if (value <= kRestartsFirst && value >= kRestartsLast) {
    result = -EINTR;
    record.set_reason("a signal ended it; it begins again where the signal's handler says so (SA_RESTART)");
  }
  record.set_result(result);
  pending.call->Ended(result, record.mutable_call());
  TellRecord(record, pending.begin_ns, now);
}

void Tracer::LeaveOther(pid_t tid, const Thread& thread, int64_t value) {
  const Pending& pending = thread.pending;
  const Descriptors::Who who{tid, thread.tgid};
  const bool is_open =
      pending.number == SYS_open || pending.number == SYS_openat || pending.number == SYS_openat2;
  const auto fd = static_cast<int>(value);
  if (value < 0) {
    if (is_open && value >= -kErrnoMax && value > kRestartsFirst)
      descriptors_.OpenRefused(who, pending.path, -fd);
  } else if (is_open) {
    descriptors_.Opened(who, fd);
  } else if (pending.number == SYS_pidfd_getfd) {
    descriptors_.Taken(who, fd);
  } else {
    descriptors_.Duplicated(who, pending.fd, fd);
  }
}

// -- Threads and processes --

void Tracer::OnNew(pid_t tid, const Thread& parent) {
  const auto child = static_cast<pid_t>(EventMessage(tid));
  if (child == 0 || threads_.contains(child)) return;
  const pid_t tgid = ProcessOf(child);
  const bool is_thread = tgid == parent.tgid;
  ++(is_thread ? counts_.threads : counts_.processes);
  TellProcess({tid, parent.tgid}, is_thread ? TraceProcess::THREAD : TraceProcess::FORKED,
              static_cast<uint32_t>(child));
  if (!is_thread) descriptors_.Forked(parent.tgid, tgid);
  Adopt(child, tgid);
}

void Tracer::Adopt(pid_t tid, pid_t tgid) {
  threads_[tid].tgid = tgid;
  if (early_.erase(tid) != 0) Resume(tid);
}

// The parent was killed before its event was taken.
void Tracer::AdoptOrphans() {
  const std::set<pid_t> early = early_;
  for (const pid_t tid : early) {
    const std::vector<uint64_t> parents = ProcStatus(tid).Numbers("PPid");
    const pid_t tgid = ProcessOf(tid);
    const bool has_parent = threads_.contains(tgid) ||
                            (!parents.empty() && threads_.contains(static_cast<pid_t>(parents.front())));
    if (!has_parent) Adopt(tid, tgid);
  }
}

// The other threads are gone by now, and the one that did it has the number of the process.
void Tracer::OnExec(pid_t tid) {
  const auto before = static_cast<pid_t>(EventMessage(tid));
  std::erase_if(threads_, [&](const auto& each) {
    return each.first != tid && (each.first == before || each.second.tgid == tid);
  });
  Thread& thread = threads_[tid];
  thread.tgid = tid;
  thread.pending = {};
  const std::string program = ProgramOf(tid);
  descriptors_.Sweep({tid, tid});
  TellProcess({tid, tid}, TraceProcess::EXECUTED, 0, program);
  if (const std::string what = WhatIsOtherwiseFor(tid, program);
      !what.empty() && said_of_.insert(what).second)
    spdlog::warn("{}", what);
}

void Tracer::OnEnd(pid_t tid, int status) {
  early_.erase(tid);
  const auto found = threads_.find(tid);
  if (found == threads_.end()) return;
  Thread& thread = found->second;
  if (thread.pending.call != nullptr) {
    TraceRecord record = RecordOf(tid, thread);
    record.set_result(-EINTR);
    record.set_reason("the thread was killed during the call");
    thread.pending.call->Lost(record.mutable_call());
    TellRecord(record, thread.pending.begin_ns, NowNs());
  }
  const pid_t tgid = thread.tgid;
  threads_.erase(found);
  if (tid == tgid) {
    descriptors_.Ended(tgid);
    TellProcess({tid, tgid}, TraceProcess::EXITED, 0, {}, status);
  }
  AdoptOrphans();
  if (tid != program_) return;
  program_ended_ = true;
  if (!threads_.empty())
    spdlog::warn("the program has ended; what it has started goes on, and is recorded until it ends");
}

// -- What is told --

void Tracer::TellProcess(const Descriptors::Who& who, TraceProcess::Change change, uint32_t child,
                         const std::string& program, int status) {
  if (change == TraceProcess::EXECUTED) is_executed_ = true;
  if (!is_executed_) return;  // what this process's own child does before it is the program
  TraceRecord record;
  record.set_pid(static_cast<uint32_t>(who.tgid));
  record.set_tid(static_cast<uint32_t>(who.tid));
  TraceProcess& process = *record.mutable_process();
  process.set_change(change);
  process.set_child(child);
  process.set_program(program);
  process.set_status(status);
  const uint64_t now = NowNs();
  TellRecord(record, now, now);
}

void Tracer::TellRecord(TraceRecord& record, uint64_t begin_ns, uint64_t end_ns) {
  record.set_begin_ns(begin_ns);
  record.set_end_ns(end_ns);
  item_.mutable_record()->Swap(&record);
  tell_(item_);
}

void Tracer::SayOfRaw(const ObservedCall& call, uint32_t code) {
  if (!said_raw_.insert(code).second) return;
  if (call.row() == nullptr) {
    spdlog::warn(
        "ioctl {:#010x} is none of the calls that this version knows: it is recorded as bytes, and cannot be "
        "replayed on a node of another driver",
        code);
  } else {
    spdlog::warn("{}: its argument cannot be read: it is recorded without", call.row()->name);
  }
}

// -- Signals to this process --

// Waits for one. A stop or an end of a tracee is SIGCHLD.
void Tracer::TakeSignal() {
  const sigset_t handled = HandledSignals();
  siginfo_t signal;
  if (sigwaitinfo(&handled, &signal) < 0 || signal.si_signo == SIGCHLD) return;
  if (IsGroupStop(signal.si_signo)) {
    stop_wanted_ = true;
    return StopWithProgram();
  }
  if (signal.si_signo == SIGCONT) {
    stop_wanted_ = false;
    if (!program_stopped_ || IsContinuing()) return;  // its job was told, and so it knows
  }
  // A key on the terminal signals the whole process group, the program included.
  if (signal.si_code == SI_KERNEL) return;
  if (!program_ended_) {
    kill(program_, signal.si_signo);
    return;
  }
  for (const auto& [tid, thread] : threads_) {
    if (tid == thread.tgid) kill(tid, signal.si_signo);
  }
}

bool Tracer::IsContinuing() const {
  siginfo_t event{};
  return waitid(P_PID, static_cast<id_t>(program_), &event, WSTOPPED | WNOHANG | WNOWAIT | __WALL) == 0 &&
         event.si_pid != 0;
}

// The terminal has stopped the job, and the program did what it does then: so its shell is to see this
// process stopped as well.
void Tracer::StopWithProgram() {
  sigset_t pending;
  sigpending(&pending);
  for (const int stop : kTerminalStops) stop_wanted_ |= sigismember(&pending, stop) == 1;
  if (!stop_wanted_ || !program_stopped_ || sigismember(&pending, SIGCONT) == 1) return;
  const sigset_t stops = [] {
    sigset_t set;
    sigemptyset(&set);
    for (const int stop : kTerminalStops) sigaddset(&set, stop);
    return set;
  }();
  const timespec at_once{};
  while (sigtimedwait(&stops, nullptr, &at_once) > 0) {
  }
  stop_wanted_ = false;
  raise(SIGSTOP);
}

}  // namespace dxg::tracer
