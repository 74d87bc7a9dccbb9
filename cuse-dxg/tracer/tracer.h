#pragma once

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "base/status.h"
#include "cuse-dxg/tracer/descriptors.h"
#include "cuse-dxg/tracer/observed_call.h"
#include "cuse-dxg/tracer/program.h"
#include "proto/dxg/trace.pb.h"

namespace dxg::tracer {

// Follows a program and all that it starts, and tells what they say to the node.
//
//     thread      ioctl -- stop | ........ the node works ........ | stop -- ioctl returns
//     here                  request                                  reply, record
//
// It changes nothing of the program: signals, stops of job control and exits are passed on as they are. The
// thread that has made it is the one that everything else is called by (ptrace demands it).
class Tracer {
 public:
  // A record, and the call that it is of, as its caller's memory has it; null: it is of none that was
  // answered. The caller is stopped.
  using Tell = std::function<void(TraceItem&, const ObservedCall*)>;
  // `names_memory`: of the calls that are told it will be asked which memory they name.
  Tracer(std::string node, bool names_memory, Tell tell);

  // How often threads were stopped, and what for.
  struct Counts {
    uint64_t calls = 0;       // ioctls of the node
    uint64_t call_stops = 0;  // for those
    uint64_t others = 0;      // other calls at which the filter stopped a thread, and ioctls of other files
    uint64_t other_stops = 0;
    uint64_t descriptions = 0, processes = 0, threads = 0;
  };

  // Lets the program go, and returns when it and all that it started have ended: its status, as waitpid has
  // it. The signals of HandledSignals are blocked.
  int Run(Program& program);
  const Counts& counts() const { return counts_; }

  static sigset_t HandledSignals();

 private:
  // What a thread is in the middle of, between its two stops.
  struct Pending {
    long number = 0;  // of the system call; 0: nothing
    uint64_t begin_ns = 0;
    int fd = -1;
    std::string path;  // that it opens
    Descriptors::File file;
    std::unique_ptr<ObservedCall> call;
  };
  struct Thread {
    pid_t tgid = 0;
    Pending pending;
  };

  void OnStop(pid_t tid, int status);
  void OnEnd(pid_t tid, int status);
  void OnEntry(pid_t tid, Thread& thread);
  void OnExit(pid_t tid, Thread& thread);
  void OnGroupStop(pid_t tid);
  void OnNew(pid_t tid, const Thread& parent);
  void OnExec(pid_t tid);
  bool EnterIoctl(pid_t tid, Thread& thread, const __ptrace_syscall_info& info);
  bool EnterOther(pid_t tid, Thread& thread, const __ptrace_syscall_info& info);
  void LeaveIoctl(pid_t tid, Thread& thread, int64_t value, uint64_t now);
  void LeaveOther(pid_t tid, const Thread& thread, int64_t value);
  // With all that is known before the call has ended.
  static TraceRecord RecordOf(pid_t tid, const Thread& thread);
  // Its call has no answer.
  void TellKilled(pid_t tid, const Thread& thread);
  // A thread whose first stop was there before its parent's event.
  void Adopt(pid_t tid, pid_t tgid);
  void AdoptOrphans();
  void Resume(pid_t tid, int signal = 0);
  void TellProcess(const Descriptors::Who& who, TraceProcess::Change change, uint32_t child,
                   const std::string& program = {}, int status = 0);
  void TellRecord(TraceRecord& record, uint64_t begin_ns, uint64_t end_ns,
                  const ObservedCall* answered = nullptr);
  void SayOfRaw(const ObservedCall& call, uint32_t code);
  void TakeSignal();
  bool IsContinuing() const;
  void StopWithProgram();

  const Tell tell_;
  const bool names_memory_;
  Descriptors descriptors_;
  Counts counts_;
  std::map<pid_t, Thread> threads_;
  std::set<pid_t> early_;  // stopped, and nobody has said yet whose they are
  std::set<uint32_t> said_raw_;
  std::set<std::string> said_of_;
  bool said_old_kernel_ = false;
  pid_t program_ = 0;
  bool is_executed_ = false;
  bool program_ended_ = false;
  bool program_stopped_ = false;  // by job control
  bool stop_wanted_ = false;      // the terminal has told all of its job to stop
  TraceItem item_;
};

}  // namespace dxg::tracer
