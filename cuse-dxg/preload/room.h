#pragma once

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cuse-dxg/preload/protocol.h"

namespace dxg::preload {

// A program may have no number left for a descriptor of ours, while the driver needs none. So its soft limit
// is raised for the moment in which the descriptor is made or received.
class Room {
 public:
  // `any` is a descriptor that is open.
  explicit Room(int any) {
    const int spare = fcntl(any, F_DUPFD_CLOEXEC, 0);
    if (spare >= 0) syscall(SYS_close, spare);  // no point of cancellation
    if (spare >= 0 || errno != EMFILE) return;
    Make();
  }
  // Where it is known that there is none left.
  Room() { Make(); }
  ~Room() {
    rlimit now;
    if (made_ && getrlimit(RLIMIT_NOFILE, &now) == 0 && now.rlim_cur == raised_.rlim_cur)
      setrlimit(RLIMIT_NOFILE, &before_);
  }
  Room(const Room&) = delete;
  Room& operator=(const Room&) = delete;
  // Whether it has a number that the program could not have.
  bool Has(int file) const { return made_ && file >= 0 && static_cast<rlim_t>(file) >= before_.rlim_cur; }

 private:
  void Make() {
    if (getrlimit(RLIMIT_NOFILE, &before_) != 0) return;
    raised_ = before_;
    raised_.rlim_cur = before_.rlim_cur + kDescriptorRoom < before_.rlim_max
                           ? before_.rlim_cur + kDescriptorRoom
                           : before_.rlim_max;
    made_ = setrlimit(RLIMIT_NOFILE, &raised_) == 0;
  }

  rlimit before_, raised_;
  bool made_ = false;
};

}  // namespace dxg::preload
