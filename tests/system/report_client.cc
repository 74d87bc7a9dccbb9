// dxg-report-client: asks for a little of everything that the report tells apart, always the same
// (tests/system/report.py compares). The GPU gets commands that it does not know; status 3: and has lost the
// device for it.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "proto/abi/d3dkmthk.h"
#include "proto/abi/ntstatus.h"
#include "proto/abi/qaitype.h"

namespace {

constexpr size_t kPage = 4096;
constexpr int kExitLost = 3;
int node = -1;

[[noreturn]] void Fail(const char* what) {
  const int error = errno;
  std::fprintf(stderr, "dxg-report-client: %s: %s\n", what, std::strerror(error));
  std::exit(error == ENODEV ? kExitLost : 1);
}

// 0, or a positive NTSTATUS.
int Call(unsigned long code, void* args, const char* name) {
  const int result = ioctl(node, code, args);
  if (result < 0) Fail(name);
  return result;
}
#define CALL(code, args) Call(code, args, #code)

void Refused(unsigned long code, void* args, int error, const char* name) {
  if (ioctl(node, code, args) == 0 || errno != error) Fail(name);
}

uint64_t AddressOf(const void* memory) { return reinterpret_cast<uintptr_t>(memory); }

void Wait(d3dkmthandle device, d3dkmthandle fence, uint64_t value) {
  d3dkmt_waitforsynchronizationobjectfromcpu wait = {};
  wait.device = device;
  wait.object_count = 1;
  wait.objects = AddressOf(&fence);
  wait.fence_values = AddressOf(&value);
  CALL(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, &wait);
}

void Ask(d3dkmthandle adapter) {
  uint32_t answer[16] = {};
  d3dkmt_queryadapterinfo query = {};
  query.adapter = adapter;
  query.private_data = AddressOf(answer);
  query.private_data_size = sizeof answer;
  query.type = KMTQAITYPE_ADAPTERTYPE;
  CALL(LX_DXQUERYADAPTERINFO, &query);
  answer[0] = 0;  // of the only physical adapter
  query.type = KMTQAITYPE_ADAPTERPERFDATA;
  CALL(LX_DXQUERYADAPTERINFO, &query);
  query.type = 200;
  for (int i = 0; i < 2; ++i) Refused(LX_DXQUERYADAPTERINFO, &query, EINVAL, "type 200");

  char registry[1024] = {1};  // the adapter's key
  const char name[] = "NobodyHasThis";
  for (size_t i = 0; i < sizeof name; ++i) registry[8 + 2 * i] = name[i];
  registry[528] = 1;  // a text
  query.type = KMTQAITYPE_QUERYREGISTRY;
  query.private_data = AddressOf(registry);
  query.private_data_size = sizeof registry;
  Refused(LX_DXQUERYADAPTERINFO, &query, ENOENT, "a registry value");

  char data[48] = "not of the simulated driver";
  d3dkmt_escape escape = {};
  escape.adapter = adapter;
  escape.priv_drv_data = AddressOf(data);
  escape.priv_drv_data_size = sizeof data;
  Refused(LX_DXESCAPE, &escape, EOVERFLOW, "an escape");
  Refused(_IO('G', 0x7F), nullptr, ENOTTY, "a code of no call");
}

uint64_t Memory(d3dkmthandle device, char* memory) {
  d3dkmt_createpagingqueue paging = {};
  paging.device = device;
  CALL(LX_DXCREATEPAGINGQUEUE, &paging);
  d3dkmt_createstandardallocation heap = {};
  heap.type = _D3DKMT_STANDARDALLOCATIONTYPE_EXISTINGHEAP;
  heap.existing_heap_data.size = kPage;
  d3dddi_allocationinfo2 info = {};
  info.sysmem = AddressOf(memory);
  d3dkmt_createallocation creation = {};
  creation.device = device;
  creation.alloc_count = 1;
  creation.allocation_info = AddressOf(&info);
  creation.standard_allocation = AddressOf(&heap);
  creation.flags.standard_allocation = 1;
  creation.flags.existing_sysmem = 1;
  CALL(LX_DXCREATEALLOCATION, &creation);
  d3dddi_makeresident resident = {};
  resident.paging_queue = paging.paging_queue;
  resident.alloc_count = 1;
  resident.allocation_list = AddressOf(&info.allocation);
  if (CALL(LX_DXMAKERESIDENT, &resident) == DXG_STATUS_PENDING)
    Wait(device, paging.sync_object, resident.paging_fence_value);
  d3dddi_mapgpuvirtualaddress map = {};
  map.paging_queue = paging.paging_queue;
  map.allocation = info.allocation;
  map.size_in_pages = 1;
  map.protection.write = 1;
  if (CALL(LX_DXMAPGPUVIRTUALADDRESS, &map) == DXG_STATUS_PENDING)
    Wait(device, paging.sync_object, map.paging_fence_value);
  return map.virtual_address;
}

void Work(d3dkmthandle adapter) {
  d3dkmt_createdevice device = {};
  device.adapter = adapter;
  device.flags.request_vSync = 1;
  CALL(LX_DXCREATEDEVICE, &device);
  char data[24] = "to a driver";
  d3dkmt_createcontextvirtual context = {};
  context.device = device.device;
  context.priv_drv_data = AddressOf(data);
  context.priv_drv_data_size = sizeof data;
  CALL(LX_DXCREATECONTEXTVIRTUAL, &context);
  auto* memory =
      static_cast<char*>(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  std::memset(memory, 0x7A, kPage);
  const uint64_t address = Memory(device.device, memory);
  d3dkmt_createsynchronizationobject2 fence = {};
  fence.device = device.device;
  fence.info.type = _D3DDDI_MONITORED_FENCE;
  CALL(LX_DXCREATESYNCHRONIZATIONOBJECT, &fence);
  d3dkmt_submitcommand submit = {};
  submit.command_buffer = address;
  submit.command_length = 64;
  submit.broadcast_context_count = 1;
  submit.broadcast_context[0] = context.context;
  for (int i = 0; i < 3; ++i) CALL(LX_DXSUBMITCOMMAND, &submit);
  const uint64_t done = 1;
  d3dkmt_signalsynchronizationobjectfromgpu signal = {};
  signal.context = context.context;
  signal.object_count = 1;
  signal.objects = AddressOf(&fence.sync_object);
  signal.monitored_fence_values = AddressOf(&done);
  CALL(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU, &signal);
  Wait(device.device, fence.sync_object, done);
  d3dkmt_getdevicestate state = {};
  state.device = device.device;
  state.state_type = _D3DKMT_DEVICESTATE_EXECUTION;
  CALL(LX_DXGETDEVICESTATE, &state);
  if (state.execution_state != _D3DKMT_DEVICEEXECUTION_ACTIVE) std::exit(kExitLost);
}

}  // namespace

int main() {
  node = open("/dev/dxg", O_RDONLY | O_CLOEXEC);
  if (node < 0) Fail("/dev/dxg");
  d3dkmt_adapterinfo adapters[D3DKMT_ADAPTERS_MAX] = {};
  d3dkmt_enumadapters2 list = {};
  list.num_adapters = D3DKMT_ADAPTERS_MAX;
  list.adapters = AddressOf(adapters);
  CALL(LX_DXENUMADAPTERS2, &list);
  Ask(adapters[0].adapter_handle);
  Work(adapters[0].adapter_handle);
  std::printf("%d\n", getpid());
  return 0;
}
