// submit.c: the GPU copies memory, then sets a fence for which the CPU waits.
//   cc submit.c $(pkg-config --cflags cuse-dxg) -o submit && cuse-dxg run -- ./submit
//
// The commands are those of the simulated GPU (dxg_commands.h). A real GPU has its own, and a driver for them.
#define _GNU_SOURCE
#include <d3dkmthk.h>
#include <dxg_commands.h>
#include <fcntl.h>
#include <ntstatus.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

enum { kPage = 4096, kPages = 3 };  // commands, source, destination

static int node;

// 0, or a positive NTSTATUS such as DXG_STATUS_PENDING.
static int call(unsigned long code, void* args, const char* name) {
  const int result = ioctl(node, code, args);
  if (result < 0) perror(name), exit(1);
  return result;
}
#define CALL(code, args) call(code, args, #code)

static void wait_for(struct d3dkmthandle device, struct d3dkmthandle fence, uint64_t value) {
  struct d3dkmt_waitforsynchronizationobjectfromcpu wait = {.device = device, .object_count = 1};
  wait.objects = (uintptr_t)&fence;
  wait.fence_values = (uintptr_t)&value;
  CALL(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, &wait);
}

int main(void) {
  node = open("/dev/dxg", O_RDONLY | O_CLOEXEC);
  if (node < 0) return perror("/dev/dxg"), 1;

  struct d3dkmt_adapterinfo adapters[D3DKMT_ADAPTERS_MAX];
  struct d3dkmt_enumadapters2 list = {.num_adapters = D3DKMT_ADAPTERS_MAX, .adapters = (uintptr_t)adapters};
  CALL(LX_DXENUMADAPTERS2, &list);
  struct d3dkmt_createdevice device = {.adapter = adapters[0].adapter_handle};
  CALL(LX_DXCREATEDEVICE, &device);
  struct d3dkmt_createcontextvirtual context = {.device = device.device};
  CALL(LX_DXCREATECONTEXTVIRTUAL, &context);
  struct d3dkmt_createpagingqueue paging = {.device = device.device};
  CALL(LX_DXCREATEPAGINGQUEUE, &paging);

  // Memory of this process becomes an allocation, which every GPU driver can make without private data.
  char* memory = mmap(NULL, kPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  struct d3dkmt_createstandardallocation heap = {.type = _D3DKMT_STANDARDALLOCATIONTYPE_EXISTINGHEAP};
  heap.existing_heap_data.size = kPages * kPage;
  struct d3dddi_allocationinfo2 info = {.sysmem = (uintptr_t)memory};
  struct d3dkmt_createallocation creation = {.device = device.device, .alloc_count = 1};
  creation.allocation_info = (uintptr_t)&info;
  creation.standard_allocation = (uintptr_t)&heap;
  creation.flags.standard_allocation = 1;
  creation.flags.existing_sysmem = 1;
  CALL(LX_DXCREATEALLOCATION, &creation);

  // Both are done when the paging fence says so: at once, or later.
  struct d3dddi_makeresident resident = {.paging_queue = paging.paging_queue, .alloc_count = 1};
  resident.allocation_list = (uintptr_t)&info.allocation;
  if (CALL(LX_DXMAKERESIDENT, &resident) == DXG_STATUS_PENDING)
    wait_for(device.device, paging.sync_object, resident.paging_fence_value);
  struct d3dddi_mapgpuvirtualaddress map = {.paging_queue = paging.paging_queue, .allocation = info.allocation};
  map.size_in_pages = kPages;
  map.protection.write = 1;
  if (CALL(LX_DXMAPGPUVIRTUALADDRESS, &map) == DXG_STATUS_PENDING)
    wait_for(device.device, paging.sync_object, map.paging_fence_value);
  const uint64_t gpu = map.virtual_address;

  struct d3dkmt_createsynchronizationobject2 fence = {.device = device.device};
  fence.info.type = _D3DDDI_MONITORED_FENCE;
  CALL(LX_DXCREATESYNCHRONIZATIONOBJECT, &fence);

  snprintf(memory + kPage, kPage, "copied by the GPU");
  struct dxg_commands commands = dxg_commands_begin(memory, kPage);
  dxg_push_copy(&commands, gpu + 2 * kPage, gpu + kPage, kPage);
  struct d3dkmt_submitcommand submit = {.command_buffer = gpu, .command_length = (uint32_t)commands.used};
  submit.broadcast_context_count = 1;
  submit.broadcast_context[0] = context.context;
  CALL(LX_DXSUBMITCOMMAND, &submit);

  // In the order of the context: after the copy.
  const uint64_t done = 1;
  struct d3dkmt_signalsynchronizationobjectfromgpu signal = {.context = context.context, .object_count = 1};
  signal.objects = (uintptr_t)&fence.sync_object;
  signal.monitored_fence_values = (uintptr_t)&done;
  CALL(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU, &signal);
  wait_for(device.device, fence.sync_object, done);
  printf("%s\n", memory + 2 * kPage);
  return 0;
}
