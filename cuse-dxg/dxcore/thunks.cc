// The functions D3DKMT... of libdxcore.so. A call's function takes the struct of its ioctl
// (proto/abi/d3dkmthk.h), which has the layout of the struct in Windows' headers, member for member.
#include <stddef.h>
#include <string.h>

#include "cuse-dxg/dxcore/export.h"
#include "cuse-dxg/dxcore/node.h"
#include "cuse-dxg/dxcore/query_adapter_info.h"
#include "cuse-dxg/dxcore/unserved_functions.h"
#include "proto/abi/d3dkmthk.h"
#include "proto/abi/ntstatus.h"
#include "proto/contract/thunks.gen.h"

using dxg::dxcore::Call;
using dxg::dxcore::CallFirst;

namespace {

// The older forms of four calls, as Windows' headers have them.
struct CreateSynchronizationObjectArgs {
  uint32_t device;
  uint32_t type;  // enum d3dddi_synchronizationobject_type
  union {
    uint32_t initial_state;  // of a mutex
    struct {
      uint32_t max_count;
      uint32_t initial_count;
    } semaphore;
    uint32_t reserved[16];
  };
  uint32_t sync_object;
};
static_assert(sizeof(CreateSynchronizationObjectArgs) == 76);

struct SyncObjectListArgs {
  uint32_t context;
  uint32_t object_count;
  uint32_t objects[D3DDDI_MAX_OBJECT_WAITED_ON];
  uint32_t flags;  // of a signal; a wait's struct ends before it
};
static_assert(offsetof(SyncObjectListArgs, flags) == 136);
static_assert(D3DDDI_MAX_OBJECT_SIGNALED == D3DDDI_MAX_OBJECT_WAITED_ON);

struct DestroyAllocationArgs {
  uint32_t device;
  uint32_t resource;
  uint64_t allocations;
  uint32_t alloc_count;
};

// As many handles as fit; the driver refuses the count if that is larger.
template <class Args>
void CopyObjects(const SyncObjectListArgs& from, Args* to) {
  to->context.v = from.context;
  to->object_count = from.object_count;
  static_assert(sizeof(to->object_array) == sizeof(from.objects));
  memcpy(to->object_array, from.objects, sizeof(from.objects));
}

}  // namespace

#define DXG_THUNK(name, code, begins) \
  DXG_EXPORT int32_t D3DKMT##name(void* args) { return begins ? CallFirst(code, args) : Call(code, args); }
DXG_FOR_EACH_THUNK(DXG_THUNK)
#undef DXG_THUNK

#define DXG_THUNK(name, code) \
  DXG_EXPORT int32_t D3DKMT##name(void* args) { return Call(code, args); }
DXG_FOR_EACH_LEGACY_THUNK(DXG_THUNK)
#undef DXG_THUNK

#define DXG_THUNK(name) \
  DXG_EXPORT int32_t D3DKMT##name() { return DXG_STATUS_NOT_SUPPORTED; }
DXG_FOR_EACH_UNSERVED_FUNCTION(DXG_THUNK)
#undef DXG_THUNK

DXG_EXPORT int32_t D3DKMTQueryAdapterInfo(void* args) {
  return dxg::dxcore::QueryAdapterInfo(static_cast<d3dkmt_queryadapterinfo*>(args));
}

DXG_EXPORT int32_t D3DKMTShareObjects(uint32_t count, const d3dkmthandle* objects, const void* attributes,
                                      // NOLINTNEXTLINE(readability-non-const-parameter): the driver writes
                                      uint32_t desired_access, uint64_t* shared_handle) {
  d3dkmt_shareobjects args = {};
  args.object_count = count;
  args.objects = reinterpret_cast<uintptr_t>(objects);  // Safety: the interface's way to pass an address
  args.object_attr = reinterpret_cast<uintptr_t>(attributes);
  args.desired_access = desired_access;
  args.shared_handle = reinterpret_cast<uintptr_t>(shared_handle);
  return Call(LX_DXSHAREOBJECTS, &args);
}

DXG_EXPORT int32_t D3DKMTDestroyAllocation(const DestroyAllocationArgs* from) {
  if (!from) return DXG_STATUS_INVALID_PARAMETER;
  d3dkmt_destroyallocation2 args = {};
  args.device.v = from->device;
  args.resource.v = from->resource;
  args.allocations = from->allocations;
  args.alloc_count = from->alloc_count;
  return Call(LX_DXDESTROYALLOCATION2, &args);
}

// The older form knows mutexes and semaphores.
DXG_EXPORT int32_t D3DKMTCreateSynchronizationObject(CreateSynchronizationObjectArgs* from) {
  if (!from) return DXG_STATUS_INVALID_PARAMETER;
  d3dkmt_createsynchronizationobject2 args = {};
  args.device.v = from->device;
  args.info.type = from->type;
  switch (from->type) {
    case _D3DDDI_SYNCHRONIZATION_MUTEX:
      args.info.synchronization_mutex.initial_state = from->initial_state;
      break;
    case _D3DDDI_SEMAPHORE:
      args.info.semaphore.max_count = from->semaphore.max_count;
      args.info.semaphore.initial_count = from->semaphore.initial_count;
      break;
    default:
      return DXG_STATUS_INVALID_PARAMETER;
  }
  const int32_t status = Call(LX_DXCREATESYNCHRONIZATIONOBJECT, &args);
  if (status >= 0) from->sync_object = args.sync_object.v;
  return status;
}

DXG_EXPORT int32_t D3DKMTWaitForSynchronizationObject(const SyncObjectListArgs* from) {
  if (!from) return DXG_STATUS_INVALID_PARAMETER;
  d3dkmt_waitforsynchronizationobject2 args = {};
  CopyObjects(*from, &args);
  return Call(LX_DXWAITFORSYNCHRONIZATIONOBJECT, &args);
}

DXG_EXPORT int32_t D3DKMTSignalSynchronizationObject(const SyncObjectListArgs* from) {
  if (!from) return DXG_STATUS_INVALID_PARAMETER;
  d3dkmt_signalsynchronizationobject2 args = {};
  CopyObjects(*from, &args);
  memcpy(&args.flags, &from->flags, sizeof(args.flags));
  return Call(LX_DXSIGNALSYNCHRONIZATIONOBJECT, &args);
}

// A hint for measurements, without an effect in WSL either.
DXG_EXPORT int32_t D3DKMTSetStablePowerState() { return DXG_STATUS_SUCCESS; }

DXG_EXPORT void D3DKMTCloseDxCoreDevice() { dxg::dxcore::CloseNode(); }

namespace {
__attribute__((destructor)) void Unload() { dxg::dxcore::CloseNode(); }
}  // namespace
