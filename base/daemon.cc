#include "base/daemon.h"

#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace dxg {

void RaiseFileLimit() {
  rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
}

Result<UniqueFd> TakeStopSignals() {
  sigset_t stop;
  sigemptyset(&stop);
  for (int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&stop, signal);
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  UniqueFd signals(signalfd(-1, &stop, SFD_CLOEXEC));
  if (!signals.valid()) return Status::Refuse(errno, "no signalfd: {}", std::strerror(errno));
  return signals;
}

void ReportReady(int fd) {
  if (fd < 0) return;
  if (write(fd, "\n", 1) != 1) spdlog::warn("cannot write to --ready-fd {}: {}", fd, std::strerror(errno));
  close(fd);
}

}  // namespace dxg
