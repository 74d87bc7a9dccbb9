#include "base/wake_signal.h"

#include <unistd.h>

#include <csignal>

namespace dxg {

int WakeSignal() { return SIGURG; }

void InstallWakeSignal() {
  struct sigaction wake = {};
  wake.sa_handler = [](int) {};  // and no SA_RESTART: the call has to return
  sigaction(WakeSignal(), &wake, nullptr);
}

void UnblockWakeSignal() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, WakeSignal());
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

WokenAgainAndAgain::WokenAgainAndAgain() {
  UnblockWakeSignal();
  constexpr timespec kMillisecond = {.tv_sec = 0, .tv_nsec = 1'000'000};
  sigevent wake = {};
  wake.sigev_notify = SIGEV_THREAD_ID;
  wake.sigev_signo = WakeSignal();
#ifdef sigev_notify_thread_id
  wake.sigev_notify_thread_id = gettid();
#else
  wake._sigev_un._tid = gettid();
#endif
  has_timer_ = timer_create(CLOCK_MONOTONIC, &wake, &timer_) == 0;
  const itimerspec again = {.it_interval = kMillisecond, .it_value = kMillisecond};
  if (has_timer_) timer_settime(timer_, 0, &again, nullptr);
}

WokenAgainAndAgain::~WokenAgainAndAgain() {
  if (has_timer_) timer_delete(timer_);
}

}  // namespace dxg
