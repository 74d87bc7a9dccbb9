#include "cuse-dxg/guest/nt_status.h"

#include "proto/abi/ntstatus.h"

namespace dxg::guest {
namespace {

int ErrnoOf(int32_t nt_status) {
  switch (nt_status) {
    case kStatusObjectNameCollision:
      return EEXIST;
    case kStatusNoMemory:
      return ENOMEM;
    case kStatusInvalidParameter:
      return EINVAL;
    case kStatusObjectNameInvalid:
    case kStatusObjectNameNotFound:
      return ENOENT;
    case kStatusBufferTooSmall:
      return EOVERFLOW;
    case kStatusDeviceRemoved:
      return ENODEV;
    case kStatusAccessDenied:
      return EACCES;
    case kStatusNotSupported:
    case kStatusNotImplemented:
      return EPERM;
    case kStatusIllegalInstruction:
      return EOPNOTSUPP;
    case kStatusInvalidHandle:
      return EBADF;
    case kStatusGraphicsAllocationBusy:
      return EINPROGRESS;
    case kStatusObjectTypeMismatch:
      return EPROTOTYPE;
    default:
      return EINVAL;
  }
}

}  // namespace

Status FromNtStatus(int32_t nt_status, const char* command) {
  if (nt_status >= 0) return Status(nt_status);
  return Status::Refuse(ErrnoOf(nt_status), "the host refused {} with NTSTATUS {:#010x}", command,
                        static_cast<uint32_t>(nt_status));
}

}  // namespace dxg::guest
