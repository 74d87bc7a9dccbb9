#include "base/daemon.h"

#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace dxg {

namespace {

struct Limit {
  int resource;
  const char* option;  // of the shell's ulimit
  const char* beyond;  // what happens there
};
constexpr Limit kLimits[] = {
    {RLIMIT_FSIZE, "f", "clients get no memory (ENOMEM)"},
    {RLIMIT_AS, "v", "clients get no memory (ENOMEM)"},
    {RLIMIT_DATA, "d", "this process ends"},
    {RLIMIT_CPU, "t", "the kernel kills this process"},
};

// To the hard limit. False: there is one.
bool Raise(int resource) {
  const rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
  if (setrlimit(resource, &none) == 0) return true;
  rlimit limit;
  if (getrlimit(resource, &limit) != 0) return true;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(resource, &limit);
  return limit.rlim_max == RLIM_INFINITY;
}

}  // namespace

void RaiseLimits() {
  signal(SIGXFSZ, SIG_IGN);
  for (const Limit& limit : kLimits) {
    if (Raise(limit.resource)) continue;
    spdlog::warn(
        "ulimit -H{} limits this process, and beyond that {}. Start it from a shell without that limit",
        limit.option, limit.beyond);
  }
  rlimit files;  // even root cannot have them without a limit
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
