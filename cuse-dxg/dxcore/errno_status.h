#pragma once

#include <errno.h>
#include <stdint.h>

#include "proto/abi/ntstatus.h"

// The NTSTATUS that a thunk of /dev/dxg makes of an errno, as microsoft/libdxg does. It is not the reverse of
// the driver's table from status to errno: several statuses have one errno (docs/wsl-libraries.md).

// X(errno, status) for each; every other errno is STATUS_UNSUCCESSFUL.
#define DXG_FOR_EACH_ERRNO_STATUS(X)             \
  X(EPERM, DXG_STATUS_NOT_SUPPORTED)             \
  X(ENOENT, DXG_STATUS_OBJECT_NAME_INVALID)      \
  X(EBADF, DXG_STATUS_INVALID_HANDLE)            \
  X(EAGAIN, DXG_STATUS_TIMEOUT)                  \
  X(ENOMEM, DXG_STATUS_NO_MEMORY)                \
  X(EACCES, DXG_STATUS_ACCESS_DENIED)            \
  X(EEXIST, DXG_STATUS_OBJECT_NAME_COLLISION)    \
  X(ENODEV, DXG_STATUS_DEVICE_REMOVED)           \
  X(EINVAL, DXG_STATUS_INVALID_PARAMETER)        \
  X(ENOSYS, DXG_STATUS_NOT_SUPPORTED)            \
  X(EOVERFLOW, DXG_STATUS_BUFFER_TOO_SMALL)      \
  X(EPROTOTYPE, DXG_STATUS_OBJECT_TYPE_MISMATCH) \
  X(EOPNOTSUPP, DXG_STATUS_ILLEGAL_INSTRUCTION)  \
  X(EINPROGRESS, DXG_STATUS_GRAPHICS_ALLOCATION_BUSY)

namespace dxg::dxcore {

constexpr int32_t StatusOf(int error) {
  switch (error) {
#define DXG_CASE(number, status) \
  case number:                   \
    return status;
    DXG_FOR_EACH_ERRNO_STATUS(DXG_CASE)
#undef DXG_CASE
    default:
      return DXG_STATUS_UNSUCCESSFUL;
  }
}

}  // namespace dxg::dxcore
