#pragma once

// The published interface of /dev/dxg, as a client sees it: every argument structure, every number in it, and
// the 65 ioctl codes at the end. Names, sizes and offsets are those of the published header of driver
// module 2.0.3 on x86-64 Linux; tests/golden/abi.json holds them as data and tests/unit checks this file
// against it member by member.
//
// This is layout only. What a call does, and which value is refused, is beside its handler.
//
// Two things differ from the published text, and neither changes a byte. A pointer is a uint64_t with the
// type it points to in a comment: it belongs to another process, so nobody may follow it by accident. A
// member of enum type is a 32-bit integer: the client may put any number there, and an enum object must not
// hold a number outside its list.

#include <linux/ioctl.h>
#include <stdint.h>

// For -pedantic: unnamed structs are none of C++, 64-bit bit-fields and enumerators above INT_MAX are none of
// C. All compilers of Linux have them, with one layout.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"

// ---- Names of things ---------------------------------------------------------------------------------
// Every call names adapters, devices and all else with these.

// Locally unique id: the name of an adapter that outlives handles. OpenAdapterFromLuid, EnumAdapters2,
// EnumAdapters3.
struct winluid {
  uint32_t a;  // low half
  uint32_t b;  // high half
};

// Handle of any object: table index, a counter that tells a stale handle from its successor, and instance
// bits that lookup ignores. 0 is never an object.
struct d3dkmthandle {
  union {
    struct {
      uint32_t instance : 6;
      uint32_t index : 24;
      uint32_t unique : 2;
    };
    uint32_t v;
  };
};

// The parts of an NTSTATUS. No call carries one; values are in ntstatus.h.
struct ntstatus {
  union {
    struct {
      int32_t code : 16;
      int32_t facility : 13;
      int32_t customer : 1;
      int32_t severity : 2;
    };
    int32_t v;
  };
};

// A ratio. Only in d3dkmdt_sharedprimarysurfacedata.
struct d3dddi_rational {
  uint32_t numerator;
  uint32_t denominator;
};

// ---- Adapters ----------------------------------------------------------------------------------------

// The most entries that EnumAdapters2 may be given room for.
#define D3DKMT_ADAPTERS_MAX 64

// One adapter in the answer of EnumAdapters2 and EnumAdapters3; its handle is opened by the call.
struct d3dkmt_adapterinfo {
  struct d3dkmthandle adapter_handle;
  struct winluid adapter_luid;
  uint32_t num_sources;
  uint32_t present_move_regions_preferred;
};

// EnumAdapters2: list the adapters that are more than compute-only.
struct d3dkmt_enumadapters2 {
  uint32_t num_adapters;
  uint32_t reserved;
  uint64_t adapters;  // struct d3dkmt_adapterinfo *, 0 asks for the count
};

// EnumAdapters3: which adapters to list besides those of EnumAdapters2.
union d3dkmt_enumadapters_filter {
  struct {
    uint64_t include_compute_only : 1;
    uint64_t include_display_only : 1;
    uint64_t reserved : 62;
  };
  uint64_t value;
};

// EnumAdapters3: list adapters, with a filter.
struct d3dkmt_enumadapters3 {
  union d3dkmt_enumadapters_filter filter;
  uint32_t adapter_count;
  uint32_t reserved;
  uint64_t adapters;  // struct d3dkmt_adapterinfo *, 0 asks for the count
};

// OpenAdapterFromLuid: a handle for an adapter whose id is known.
struct d3dkmt_openadapterfromluid {
  struct winluid adapter_luid;
  struct d3dkmthandle adapter_handle;
};

// CloseAdapter: give an adapter handle back.
struct d3dkmt_closeadapter {
  struct d3dkmthandle adapter_handle;
};

// The queries of QueryAdapterInfo that the driver itself knows; it passes the others on (qaitype.h).
enum kmtqueryadapterinfotype {
  _KMTQAITYPE_UMDRIVERPRIVATE = 0,
  _KMTQAITYPE_ADAPTERTYPE = 15,
  _KMTQAITYPE_ADAPTERTYPE_RENDER = 57,
};

// QueryAdapterInfo: ask the adapter, or the GPU driver on the host, about itself.
struct d3dkmt_queryadapterinfo {
  struct d3dkmthandle adapter;
  uint32_t type;          // enum kmtqueryadapterinfotype and more, see qaitype.h
  uint64_t private_data;  // void *, its meaning depends on type; see qaitype.h
  uint32_t private_data_size;
};

// Answer to _KMTQAITYPE_ADAPTERTYPE and _KMTQAITYPE_ADAPTERTYPE_RENDER.
struct d3dkmt_adaptertype {
  union {
    struct {
      uint32_t render_supported : 1;
      uint32_t display_supported : 1;
      uint32_t software_device : 1;
      uint32_t post_device : 1;
      uint32_t hybrid_discrete : 1;
      uint32_t hybrid_integrated : 1;
      uint32_t indirect_display_device : 1;
      uint32_t paravirtualized : 1;
      uint32_t acg_supported : 1;
      uint32_t support_set_timings_from_vidpn : 1;
      uint32_t detachable : 1;
      uint32_t compute_only : 1;
      uint32_t prototype : 1;
      uint32_t reserved : 19;
    };
    uint32_t value;
  };
};

// Optional features that IsFeatureEnabled asks about.
enum dxgk_feature_id {
  _DXGK_FEATURE_HWSCH = 0,
  _DXGK_FEATURE_PAGE_BASED_MEMORY_MANAGER = 32,
  _DXGK_FEATURE_KERNEL_MODE_TESTING = 33,
  _DXGK_FEATURE_MAX = 34,
};

// IsFeatureEnabled: what the host knows of one feature.
struct dxgk_isfeatureenabled_result {
  uint16_t version;
  union {
    struct {
      uint16_t enabled : 1;
      uint16_t known_feature : 1;
      uint16_t supported_by_driver : 1;
      uint16_t supported_on_config : 1;
      uint16_t reserved : 12;
    };
    uint16_t value;
  };
};

// IsFeatureEnabled: is one optional feature on?
struct d3dkmt_isfeatureenabled {
  struct d3dkmthandle adapter;
  uint32_t feature_id;  // enum dxgk_feature_id
  struct dxgk_isfeatureenabled_result result;
};

// EnumProcesses: process ids that have the adapter open.
struct d3dkmt_enumprocesses {
  struct winluid adapter_luid;
  uint64_t buffer;        // uint32_t *, process ids
  uint64_t buffer_count;  // capacity in; only the low 32 bits come back
};

// QueryClockCalibration: where the GPU clock was read.
struct dxgk_gpuclockdata_flags {
  union {
    struct {
      uint32_t context_management_processor : 1;
      uint32_t reserved : 31;
    };
    uint32_t value;
  };
} __attribute__((packed));

// QueryClockCalibration: GPU and CPU clocks read together. Packed, hence 28 bytes.
struct dxgk_gpuclockdata {
  uint64_t gpu_frequency;
  uint64_t gpu_clock_counter;
  uint64_t cpu_clock_counter;
  struct dxgk_gpuclockdata_flags flags;
} __attribute__((packed));

// QueryClockCalibration: relate the GPU clock of one engine to the CPU clock. Packed: clock_data is at 12.
struct d3dkmt_queryclockcalibration {
  struct d3dkmthandle adapter;
  uint32_t node_ordinal;
  uint32_t physical_adapter_index;
  struct dxgk_gpuclockdata clock_data;
} __attribute__((packed));

// QueryStatistics: which counters.
enum d3dkmt_querystatistics_type {
  _D3DKMT_QUERYSTATISTICS_ADAPTER = 0,
  _D3DKMT_QUERYSTATISTICS_PROCESS = 1,
  _D3DKMT_QUERYSTATISTICS_PROCESS_ADAPTER = 2,
  _D3DKMT_QUERYSTATISTICS_SEGMENT = 3,
  _D3DKMT_QUERYSTATISTICS_PROCESS_SEGMENT = 4,
  _D3DKMT_QUERYSTATISTICS_NODE = 5,
  _D3DKMT_QUERYSTATISTICS_PROCESS_NODE = 6,
  _D3DKMT_QUERYSTATISTICS_VIDPNSOURCE = 7,
  _D3DKMT_QUERYSTATISTICS_PROCESS_VIDPNSOURCE = 8,
  _D3DKMT_QUERYSTATISTICS_PROCESS_SEGMENT_GROUP = 9,
  _D3DKMT_QUERYSTATISTICS_PHYSICAL_ADAPTER = 10,
};

// QueryStatistics: the counters, opaque at this level.
struct d3dkmt_querystatistics_result {
  char size[776];
};

// QueryStatistics: counters of an adapter, a process, a segment or an engine.
struct d3dkmt_querystatistics {
  union {
    struct {
      uint32_t type;  // enum d3dkmt_querystatistics_type
      struct winluid adapter_luid;
      uint64_t process;
      struct d3dkmt_querystatistics_result result;
    };
    char size[808];  // makes the whole 808 bytes, not 800
  };
};

// ---- Devices -----------------------------------------------------------------------------------------

// CreateDevice: kind of device.
struct d3dkmt_createdeviceflags {
  uint32_t legacy_mode : 1;
  uint32_t request_vSync : 1;
  uint32_t disable_gpu_timeout : 1;
  uint32_t gdi_device : 1;
  uint32_t reserved : 28;
};

// Entry of the allocation list of a device that submits the old way; no call takes one today.
struct d3dddi_allocationlist {
  struct d3dkmthandle allocation;
  union {
    struct {
      uint32_t write_operation : 1;
      uint32_t do_not_retire_instance : 1;
      uint32_t offer_priority : 3;
      uint32_t reserved : 27;
    };
    uint32_t value;
  };
};

// Entry of the patch list of a device that submits the old way; no call takes one today.
struct d3dddi_patchlocationlist {
  uint32_t allocation_index;
  union {
    struct {
      uint32_t slot_id : 24;
      uint32_t reserved : 8;
    };
    uint32_t value;
  };
  uint32_t driver_id;
  uint32_t allocation_offset;
  uint32_t patch_offset;
  uint32_t split_offset;
};

// CreateDevice: the object that owns contexts, allocations and queues. Lists and command buffer stay unused.
struct d3dkmt_createdevice {
  struct d3dkmthandle adapter;
  uint32_t reserved3;
  struct d3dkmt_createdeviceflags flags;
  struct d3dkmthandle device;
  uint64_t command_buffer;  // void *
  uint32_t command_buffer_size;
  uint32_t reserved;
  uint64_t allocation_list;  // struct d3dddi_allocationlist *
  uint32_t allocation_list_size;
  uint32_t reserved1;
  uint64_t patch_location_list;  // struct d3dddi_patchlocationlist *
  uint32_t patch_location_list_size;
  uint32_t reserved2;
};

// DestroyDevice: end a device and everything that it owns.
struct d3dkmt_destroydevice {
  struct d3dkmthandle device;
};

// GetDeviceState: which state.
enum d3dkmt_devicestate_type {
  _D3DKMT_DEVICESTATE_EXECUTION = 1,
  _D3DKMT_DEVICESTATE_PRESENT = 2,
  _D3DKMT_DEVICESTATE_RESET = 3,
  _D3DKMT_DEVICESTATE_PRESENT_DWM = 4,
  _D3DKMT_DEVICESTATE_PAGE_FAULT = 5,
  _D3DKMT_DEVICESTATE_PRESENT_QUEUE = 6,
};

// GetDeviceState: does the device still execute?
enum d3dkmt_deviceexecution_state {
  _D3DKMT_DEVICEEXECUTION_ACTIVE = 1,
  _D3DKMT_DEVICEEXECUTION_RESET = 2,
  _D3DKMT_DEVICEEXECUTION_HUNG = 3,
  _D3DKMT_DEVICEEXECUTION_STOPPED = 4,
  _D3DKMT_DEVICEEXECUTION_ERROR_OUTOFMEMORY = 5,
  _D3DKMT_DEVICEEXECUTION_ERROR_DMAFAULT = 6,
  _D3DKMT_DEVICEEXECUTION_ERROR_DMAPAGEFAULT = 7,
};

// GetDeviceState: was the desktop switched?
struct d3dkmt_devicereset_state {
  union {
    struct {
      uint32_t desktop_switched : 1;
      uint32_t reserved : 31;
    };
    uint32_t value;
  };
};

// GetDeviceState: pipeline stage that faulted.
enum dxgk_render_pipeline_stage {
  _DXGK_RENDER_PIPELINE_STAGE_UNKNOWN = 0,
  _DXGK_RENDER_PIPELINE_STAGE_INPUT_ASSEMBLER = 1,
  _DXGK_RENDER_PIPELINE_STAGE_VERTEX_SHADER = 2,
  _DXGK_RENDER_PIPELINE_STAGE_GEOMETRY_SHADER = 3,
  _DXGK_RENDER_PIPELINE_STAGE_STREAM_OUTPUT = 4,
  _DXGK_RENDER_PIPELINE_STAGE_RASTERIZER = 5,
  _DXGK_RENDER_PIPELINE_STAGE_PIXEL_SHADER = 6,
  _DXGK_RENDER_PIPELINE_STAGE_OUTPUT_MERGER = 7,
};

// GetDeviceState: what kind of page fault (bits).
enum dxgk_page_fault_flags {
  _DXGK_PAGE_FAULT_WRITE = 0x01,
  _DXGK_PAGE_FAULT_FENCE_INVALID = 0x02,
  _DXGK_PAGE_FAULT_ADAPTER_RESET_REQUIRED = 0x04,
  _DXGK_PAGE_FAULT_ENGINE_RESET_REQUIRED = 0x08,
  _DXGK_PAGE_FAULT_FATAL_HARDWARE_ERROR = 0x10,
  _DXGK_PAGE_FAULT_IOMMU = 0x20,
  _DXGK_PAGE_FAULT_HW_CONTEXT_VALID = 0x40,
  _DXGK_PAGE_FAULT_PROCESS_HANDLE_VALID = 0x80,
};

// GetDeviceState: fault codes that do not depend on the GPU.
enum dxgk_general_error_code {
  _DXGK_GENERAL_ERROR_PAGE_FAULT = 0,
  _DXGK_GENERAL_ERROR_INVALID_INSTRUCTION = 1,
};

// GetDeviceState: code of a fault, either a general one or one of the GPU itself. Bit 0 says which.
struct dxgk_fault_error_code {
  union {
    struct {
      uint32_t is_device_specific_code : 1;
      uint32_t general_error_code : 31;  // enum dxgk_general_error_code
    };
    struct {
      uint32_t is_device_specific_code_reserved_bit : 1;
      uint32_t device_specific_code : 31;
    };
  };
};

// GetDeviceState: the page fault that stopped the device.
struct d3dkmt_devicepagefault_state {
  uint64_t faulted_primitive_api_sequence_number;
  uint32_t faulted_pipeline_stage;  // enum dxgk_render_pipeline_stage
  uint32_t faulted_bind_table_entry;
  uint32_t page_fault_flags;  // enum dxgk_page_fault_flags
  struct dxgk_fault_error_code fault_error_code;
  uint64_t faulted_virtual_address;
};

// GetDeviceState: is the device alive, and if not, why?
struct d3dkmt_getdevicestate {
  struct d3dkmthandle device;
  uint32_t state_type;  // enum d3dkmt_devicestate_type
  union {
    uint32_t execution_state;  // enum d3dkmt_deviceexecution_state
    struct d3dkmt_devicereset_state reset_state;
    struct d3dkmt_devicepagefault_state page_fault_state;
    char alignment[48];  // room for the state types not published here
  };
};

// MarkDeviceAsError: why.
enum d3dkmt_device_error_reason {
  _D3DKMT_DEVICE_ERROR_REASON_GENERIC = 0x80000000,
  _D3DKMT_DEVICE_ERROR_REASON_DRIVER_ERROR = 0x80000006,
};

// MarkDeviceAsError: the client declares its own device broken.
struct d3dkmt_markdeviceaserror {
  struct d3dkmthandle device;
  uint32_t reason;  // enum d3dkmt_device_error_reason
};

// ---- Contexts, hardware queues and their priority ----------------------------------------------------

// CreateContextVirtual: kind of context.
struct d3dddi_createcontextflags {
  union {
    struct {
      uint32_t null_rendering : 1;
      uint32_t initial_data : 1;
      uint32_t disable_gpu_timeout : 1;
      uint32_t synchronization_only : 1;
      uint32_t hw_queue_supported : 1;
      uint32_t reserved : 27;
    };
    uint32_t value;
  };
};

// CreateContextVirtual: which API sits above. A hint for traces, nothing depends on it.
enum d3dkmt_clienthint {
  _D3DKMT_CLIENTHNT_UNKNOWN = 0,
  _D3DKMT_CLIENTHINT_OPENGL = 1,
  _D3DKMT_CLIENTHINT_CDD = 2,
  _D3DKMT_CLIENTHINT_DX7 = 7,
  _D3DKMT_CLIENTHINT_DX8 = 8,
  _D3DKMT_CLIENTHINT_DX9 = 9,
  _D3DKMT_CLIENTHINT_DX10 = 10,
};

// CreateContextVirtual: a stream of work for one engine, with GPU virtual addresses.
struct d3dkmt_createcontextvirtual {
  struct d3dkmthandle device;
  uint32_t node_ordinal;
  uint32_t engine_affinity;
  struct d3dddi_createcontextflags flags;
  uint64_t priv_drv_data;  // void *
  uint32_t priv_drv_data_size;
  uint32_t client_hint;  // enum d3dkmt_clienthint
  struct d3dkmthandle context;
};

// DestroyContext: end a context and its hardware queues.
struct d3dkmt_destroycontext {
  struct d3dkmthandle context;
};

// CreateHwQueue: kind of queue.
struct d3dddi_createhwqueueflags {
  union {
    struct {
      uint32_t disable_gpu_timeout : 1;
      uint32_t reserved : 31;
    };
    uint32_t value;
  };
};

// CreateHwQueue: a queue that the GPU schedules, with a fence that shows its progress.
struct d3dkmt_createhwqueue {
  struct d3dkmthandle context;
  struct d3dddi_createhwqueueflags flags;
  uint32_t priv_drv_data_size;
  uint32_t reserved;
  uint64_t priv_drv_data;  // void *
  struct d3dkmthandle queue;
  struct d3dkmthandle queue_progress_fence;
  uint64_t queue_progress_fence_cpu_va;  // uint64_t *
  uint64_t queue_progress_fence_gpu_va;
};

// DestroyHwQueue: end a hardware queue and its progress fence.
struct d3dkmt_destroyhwqueue {
  struct d3dkmthandle queue;
};

// GetContextInProcessSchedulingPriority: rank among the contexts of the process.
struct d3dkmt_getcontextinprocessschedulingpriority {
  struct d3dkmthandle context;
  int32_t priority;
};

// GetContextSchedulingPriority: rank among all contexts.
struct d3dkmt_getcontextschedulingpriority {
  struct d3dkmthandle context;
  int32_t priority;
};

// SetContextInProcessSchedulingPriority: the other direction.
struct d3dkmt_setcontextinprocessschedulingpriority {
  struct d3dkmthandle context;
  int32_t priority;
};

// SetContextSchedulingPriority: the other direction.
struct d3dkmt_setcontextschedulingpriority {
  struct d3dkmthandle context;
  int32_t priority;
};

// ---- Paging queues -----------------------------------------------------------------------------------

// CreatePagingQueue: rank among the paging queues.
enum d3dddi_pagingqueue_priority {
  _D3DDDI_PAGINGQUEUE_PRIORITY_BELOW_NORMAL = -1,
  _D3DDDI_PAGINGQUEUE_PRIORITY_NORMAL = 0,
  _D3DDDI_PAGINGQUEUE_PRIORITY_ABOVE_NORMAL = 1,
};

// CreatePagingQueue: the queue whose fence says when memory is in place. The fence lives as long as the
// queue.
struct d3dkmt_createpagingqueue {
  struct d3dkmthandle device;
  int32_t priority;  // enum d3dddi_pagingqueue_priority
  struct d3dkmthandle paging_queue;
  struct d3dkmthandle sync_object;
  uint64_t fence_cpu_virtual_address;  // uint64_t *
  uint32_t physical_adapter_index;
};

// DestroyPagingQueue: end a paging queue and its fence.
struct d3dddi_destroypagingqueue {
  struct d3dkmthandle paging_queue;
};

// ---- Allocations and resources -----------------------------------------------------------------------

// The most allocations in one CreateAllocation.
#define D3DKMT_CREATEALLOCATION_MAX 1024

// CreateAllocation: one allocation of the list. Only `allocation` is written back.
struct d3dddi_allocationinfo2 {
  struct d3dkmthandle allocation;
  uint64_t sysmem;         // void *, page aligned: memory of the caller that backs it
  uint64_t priv_drv_data;  // void *
  uint32_t priv_drv_data_size;
  uint32_t vidpn_source_id;
  union {
    struct {
      uint32_t primary : 1;
      uint32_t stereo : 1;
      uint32_t override_priority : 1;
      uint32_t reserved : 29;
    };
    uint32_t value;
  } flags;
  uint64_t gpu_virtual_address;
  union {
    uint32_t priority;
    uint64_t unused;
  };
  uint64_t reserved[5];
};

// CreateAllocation: what is made, and of what.
struct d3dkmt_createallocationflags {
  union {
    struct {
      uint32_t create_resource : 1;
      uint32_t create_shared : 1;
      uint32_t non_secure : 1;
      uint32_t create_protected : 1;
      uint32_t restrict_shared_access : 1;
      uint32_t existing_sysmem : 1;
      uint32_t nt_security_sharing : 1;
      uint32_t read_only : 1;
      uint32_t create_write_combined : 1;
      uint32_t create_cached : 1;
      uint32_t swap_chain_back_buffer : 1;
      uint32_t cross_adapter : 1;
      uint32_t open_cross_adapter : 1;
      uint32_t partial_shared_creation : 1;
      uint32_t zeroed : 1;
      uint32_t write_watch : 1;
      uint32_t standard_allocation : 1;
      uint32_t existing_section : 1;
      uint32_t reserved : 14;
    };
    uint32_t value;
  };
};

// CreateAllocation: allocations that every GPU driver can make without private data.
enum d3dkmt_standardallocationtype {
  _D3DKMT_STANDARDALLOCATIONTYPE_EXISTINGHEAP = 1,
  _D3DKMT_STANDARDALLOCATIONTYPE_CROSSADAPTER = 2,
};

// CreateAllocation: size in bytes of the heap that becomes an allocation.
struct d3dkmt_standardallocation_existingheap {
  uint64_t size;
};

// CreateAllocation: no flag of a standard allocation is published.
struct d3dkmt_createstandardallocationflags {
  union {
    struct {
      uint32_t reserved : 32;
    };
    uint32_t value;
  };
};

// CreateAllocation: describes a standard allocation, in place of private data.
struct d3dkmt_createstandardallocation {
  uint32_t type;  // enum d3dkmt_standardallocationtype
  uint32_t reserved;
  struct d3dkmt_standardallocation_existingheap existing_heap_data;
  struct d3dkmt_createstandardallocationflags flags;
  uint32_t reserved1;
};

// CreateAllocation: make allocations, alone or in a resource.
struct d3dkmt_createallocation {
  struct d3dkmthandle device;
  struct d3dkmthandle resource;  // in when it exists, out with create_resource
  struct d3dkmthandle global_share;
  uint32_t reserved;
  uint64_t private_runtime_data;  // void *
  uint32_t private_runtime_data_size;
  uint32_t reserved1;
  union {
    uint64_t standard_allocation;  // struct d3dkmt_createstandardallocation *
    uint64_t priv_drv_data;        // void *
  };
  uint32_t priv_drv_data_size;
  uint32_t alloc_count;
  uint64_t allocation_info;  // struct d3dddi_allocationinfo2 *
  struct d3dkmt_createallocationflags flags;
  uint32_t reserved2;
  uint64_t private_runtime_resource_handle;
};

// DestroyAllocation2: may the host free at once?
struct d3dddicb_destroyallocation2flags {
  union {
    struct {
      uint32_t assume_not_in_use : 1;
      uint32_t synchronous_destroy : 1;
      uint32_t reserved : 29;
      uint32_t system_use_only : 1;
    };
    uint32_t value;
  };
};

// DestroyAllocation2: end a resource, or listed allocations.
struct d3dkmt_destroyallocation2 {
  struct d3dkmthandle device;
  struct d3dkmthandle resource;
  uint64_t allocations;  // struct d3dkmthandle *
  uint32_t alloc_count;
  struct d3dddicb_destroyallocation2flags flags;
};

// Standard allocations as the GPU driver on the host names them. In the message for CreateAllocation.
enum d3dkmdt_standardallocationtype {
  _D3DKMDT_STANDARDALLOCATION_SHAREDPRIMARYSURFACE = 1,
  _D3DKMDT_STANDARDALLOCATION_SHADOWSURFACE = 2,
  _D3DKMDT_STANDARDALLOCATION_STAGINGSURFACE = 3,
  _D3DKMDT_STANDARDALLOCATION_GDISURFACE = 4,
};

// Pixel formats; none but "unknown" is needed.
enum d3dddiformat {
  _D3DDDIFMT_UNKNOWN = 0,
};

// Standard allocation: what the screen shows. For the GPU driver on the host.
struct d3dkmdt_sharedprimarysurfacedata {
  uint32_t width;
  uint32_t height;
  uint32_t format;  // enum d3dddiformat
  struct d3dddi_rational refresh_rate;
  uint32_t vidpn_source_id;
};

// Standard allocation: the copy of a primary in system memory. For the GPU driver on the host.
struct d3dkmdt_shadowsurfacedata {
  uint32_t width;
  uint32_t height;
  uint32_t format;  // enum d3dddiformat
  uint32_t pitch;
};

// Standard allocation: transfer memory. For the GPU driver on the host.
struct d3dkmdt_stagingsurfacedata {
  uint32_t width;
  uint32_t height;
  uint32_t pitch;
};

// Standard allocation: kinds of GDI surface.
enum d3dkmdt_gdisurfacetype {
  _D3DKMDT_GDISURFACE_INVALID = 0,
  _D3DKMDT_GDISURFACE_TEXTURE = 1,
  _D3DKMDT_GDISURFACE_STAGING_CPUVISIBLE = 2,
  _D3DKMDT_GDISURFACE_STAGING = 3,
  _D3DKMDT_GDISURFACE_LOOKUPTABLE = 4,
  _D3DKMDT_GDISURFACE_EXISTINGSYSMEM = 5,
  _D3DKMDT_GDISURFACE_TEXTURE_CPUVISIBLE = 6,
  _D3DKMDT_GDISURFACE_TEXTURE_CROSSADAPTER = 7,
  _D3DKMDT_GDISURFACE_TEXTURE_CPUVISIBLE_CROSSADAPTER = 8,
};

// Standard allocation: a surface for GDI. CreateAllocation turns every standard heap into one.
struct d3dkmdt_gdisurfacedata {
  uint32_t width;
  uint32_t height;
  uint32_t format;
  uint32_t type;  // enum d3dkmdt_gdisurfacetype
  uint32_t flags;
  uint32_t pitch;
};

// SetAllocationPriority: how hard to keep memory resident.
struct d3dkmt_setallocationpriority {
  struct d3dkmthandle device;
  struct d3dkmthandle resource;
  uint64_t allocation_list;  // struct d3dkmthandle *
  uint32_t allocation_count;
  uint32_t reserved;
  uint64_t priorities;  // uint32_t *
};

// GetAllocationPriority: the other direction.
struct d3dkmt_getallocationpriority {
  struct d3dkmthandle device;
  struct d3dkmthandle resource;
  uint64_t allocation_list;  // struct d3dkmthandle *
  uint32_t allocation_count;
  uint32_t reserved;
  uint64_t priorities;  // uint32_t *
};

// UpdateAllocationProperty: memory segments in the order of preference.
struct d3dddi_segmentpreference {
  union {
    struct {
      uint32_t segment_id0 : 5;
      uint32_t direction0 : 1;
      uint32_t segment_id1 : 5;
      uint32_t direction1 : 1;
      uint32_t segment_id2 : 5;
      uint32_t direction2 : 1;
      uint32_t segment_id3 : 5;
      uint32_t direction3 : 1;
      uint32_t segment_id4 : 5;
      uint32_t direction4 : 1;
      uint32_t reserved : 2;
    };
    uint32_t value;
  };
};

// UpdateAllocationProperty: flags that can change.
struct d3dddi_updateallocproperty_flags {
  union {
    struct {
      uint32_t accessed_physically : 1;
      uint32_t reserved : 31;
    };
    uint32_t value;
  };
};

// UpdateAllocationProperty: change where an allocation may live; done when the paging fence says so.
struct d3dddi_updateallocproperty {
  struct d3dkmthandle paging_queue;
  struct d3dkmthandle allocation;
  uint32_t supported_segment_set;
  struct d3dddi_segmentpreference preferred_segment;
  struct d3dddi_updateallocproperty_flags flags;
  uint64_t paging_fence_value;
  union {
    struct {
      uint32_t set_accessed_physically : 1;
      uint32_t set_supported_segmentSet : 1;
      uint32_t set_preferred_segment : 1;
      uint32_t reserved : 29;
    };
    uint32_t property_mask_value;
  };
};

// ---- Locking and caches ------------------------------------------------------------------------------

// Lock2: no flag is published.
struct d3dddicb_lock2flags {
  union {
    struct {
      uint32_t reserved : 32;
    };
    uint32_t value;
  };
};

// Lock2: map an allocation into the client.
struct d3dkmt_lock2 {
  struct d3dkmthandle device;
  struct d3dkmthandle allocation;
  struct d3dddicb_lock2flags flags;
  uint32_t reserved;
  uint64_t data;  // void *, where the allocation now is in the client
};

// Unlock2: take the mapping away again.
struct d3dkmt_unlock2 {
  struct d3dkmthandle device;
  struct d3dkmthandle allocation;
};

// InvalidateCache: drop what CPU caches hold of a range of an allocation.
struct d3dkmt_invalidatecache {
  struct d3dkmthandle device;
  struct d3dkmthandle allocation;
  uint64_t offset;
  uint64_t length;
};

// ---- Residency and budget ----------------------------------------------------------------------------

// The most entries in one MakeResident, Evict, OfferAllocations or ReclaimAllocations2.
#define D3DKMT_MAKERESIDENT_ALLOC_MAX 10240

// MakeResident: what to do when memory is short.
struct d3dddi_makeresident_flags {
  union {
    struct {
      uint32_t cant_trim_further : 1;
      uint32_t must_succeed : 1;
      uint32_t reserved : 30;
    };
    uint32_t value;
  };
};

// MakeResident: bring allocations to where the GPU can use them; done when the paging fence says so.
struct d3dddi_makeresident {
  struct d3dkmthandle paging_queue;
  uint32_t alloc_count;
  uint64_t allocation_list;  // struct d3dkmthandle *
  uint64_t priority_list;    // uint32_t *, not read
  struct d3dddi_makeresident_flags flags;
  uint64_t paging_fence_value;
  uint64_t num_bytes_to_trim;
};

// Evict: how eager to be.
struct d3dddi_evict_flags {
  union {
    struct {
      uint32_t evict_only_if_necessary : 1;
      uint32_t not_written_to : 1;
      uint32_t reserved : 30;
    };
    uint32_t value;
  };
};

// Evict: take one residency reference away from each allocation.
struct d3dkmt_evict {
  struct d3dkmthandle device;
  uint32_t alloc_count;
  uint64_t allocations;  // struct d3dkmthandle *
  struct d3dddi_evict_flags flags;
  uint32_t reserved;
  uint64_t num_bytes_to_trim;
};

// OfferAllocations: which offers are taken first.
enum d3dkmt_offer_priority {
  _D3DKMT_OFFER_PRIORITY_LOW = 1,
  _D3DKMT_OFFER_PRIORITY_NORMAL = 2,
  _D3DKMT_OFFER_PRIORITY_HIGH = 3,
  _D3DKMT_OFFER_PRIORITY_AUTO = 4,
};

// OfferAllocations: may memory go at once?
struct d3dkmt_offer_flags {
  union {
    struct {
      uint32_t offer_immediately : 1;
      uint32_t allow_decommit : 1;
      uint32_t reserved : 30;
    };
    uint32_t value;
  };
};

// OfferAllocations: content that may be lost until it is reclaimed.
struct d3dkmt_offerallocations {
  struct d3dkmthandle device;
  uint32_t reserved;
  uint64_t resources;    // struct d3dkmthandle *
  uint64_t allocations;  // struct d3dkmthandle *
  uint32_t allocation_count;
  uint32_t priority;  // enum d3dkmt_offer_priority
  struct d3dkmt_offer_flags flags;
  uint32_t reserved1;
};

// ReclaimAllocations2: did the content survive?
enum d3dddi_reclaim_result {
  _D3DDDI_RECLAIM_RESULT_OK = 0,
  _D3DDDI_RECLAIM_RESULT_DISCARDED = 1,
  _D3DDDI_RECLAIM_RESULT_NOT_COMMITTED = 2,
};

// ReclaimAllocations2: take an offer back.
struct d3dkmt_reclaimallocations2 {
  struct d3dkmthandle paging_queue;
  uint32_t allocation_count;
  uint64_t resources;    // struct d3dkmthandle *
  uint64_t allocations;  // struct d3dkmthandle *
  union {
    uint64_t discarded;  // uint32_t *
    uint64_t results;    // enum d3dddi_reclaim_result *
  };
  uint64_t paging_fence_value;
};

// QueryAllocationResidency: where an allocation is.
enum d3dkmt_allocationresidencystatus {
  _D3DKMT_ALLOCATIONRESIDENCYSTATUS_RESIDENTINGPUMEMORY = 1,
  _D3DKMT_ALLOCATIONRESIDENCYSTATUS_RESIDENTINSHAREDMEMORY = 2,
  _D3DKMT_ALLOCATIONRESIDENCYSTATUS_NOTRESIDENT = 3,
};

// QueryAllocationResidency: where are these allocations?
struct d3dkmt_queryallocationresidency {
  struct d3dkmthandle device;
  struct d3dkmthandle resource;
  uint64_t allocations;  // struct d3dkmthandle *
  uint32_t allocation_count;
  uint32_t reserved;
  uint64_t residency_status;  // enum d3dkmt_allocationresidencystatus *
};

// Memory of the GPU, or system memory that the GPU reaches.
enum d3dkmt_memory_segment_group {
  _D3DKMT_MEMORY_SEGMENT_GROUP_LOCAL = 0,
  _D3DKMT_MEMORY_SEGMENT_GROUP_NON_LOCAL = 1,
};

// QueryVideoMemoryInfo: budget and use of one memory group.
struct d3dkmt_queryvideomemoryinfo {
  uint64_t process;
  struct d3dkmthandle adapter;
  uint32_t memory_segment_group;  // enum d3dkmt_memory_segment_group
  uint64_t budget;
  uint64_t current_usage;
  uint64_t current_reservation;
  uint64_t available_for_reservation;
  uint32_t physical_adapter_index;
};

// ChangeVideoMemoryReservation: memory that the process cannot do without.
struct d3dkmt_changevideomemoryreservation {
  uint64_t process;
  struct d3dkmthandle adapter;
  uint32_t memory_segment_group;  // enum d3dkmt_memory_segment_group
  uint64_t reservation;
  uint32_t physical_adapter_index;
};

// FlushHeapTransitions: finish moves of heaps that are under way.
struct d3dkmt_flushheaptransitions {
  struct d3dkmthandle adapter;
};

// ---- GPU virtual addresses ---------------------------------------------------------------------------

// MapGpuVirtualAddress, UpdateGpuVirtualAddress: what the GPU may do in a range.
struct d3dddigpuva_protection_type {
  union {
    struct {
      uint64_t write : 1;
      uint64_t execute : 1;
      uint64_t zero : 1;
      uint64_t no_access : 1;
      uint64_t system_use_only : 1;
      uint64_t reserved : 59;
    };
    uint64_t value;
  };
};

// ReserveGpuVirtualAddress: what an access to reserved, unmapped space does.
enum d3dddigpuva_reservation_type {
  _D3DDDIGPUVA_RESERVE_NO_ACCESS = 0,
  _D3DDDIGPUVA_RESERVE_ZERO = 1,
  _D3DDDIGPUVA_RESERVE_NO_COMMIT = 2,
};

// MapGpuVirtualAddress: give an allocation a GPU address; usable when the paging fence says so.
struct d3dddi_mapgpuvirtualaddress {
  struct d3dkmthandle paging_queue;
  uint64_t base_address;  // GPU VA, 0 = anywhere
  uint64_t minimum_address;
  uint64_t maximum_address;
  struct d3dkmthandle allocation;
  uint64_t offset_in_pages;
  uint64_t size_in_pages;
  struct d3dddigpuva_protection_type protection;
  uint64_t driver_protection;
  uint32_t reserved0;
  uint64_t reserved1;
  uint64_t virtual_address;
  uint64_t paging_fence_value;
};

// ReserveGpuVirtualAddress: keep a range of GPU addresses free of others.
struct d3dddi_reservegpuvirtualaddress {
  struct d3dkmthandle adapter;  // or a paging queue
  uint64_t base_address;        // GPU VA, 0 = anywhere
  uint64_t minimum_address;
  uint64_t maximum_address;
  uint64_t size;
  uint32_t reservation_type;  // enum d3dddigpuva_reservation_type
  uint64_t driver_protection;
  uint64_t virtual_address;
  uint64_t paging_fence_value;
};

// FreeGpuVirtualAddress: give a range back.
struct d3dkmt_freegpuvirtualaddress {
  struct d3dkmthandle adapter;
  uint32_t reserved;
  uint64_t base_address;
  uint64_t size;
};

// UpdateGpuVirtualAddress: what one operation does.
enum d3dddi_updategpuvirtualaddress_operation_type {
  _D3DDDI_UPDATEGPUVIRTUALADDRESS_MAP = 0,
  _D3DDDI_UPDATEGPUVIRTUALADDRESS_UNMAP = 1,
  _D3DDDI_UPDATEGPUVIRTUALADDRESS_COPY = 2,
  _D3DDDI_UPDATEGPUVIRTUALADDRESS_MAP_PROTECT = 3,
};

// UpdateGpuVirtualAddress: one operation of the list.
struct d3dddi_updategpuvirtualaddress_operation {
  uint32_t operation;  // enum d3dddi_updategpuvirtualaddress_operation_type
  union {
    struct {
      uint64_t base_address;
      uint64_t size;
      struct d3dkmthandle allocation;
      uint64_t allocation_offset;
      uint64_t allocation_size;
    } map;
    struct {
      uint64_t base_address;
      uint64_t size;
      struct d3dkmthandle allocation;
      uint64_t allocation_offset;
      uint64_t allocation_size;
      struct d3dddigpuva_protection_type protection;
      uint64_t driver_protection;
    } map_protect;
    struct {
      uint64_t base_address;
      uint64_t size;
      struct d3dddigpuva_protection_type protection;
    } unmap;
    struct {
      uint64_t source_address;
      uint64_t size;
      uint64_t dest_address;
    } copy;
  };
};

// UpdateGpuVirtualAddress: change mappings in the order of a context, behind a fence.
struct d3dkmt_updategpuvirtualaddress {
  struct d3dkmthandle device;
  struct d3dkmthandle context;
  struct d3dkmthandle fence_object;
  uint32_t num_operations;
  uint64_t operations;  // struct d3dddi_updategpuvirtualaddress_operation *
  uint32_t reserved0;
  uint32_t reserved1;
  uint64_t reserved2;
  uint64_t fence_value;
  union {
    struct {
      uint32_t do_not_wait : 1;
      uint32_t reserved : 31;
    };
    uint32_t value;
  } flags;
  uint32_t reserved3;
};

// ---- Synchronization objects -------------------------------------------------------------------------

// The most objects in one wait or signal, and contexts that one call can address.
#define D3DDDI_MAX_OBJECT_WAITED_ON 32
#define D3DDDI_MAX_OBJECT_SIGNALED 32
#define D3DDDI_MAX_BROADCAST_CONTEXT 64

// CreateSynchronizationObject: kind of object.
enum d3dddi_synchronizationobject_type {
  _D3DDDI_SYNCHRONIZATION_MUTEX = 1,
  _D3DDDI_SEMAPHORE = 2,
  _D3DDDI_FENCE = 3,
  _D3DDDI_CPU_NOTIFICATION = 4,
  _D3DDDI_MONITORED_FENCE = 5,
  _D3DDDI_PERIODIC_MONITORED_FENCE = 6,
  _D3DDDI_SYNCHRONIZATION_TYPE_LIMIT = 7,
};

// CreateSynchronizationObject, OpenSyncObjectFromNtHandle2: sharing and rights.
struct d3dddi_synchronizationobject_flags {
  union {
    struct {
      uint32_t shared : 1;
      uint32_t nt_security_sharing : 1;
      uint32_t cross_adapter : 1;
      uint32_t top_of_pipeline : 1;
      uint32_t no_signal : 1;
      uint32_t no_wait : 1;
      uint32_t no_signal_max_value_on_tdr : 1;
      uint32_t no_gpu_access : 1;
      uint32_t reserved : 23;
    };
    uint32_t value;
  };
};

// CreateSynchronizationObject: the object by kind; addresses of a fence come back here.
struct d3dddi_synchronizationobjectinfo2 {
  uint32_t type;  // enum d3dddi_synchronizationobject_type
  struct d3dddi_synchronizationobject_flags flags;
  union {
    struct {
      uint32_t initial_state;
    } synchronization_mutex;
    struct {
      uint32_t max_count;
      uint32_t initial_count;
    } semaphore;
    struct {
      uint64_t fence_value;
    } fence;
    struct {
      uint64_t event;  // eventfd number
    } cpu_notification;
    struct {
      uint64_t initial_fence_value;
      uint64_t fence_cpu_virtual_address;  // uint64_t *
      uint64_t fence_gpu_virtual_address;
      uint32_t engine_affinity;
    } monitored_fence;
    struct {
      struct d3dkmthandle adapter;
      uint32_t vidpn_target_id;
      uint64_t time;
      uint64_t fence_cpu_virtual_address;  // uint64_t *
      uint64_t fence_gpu_virtual_address;
      uint32_t engine_affinity;
    } periodic_monitored_fence;
    struct {
      uint64_t reserved[8];
    } reserved;
  };
  struct d3dkmthandle shared_handle;
};

// CreateSynchronizationObject: make a mutex, semaphore, fence or event.
struct d3dkmt_createsynchronizationobject2 {
  struct d3dkmthandle device;
  uint32_t reserved;
  struct d3dddi_synchronizationobjectinfo2 info;
  struct d3dkmthandle sync_object;
  uint32_t reserved1;
};

// DestroySynchronizationObject: end one.
struct d3dkmt_destroysynchronizationobject {
  struct d3dkmthandle sync_object;
};

// All signal calls: when and how.
struct d3dddicb_signalflags {
  union {
    struct {
      uint32_t signal_at_submission : 1;
      uint32_t enqueue_cpu_event : 1;
      uint32_t allow_fence_rewind : 1;
      uint32_t reserved : 28;
      uint32_t DXGK_SIGNAL_FLAG_INTERNAL0 : 1;
    };
    uint32_t value;
  };
};

// SignalSynchronizationObject: signal in the order of contexts, lists in the structure itself.
struct d3dkmt_signalsynchronizationobject2 {
  struct d3dkmthandle context;
  uint32_t object_count;
  struct d3dkmthandle object_array[D3DDDI_MAX_OBJECT_SIGNALED];
  struct d3dddicb_signalflags flags;
  uint32_t context_count;
  struct d3dkmthandle contexts[D3DDDI_MAX_BROADCAST_CONTEXT];
  union {
    struct {
      uint64_t fence_value;
    } fence;
    uint64_t cpu_event_handle;  // eventfd number
    uint64_t reserved[8];
  };
};

// SignalSynchronizationObjectFromCpu: signal now.
struct d3dkmt_signalsynchronizationobjectfromcpu {
  struct d3dkmthandle device;
  uint32_t object_count;
  uint64_t objects;       // struct d3dkmthandle *
  uint64_t fence_values;  // uint64_t *
  struct d3dddicb_signalflags flags;
};

// SignalSynchronizationObjectFromGpu: signal in the order of one context.
struct d3dkmt_signalsynchronizationobjectfromgpu {
  struct d3dkmthandle context;
  uint32_t object_count;
  uint64_t objects;  // struct d3dkmthandle *
  union {
    uint64_t monitored_fence_values;  // uint64_t *
    uint64_t reserved[8];
  };
};

// SignalSynchronizationObjectFromGpu2: signal in the order of several contexts, or fire an event.
struct d3dkmt_signalsynchronizationobjectfromgpu2 {
  uint32_t object_count;
  uint32_t reserved1;
  uint64_t objects;  // struct d3dkmthandle *
  struct d3dddicb_signalflags flags;
  uint32_t context_count;
  uint64_t contexts;  // struct d3dkmthandle *
  union {
    uint64_t fence_value;
    uint64_t cpu_event_handle;        // eventfd number
    uint64_t monitored_fence_values;  // uint64_t *
    uint64_t reserved[8];
  };
};

// WaitForSynchronizationObject: hold a context, lists in the structure itself.
struct d3dkmt_waitforsynchronizationobject2 {
  struct d3dkmthandle context;
  uint32_t object_count;
  struct d3dkmthandle object_array[D3DDDI_MAX_OBJECT_WAITED_ON];
  union {
    struct {
      uint64_t fence_value;
    } fence;
    uint64_t reserved[8];
  };
};

// WaitForSynchronizationObjectFromCpu: any, or all.
struct d3dddi_waitforsynchronizationobjectfromcpu_flags {
  union {
    struct {
      uint32_t wait_any : 1;
      uint32_t reserved : 31;
    };
    uint32_t value;
  };
};

// WaitForSynchronizationObjectFromCpu: wait in the call, or have an eventfd fired.
struct d3dkmt_waitforsynchronizationobjectfromcpu {
  struct d3dkmthandle device;
  uint32_t object_count;
  uint64_t objects;       // struct d3dkmthandle *
  uint64_t fence_values;  // uint64_t *
  uint64_t async_event;   // eventfd number, 0 = wait in the call
  struct d3dddi_waitforsynchronizationobjectfromcpu_flags flags;
};

// WaitForSynchronizationObjectFromGpu: hold a context.
struct d3dkmt_waitforsynchronizationobjectfromgpu {
  struct d3dkmthandle context;
  uint32_t object_count;
  uint64_t objects;  // struct d3dkmthandle *
  union {
    uint64_t monitored_fence_values;  // uint64_t *
    uint64_t fence_value;
    uint64_t reserved[8];
  };
};

// ---- Submission --------------------------------------------------------------------------------------

// The most primaries that one submission can name.
#define D3DDDI_MAX_WRITTEN_PRIMARIES 16

// SubmitCommand: kind of submission.
struct d3dkmt_submitcommandflags {
  uint32_t null_rendering : 1;
  uint32_t present_redirected : 1;
  uint32_t reserved : 30;
};

// SubmitCommand: run a command buffer on one or more contexts.
struct d3dkmt_submitcommand {
  uint64_t command_buffer;  // GPU VA
  uint32_t command_length;
  struct d3dkmt_submitcommandflags flags;
  uint64_t present_history_token;
  uint32_t broadcast_context_count;
  struct d3dkmthandle broadcast_context[D3DDDI_MAX_BROADCAST_CONTEXT];
  uint32_t reserved;
  uint64_t priv_drv_data;  // void *
  uint32_t priv_drv_data_size;
  uint32_t num_primaries;
  struct d3dkmthandle written_primaries[D3DDDI_MAX_WRITTEN_PRIMARIES];
  uint32_t num_history_buffers;
  uint32_t reserved1;
  uint64_t history_buffer_array;  // struct d3dkmthandle *
};

// SubmitCommandToHwQueue: run a command buffer on a hardware queue.
struct d3dkmt_submitcommandtohwqueue {
  struct d3dkmthandle hwqueue;
  uint32_t reserved;
  uint64_t hwqueue_progress_fence_id;
  uint64_t command_buffer;  // GPU VA
  uint32_t command_length;
  uint32_t priv_drv_data_size;
  uint64_t priv_drv_data;  // void *
  uint32_t num_primaries;
  uint32_t reserved1;
  uint64_t written_primaries;  // struct d3dkmthandle *
};

// SubmitSignalSyncObjectsToHwQueue: signal in the order of hardware queues.
struct d3dkmt_submitsignalsyncobjectstohwqueue {
  struct d3dddicb_signalflags flags;
  uint32_t hwqueue_count;
  uint64_t hwqueues;  // struct d3dkmthandle *
  uint32_t object_count;
  uint32_t reserved;
  uint64_t objects;       // struct d3dkmthandle *
  uint64_t fence_values;  // uint64_t *
};

// SubmitWaitForSyncObjectsToHwQueue: hold a hardware queue.
struct d3dkmt_submitwaitforsyncobjectstohwqueue {
  struct d3dkmthandle hwqueue;
  uint32_t object_count;
  uint64_t objects;       // struct d3dkmthandle *
  uint64_t fence_values;  // uint64_t *
};

// ---- Sharing between processes -----------------------------------------------------------------------
// A shared object travels as a file descriptor; the published names still call it NT handle.

// ShareObjects: a file descriptor for a resource or a synchronization object.
struct d3dkmt_shareobjects {
  uint32_t object_count;
  uint32_t reserved;
  uint64_t objects;      // struct d3dkmthandle *
  uint64_t object_attr;  // void *, not read
  uint32_t desired_access;
  uint32_t reserved1;
  uint64_t shared_handle;  // uint64_t *, a file descriptor goes there
};

// QueryResourceInfoFromNtHandle: sizes of the buffers that OpenResourceFromNtHandle needs.
struct d3dkmt_queryresourceinfofromnthandle {
  struct d3dkmthandle device;
  uint32_t reserved;
  uint64_t nt_handle;             // file descriptor
  uint64_t private_runtime_data;  // void *
  uint32_t private_runtime_data_size;
  uint32_t total_priv_drv_data_size;
  uint32_t resource_priv_drv_data_size;
  uint32_t allocation_count;
};

// OpenResourceFromNtHandle: one allocation of the opened resource.
struct d3dddi_openallocationinfo2 {
  struct d3dkmthandle allocation;
  uint64_t priv_drv_data;  // void *
  uint32_t priv_drv_data_size;
  uint64_t gpu_va;  // always 0
  uint64_t reserved[6];
};

// OpenResourceFromNtHandle: open a shared resource on a device.
struct d3dkmt_openresourcefromnthandle {
  struct d3dkmthandle device;
  uint32_t reserved;
  uint64_t nt_handle;  // file descriptor
  uint32_t allocation_count;
  uint32_t reserved1;
  uint64_t open_alloc_info;  // struct d3dddi_openallocationinfo2 *
  int32_t private_runtime_data_size;
  uint32_t reserved2;
  uint64_t private_runtime_data;  // void *
  uint32_t resource_priv_drv_data_size;
  uint32_t reserved3;
  uint64_t resource_priv_drv_data;  // void *
  uint32_t total_priv_drv_data_size;
  uint64_t total_priv_drv_data;  // void *
  struct d3dkmthandle resource;
  struct d3dkmthandle keyed_mutex;
  uint64_t keyed_mutex_private_data;  // void *
  uint32_t keyed_mutex_private_data_size;
  struct d3dkmthandle sync_object;
};

// OpenSyncObjectFromNtHandle2: open a shared synchronization object on a device.
struct d3dkmt_opensyncobjectfromnthandle2 {
  uint64_t nt_handle;  // file descriptor
  struct d3dkmthandle device;
  struct d3dddi_synchronizationobject_flags flags;
  struct d3dkmthandle sync_object;
  uint32_t reserved1;
  union {
    struct {
      uint64_t fence_value_cpu_va;  // uint64_t *
      uint64_t fence_value_gpu_va;
      uint32_t engine_affinity;
    } monitored_fence;
    uint64_t reserved[8];
  };
};

// ShareObjectWithHost: a name for the object that a process on the host can open.
struct d3dkmt_shareobjectwithhost {
  struct d3dkmthandle device_handle;
  struct d3dkmthandle object_handle;
  uint64_t reserved;
  uint64_t object_vail_nt_handle;
};

// CreateSyncFile: a Linux sync file that fires when a monitored fence reaches a value.
struct d3dkmt_createsyncfile {
  struct d3dkmthandle device;
  struct d3dkmthandle monitored_fence;
  uint64_t fence_value;
  uint64_t sync_file_handle;  // file descriptor
};

// WaitSyncFile: hold a context until a sync file fires.
struct d3dkmt_waitsyncfile {
  uint64_t sync_file_handle;  // file descriptor
  struct d3dkmthandle context;
  uint32_t reserved;
};

// OpenSyncObjectFromSyncFile: open the fence behind a sync file on a device.
struct d3dkmt_opensyncobjectfromsyncfile {
  uint64_t sync_file_handle;  // file descriptor
  struct d3dkmthandle device;
  struct d3dkmthandle syncobj;
  uint64_t fence_value;
  uint64_t fence_value_cpu_va;  // uint64_t *
  uint64_t fence_value_gpu_va;
};

// ---- Escape ------------------------------------------------------------------------------------------

// Escape: who is spoken to.
enum d3dkmt_escapetype {
  _D3DKMT_ESCAPE_DRIVERPRIVATE = 0,
  _D3DKMT_ESCAPE_VIDMM = 1,
  _D3DKMT_ESCAPE_VIDSCH = 3,
  _D3DKMT_ESCAPE_DEVICE = 4,
  _D3DKMT_ESCAPE_DRT_TEST = 8,
};

// Escape: what the data may do.
struct d3dddi_escapeflags {
  union {
    struct {
      uint32_t hardware_access : 1;
      uint32_t device_status_query : 1;
      uint32_t change_frame_latency : 1;
      uint32_t no_adapter_synchronization : 1;
      uint32_t reserved : 1;
      uint32_t virtual_machine_data : 1;
      uint32_t driver_known_escape : 1;
      uint32_t driver_common_escape : 1;
      uint32_t reserved2 : 24;
    };
    uint32_t value;
  };
};

// Escape: private data to the GPU driver on the host and back.
struct d3dkmt_escape {
  struct d3dkmthandle adapter;
  struct d3dkmthandle device;
  uint32_t type;  // enum d3dkmt_escapetype
  struct d3dddi_escapeflags flags;
  uint64_t priv_drv_data;  // void *
  uint32_t priv_drv_data_size;
  struct d3dkmthandle context;
};

// Escape with driver_known_escape: first word of the data.
enum d3dddi_knownescapetype {
  _D3DDDI_DRIVERESCAPETYPE_TRANSLATEALLOCATIONHANDLE = 0,
  _D3DDDI_DRIVERESCAPETYPE_TRANSLATERESOURCEHANDLE = 1,
  _D3DDDI_DRIVERESCAPETYPE_CPUEVENTUSAGE = 2,
  _D3DDDI_DRIVERESCAPETYPE_BUILDTESTCOMMANDBUFFER = 3,
};

// Escape with driver_known_escape: ask for the host name of an allocation.
struct d3dddi_translate_allocation_handle {
  uint32_t escape_type;  // enum d3dddi_knownescapetype
  struct d3dkmthandle allocation;
};

// Bytes at most that BUILDTESTCOMMANDBUFFER may ask for.
#define D3DDDI_MAXTESTBUFFERSIZE 4096
#define D3DDDI_MAXTESTBUFFERPRIVATEDRIVERDATASIZE 1024

// Escape with driver_known_escape: a test command, opaque at this level.
struct d3dddi_testcommand {
  char buffer[72];
};

// Escape with driver_known_escape: have the GPU driver write a command buffer for a test.
struct d3dddi_buildtestcommandbuffer {
  uint32_t escape_type;  // enum d3dddi_knownescapetype
  struct d3dkmthandle device;
  struct d3dkmthandle context;
  uint32_t flags;
  struct d3dddi_testcommand command;
  uint64_t dma_buffer;            // void *
  uint64_t dma_buffer_priv_data;  // void *
  uint32_t dma_buffer_size;
  uint32_t dma_buffer_priv_data_size;
};

// ---- The ioctl codes ---------------------------------------------------------------------------------
// All read and write their argument, type 'G' (0x47). A number that is missing here has no handler: the
// answer is ENOTTY, as for a number past the end or a size that differs, although the libraries still have a
// call for it.

#define LX_DXOPENADAPTERFROMLUID _IOWR(0x47, 0x01, struct d3dkmt_openadapterfromluid)
#define LX_DXCREATEDEVICE _IOWR(0x47, 0x02, struct d3dkmt_createdevice)
// 0x03: no call (CreateContext in the libraries)
#define LX_DXCREATECONTEXTVIRTUAL _IOWR(0x47, 0x04, struct d3dkmt_createcontextvirtual)
#define LX_DXDESTROYCONTEXT _IOWR(0x47, 0x05, struct d3dkmt_destroycontext)
#define LX_DXCREATEALLOCATION _IOWR(0x47, 0x06, struct d3dkmt_createallocation)
#define LX_DXCREATEPAGINGQUEUE _IOWR(0x47, 0x07, struct d3dkmt_createpagingqueue)
#define LX_DXRESERVEGPUVIRTUALADDRESS _IOWR(0x47, 0x08, struct d3dddi_reservegpuvirtualaddress)
#define LX_DXQUERYADAPTERINFO _IOWR(0x47, 0x09, struct d3dkmt_queryadapterinfo)
#define LX_DXQUERYVIDEOMEMORYINFO _IOWR(0x47, 0x0a, struct d3dkmt_queryvideomemoryinfo)
#define LX_DXMAKERESIDENT _IOWR(0x47, 0x0b, struct d3dddi_makeresident)
#define LX_DXMAPGPUVIRTUALADDRESS _IOWR(0x47, 0x0c, struct d3dddi_mapgpuvirtualaddress)
#define LX_DXESCAPE _IOWR(0x47, 0x0d, struct d3dkmt_escape)
#define LX_DXGETDEVICESTATE _IOWR(0x47, 0x0e, struct d3dkmt_getdevicestate)
#define LX_DXSUBMITCOMMAND _IOWR(0x47, 0x0f, struct d3dkmt_submitcommand)
#define LX_DXCREATESYNCHRONIZATIONOBJECT _IOWR(0x47, 0x10, struct d3dkmt_createsynchronizationobject2)
#define LX_DXSIGNALSYNCHRONIZATIONOBJECT _IOWR(0x47, 0x11, struct d3dkmt_signalsynchronizationobject2)
#define LX_DXWAITFORSYNCHRONIZATIONOBJECT _IOWR(0x47, 0x12, struct d3dkmt_waitforsynchronizationobject2)
#define LX_DXDESTROYALLOCATION2 _IOWR(0x47, 0x13, struct d3dkmt_destroyallocation2)
#define LX_DXENUMADAPTERS2 _IOWR(0x47, 0x14, struct d3dkmt_enumadapters2)
#define LX_DXCLOSEADAPTER _IOWR(0x47, 0x15, struct d3dkmt_closeadapter)
#define LX_DXCHANGEVIDEOMEMORYRESERVATION _IOWR(0x47, 0x16, struct d3dkmt_changevideomemoryreservation)
// 0x17: no call (CreateHwContext in the libraries)
#define LX_DXCREATEHWQUEUE _IOWR(0x47, 0x18, struct d3dkmt_createhwqueue)
#define LX_DXDESTROYDEVICE _IOWR(0x47, 0x19, struct d3dkmt_destroydevice)
// 0x1a: no call (DestroyHwContext in the libraries)
#define LX_DXDESTROYHWQUEUE _IOWR(0x47, 0x1b, struct d3dkmt_destroyhwqueue)
#define LX_DXDESTROYPAGINGQUEUE _IOWR(0x47, 0x1c, struct d3dddi_destroypagingqueue)
#define LX_DXDESTROYSYNCHRONIZATIONOBJECT _IOWR(0x47, 0x1d, struct d3dkmt_destroysynchronizationobject)
#define LX_DXEVICT _IOWR(0x47, 0x1e, struct d3dkmt_evict)
#define LX_DXFLUSHHEAPTRANSITIONS _IOWR(0x47, 0x1f, struct d3dkmt_flushheaptransitions)
#define LX_DXFREEGPUVIRTUALADDRESS _IOWR(0x47, 0x20, struct d3dkmt_freegpuvirtualaddress)
#define LX_DXGETCONTEXTINPROCESSSCHEDULINGPRIORITY \
  _IOWR(0x47, 0x21, struct d3dkmt_getcontextinprocessschedulingpriority)
#define LX_DXGETCONTEXTSCHEDULINGPRIORITY _IOWR(0x47, 0x22, struct d3dkmt_getcontextschedulingpriority)
// 0x23: no call (GetSharedResourceAdapterLuid in the libraries)
#define LX_DXINVALIDATECACHE _IOWR(0x47, 0x24, struct d3dkmt_invalidatecache)
#define LX_DXLOCK2 _IOWR(0x47, 0x25, struct d3dkmt_lock2)
#define LX_DXMARKDEVICEASERROR _IOWR(0x47, 0x26, struct d3dkmt_markdeviceaserror)
#define LX_DXOFFERALLOCATIONS _IOWR(0x47, 0x27, struct d3dkmt_offerallocations)
// 0x28: no call (OpenResource in the libraries)
// 0x29: no call (OpenSynchronizationObject in the libraries)
#define LX_DXQUERYALLOCATIONRESIDENCY _IOWR(0x47, 0x2a, struct d3dkmt_queryallocationresidency)
// 0x2b: no call (QueryResourceInfo in the libraries)
#define LX_DXRECLAIMALLOCATIONS2 _IOWR(0x47, 0x2c, struct d3dkmt_reclaimallocations2)
// 0x2d: no call (Render in the libraries)
#define LX_DXSETALLOCATIONPRIORITY _IOWR(0x47, 0x2e, struct d3dkmt_setallocationpriority)
#define LX_DXSETCONTEXTINPROCESSSCHEDULINGPRIORITY \
  _IOWR(0x47, 0x2f, struct d3dkmt_setcontextinprocessschedulingpriority)
#define LX_DXSETCONTEXTSCHEDULINGPRIORITY _IOWR(0x47, 0x30, struct d3dkmt_setcontextschedulingpriority)
#define LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMCPU \
  _IOWR(0x47, 0x31, struct d3dkmt_signalsynchronizationobjectfromcpu)
#define LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU \
  _IOWR(0x47, 0x32, struct d3dkmt_signalsynchronizationobjectfromgpu)
#define LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU2 \
  _IOWR(0x47, 0x33, struct d3dkmt_signalsynchronizationobjectfromgpu2)
#define LX_DXSUBMITCOMMANDTOHWQUEUE _IOWR(0x47, 0x34, struct d3dkmt_submitcommandtohwqueue)
#define LX_DXSUBMITSIGNALSYNCOBJECTSTOHWQUEUE \
  _IOWR(0x47, 0x35, struct d3dkmt_submitsignalsyncobjectstohwqueue)
#define LX_DXSUBMITWAITFORSYNCOBJECTSTOHWQUEUE \
  _IOWR(0x47, 0x36, struct d3dkmt_submitwaitforsyncobjectstohwqueue)
#define LX_DXUNLOCK2 _IOWR(0x47, 0x37, struct d3dkmt_unlock2)
#define LX_DXUPDATEALLOCPROPERTY _IOWR(0x47, 0x38, struct d3dddi_updateallocproperty)
#define LX_DXUPDATEGPUVIRTUALADDRESS _IOWR(0x47, 0x39, struct d3dkmt_updategpuvirtualaddress)
#define LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU \
  _IOWR(0x47, 0x3a, struct d3dkmt_waitforsynchronizationobjectfromcpu)
#define LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMGPU \
  _IOWR(0x47, 0x3b, struct d3dkmt_waitforsynchronizationobjectfromgpu)
#define LX_DXGETALLOCATIONPRIORITY _IOWR(0x47, 0x3c, struct d3dkmt_getallocationpriority)
#define LX_DXQUERYCLOCKCALIBRATION _IOWR(0x47, 0x3d, struct d3dkmt_queryclockcalibration)
#define LX_DXENUMADAPTERS3 _IOWR(0x47, 0x3e, struct d3dkmt_enumadapters3)
#define LX_DXSHAREOBJECTS _IOWR(0x47, 0x3f, struct d3dkmt_shareobjects)
#define LX_DXOPENSYNCOBJECTFROMNTHANDLE2 _IOWR(0x47, 0x40, struct d3dkmt_opensyncobjectfromnthandle2)
#define LX_DXQUERYRESOURCEINFOFROMNTHANDLE _IOWR(0x47, 0x41, struct d3dkmt_queryresourceinfofromnthandle)
#define LX_DXOPENRESOURCEFROMNTHANDLE _IOWR(0x47, 0x42, struct d3dkmt_openresourcefromnthandle)
#define LX_DXQUERYSTATISTICS _IOWR(0x47, 0x43, struct d3dkmt_querystatistics)
#define LX_DXSHAREOBJECTWITHHOST _IOWR(0x47, 0x44, struct d3dkmt_shareobjectwithhost)
#define LX_DXCREATESYNCFILE _IOWR(0x47, 0x45, struct d3dkmt_createsyncfile)
#define LX_DXWAITSYNCFILE _IOWR(0x47, 0x46, struct d3dkmt_waitsyncfile)
#define LX_DXOPENSYNCOBJECTFROMSYNCFILE _IOWR(0x47, 0x47, struct d3dkmt_opensyncobjectfromsyncfile)
#define LX_DXENUMPROCESSES _IOWR(0x47, 0x48, struct d3dkmt_enumprocesses)
#define LX_ISFEATUREENABLED _IOWR(0x47, 0x49, struct d3dkmt_isfeatureenabled)

#pragma GCC diagnostic pop
