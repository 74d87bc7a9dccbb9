#pragma once

#include <memory>

#include "base/status.h"
#include "cuse-dxg/attach/attachment.h"
#include "cuse-dxg/attach/node_mode.h"

namespace dxg::attach {

class Session;

// A real character device /dev/dxg, made by the kernel's CUSE. Ioctls are unrestricted: every copy from and
// to the client is made by the device itself, so that it can refuse an unknown code before it looks at the
// pointer, and learns when its answer could not be stored.
Result<std::unique_ptr<Attachment>> AttachCuse(const NodeMode& mode = {});

// Whether /dev/cuse can be used, and if not, why and what to do. Changes nothing.
Status CheckCuse();

// The session behind it, over whatever connection: tests play the kernel.
Result<std::unique_ptr<Session>> CreateCuseSession();

}  // namespace dxg::attach
