#include "tests/bench/client.h"

#include <sys/ioctl.h>

#include "tests/conformance/allocation_data.h"

namespace dxg::bench {
namespace {

constexpr uint32_t kHwQueueSupported = 1u << 4;

uint64_t Address(const void* pointer) { return reinterpret_cast<uint64_t>(pointer); }
const volatile uint64_t* Pointer(uint64_t address) {
  return reinterpret_cast<const volatile uint64_t*>(address);
}

}  // namespace

Client::Client(int fd) : fd_(fd) {
  d3dkmt_enumadapters3 enumerate{};
  d3dkmt_adapterinfo info{};
  enumerate.adapter_count = 1;
  enumerate.filter.value = 1;
  *reinterpret_cast<uint64_t*>(&enumerate.adapters) = Address(&info);
  Do(LX_DXENUMADAPTERS3, &enumerate);
  adapter_ = info.adapter_handle;
  d3dkmt_createdevice device{};
  device.adapter = adapter_;
  Do(LX_DXCREATEDEVICE, &device);
  device_ = device.device;
}

void Client::GetState() {
  d3dkmt_getdevicestate args{};
  args.device = device_;
  args.state_type = _D3DKMT_DEVICESTATE_EXECUTION;
  Do(LX_DXGETDEVICESTATE, &args);
}

void Client::QueryVideoMemory() {
  d3dkmt_queryvideomemoryinfo args{};
  args.adapter = adapter_;
  Do(LX_DXQUERYVIDEOMEMORYINFO, &args);
}

void Client::CreateQueue() {
  d3dkmt_createpagingqueue queue{};
  queue.device = device_;
  Do(LX_DXCREATEPAGINGQUEUE, &queue);
  queue_ = queue.paging_queue;
  paging_ = {queue.sync_object, Pointer(queue.fence_cpu_virtual_address)};
}

d3dkmthandle Client::Create(uint64_t bytes) {
  conformance::AllocationData data{.bytes = bytes};
  d3dddi_allocationinfo2 info{};
  info.priv_drv_data = Address(&data);
  info.priv_drv_data_size = sizeof(data);
  d3dkmt_createallocation args{};
  args.device = device_;
  args.alloc_count = 1;
  args.allocation_info = Address(&info);
  Do(LX_DXCREATEALLOCATION, &args);
  return info.allocation;
}

void Client::Destroy(d3dkmthandle allocation) {
  d3dkmt_destroyallocation2 args{};
  args.device = device_;
  args.allocations = Address(&allocation);
  args.alloc_count = 1;
  Do(LX_DXDESTROYALLOCATION2, &args);
}

char* Client::Lock(d3dkmthandle allocation) {
  d3dkmt_lock2 args{};
  args.device = device_;
  args.allocation = allocation;
  Do(LX_DXLOCK2, &args);
  return reinterpret_cast<char*>(args.data);
}

void Client::Unlock(d3dkmthandle allocation) {
  d3dkmt_unlock2 args{};
  args.device = device_;
  args.allocation = allocation;
  Do(LX_DXUNLOCK2, &args);
}

void Client::MakeResident(d3dkmthandle allocation) {
  d3dddi_makeresident args{};
  args.paging_queue = queue_;
  args.alloc_count = 1;
  args.allocation_list = Address(&allocation);
  if (Do(LX_DXMAKERESIDENT, &args) != 0) Wait(paging_, args.paging_fence_value);
}

uint64_t Client::Map(d3dkmthandle allocation, uint64_t pages) {
  d3dddi_mapgpuvirtualaddress args{};
  args.paging_queue = queue_;
  args.allocation = allocation;
  args.size_in_pages = pages;
  args.protection.value = 1;  // write
  if (Do(LX_DXMAPGPUVIRTUALADDRESS, &args) != 0) Wait(paging_, args.paging_fence_value);
  return args.virtual_address;
}

void Client::Free(uint64_t address) {
  d3dkmt_freegpuvirtualaddress args{};
  args.adapter = adapter_;
  args.base_address = address;
  args.size = kPageBytes;
  Do(LX_DXFREEGPUVIRTUALADDRESS, &args);
}

Client::Fence Client::CreateFence(bool shared) {
  d3dkmt_createsynchronizationobject2 args{};
  args.device = device_;
  args.info.type = 5;
  args.info.flags.value = shared ? 3 : 0;  // shared, nt_security_sharing
  Do(LX_DXCREATESYNCHRONIZATIONOBJECT, &args);
  return {args.sync_object, Pointer(args.info.monitored_fence.fence_cpu_virtual_address)};
}

int Client::Share(const Fence& fence) {
  uint64_t descriptor = 0;
  d3dkmt_shareobjects args{};
  args.object_count = 1;
  args.objects = Address(&fence.handle);
  args.shared_handle = Address(&descriptor);
  Do(LX_DXSHAREOBJECTS, &args);
  return static_cast<int>(descriptor);
}

Client::Fence Client::Open(int descriptor) {
  d3dkmt_opensyncobjectfromnthandle2 args{};
  args.device = device_;
  args.nt_handle = static_cast<uint64_t>(descriptor);
  Do(LX_DXOPENSYNCOBJECTFROMNTHANDLE2, &args);
  return {args.sync_object, Pointer(args.monitored_fence.fence_value_cpu_va)};
}

void Client::Signal(const Fence& fence, uint64_t value) {
  d3dkmt_signalsynchronizationobjectfromcpu args{};
  args.device = device_;
  args.object_count = 1;
  args.objects = Address(&fence.handle);
  args.fence_values = Address(&value);
  Do(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMCPU, &args);
}

void Client::Wait(const Fence& fence, uint64_t value) { WaitEvent(fence, value, 0); }

void Client::WaitEvent(const Fence& fence, uint64_t value, int eventfd) {
  d3dkmt_waitforsynchronizationobjectfromcpu args{};
  args.device = device_;
  args.object_count = 1;
  args.objects = Address(&fence.handle);
  args.fence_values = Address(&value);
  args.async_event = static_cast<uint64_t>(eventfd);
  Do(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, &args);
}

d3dkmthandle Client::CreateContext(uint32_t node, bool for_hardware_queues) {
  d3dkmt_createcontextvirtual args{};
  args.device = device_;
  args.node_ordinal = node;
  args.flags.value = for_hardware_queues ? kHwQueueSupported : 0;
  Do(LX_DXCREATECONTEXTVIRTUAL, &args);
  return args.context;
}

Client::HwQueue Client::CreateHwQueue(d3dkmthandle context) {
  d3dkmt_createhwqueue args{};
  args.context = context;
  Do(LX_DXCREATEHWQUEUE, &args);
  return {args.queue, {args.queue_progress_fence, Pointer(args.queue_progress_fence_cpu_va)}};
}

void Client::Submit(d3dkmthandle context, uint64_t address, uint32_t bytes) {
  d3dkmt_submitcommand args{};
  args.command_buffer = address;
  args.command_length = bytes;
  args.broadcast_context_count = 1;
  args.broadcast_context[0] = context;
  Do(LX_DXSUBMITCOMMAND, &args);
}

void Client::Submit(const HwQueue& queue, uint64_t address, uint32_t bytes, uint64_t progress) {
  d3dkmt_submitcommandtohwqueue args{};
  args.hwqueue = queue.handle;
  args.hwqueue_progress_fence_id = progress;
  args.command_buffer = address;
  args.command_length = bytes;
  Do(LX_DXSUBMITCOMMANDTOHWQUEUE, &args);
}

void Client::WaitFromGpu(d3dkmthandle context, const Fence& fence, uint64_t value) {
  d3dkmt_waitforsynchronizationobjectfromgpu args{};
  args.context = context;
  args.object_count = 1;
  args.objects = Address(&fence.handle);
  args.monitored_fence_values = Address(&value);
  Do(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMGPU, &args);
}

void Client::SignalFromGpu(d3dkmthandle context, const Fence& fence, uint64_t value) {
  d3dkmt_signalsynchronizationobjectfromgpu args{};
  args.context = context;
  args.object_count = 1;
  args.objects = Address(&fence.handle);
  args.monitored_fence_values = Address(&value);
  Do(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU, &args);
}

}  // namespace dxg::bench
