#pragma once

#include <stdint.h>

// NTSTATUS values, as published in Microsoft's ntstatus.h. The host answers with them. The driver turns a
// negative one into an errno and returns a positive one to the client unchanged; the values are signed
// because that rule depends on the sign. The published names begin with STATUS_; the prefix keeps them apart
// from headers that have those. The table from status to errno is in cuse-dxg/guest/nt_status.cc.

enum dxg_ntstatus {
  // The 17 values that the driver itself names.
  DXG_STATUS_SUCCESS = 0x00000000,
  DXG_STATUS_TIMEOUT = 0x00000102,
  DXG_STATUS_PENDING = 0x00000103,  // Accepted; a paging fence says when it is done.
  DXG_STATUS_NOT_IMPLEMENTED = (int32_t)0xC0000002,
  DXG_STATUS_INVALID_HANDLE = (int32_t)0xC0000008,
  DXG_STATUS_INVALID_PARAMETER = (int32_t)0xC000000D,
  DXG_STATUS_NO_MEMORY = (int32_t)0xC0000017,
  DXG_STATUS_ILLEGAL_INSTRUCTION = (int32_t)0xC000001D,
  DXG_STATUS_ACCESS_DENIED = (int32_t)0xC0000022,
  DXG_STATUS_BUFFER_TOO_SMALL = (int32_t)0xC0000023,
  DXG_STATUS_OBJECT_TYPE_MISMATCH = (int32_t)0xC0000024,
  DXG_STATUS_OBJECT_NAME_INVALID = (int32_t)0xC0000033,
  DXG_STATUS_OBJECT_NAME_NOT_FOUND = (int32_t)0xC0000034,
  DXG_STATUS_OBJECT_NAME_COLLISION = (int32_t)0xC0000035,
  DXG_STATUS_NOT_SUPPORTED = (int32_t)0xC00000BB,
  DXG_STATUS_DEVICE_REMOVED = (int32_t)0xC00002B6,
  DXG_STATUS_GRAPHICS_ALLOCATION_BUSY = (int32_t)0xC01E0102,

  // Other values with which a host answers. They are not in the driver's table, so a client sees EINVAL.
  DXG_STATUS_UNSUCCESSFUL = (int32_t)0xC0000001,
  DXG_STATUS_PRIVILEGE_NOT_HELD = (int32_t)0xC0000061,
  DXG_STATUS_INTEGER_OVERFLOW = (int32_t)0xC0000095,
  DXG_STATUS_PRIVILEGED_INSTRUCTION = (int32_t)0xC0000096,
  DXG_STATUS_INSUFFICIENT_RESOURCES = (int32_t)0xC000009A,
  DXG_STATUS_INTERNAL_ERROR = (int32_t)0xC00000E5,
  DXG_STATUS_GRAPHICS_NO_VIDEO_MEMORY = (int32_t)0xC01E0100,
  DXG_STATUS_GRAPHICS_TOO_MANY_REFERENCES = (int32_t)0xC01E0103,
  DXG_STATUS_GRAPHICS_ALLOCATION_CLOSED = (int32_t)0xC01E0112,
  DXG_STATUS_GRAPHICS_INVALID_ALLOCATION_INSTANCE = (int32_t)0xC01E0113,
  DXG_STATUS_GRAPHICS_INVALID_ALLOCATION_HANDLE = (int32_t)0xC01E0114,
  DXG_STATUS_GRAPHICS_WRONG_ALLOCATION_DEVICE = (int32_t)0xC01E0115,
  DXG_STATUS_GRAPHICS_ALLOCATION_CONTENT_LOST = (int32_t)0xC01E0116,
  DXG_STATUS_GRAPHICS_GPU_EXCEPTION_ON_DEVICE = (int32_t)0xC01E0200,
};

#ifdef __cplusplus
namespace dxg {

constexpr int32_t kStatusSuccess = DXG_STATUS_SUCCESS;
constexpr int32_t kStatusTimeout = DXG_STATUS_TIMEOUT;
constexpr int32_t kStatusPending = DXG_STATUS_PENDING;
constexpr int32_t kStatusNotImplemented = DXG_STATUS_NOT_IMPLEMENTED;
constexpr int32_t kStatusInvalidHandle = DXG_STATUS_INVALID_HANDLE;
constexpr int32_t kStatusInvalidParameter = DXG_STATUS_INVALID_PARAMETER;
constexpr int32_t kStatusNoMemory = DXG_STATUS_NO_MEMORY;
constexpr int32_t kStatusIllegalInstruction = DXG_STATUS_ILLEGAL_INSTRUCTION;
constexpr int32_t kStatusAccessDenied = DXG_STATUS_ACCESS_DENIED;
constexpr int32_t kStatusBufferTooSmall = DXG_STATUS_BUFFER_TOO_SMALL;
constexpr int32_t kStatusObjectTypeMismatch = DXG_STATUS_OBJECT_TYPE_MISMATCH;
constexpr int32_t kStatusObjectNameInvalid = DXG_STATUS_OBJECT_NAME_INVALID;
constexpr int32_t kStatusObjectNameNotFound = DXG_STATUS_OBJECT_NAME_NOT_FOUND;
constexpr int32_t kStatusObjectNameCollision = DXG_STATUS_OBJECT_NAME_COLLISION;
constexpr int32_t kStatusNotSupported = DXG_STATUS_NOT_SUPPORTED;
constexpr int32_t kStatusDeviceRemoved = DXG_STATUS_DEVICE_REMOVED;
constexpr int32_t kStatusGraphicsAllocationBusy = DXG_STATUS_GRAPHICS_ALLOCATION_BUSY;
constexpr int32_t kStatusUnsuccessful = DXG_STATUS_UNSUCCESSFUL;
constexpr int32_t kStatusPrivilegeNotHeld = DXG_STATUS_PRIVILEGE_NOT_HELD;
constexpr int32_t kStatusIntegerOverflow = DXG_STATUS_INTEGER_OVERFLOW;
constexpr int32_t kStatusPrivilegedInstruction = DXG_STATUS_PRIVILEGED_INSTRUCTION;
constexpr int32_t kStatusInsufficientResources = DXG_STATUS_INSUFFICIENT_RESOURCES;
constexpr int32_t kStatusInternalError = DXG_STATUS_INTERNAL_ERROR;
constexpr int32_t kStatusGraphicsNoVideoMemory = DXG_STATUS_GRAPHICS_NO_VIDEO_MEMORY;
constexpr int32_t kStatusGraphicsTooManyReferences = DXG_STATUS_GRAPHICS_TOO_MANY_REFERENCES;
constexpr int32_t kStatusGraphicsAllocationClosed = DXG_STATUS_GRAPHICS_ALLOCATION_CLOSED;
constexpr int32_t kStatusGraphicsInvalidAllocationInstance = DXG_STATUS_GRAPHICS_INVALID_ALLOCATION_INSTANCE;
constexpr int32_t kStatusGraphicsInvalidAllocationHandle = DXG_STATUS_GRAPHICS_INVALID_ALLOCATION_HANDLE;
constexpr int32_t kStatusGraphicsWrongAllocationDevice = DXG_STATUS_GRAPHICS_WRONG_ALLOCATION_DEVICE;
constexpr int32_t kStatusGraphicsAllocationContentLost = DXG_STATUS_GRAPHICS_ALLOCATION_CONTENT_LOST;
constexpr int32_t kStatusGraphicsGpuExceptionOnDevice = DXG_STATUS_GRAPHICS_GPU_EXCEPTION_ON_DEVICE;

}  // namespace dxg
#endif
