#pragma once

#include <sys/types.h>
#include <sys/user.h>

#include <array>
#include <cstdint>
#include <optional>

#include "base/status.h"
#include "cuse-dxg/client/seccomp_filters.h"
#include "cuse-dxg/client/waiting.h"

namespace dxg::client {

// A thread of a client, stopped at the end of its system call and made to do system calls in its own name.
//
//     client thread     ioctl ........ waits in the kernel ........ | stop | call, call | ...  ioctl returns
//     `result` here              Seize  Interrupt       (answered)       WaitStop  Take  Call  Call    Leave
//
// It must be seized while it still waits: once answered it runs on, and is caught anywhere. After the stop
// nothing of it is lost: its registers are put back, no signal handler runs meanwhile (all are blocked), and
// a SIGSTOP stops it when we have left. Every function has to be called by the same thread of ours (ptrace
// demands it).
//
// A thread can be killed at any moment. Then what is called next says EINTR, and everything after it does
// nothing.
class Tracee {
 public:
  // Whether filters can be put aside, for all that follows. Once, while this process has one thread.
  static void LearnRights();
  // EPERM with a sentence where we may not, somebody else traces it, or it is under a seccomp filter that can
  // neither be put aside nor be known to let our calls through.
  // Blocks while a sibling is in execve: see Watch in injector_process.cc.
  static Result<Tracee> Seize(pid_t tid, pid_t tgid, const Family& family);
  Tracee(Tracee&& other) noexcept;
  Tracee& operator=(Tracee&&) = delete;
  ~Tracee();  // leaves it, with what it would have returned

  // From here on it cannot come out of its wait in the kernel without stopping.
  Status Interrupt();
  // Waits for that.
  Status WaitStop();
  // Checks that it stands at the end of that ioctl (EINTR), where calls can be made, saves what it is, and
  // makes it safe: were we killed from here on, its ioctl would return -1 with EIO. Before that Leave changes
  // nothing.
  Status Take(const Waiting& at);
  // Around any number of Call: with all signals blocked, and then safe again. Were we killed in between, it
  // would go on with blocked signals and the result of some other call.
  Status BeginCalls();
  void EndCalls();
  // Makes it do a system call. -1 to -4095 is the call's own failure.
  using Arguments = std::array<uint64_t, 6>;
  Result<int64_t> Call(long number, const Arguments& arguments);
  // Lets it go on, out of its ioctl with that result; without one, with what it was answered.
  void Leave(std::optional<int32_t> result);

  pid_t tid() const { return tid_; }
  // The first argument of the ioctl that it came from. After Take.
  int descriptor() const { return static_cast<int>(saved_.rdi); }

 private:
  explicit Tracee(pid_t tid) : tid_(tid) {}
  Status Gone();
  bool Resume(int request, int signal);
  std::optional<int> Wait();
  Status RunToSyscallStop();
  bool MakeSafe();
  Status CheckFilters() const;

  pid_t tid_;
  bool attached_ = true;
  bool interrupted_ = false;
  bool stopped_ = false;
  bool at_call_ = false;  // saved_ is known to be the end of a system call
  bool taken_ = false;
  std::optional<SeccompFilters> filters_;  // that are in force during the visit; none: they are put aside
  user_regs_struct saved_ = {};
  uint64_t saved_mask_ = 0;
};

// The refusal of a thread that came by the way of 32-bit programs.
Status Is32Bit(pid_t tid);
// Whether a thread has SIGKILL pending, or belongs to a process that dumps core, or is dead already.
bool IsBeingKilled(pid_t tid);

}  // namespace dxg::client
