#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/page.h"
#include "proto/abi/ntstatus.h"
#include "tests/conformance/allocation_data.h"
#include "tests/conformance/node.h"

// A client with a device, and the calls about memory by name.
//
// As in Node, a call whose name begins with Try returns the raw result. Any other call is set-up and throws
// if it is refused.

namespace dxg::conformance {

inline constexpr uint64_t kMiB = 1 << 20;
inline constexpr uint64_t kGiB = 1 << 30;
inline constexpr int kPending = DXG_STATUS_PENDING;  // accepted, and a paging fence says when it is done
inline constexpr int kRawInvalidParameter =
    DXG_STATUS_INVALID_PARAMETER;  // CreateAllocation gives it as it is
// Flags of MakeResident and of Evict.
inline constexpr uint32_t kCantTrimFurther = 1, kMustSucceed = 2;
inline constexpr uint32_t kOnlyIfNecessary = 1;
inline constexpr uint32_t kNotResident = _D3DKMT_ALLOCATIONRESIDENCYSTATUS_NOTRESIDENT;
inline constexpr uint32_t kLocal = _D3DKMT_MEMORY_SEGMENT_GROUP_LOCAL;

// One CreateAllocation with the memory that its pointers lead to. Tests change `args`, `infos` and the data
// in place, and make the call.
struct Creation {
  explicit Creation(d3dkmthandle device, uint32_t count = 1, uint64_t bytes = kPageBytes);
  Creation(const Creation&) = delete;
  Creation& operator=(const Creation&) = delete;

  // A new resource that can be shared by descriptor.
  void MakeShared();
  // The private data of one element, or all that the driver of a resource and its runtime get.
  void SetData(size_t index, std::vector<uint8_t> bytes);
  void SetResourceData(std::vector<uint8_t> bytes);
  void SetRuntimeData(std::vector<uint8_t> bytes);
  void SetData(size_t index, const AllocationData& bytes, size_t tail = 0);
  AllocationData DataOf(size_t index) const;

  int Try(const Node& node) { return node.TryIoctl(LX_DXCREATEALLOCATION, args); }
  std::vector<d3dkmthandle> Handles() const;

  d3dkmt_createallocation args = {};
  std::vector<d3dddi_allocationinfo2> infos;
  std::vector<std::vector<uint8_t>> data;
  std::vector<uint8_t> resource_data, runtime_data;
};

struct SharedResource {
  d3dkmthandle resource;
  std::vector<d3dkmthandle> allocations;
};

struct PagingQueue {
  d3dkmthandle handle, fence;
  const volatile uint64_t* value;  // of the fence

  uint64_t Value() const { return __atomic_load_n(value, __ATOMIC_ACQUIRE); }
  // Waits until the fence has the value. It has no deadline of its own; the test's timeout ends a wait that
  // never does.
  void WaitFor(uint64_t fence_value) const;
};

// A resource of another client, or of this one, by its descriptor. As for Creation.
struct Opening {
  // Room as QueryResourceInfoFromNtHandle says.
  Opening(const Node& node, d3dkmthandle device, int descriptor);

  int Try(const Node& node) { return node.TryIoctl(LX_DXOPENRESOURCEFROMNTHANDLE, args); }
  SharedResource Open(const Node& node);

  d3dkmt_openresourcefromnthandle args = {};
  std::vector<d3dddi_openallocationinfo2> infos;
  std::vector<uint8_t> data, resource_data, runtime_data;
};

class MemoryClient {
 public:
  MemoryClient() : node(OpenNode()), device(node.CreateDevice(node.FirstAdapter())) {}

  Node node;
  d3dkmthandle device;

  d3dkmthandle Create(uint64_t bytes = kPageBytes) const { return CreateOn(device, bytes); }
  d3dkmthandle CreateOn(d3dkmthandle owner, uint64_t bytes = kPageBytes) const;
  std::vector<d3dkmthandle> CreateMany(uint32_t count, uint64_t bytes = kPageBytes) const;
  d3dkmthandle CreateWith(const AllocationData& data) const;
  SharedResource CreateResource(uint32_t count = 1, uint64_t bytes = kPageBytes, bool shared = false) const;
  // A heap of the caller's own memory, as programs of any GPU driver can make one.
  int TryCreateHeap(void* memory, uint64_t bytes, d3dkmthandle* allocation, bool read_only = false) const;
  d3dkmthandle CreateHeap(void* memory, uint64_t bytes, bool read_only = false) const;

  int TryDestroy(std::span<const d3dkmthandle> list, uint32_t flags = 0) const;
  int TryDestroyResource(d3dkmthandle resource) const;
  void Destroy(d3dkmthandle allocation) const;
  void DestroyResource(d3dkmthandle resource) const;
  // Uses a query that changes nothing.
  bool IsAllocation(d3dkmthandle allocation) const;
  bool IsResource(d3dkmthandle resource) const;

  int TryLock(d3dkmthandle allocation, d3dkmthandle by_device, uint64_t* address = nullptr) const;
  int TryLock(d3dkmthandle allocation, uint64_t* address = nullptr) const {
    return TryLock(allocation, device, address);
  }
  std::byte* Lock(d3dkmthandle allocation) const;
  std::span<std::byte> LockBytes(d3dkmthandle allocation, uint64_t bytes = kPageBytes) const {
    return {Lock(allocation), bytes};
  }
  int TryUnlock(d3dkmthandle allocation, d3dkmthandle by_device) const;
  int TryUnlock(d3dkmthandle allocation) const { return TryUnlock(allocation, device); }
  void Unlock(d3dkmthandle allocation) const;

  PagingQueue CreatePagingQueue() const { return CreatePagingQueueOn(device); }
  PagingQueue CreatePagingQueueOn(d3dkmthandle owner) const;
  int TryDestroyPagingQueue(d3dkmthandle queue) const;
  int TryMakeResident(const PagingQueue& queue, std::span<const d3dkmthandle> list, uint32_t flags = 0,
                      uint64_t* fence_value = nullptr) const;
  // And waits.
  void MakeResident(const PagingQueue& queue, std::span<const d3dkmthandle> list) const;
  int TryEvict(std::span<const d3dkmthandle> list, uint32_t flags = 0,
               uint64_t* bytes_to_trim = nullptr) const;
  void Evict(std::span<const d3dkmthandle> list) const;
  int TryResidency(d3dkmthandle allocation, uint32_t* status) const;
  uint32_t Residency(d3dkmthandle allocation) const;
  // Calls that offer one allocation, and take it back; the first keep its address.
  d3dkmt_offerallocations OfferArgs(const d3dkmthandle& allocation, uint32_t priority) const;
  static d3dkmt_reclaimallocations2 ReclaimArgs(const PagingQueue& queue, const d3dkmthandle& allocation,
                                                uint32_t* result = nullptr);
  void Offer(d3dkmthandle allocation, uint32_t priority, uint32_t flags = 0) const;

  int TryShare(d3dkmthandle resource, int* descriptor) const;
  int Share(d3dkmthandle resource) const;  // the caller closes it
  int TryQueryShared(int descriptor, d3dkmt_queryresourceinfofromnthandle* info) const;
  SharedResource OpenShared(int descriptor) const { return Opening(node, device, descriptor).Open(node); }
};

// Whether the host's GPU driver makes an allocation from the simulated one's private data. Asked once.
bool AllocationsNeedNoDriver();

#define SKIP_WITHOUT_ALLOCATIONS()                                                                \
  if (!::dxg::conformance::options().simulator && !::dxg::conformance::AllocationsNeedNoDriver()) \
  GTEST_SKIP() << "the host's GPU driver makes no allocation without private data of its own"

// ---- Bytes ----

// Bytes that depend on seed and offset, so that a test recognizes what it has written.
void FillPattern(std::span<std::byte> bytes, uint64_t seed);
// The offset of the first byte that is not as written, or -1.
ptrdiff_t FindWrongByte(std::span<const std::byte> bytes, uint64_t seed);
bool IsZero(std::span<const std::byte> bytes);

// Whether any page is mapped there in this process.
bool IsMapped(const void* address);
// Whether the driver has unmapped that memory. Call it before anything else is mapped. Always true for a node
// that is served from userspace, which maps a process's memory once and keeps the mapping.
bool IsGivenBack(const void* address);

// A descriptor that is closed at the end of its scope.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { Close(); }
  int get() const { return fd_; }
  void Close();

 private:
  int fd_;
};

// Memory from mmap, in whole pages.
class Pages {
 public:
  explicit Pages(uint64_t bytes, bool touch = true);
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  ~Pages() { Unmap(); }

  std::byte* data() const { return data_; }
  uint64_t bytes() const { return bytes_; }
  std::span<std::byte> span() const { return {data_, bytes_}; }
  void Protect(int protection, uint64_t from = 0) const;
  void Unmap();

 private:
  std::byte* data_;
  uint64_t bytes_;
};

}  // namespace dxg::conformance
