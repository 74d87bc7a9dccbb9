#include "base/daemon.h"

#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "base/unix_socket.h"

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

// A node has a few dozen, and one more for each call that is held by a client's memory.
constexpr rlim_t kThreadsEnough = 512;

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
  (void)Raise(RLIMIT_NOFILE);  // even root cannot have them without a limit
  rlimit threads;
  if (Raise(RLIMIT_NPROC) || getrlimit(RLIMIT_NPROC, &threads) != 0 || threads.rlim_cur >= kThreadsEnough) {
    return;
  }
  spdlog::warn(
      "ulimit -Hu limits this user to {} processes and threads, and beyond that calls are refused (ENOMEM). "
      "{} are "
      "enough",
      threads.rlim_cur, kThreadsEnough);
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
  NotifyServiceManager("READY=1");
  if (fd < 0) return;
  if (write(fd, "\n", 1) != 1) spdlog::warn("cannot write to --ready-fd {}: {}", fd, std::strerror(errno));
  close(fd);
}

// The protocol of sd_notify(3): a datagram to a socket that the environment names.
void NotifyServiceManager(std::string_view state) {
  const char* const where = getenv("NOTIFY_SOCKET");
  if (where == nullptr) return;
  sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
  const size_t bytes = std::strlen(where);
  const bool fits = bytes > 1 && bytes < sizeof(address.sun_path) && (*where == '/' || *where == '@');
  if (!fits) return spdlog::warn("NOTIFY_SOCKET: expected the path of a socket, or @ and a name");
  std::memcpy(address.sun_path, where, bytes);
  if (*where == '@') address.sun_path[0] = '\0';  // a name without a file
  const UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + bytes);
  if (sendto(socket.get(), state.data(), state.size(), MSG_NOSIGNAL, AnyAddress(address), length) < 0)
    spdlog::warn("the service manager was not told {}: {}", state, std::strerror(errno));
}

}  // namespace dxg
