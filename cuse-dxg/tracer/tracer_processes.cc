// Threads and processes of the program: how they begin, what they execute, how they end.
#include <spdlog/spdlog.h>

#include <cerrno>
#include <set>
#include <string>
#include <vector>

#include "base/monotonic.h"
#include "base/proc_status.h"
#include "cuse-dxg/tracer/executable.h"
#include "cuse-dxg/tracer/ptrace_call.h"
#include "cuse-dxg/tracer/tracer.h"

namespace dxg::tracer {
namespace {

pid_t ProcessOf(pid_t tid) {
  const std::vector<uint64_t> numbers = ProcStatus(tid).Numbers("Tgid");
  return numbers.empty() ? tid : static_cast<pid_t>(numbers.front());
}

}  // namespace

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
    const bool is_gone = each.first != tid && each.second.tgid == tid;
    if (is_gone && each.first != before) TellKilled(each.first, each.second);
    return is_gone;
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

void Tracer::TellKilled(pid_t tid, const Thread& thread) {
  if (thread.pending.call == nullptr) return;
  TraceRecord record = RecordOf(tid, thread);
  record.set_result(-EINTR);
  record.set_reason("the thread was killed during the call");
  thread.pending.call->Lost(record.mutable_call());
  TellRecord(record, thread.pending.begin_ns, MonotonicNs());
}

void Tracer::OnEnd(pid_t tid, int status) {
  early_.erase(tid);
  const auto found = threads_.find(tid);
  if (found == threads_.end()) return;
  const Thread& thread = found->second;
  TellKilled(tid, thread);
  const pid_t tgid = thread.tgid;
  threads_.erase(found);
  descriptors_.ThreadEnded({tid, tgid});
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
  const uint64_t now = MonotonicNs();
  TellRecord(record, now, now);
}

}  // namespace dxg::tracer
