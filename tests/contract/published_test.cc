// Facts that have to stand twice, because a published header or a .proto file cannot take them from the other
// place: the two are compared here.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>

#include "proto/abi/d3dkmthk.h"
#include "proto/abi/flags.h"
#include "proto/abi/interface.h"
#include "proto/contract/numbers.gen.h"
#include "proto/dxg/host.pb.h"
#include "proto/dxg/options.pb.h"

namespace dxg {
namespace {

// The rows of the contract, and the counts that the published header has names for.
static_assert(limits::kCreateAllocationAllocationInfoMax == D3DKMT_CREATEALLOCATION_MAX);
static_assert(limits::kDestroyAllocation2AllocationsMax == D3DKMT_CREATEALLOCATION_MAX);
static_assert(limits::kOpenResourceFromNtHandleOpenAllocInfoMax == D3DKMT_CREATEALLOCATION_MAX);
static_assert(limits::kMakeResidentAllocationsMax == D3DKMT_MAKERESIDENT_ALLOC_MAX);
static_assert(limits::kEvictAllocationsMax == D3DKMT_MAKERESIDENT_ALLOC_MAX);
static_assert(limits::kOfferAllocationsAllocationsMax == D3DKMT_MAKERESIDENT_ALLOC_MAX);
static_assert(limits::kReclaimAllocations2AllocationsMax == D3DKMT_MAKERESIDENT_ALLOC_MAX);
static_assert(limits::kEnumAdapters2AdaptersMax == D3DKMT_ADAPTERS_MAX);
static_assert(limits::kSignalSynchronizationObjectFromCpuObjectsMax == D3DDDI_MAX_OBJECT_SIGNALED);
static_assert(limits::kSubmitSignalSyncObjectsToHwQueueObjectsMax == D3DDDI_MAX_OBJECT_SIGNALED);
static_assert(limits::kSubmitSignalSyncObjectsToHwQueueHwqueuesMax == D3DDDI_MAX_BROADCAST_CONTEXT);
static_assert(limits::kSubmitWaitForSyncObjectsToHwQueueObjectsMax == D3DDDI_MAX_OBJECT_WAITED_ON);
static_assert(limits::kCreateContextVirtualPrivDrvDataMax == kMessageBytesMax);
static_assert(limits::kCreateAllocationPrivDrvDataMax == kMessageBytesMax - 1);

TEST(Published, TheNameOfAProcessIsAsLongAsTheCommandsField) {
  const auto* field = host::CreateProcess::Request::descriptor()->FindFieldByName("process_name");
  EXPECT_EQ(field->options().GetExtension(wire).bytes(), kProcessNameBytes);
}

// The word of a struct of bit-fields in which one is set.
template <class Flags, class Set>
uint32_t Word(Set set) {
  static_assert(sizeof(Flags) == sizeof(uint32_t));
  Flags flags = {};
  set(flags);
  uint32_t word = 0;
  std::memcpy(&word, &flags, sizeof(word));
  return word;
}

#define EXPECT_FLAG(flag, type, member) \
  EXPECT_EQ(static_cast<uint32_t>(flag), Word<struct type>([](auto& flags) { flags.member = 1; })) << #flag

TEST(Published, FlagsAreTheBitFieldsOfTheirStructs) {
  EXPECT_FLAG(DXG_CONTEXT_NULL_RENDERING, d3dddi_createcontextflags, null_rendering);
  EXPECT_FLAG(DXG_CONTEXT_INITIAL_DATA, d3dddi_createcontextflags, initial_data);
  EXPECT_FLAG(DXG_CONTEXT_DISABLE_GPU_TIMEOUT, d3dddi_createcontextflags, disable_gpu_timeout);
  EXPECT_FLAG(DXG_CONTEXT_SYNCHRONIZATION_ONLY, d3dddi_createcontextflags, synchronization_only);
  EXPECT_FLAG(DXG_CONTEXT_HW_QUEUE_SUPPORTED, d3dddi_createcontextflags, hw_queue_supported);

  EXPECT_FLAG(DXG_ALLOCATION_CREATE_RESOURCE, d3dkmt_createallocationflags, create_resource);
  EXPECT_FLAG(DXG_ALLOCATION_CREATE_SHARED, d3dkmt_createallocationflags, create_shared);
  EXPECT_FLAG(DXG_ALLOCATION_EXISTING_SYSMEM, d3dkmt_createallocationflags, existing_sysmem);
  EXPECT_FLAG(DXG_ALLOCATION_NT_SECURITY_SHARING, d3dkmt_createallocationflags, nt_security_sharing);
  EXPECT_FLAG(DXG_ALLOCATION_READ_ONLY, d3dkmt_createallocationflags, read_only);
  EXPECT_FLAG(DXG_ALLOCATION_STANDARD, d3dkmt_createallocationflags, standard_allocation);
  EXPECT_FLAG(DXG_ALLOCATION_NON_SECURE, d3dkmt_createallocationflags, non_secure);
  EXPECT_FLAG(DXG_ALLOCATION_RESTRICT_SHARED_ACCESS, d3dkmt_createallocationflags, restrict_shared_access);
  EXPECT_FLAG(DXG_ALLOCATION_SWAP_CHAIN_BACK_BUFFER, d3dkmt_createallocationflags, swap_chain_back_buffer);
  EXPECT_FLAG(DXG_ALLOCATION_CROSS_ADAPTER, d3dkmt_createallocationflags, cross_adapter);
  EXPECT_FLAG(DXG_ALLOCATION_PARTIAL_SHARED_CREATION, d3dkmt_createallocationflags, partial_shared_creation);
  EXPECT_FLAG(DXG_ALLOCATION_ZEROED, d3dkmt_createallocationflags, zeroed);
  EXPECT_FLAG(DXG_ALLOCATION_WRITE_WATCH, d3dkmt_createallocationflags, write_watch);

  EXPECT_FLAG(DXG_DESTROY_ASSUME_NOT_IN_USE, d3dddicb_destroyallocation2flags, assume_not_in_use);
  EXPECT_FLAG(DXG_DESTROY_SYNCHRONOUS, d3dddicb_destroyallocation2flags, synchronous_destroy);

  EXPECT_FLAG(DXG_SYNC_SHARED, d3dddi_synchronizationobject_flags, shared);
  EXPECT_FLAG(DXG_SYNC_NT_SECURITY_SHARING, d3dddi_synchronizationobject_flags, nt_security_sharing);
  EXPECT_FLAG(DXG_SYNC_CROSS_ADAPTER, d3dddi_synchronizationobject_flags, cross_adapter);
  EXPECT_FLAG(DXG_SYNC_TOP_OF_PIPELINE, d3dddi_synchronizationobject_flags, top_of_pipeline);
  EXPECT_FLAG(DXG_SYNC_NO_SIGNAL, d3dddi_synchronizationobject_flags, no_signal);
  EXPECT_FLAG(DXG_SYNC_NO_WAIT, d3dddi_synchronizationobject_flags, no_wait);
  EXPECT_FLAG(DXG_SYNC_NO_SIGNAL_MAX_VALUE_ON_TDR, d3dddi_synchronizationobject_flags,
              no_signal_max_value_on_tdr);
  EXPECT_FLAG(DXG_SYNC_NO_GPU_ACCESS, d3dddi_synchronizationobject_flags, no_gpu_access);

  EXPECT_FLAG(DXG_SIGNAL_AT_SUBMISSION, d3dddicb_signalflags, signal_at_submission);
  EXPECT_FLAG(DXG_SIGNAL_ENQUEUE_CPU_EVENT, d3dddicb_signalflags, enqueue_cpu_event);
  EXPECT_FLAG(DXG_SIGNAL_ALLOW_FENCE_REWIND, d3dddicb_signalflags, allow_fence_rewind);

  EXPECT_FLAG(DXG_SUBMIT_NULL_RENDERING, d3dkmt_submitcommandflags, null_rendering);
  EXPECT_FLAG(DXG_SUBMIT_PRESENT_REDIRECTED, d3dkmt_submitcommandflags, present_redirected);

  EXPECT_FLAG(DXG_ESCAPE_HARDWARE_ACCESS, d3dddi_escapeflags, hardware_access);
  EXPECT_FLAG(DXG_ESCAPE_DEVICE_STATUS_QUERY, d3dddi_escapeflags, device_status_query);
  EXPECT_FLAG(DXG_ESCAPE_CHANGE_FRAME_LATENCY, d3dddi_escapeflags, change_frame_latency);
  EXPECT_FLAG(DXG_ESCAPE_NO_ADAPTER_SYNCHRONIZATION, d3dddi_escapeflags, no_adapter_synchronization);
  EXPECT_FLAG(DXG_ESCAPE_DRIVER_KNOWN, d3dddi_escapeflags, driver_known_escape);
  EXPECT_FLAG(DXG_ESCAPE_DRIVER_COMMON, d3dddi_escapeflags, driver_common_escape);
}

// A handle is a struct in the published header as well.
TEST(Published, AHandleHasTheLayoutOfItsStruct) {
  d3dkmthandle handle = {};
  handle.index = kHandleIndexMask;
  EXPECT_EQ(handle.v, kHandleIndexMask << kHandleIndexShift);
  handle = {};
  handle.unique = 1;
  EXPECT_EQ(handle.v, 1u << kHandleUniqueShift);
}

}  // namespace
}  // namespace dxg
