#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <cstdint>
#include <memory>

#include "base/status.h"
#include "base/unique_fd.h"

namespace dxg::attach::library {

// A process that has connected, told apart from one that has its number later: a socket outlives who has
// connected it, and a call its thread.
class Peer {
 public:
  // Who is at the other end. Refused where there is no such process any more, or no descriptor for it here.
  static Result<std::shared_ptr<Peer>> At(const UniqueFd& socket, const ucred& who);

  pid_t process() const { return process_; }
  // Whom what it costs counts for: the owner of its user namespace, or its user.
  uid_t user() const { return user_; }
  uint64_t start_time() const { return start_time_; }

  // Whether the number is still its own. A process of which no thread runs has ended.
  bool IsThere() const;
  // Whether that thread is one of it, now.
  bool HasThread(pid_t tid) const;

  // Of it; the session's mutex guards them.
  size_t connections = 0, files = 0, rings = 0;

 private:
  pid_t process_ = 0;
  uid_t user_ = 0;
  uint64_t start_time_ = 0;  // clock ticks since boot
  UniqueFd descriptor_;      // a pidfd; not valid before Linux 5.3
};

}  // namespace dxg::attach::library
