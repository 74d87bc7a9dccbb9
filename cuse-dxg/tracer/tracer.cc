#include "cuse-dxg/tracer/tracer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <limits.h>
#include <spdlog/spdlog.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>

#include "base/monotonic.h"
#include "base/printable.h"
#include "cuse-dxg/tracer/ptrace_call.h"
#include "cuse-dxg/tracer/stop_filter.h"
#include "cuse-dxg/tracer/tracee_memory.h"

namespace dxg::tracer {
namespace {

constexpr int kSyscallStop = SIGTRAP | 0x80;  // by PTRACE_O_TRACESYSGOOD
// The kernel's own results of a call that a signal ended (ERESTARTSYS to ERESTART_RESTARTBLOCK). The program
// never sees one: the call begins again, or returns EINTR.
constexpr int64_t kRestartsFirst = -512, kRestartsLast = -516;

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

Tracer::Tracer(std::string node, bool names_memory, Tell tell)
    : tell_(std::move(tell)),
      names_memory_(names_memory),
      descriptors_(std::move(node), [this](TraceRecord& record) {
        const uint64_t now = MonotonicNs();
        counts_.descriptions += record.has_open() && record.result() == 0;
        TellRecord(record, now, now);
      }) {}

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
  __ptrace_syscall_info info{};
  if (Trace(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), AddressOf(&info)) <= 0) {
    if (errno != ESRCH && !std::exchange(said_old_kernel_, true))
      spdlog::error("nothing can be recorded: this kernel is older than Linux 5.3 ({})",
                    std::strerror(errno));
    return Resume(tid);
  }
  if (info.op != PTRACE_SYSCALL_INFO_SECCOMP || info.seccomp.ret_data != kStopMark) {
    RefuseAsWithoutTracer(tid);
    return Resume(tid);
  }
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
  thread.pending.begin_ns = MonotonicNs();
  Resume(tid);
}

bool Tracer::EnterIoctl(pid_t tid, Thread& thread, const __ptrace_syscall_info& info) {
  Pending& pending = thread.pending;
  pending.fd = static_cast<int>(info.seccomp.args[0]);
  pending.file = descriptors_.Of({tid, thread.tgid}, pending.fd);
  if (pending.file.number == 0) return false;
  const auto code = static_cast<uint32_t>(info.seccomp.args[1]);
  pending.call = std::make_unique<ObservedCall>(tid, code, info.seccomp.args[2], names_memory_);
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
  if (thread.pending.number == 0) {
    ++counts_.other_stops;  // that nothing asked for
    return;
  }
  const uint64_t now = MonotonicNs();
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
  TellRecord(record, pending.begin_ns, now, pending.call.get());
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

// -- What is told --

void Tracer::TellRecord(TraceRecord& record, uint64_t begin_ns, uint64_t end_ns,
                        const ObservedCall* answered) {
  record.set_begin_ns(begin_ns);
  record.set_end_ns(end_ns);
  item_.mutable_record()->Swap(&record);
  tell_(item_, answered);
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

}  // namespace dxg::tracer
