#include "tests/conformance/memory_client.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <thread>

namespace dxg::conformance {
namespace {

uint8_t PatternByte(uint64_t seed, size_t offset) {
  uint64_t mixed = (seed + 1) * 0x9E3779B97F4A7C15ull + offset / 8 * 0xC2B2AE3D27D4EB4Full;
  mixed ^= mixed >> 29;
  return static_cast<uint8_t>(mixed >> (offset % 8 * 8)) | 1;  // never 0, which is what fresh memory has
}

}  // namespace

// ---- Creation ----

Creation::Creation(d3dkmthandle device, uint32_t count, uint64_t bytes) : infos(count), data(count) {
  for (size_t i = 0; i < count; ++i) SetData(i, AllocationData{.bytes = bytes});
  args.device = device;
  args.alloc_count = count;
  args.allocation_info = Address(infos.data());
}

void Creation::MakeShared() {
  args.flags.create_resource = 1;
  args.flags.create_shared = 1;
  args.flags.nt_security_sharing = 1;
}

void Creation::SetData(size_t index, std::vector<uint8_t> bytes) {
  data[index] = std::move(bytes);
  infos[index].priv_drv_data = Address(data[index].data());
  infos[index].priv_drv_data_size = static_cast<uint32_t>(data[index].size());
}

void Creation::SetData(size_t index, const AllocationData& bytes, size_t tail) {
  std::vector<uint8_t> raw(sizeof(bytes) + tail, 0x5A);
  std::memcpy(raw.data(), &bytes, sizeof(bytes));
  SetData(index, std::move(raw));
}

AllocationData Creation::DataOf(size_t index) const {
  AllocationData out;
  std::memcpy(&out, data[index].data(), sizeof(out));
  return out;
}

void Creation::SetResourceData(std::vector<uint8_t> bytes) {
  resource_data = std::move(bytes);
  args.priv_drv_data = Address(resource_data.data());
  args.priv_drv_data_size = static_cast<uint32_t>(resource_data.size());
}

void Creation::SetRuntimeData(std::vector<uint8_t> bytes) {
  runtime_data = std::move(bytes);
  args.private_runtime_data = Address(runtime_data.data());
  args.private_runtime_data_size = static_cast<uint32_t>(runtime_data.size());
}

std::vector<d3dkmthandle> Creation::Handles() const {
  std::vector<d3dkmthandle> handles;
  for (const d3dddi_allocationinfo2& info : infos) handles.push_back(info.allocation);
  return handles;
}

// ---- PagingQueue ----

void PagingQueue::WaitFor(uint64_t fence_value) const {
  while (Value() < fence_value) std::this_thread::yield();
}

// ---- Opening ----

Opening::Opening(const Node& node, d3dkmthandle device, int descriptor) {
  d3dkmt_queryresourceinfofromnthandle info = {};
  info.device = device;
  info.nt_handle = static_cast<uint32_t>(descriptor);
  node.Ioctl(LX_DXQUERYRESOURCEINFOFROMNTHANDLE, info, "QueryResourceInfoFromNtHandle");
  infos.resize(info.allocation_count);
  data.resize(info.total_priv_drv_data_size);
  resource_data.resize(info.resource_priv_drv_data_size);
  runtime_data.resize(info.private_runtime_data_size);
  args.device = device;
  args.nt_handle = info.nt_handle;
  args.allocation_count = info.allocation_count;
  args.open_alloc_info = Address(infos.data());
  args.private_runtime_data_size = static_cast<int32_t>(runtime_data.size());
  args.private_runtime_data = Address(runtime_data.data());
  args.resource_priv_drv_data_size = info.resource_priv_drv_data_size;
  args.resource_priv_drv_data = Address(resource_data.data());
  args.total_priv_drv_data_size = info.total_priv_drv_data_size;
  args.total_priv_drv_data = Address(data.data());
}

SharedResource Opening::Open(const Node& node) {
  Require(Try(node), "OpenResourceFromNtHandle");
  SharedResource opened = {args.resource, {}};
  for (const d3dddi_openallocationinfo2& info : infos) opened.allocations.push_back(info.allocation);
  return opened;
}

// ---- MemoryClient: allocations ----

d3dkmthandle MemoryClient::CreateOn(d3dkmthandle owner, uint64_t bytes) const {
  Creation creation(owner, 1, bytes);
  Require(creation.Try(node), "CreateAllocation");
  return creation.infos[0].allocation;
}

std::vector<d3dkmthandle> MemoryClient::CreateMany(uint32_t count, uint64_t bytes) const {
  Creation creation(device, count, bytes);
  Require(creation.Try(node), "CreateAllocation");
  return creation.Handles();
}

d3dkmthandle MemoryClient::CreateWith(const AllocationData& data) const {
  Creation creation(device);
  creation.SetData(0, data);
  Require(creation.Try(node), "CreateAllocation");
  return creation.infos[0].allocation;
}

SharedResource MemoryClient::CreateResource(uint32_t count, uint64_t bytes, bool shared) const {
  Creation creation(device, count, bytes);
  creation.args.flags.create_resource = 1;
  if (shared) creation.MakeShared();
  Require(creation.Try(node), "CreateAllocation");
  return {creation.args.resource, creation.Handles()};
}

int MemoryClient::TryCreateHeap(void* memory, uint64_t bytes, d3dkmthandle* allocation,
                                bool read_only) const {
  d3dkmt_createstandardallocation heap = {};
  heap.type = _D3DKMT_STANDARDALLOCATIONTYPE_EXISTINGHEAP;
  heap.existing_heap_data.size = bytes;
  d3dddi_allocationinfo2 info = {};
  info.sysmem = Address(memory);
  d3dkmt_createallocation args = {};
  args.device = device;
  args.alloc_count = 1;
  args.allocation_info = Address(&info);
  args.standard_allocation = Address(&heap);
  args.flags.standard_allocation = 1;
  args.flags.existing_sysmem = 1;
  args.flags.read_only = read_only ? 1 : 0;
  const int result = node.TryIoctl(LX_DXCREATEALLOCATION, args);
  if (allocation != nullptr) *allocation = info.allocation;
  return result;
}

d3dkmthandle MemoryClient::CreateHeap(void* memory, uint64_t bytes, bool read_only) const {
  d3dkmthandle allocation;
  Require(TryCreateHeap(memory, bytes, &allocation, read_only), "CreateAllocation of a heap");
  return allocation;
}

int MemoryClient::TryDestroy(std::span<const d3dkmthandle> list, uint32_t flags) const {
  d3dkmt_destroyallocation2 args = {};
  args.device = device;
  args.allocations = Address(list.data());
  args.alloc_count = static_cast<uint32_t>(list.size());
  args.flags.value = flags;
  return node.TryIoctl(LX_DXDESTROYALLOCATION2, args);
}

int MemoryClient::TryDestroyResource(d3dkmthandle resource) const {
  d3dkmt_destroyallocation2 args = {};
  args.device = device;
  args.resource = resource;
  return node.TryIoctl(LX_DXDESTROYALLOCATION2, args);
}

void MemoryClient::Destroy(d3dkmthandle allocation) const {
  Require(TryDestroy({&allocation, 1}), "DestroyAllocation2");
}

void MemoryClient::DestroyResource(d3dkmthandle resource) const {
  Require(TryDestroyResource(resource), "DestroyAllocation2 of a resource");
}

bool MemoryClient::IsAllocation(d3dkmthandle allocation) const {
  uint32_t status = 0;
  return TryResidency(allocation, &status) == 0;
}

bool MemoryClient::IsResource(d3dkmthandle resource) const {
  uint32_t status = 0;
  d3dkmt_queryallocationresidency args = {};
  args.device = device;
  args.resource = resource;
  args.residency_status = Address(&status);
  return resource.v != 0 && node.TryIoctl(LX_DXQUERYALLOCATIONRESIDENCY, args) == 0;
}

// ---- MemoryClient: locks ----

int MemoryClient::TryLock(d3dkmthandle allocation, d3dkmthandle by_device, uint64_t* address) const {
  d3dkmt_lock2 args = {};
  args.device = by_device;
  args.allocation = allocation;
  const int result = node.TryIoctl(LX_DXLOCK2, args);
  if (address != nullptr) *address = args.data;
  return result;
}

std::byte* MemoryClient::Lock(d3dkmthandle allocation) const {
  uint64_t address = 0;
  Require(TryLock(allocation, &address), "Lock2");
  return reinterpret_cast<std::byte*>(address);  // Safety: the node mapped the allocation there
}

int MemoryClient::TryUnlock(d3dkmthandle allocation, d3dkmthandle by_device) const {
  d3dkmt_unlock2 args = {};
  args.device = by_device;
  args.allocation = allocation;
  return node.TryIoctl(LX_DXUNLOCK2, args);
}

void MemoryClient::Unlock(d3dkmthandle allocation) const { Require(TryUnlock(allocation), "Unlock2"); }

// ---- MemoryClient: residency ----

PagingQueue MemoryClient::CreatePagingQueueOn(d3dkmthandle owner) const {
  d3dkmt_createpagingqueue args = {};
  args.device = owner;
  node.Ioctl(LX_DXCREATEPAGINGQUEUE, args, "CreatePagingQueue");
  return {args.paging_queue, args.sync_object,
          reinterpret_cast<const volatile uint64_t*>(
              args.fence_cpu_virtual_address)};  // Safety: the node mapped the fence's page there
}

int MemoryClient::TryDestroyPagingQueue(d3dkmthandle queue) const {
  d3dddi_destroypagingqueue args = {queue};
  return node.TryIoctl(LX_DXDESTROYPAGINGQUEUE, args);
}

int MemoryClient::TryMakeResident(const PagingQueue& queue, std::span<const d3dkmthandle> list,
                                  uint32_t flags, uint64_t* fence_value) const {
  d3dddi_makeresident args = {};
  args.paging_queue = queue.handle;
  args.alloc_count = static_cast<uint32_t>(list.size());
  args.allocation_list = Address(list.data());
  args.flags.value = flags;
  const int result = node.TryIoctl(LX_DXMAKERESIDENT, args);
  if (fence_value != nullptr) *fence_value = args.paging_fence_value;
  return result;
}

void MemoryClient::MakeResident(const PagingQueue& queue, std::span<const d3dkmthandle> list) const {
  uint64_t fence_value = 0;
  const int result = TryMakeResident(queue, list, 0, &fence_value);
  if (result != kPending) return Require(result, "MakeResident");
  queue.WaitFor(fence_value);
}

int MemoryClient::TryEvict(std::span<const d3dkmthandle> list, uint32_t flags,
                           uint64_t* bytes_to_trim) const {
  d3dkmt_evict args = {};
  args.device = device;
  args.alloc_count = static_cast<uint32_t>(list.size());
  args.allocations = Address(list.data());
  args.flags.value = flags;
  const int result = node.TryIoctl(LX_DXEVICT, args);
  if (bytes_to_trim != nullptr) *bytes_to_trim = args.num_bytes_to_trim;
  return result;
}

void MemoryClient::Evict(std::span<const d3dkmthandle> list) const { Require(TryEvict(list), "Evict"); }

int MemoryClient::TryResidency(d3dkmthandle allocation, uint32_t* status) const {
  d3dkmt_queryallocationresidency args = {};
  args.device = device;
  args.allocations = Address(&allocation);
  args.allocation_count = 1;
  args.residency_status = Address(status);
  return node.TryIoctl(LX_DXQUERYALLOCATIONRESIDENCY, args);
}

uint32_t MemoryClient::Residency(d3dkmthandle allocation) const {
  uint32_t status = 0;
  Require(TryResidency(allocation, &status), "QueryAllocationResidency");
  return status;
}

d3dkmt_offerallocations MemoryClient::OfferArgs(const d3dkmthandle& allocation, uint32_t priority) const {
  d3dkmt_offerallocations args = {};
  args.device = device;
  args.allocations = Address(&allocation);
  args.allocation_count = 1;
  args.priority = priority;
  return args;
}

d3dkmt_reclaimallocations2 MemoryClient::ReclaimArgs(const PagingQueue& queue, const d3dkmthandle& allocation,
                                                     uint32_t* result) {
  d3dkmt_reclaimallocations2 args = {};
  args.paging_queue = queue.handle;
  args.allocations = Address(&allocation);
  args.allocation_count = 1;
  args.results = result != nullptr ? Address(result) : 0;
  return args;
}

void MemoryClient::Offer(d3dkmthandle allocation, uint32_t priority, uint32_t flags) const {
  auto args = OfferArgs(allocation, priority);
  args.flags.value = flags;
  node.Ioctl(LX_DXOFFERALLOCATIONS, args, "OfferAllocations");
}

// ---- MemoryClient: sharing ----

int MemoryClient::TryShare(d3dkmthandle resource, int* descriptor) const {
  uint64_t shared = ~0ull;
  d3dkmt_shareobjects args = {};
  args.object_count = 1;
  args.objects = Address(&resource);
  args.shared_handle = Address(&shared);
  const int result = node.TryIoctl(LX_DXSHAREOBJECTS, args);
  *descriptor = result == 0 ? static_cast<int>(shared) : -1;
  return result;
}

int MemoryClient::Share(d3dkmthandle resource) const {
  int descriptor = -1;
  Require(TryShare(resource, &descriptor), "ShareObjects");
  return descriptor;
}

int MemoryClient::TryQueryShared(int descriptor, d3dkmt_queryresourceinfofromnthandle* info) const {
  info->device = device;
  info->nt_handle = static_cast<uint32_t>(descriptor);
  return node.TryIoctl(LX_DXQUERYRESOURCEINFOFROMNTHANDLE, *info);
}

bool AllocationsNeedNoDriver() {
  static const bool can = [] {
    const MemoryClient client;
    return Creation(client.device).Try(client.node) == 0;
  }();
  return can;
}

// ---- Bytes ----

void FillPattern(std::span<std::byte> bytes, uint64_t seed) {
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = std::byte{PatternByte(seed, i)};
}

ptrdiff_t FindWrongByte(std::span<const std::byte> bytes, uint64_t seed) {
  for (size_t i = 0; i < bytes.size(); ++i)
    if (bytes[i] != std::byte{PatternByte(seed, i)}) return static_cast<ptrdiff_t>(i);
  return -1;
}

bool IsZero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte byte) { return byte == std::byte{0}; });
}

bool IsMapped(const void* address) {
  const uint64_t page = Address(address) / kPageBytes * kPageBytes;
  unsigned char present = 0;
  return mincore(reinterpret_cast<void*>(page), kPageBytes, &present) == 0 || errno != ENOMEM;
}

bool IsGivenBack(const void* address) { return KindOfNode() != NodeKind::kDriver || !IsMapped(address); }

void Descriptor::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

Pages::Pages(uint64_t bytes, bool touch) : bytes_(bytes) {
  void* mapping = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) throw std::runtime_error("mmap");
  data_ = static_cast<std::byte*>(mapping);
  if (touch) std::memset(data_, 0, bytes);
}

void Pages::Protect(int protection, uint64_t from) const {
  if (mprotect(data_ + from, bytes_ - from, protection) != 0) throw std::runtime_error("mprotect");
}

void Pages::Unmap() {
  if (data_ != nullptr) munmap(data_, bytes_);
  data_ = nullptr;
}

}  // namespace dxg::conformance
