#include "cuse-dxg/attach/library/peer.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "cuse-dxg/client/credentials.h"
#include "cuse-dxg/client/waiting.h"

namespace dxg::attach::library {
namespace {

// The kernel's, from the moment it connected; before Linux 6.5 of who has the number now.
Result<UniqueFd> DescriptorOf(const UniqueFd& socket, pid_t process) {
#ifndef SO_PEERPIDFD
  constexpr int SO_PEERPIDFD = 77;  // the headers may be older than the kernel
#endif
  int peer = -1;
  socklen_t bytes = sizeof(peer);
  if (getsockopt(socket.get(), SOL_SOCKET, SO_PEERPIDFD, &peer, &bytes) == 0) return UniqueFd(peer);
  if (errno == ENOPROTOOPT) {
    peer = static_cast<int>(syscall(SYS_pidfd_open, process, 0));
    if (peer >= 0) return UniqueFd(peer);
    if (errno == ENOSYS || errno == EPERM) return UniqueFd();
  }
  return Status::Refuse(errno, "who has connected cannot be told: {}", std::strerror(errno));
}

}  // namespace

Result<std::shared_ptr<Peer>> Peer::At(const UniqueFd& socket, const ucred& who) {
  auto peer = std::make_shared<Peer>();
  DXG_ASSIGN(peer->descriptor_, DescriptorOf(socket, who.pid));
  peer->process_ = who.pid;
  peer->user_ = client::NamespaceOwnerOf(who.pid).value_or(who.uid);
  peer->start_time_ = client::StartTimeOf(who.pid, who.pid);
  // What was looked up may be another process's, unless it is there still.
  if (peer->start_time_ != 0 && peer->IsThere()) return peer;
  return Status::Refuse(ESRCH, "process {} has connected and ended", who.pid);
}

bool Peer::IsThere() const {
  if (!descriptor_.valid()) return client::StartTimeOf(process_, process_) == start_time_;
  pollfd ended = {descriptor_.get(), POLLIN, 0};
  return poll(&ended, 1, 0) == 0;
}

// In this order: a process that is there afterwards was there before, with its number.
bool Peer::HasThread(pid_t tid) const {
  return (syscall(SYS_tgkill, process_, tid, 0) == 0 || errno == EPERM) && IsThere();
}

}  // namespace dxg::attach::library
