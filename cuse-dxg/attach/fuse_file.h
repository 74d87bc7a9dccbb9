#pragma once

#include <memory>
#include <string>

#include "base/status.h"
#include "cuse-dxg/attach/attachment.h"
#include "cuse-dxg/attach/node_mode.h"

namespace dxg::attach {

// A FUSE mount whose root is a regular file, mounted on a file: every ioctl on that file arrives here, so it
// serves where the kernel has no CUSE. Ioctls are restricted: the kernel copies the struct in and out by the
// size in the code. What a client can tell apart from the device: fstat says regular file, epoll accepts it,
// and mmap of it privately is not refused.
//
// `where` is a path, which is made when missing, and removed at the end when it was made here. As root every
// user can open it; else only the user that mounted it. Where `mode` is not the driver's, the kernel holds
// it.
Result<std::unique_ptr<Attachment>> AttachFuseFile(const std::string& where, const NodeMode& mode = {});

// Whether /dev/fuse can be used, and if not, why and what to do. Changes nothing.
Status CheckFuse();

// The session behind it, over whatever connection: a mount that somebody else has made, or a test.
Result<std::unique_ptr<Session>> CreateFuseFileSession(const NodeMode& mode = {});

}  // namespace dxg::attach
