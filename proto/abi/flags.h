#pragma once

// The bits of flag words, as numbers. The structs of d3dkmthk.h have them as bit-fields, which no constant
// expression can read; a test compares the two (tests/contract/published_test.cc). Bits without a name in the
// published structs are marked; their numbers are those of Microsoft's d3dukmdt.h.

// struct d3dddi_createcontextflags
enum dxg_create_context_flags {
  DXG_CONTEXT_NULL_RENDERING = 1 << 0,
  DXG_CONTEXT_INITIAL_DATA = 1 << 1,
  DXG_CONTEXT_DISABLE_GPU_TIMEOUT = 1 << 2,
  DXG_CONTEXT_SYNCHRONIZATION_ONLY = 1 << 3,
  DXG_CONTEXT_HW_QUEUE_SUPPORTED = 1 << 4,
  DXG_CONTEXT_NO_KMD_ACCESS = 1 << 5,  // not in the published struct
};

// struct d3dkmt_createallocationflags
enum dxg_create_allocation_flags {
  DXG_ALLOCATION_CREATE_RESOURCE = 1 << 0,
  DXG_ALLOCATION_CREATE_SHARED = 1 << 1,
  DXG_ALLOCATION_NON_SECURE = 1 << 2,
  DXG_ALLOCATION_RESTRICT_SHARED_ACCESS = 1 << 4,
  DXG_ALLOCATION_EXISTING_SYSMEM = 1 << 5,
  DXG_ALLOCATION_NT_SECURITY_SHARING = 1 << 6,
  DXG_ALLOCATION_READ_ONLY = 1 << 7,
  DXG_ALLOCATION_SWAP_CHAIN_BACK_BUFFER = 1 << 10,
  DXG_ALLOCATION_CROSS_ADAPTER = 1 << 11,
  DXG_ALLOCATION_PARTIAL_SHARED_CREATION = 1 << 13,
  DXG_ALLOCATION_ZEROED = 1 << 14,
  DXG_ALLOCATION_WRITE_WATCH = 1 << 15,
  DXG_ALLOCATION_STANDARD = 1 << 16,
  DXG_ALLOCATION_ALLOW_NOT_ZEROED = 1 << 18,       // not in the published struct
  DXG_ALLOCATION_PHYSICALLY_CONTIGUOUS = 1 << 19,  // not in the published struct
  DXG_ALLOCATION_NO_KMD_ACCESS = 1 << 20,          // not in the published struct
  DXG_ALLOCATION_SHARED_DISPLAYABLE = 1 << 21,     // not in the published struct
};

// struct d3dddicb_destroyallocation2flags
enum dxg_destroy_allocation_flags {
  DXG_DESTROY_ASSUME_NOT_IN_USE = 1 << 0,
  DXG_DESTROY_SYNCHRONOUS = 1 << 1,
};

// struct d3dddi_synchronizationobject_flags
enum dxg_sync_object_flags {
  DXG_SYNC_SHARED = 1 << 0,
  DXG_SYNC_NT_SECURITY_SHARING = 1 << 1,
  DXG_SYNC_CROSS_ADAPTER = 1 << 2,
  DXG_SYNC_TOP_OF_PIPELINE = 1 << 3,
  DXG_SYNC_NO_SIGNAL = 1 << 4,
  DXG_SYNC_NO_WAIT = 1 << 5,
  DXG_SYNC_NO_SIGNAL_MAX_VALUE_ON_TDR = 1 << 6,
  DXG_SYNC_NO_GPU_ACCESS = 1 << 7,
  DXG_SYNC_SIGNAL_BY_KMD = 1 << 8,                        // not in the published struct
  DXG_SYNC_UNWAIT_CPU_WAITERS_ONLY_ON_DESTROY = 1 << 10,  // not in the published struct
};

// struct d3dddicb_signalflags
enum dxg_signal_flags {
  DXG_SIGNAL_AT_SUBMISSION = 1 << 0,
  DXG_SIGNAL_ENQUEUE_CPU_EVENT = 1 << 1,
  DXG_SIGNAL_ALLOW_FENCE_REWIND = 1 << 2,
};

// struct d3dkmt_submitcommandflags
enum dxg_submit_flags {
  DXG_SUBMIT_NULL_RENDERING = 1 << 0,
  DXG_SUBMIT_PRESENT_REDIRECTED = 1 << 1,
};

// struct d3dddi_escapeflags
enum dxg_escape_flags {
  DXG_ESCAPE_HARDWARE_ACCESS = 1 << 0,
  DXG_ESCAPE_DEVICE_STATUS_QUERY = 1 << 1,
  DXG_ESCAPE_CHANGE_FRAME_LATENCY = 1 << 2,
  DXG_ESCAPE_NO_ADAPTER_SYNCHRONIZATION = 1 << 3,
  DXG_ESCAPE_DRIVER_KNOWN = 1 << 6,
  DXG_ESCAPE_DRIVER_COMMON = 1 << 7,
};
