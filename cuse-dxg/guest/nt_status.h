#pragma once

#include <cstdint>

#include "base/status.h"

namespace dxg::guest {

// What the ioctl returns for a status of the host: a failure becomes its errno (EINVAL where the driver knows
// none), success and other positive values are returned as they are.
Status FromNtStatus(int32_t nt_status, const char* command);

}  // namespace dxg::guest
