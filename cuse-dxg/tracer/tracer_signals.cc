// Signals to this process, and stops of job control: what the program would have got alone.
#include <sys/wait.h>
#include <unistd.h>

#include "cuse-dxg/tracer/ptrace_call.h"
#include "cuse-dxg/tracer/tracer.h"

namespace dxg::tracer {
namespace {

// The ones that a user or a supervisor sends to end, or to tell something to, the program.
constexpr int kPassedOn[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGCONT};
constexpr int kTerminalStops[] = {SIGTSTP, SIGTTIN, SIGTTOU};

}  // namespace

sigset_t Tracer::HandledSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  for (const int signal : kPassedOn) sigaddset(&set, signal);
  for (const int signal : kTerminalStops) sigaddset(&set, signal);
  return set;
}

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
