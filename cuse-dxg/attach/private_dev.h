#pragma once

#include <string>

#include "base/status.h"
#include "base/unique_fd.h"

namespace dxg::attach {

struct PrivateDev {
  UniqueFd fuse;           // the /dev/fuse descriptor of the mount
  bool in_chroot = false;  // "/" is no mount point: what is mounted cannot be moved (private_mounts.h)
};

// Gives the calling process (which must have one thread) a /dev of its own, in a mount namespace of its own:
// a tmpfs with every entry of the old /dev bound into it, and a `dxg` that is a FUSE file (see fuse_file.h).
// Nobody else sees it, and it is gone with the last process that lives in it.
//
// Root needs a mount namespace only; any other user gets a user namespace around it, with its own id mapped
// to itself. Whoever serves the descriptor has to be outside the user
// namespace, to keep the right to reach the memory of the processes inside; and every copy of it inside has
// to be closed, so that the mount dies with its server instead of making its clients wait forever.
//
// Differences that a program can see: the terminal it was started on is not in its /dev/pts (openpty works;
// ttyname of the old terminal does not), setuid programs do not raise privileges (not as root), and nodes
// that appear in the outer /dev later do not appear in this one.
Result<PrivateDev> EnterPrivateDev();

// The reason for `error` of unshare(CLONE_NEWUSER) or of what follows it, with the ways out.
std::string WhyNoUserNamespace(int error);

}  // namespace dxg::attach
