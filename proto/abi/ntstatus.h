#pragma once

#include <cstdint>

// NTSTATUS values, as published in Microsoft's ntstatus.h. The host answers with them. The driver turns a
// negative one into an errno and returns a positive one to the client unchanged; the values are signed
// because that rule depends on the sign. The table from status to errno is in cuse-dxg/guest/nt_status.cc.

namespace dxg {

// The 17 values that the driver itself names.
inline constexpr int32_t kStatusSuccess = 0x00000000;
inline constexpr int32_t kStatusTimeout = 0x00000102;
inline constexpr int32_t kStatusPending = 0x00000103;  // Accepted; a paging fence says when it is done.
inline constexpr int32_t kStatusNotImplemented = static_cast<int32_t>(0xC0000002);
inline constexpr int32_t kStatusInvalidHandle = static_cast<int32_t>(0xC0000008);
inline constexpr int32_t kStatusInvalidParameter = static_cast<int32_t>(0xC000000D);
inline constexpr int32_t kStatusNoMemory = static_cast<int32_t>(0xC0000017);
inline constexpr int32_t kStatusIllegalInstruction = static_cast<int32_t>(0xC000001D);
inline constexpr int32_t kStatusAccessDenied = static_cast<int32_t>(0xC0000022);
inline constexpr int32_t kStatusBufferTooSmall = static_cast<int32_t>(0xC0000023);
inline constexpr int32_t kStatusObjectTypeMismatch = static_cast<int32_t>(0xC0000024);
inline constexpr int32_t kStatusObjectNameInvalid = static_cast<int32_t>(0xC0000033);
inline constexpr int32_t kStatusObjectNameNotFound = static_cast<int32_t>(0xC0000034);
inline constexpr int32_t kStatusObjectNameCollision = static_cast<int32_t>(0xC0000035);
inline constexpr int32_t kStatusNotSupported = static_cast<int32_t>(0xC00000BB);
inline constexpr int32_t kStatusDeviceRemoved = static_cast<int32_t>(0xC00002B6);
inline constexpr int32_t kStatusGraphicsAllocationBusy = static_cast<int32_t>(0xC01E0102);

// Other values with which a host answers. They are not in the driver's table, so a client sees EINVAL.
inline constexpr int32_t kStatusUnsuccessful = static_cast<int32_t>(0xC0000001);
inline constexpr int32_t kStatusPrivilegeNotHeld = static_cast<int32_t>(0xC0000061);
inline constexpr int32_t kStatusIntegerOverflow = static_cast<int32_t>(0xC0000095);
inline constexpr int32_t kStatusPrivilegedInstruction = static_cast<int32_t>(0xC0000096);
inline constexpr int32_t kStatusInternalError = static_cast<int32_t>(0xC00000E5);
inline constexpr int32_t kStatusGraphicsNoVideoMemory = static_cast<int32_t>(0xC01E0100);
inline constexpr int32_t kStatusGraphicsTooManyReferences = static_cast<int32_t>(0xC01E0103);
inline constexpr int32_t kStatusGraphicsAllocationClosed = static_cast<int32_t>(0xC01E0112);
inline constexpr int32_t kStatusGraphicsInvalidAllocationInstance = static_cast<int32_t>(0xC01E0113);
inline constexpr int32_t kStatusGraphicsInvalidAllocationHandle = static_cast<int32_t>(0xC01E0114);
inline constexpr int32_t kStatusGraphicsWrongAllocationDevice = static_cast<int32_t>(0xC01E0115);
inline constexpr int32_t kStatusGraphicsAllocationContentLost = static_cast<int32_t>(0xC01E0116);
inline constexpr int32_t kStatusGraphicsGpuExceptionOnDevice = static_cast<int32_t>(0xC01E0200);

}  // namespace dxg
