// CreateAllocation, DestroyAllocation2.

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "proto/abi/interface.h"
#include "proto/contract/numbers.gen.h"
#include "tests/conformance/memory.h"
#include "tests/conformance/memory_client.h"
#include "tests/conformance/peer.h"
#include "tests/conformance/race.h"

namespace dxg::conformance {
namespace {

constexpr uint32_t kAllocationsMax = limits::kCreateAllocationAllocationInfoMax;
constexpr uint32_t kDataMax = limits::kCreateAllocationPrivDrvDataMax;  // bytes of one piece of private data
// With one allocation, the head and the data fill a message exactly; the header in front of it does not count
// here.
constexpr uint32_t kMessageDataMax = kMessageBytesMax - 64 - 12;

// ---- CreateAllocation: refusals, in the order in which a call is looked at ----

TEST(CreateAllocation, RefusesBadCountsBeforeItReadsTheList) {
  const MemoryClient client;
  for (uint32_t count : {0u, kAllocationsMax + 1, 0xffffffffu}) {
    Creation creation(client.device);
    creation.args.alloc_count = count;
    creation.args.allocation_info = kUnmappedAddress;
    EXPECT_EQ(creation.Try(client.node), -EINVAL) << count;
  }
}

TEST(CreateAllocation, FaultsOnABadList) {
  const MemoryClient client;
  Creation creation(client.device);
  GuardedMemory memory(sizeof(d3dddi_allocationinfo2));
  for (uint64_t address : {uint64_t{0}, kUnmappedAddress, kKernelAddress, memory.one_byte_short()}) {
    creation.args.allocation_info = address;
    EXPECT_EQ(creation.Try(client.node), -EFAULT) << address;
  }
}

TEST(CreateAllocation, ReadsTheWholeListBeforeItLooksAtAnElement) {
  const MemoryClient client;
  Creation creation(client.device);
  creation.infos[0].priv_drv_data_size = kDataMax + 1;  // EINVAL, if the rest were there
  GuardedMemory memory(sizeof(d3dddi_allocationinfo2));
  std::memcpy(memory.bytes().data(), creation.infos.data(), sizeof(d3dddi_allocationinfo2));
  creation.args.allocation_info = memory.address();
  creation.args.alloc_count = 2;
  EXPECT_EQ(creation.Try(client.node), -EFAULT);
}

TEST(CreateAllocation, RefusesTooMuchDataOfAnElement) {
  const MemoryClient client;
  for (uint32_t size : {kDataMax + 1, 0x80000000u, 0xffffffffu}) {
    Creation creation(client.device, 2);
    creation.infos[1].priv_drv_data_size = size;
    creation.infos[1].priv_drv_data = kUnmappedAddress;
    EXPECT_EQ(creation.Try(client.node), -EINVAL) << size;
  }
}

TEST(CreateAllocation, RefusesFlagsThatAreNotForPrograms) {
  const MemoryClient client;
  Creation section(client.device);
  section.args.flags.existing_section = 1;
  EXPECT_EQ(section.Try(client.node), -EINVAL);
  Creation is_protected(client.device);
  is_protected.args.flags.create_protected = 1;
  EXPECT_EQ(is_protected.Try(client.node), -EINVAL);
}

TEST(CreateAllocation, RefusesToShareWithoutAResourceOrWithoutSecurity) {
  const MemoryClient client;
  Creation alone(client.device);
  alone.args.flags.create_shared = 1;
  alone.args.flags.nt_security_sharing = 1;
  EXPECT_EQ(alone.Try(client.node), -EINVAL);
  Creation open_to_all(client.device);
  open_to_all.args.flags.create_resource = 1;
  open_to_all.args.flags.create_shared = 1;
  EXPECT_EQ(open_to_all.Try(client.node), -EINVAL);
}

TEST(CreateAllocation, RefusesADestroyedDevice) {
  const MemoryClient client;
  client.node.DestroyDevice(client.device);
  EXPECT_EQ(Creation(client.device).Try(client.node), -EINVAL);
}

TEST(CreateAllocation, RefusesTheDeviceOfAnotherClient) {
  Peer other([](Peer& parent) {
    Node node = OpenNode();
    d3dkmthandle last = Handle(0);
    for (int i = 0; i < 50; ++i) last = node.CreateDevice(node.FirstAdapter());
    parent.Send(last.v);
    parent.Receive();
  });
  const MemoryClient client;
  EXPECT_EQ(Creation(Handle(static_cast<uint32_t>(other.Receive()))).Try(client.node), -EINVAL);
  other.Send(0);
  other.Join();
}

TEST(CreateAllocation, RefusesAResourceThatIsNone) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const d3dkmthandle other_device = client.node.CreateDevice(const_cast<Node&>(client.node).FirstAdapter());
  const SharedResource live = client.CreateResource();
  const SharedResource stale = client.CreateResource();
  client.DestroyResource(stale.resource);
  for (d3dkmthandle resource : {Handle(0x40fff000), stale.resource, live.allocations[0], client.device}) {
    Creation creation(client.device);
    creation.args.resource = resource;
    EXPECT_EQ(creation.Try(client.node), -EINVAL) << resource.v;
  }
  Creation of_other_device(other_device);
  of_other_device.args.resource = live.resource;
  EXPECT_EQ(of_other_device.Try(client.node), -EINVAL);
  EXPECT_TRUE(client.IsResource(live.resource));
}

TEST(CreateAllocation, RefusesMisalignedMemory) {
  const MemoryClient client;
  const Pages memory(2 * kPageBytes);
  for (uint64_t offset : {1u, 8u, 4095u}) {
    Creation creation(client.device);
    creation.infos[0].sysmem = Address(memory.data()) + offset;
    EXPECT_EQ(creation.Try(client.node), -EINVAL) << offset;
  }
}

TEST(CreateAllocation, RefusesMemoryForSomeElementsOnly) {
  const MemoryClient client;
  const Pages memory(kPageBytes);
  for (size_t which : {0, 1, 2}) {
    Creation creation(client.device, 3);
    creation.infos[which].sysmem = Address(memory.data());
    EXPECT_EQ(creation.Try(client.node), -EINVAL) << which;
  }
}

TEST(CreateAllocation, DataBeyondAMessageOverflowsBeforeItIsRead) {
  const MemoryClient client;
  const auto result_of = [&](uint32_t first, uint32_t second, uint32_t resource, uint32_t runtime) {
    Creation creation(client.device, second != 0 ? 2 : 1);
    creation.infos[0].priv_drv_data_size = first;
    creation.infos[0].priv_drv_data = kUnmappedAddress;
    creation.infos.back().priv_drv_data_size = second != 0 ? second : first;
    creation.infos.back().priv_drv_data = kUnmappedAddress;
    creation.args.priv_drv_data = kUnmappedAddress;
    creation.args.priv_drv_data_size = resource;
    creation.args.private_runtime_data = kUnmappedAddress;
    creation.args.private_runtime_data_size = runtime;
    return creation.Try(client.node);
  };
  EXPECT_EQ(result_of(kDataMax, 0, 0, 0), -EOVERFLOW);
  EXPECT_EQ(result_of(65536, 65536, 0, 0), -EOVERFLOW);
  EXPECT_EQ(result_of(32, 0, kDataMax, 0), -EOVERFLOW);
  EXPECT_EQ(result_of(32, 0, kDataMax + 1, 0), -EOVERFLOW);
  EXPECT_EQ(result_of(32, 0, 0, 0xffffffff), -EOVERFLOW);
  EXPECT_EQ(result_of(50000, 0, 50000, 50000), -EOVERFLOW);
  EXPECT_EQ(result_of(kMessageDataMax + 1, 0, 0, 0), -EOVERFLOW);
  EXPECT_EQ(result_of(32, 0, 0, 0), -EFAULT) << "nothing is too large here: the data is read";
}

TEST(CreateAllocation, FaultsOnBadData) {
  const MemoryClient client;
  for (uint64_t address : {uint64_t{0}, kUnmappedAddress, kKernelAddress}) {
    Creation element(client.device, 2);
    element.infos[1].priv_drv_data = address;
    EXPECT_EQ(element.Try(client.node), -EFAULT) << "element";
    Creation resource(client.device);
    resource.args.priv_drv_data = address;
    resource.args.priv_drv_data_size = 13;
    EXPECT_EQ(resource.Try(client.node), -EFAULT) << "resource";
    Creation runtime(client.device);
    runtime.args.private_runtime_data = address;
    runtime.args.private_runtime_data_size = 13;
    EXPECT_EQ(runtime.Try(client.node), -EFAULT) << "runtime";
    Creation shared(client.device);
    shared.MakeShared();
    shared.infos[0].priv_drv_data = address;
    EXPECT_EQ(shared.Try(client.node), -EFAULT) << "kept for later openers";
  }
  GuardedMemory memory(32);
  Creation across(client.device);
  across.infos[0].priv_drv_data = memory.one_byte_short();
  EXPECT_EQ(across.Try(client.node), -EFAULT);
}

// ---- Standard allocations ----

struct Standard {
  explicit Standard(const MemoryClient& client, uint32_t type = _D3DKMT_STANDARDALLOCATIONTYPE_EXISTINGHEAP)
      : memory(2 * kPageBytes), creation(client.device) {
    heap.type = type;
    heap.existing_heap_data.size = kPageBytes;
    creation.infos[0] = {};
    creation.infos[0].sysmem = Address(memory.data());
    creation.args.standard_allocation = Address(&heap);
    creation.args.flags.standard_allocation = 1;
    creation.args.flags.existing_sysmem = 1;
  }
  Pages memory;
  Creation creation;
  d3dkmt_createstandardallocation heap = {};
};

TEST(StandardAllocation, RefusesDataOfAnElement) {
  const MemoryClient client;
  Standard standard(client);
  standard.creation.SetData(0, AllocationData{.bytes = kPageBytes});
  standard.creation.infos[0].sysmem = Address(standard.memory.data());
  EXPECT_EQ(standard.creation.Try(client.node), -EINVAL);
}

TEST(StandardAllocation, RefusesNoDescriptionAndFaultsOnABadOne) {
  const MemoryClient client;
  Standard standard(client);
  standard.creation.args.standard_allocation = 0;
  EXPECT_EQ(standard.creation.Try(client.node), -EINVAL);
  for (uint64_t address : {kUnmappedAddress, kKernelAddress}) {
    standard.creation.args.standard_allocation = address;
    EXPECT_EQ(standard.creation.Try(client.node), -EFAULT);
  }
}

// The only call whose refusal is an NTSTATUS: not in the range of an errno, so the C library takes it for a
// result.
void ExpectRawRefusal(const MemoryClient& client, Standard& standard, const char* what) {
  errno = EXDEV;
  EXPECT_EQ(standard.creation.Try(client.node), kRawInvalidParameter) << what;
  EXPECT_EQ(errno, EXDEV) << what;
}

TEST(StandardAllocation, AnswersARawStatusForAHeapThatIsNone) {
  const MemoryClient client;
  Standard no_memory(client);
  no_memory.creation.infos[0].sysmem = 0;
  ExpectRawRefusal(client, no_memory, "no memory");
  Standard misaligned(client);
  misaligned.creation.infos[0].sysmem += 8;
  ExpectRawRefusal(client, misaligned, "misaligned memory");
  Standard no_flag(client);
  no_flag.creation.args.flags.existing_sysmem = 0;
  ExpectRawRefusal(client, no_flag, "no flag existing_sysmem");
}

TEST(StandardAllocation, AnswersARawStatusForOtherTypes) {
  const MemoryClient client;
  Standard with_flag(client, _D3DKMT_STANDARDALLOCATIONTYPE_CROSSADAPTER);
  ExpectRawRefusal(client, with_flag, "cross adapter with memory and its flag");
  Standard with_memory(client, _D3DKMT_STANDARDALLOCATIONTYPE_CROSSADAPTER);
  with_memory.creation.args.flags.existing_sysmem = 0;
  ExpectRawRefusal(client, with_memory, "cross adapter with memory");
  for (uint32_t type : {0u, 3u, 0xffffffffu}) {
    Standard unknown(client, type);
    ExpectRawRefusal(client, unknown, "unknown type");
  }
}

TEST(StandardAllocation, RefusesWhatIsNotOneHeapOfWholePages) {
  const MemoryClient client;
  Standard data(client);
  data.creation.args.priv_drv_data_size = 1;
  EXPECT_EQ(data.creation.Try(client.node), -EINVAL) << "private data of the resource";
  for (uint64_t size : {uint64_t{0}, uint64_t{1}, uint64_t{4095}, uint64_t{4097}, ~uint64_t{0}}) {
    Standard sized(client);
    sized.heap.existing_heap_data.size = size;
    EXPECT_EQ(sized.creation.Try(client.node), -EINVAL) << size;
  }
  Standard two(client);
  two.creation.infos.resize(2, two.creation.infos[0]);
  two.creation.args.allocation_info = Address(two.creation.infos.data());
  two.creation.args.alloc_count = 2;
  EXPECT_EQ(two.creation.Try(client.node), -EINVAL) << "two elements";
}

TEST(StandardAllocation, LooksAtTheDescriptionBeforeTheDevice) {
  const MemoryClient client;
  Standard standard(client, 99);
  standard.creation.args.device = Handle(0);
  ExpectRawRefusal(client, standard, "no device");
}

// ---- CreateAllocation: success ----

TEST(CreateAllocation, WritesTheHandleAndNothingElse) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  Creation creation(client.device, 2);
  creation.args.global_share = Handle(0x12345678);
  creation.args.reserved = creation.args.reserved1 = creation.args.reserved2 = 0x5a5a5a5a;
  for (d3dddi_allocationinfo2& info : creation.infos) {
    info.gpu_virtual_address = 0x1111;
    info.priority = 7;
    std::memset(info.reserved, 0xa5, sizeof(info.reserved));
    info.allocation = Handle(0xa5a5a5a5);
  }
  const d3dkmt_createallocation args_before = creation.args;
  const std::vector<d3dddi_allocationinfo2> infos_before = creation.infos;
  ASSERT_EQ(creation.Try(client.node), 0);
  EXPECT_EQ(std::memcmp(&creation.args, &args_before, sizeof(args_before)), 0);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(client.IsAllocation(creation.infos[i].allocation));
    creation.infos[i].allocation = infos_before[i].allocation;
    EXPECT_EQ(std::memcmp(&creation.infos[i], &infos_before[i], sizeof(infos_before[i])), 0) << i;
  }
}

TEST(CreateAllocation, WritesTheResourceItMakes) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  Creation creation(client.device);
  creation.args.flags.create_resource = 1;
  ASSERT_EQ(creation.Try(client.node), 0);
  EXPECT_TRUE(client.IsResource(creation.args.resource));
  EXPECT_NE(creation.args.resource.v, creation.infos[0].allocation.v);
  EXPECT_EQ(creation.args.global_share.v, 0u);
}

TEST(CreateAllocation, PointersAreIgnoredWithoutASize) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  Creation creation(client.device);
  creation.args.priv_drv_data = kUnmappedAddress;
  creation.args.private_runtime_data = kKernelAddress;
  EXPECT_EQ(creation.Try(client.node), 0);
}

TEST(CreateAllocation, MakesAsManyAsTheLimitInOneCall) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const std::vector<d3dkmthandle> handles = client.CreateMany(kAllocationsMax);
  std::set<uint32_t> different;
  for (d3dkmthandle handle : handles) {
    different.insert(handle.v);
    EXPECT_EQ(handle.instance, 0u);
    EXPECT_NE(handle.unique, 0u);
  }
  EXPECT_EQ(different.size(), kAllocationsMax);
  EXPECT_TRUE(client.IsAllocation(handles.front()));
  EXPECT_TRUE(client.IsAllocation(handles.back()));
  EXPECT_EQ(client.TryDestroy(handles), 0);
  EXPECT_FALSE(client.IsAllocation(handles.front()));
  EXPECT_FALSE(client.IsAllocation(handles.back()));
}

TEST(CreateAllocation, AddsToAResource) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const SharedResource resource = client.CreateResource();
  Creation more(client.device, 2);
  more.args.resource = resource.resource;
  ASSERT_EQ(more.Try(client.node), 0);
  EXPECT_EQ(more.args.resource.v, resource.resource.v);
  client.DestroyResource(resource.resource);
  for (d3dkmthandle allocation :
       {resource.allocations[0], more.infos[0].allocation, more.infos[1].allocation})
    EXPECT_FALSE(client.IsAllocation(allocation));
}

TEST(CreateAllocation, EndsWithItsDevice) {
  SKIP_WITHOUT_ALLOCATIONS();
  MemoryClient client;
  const d3dkmthandle other = client.node.CreateDevice(client.node.FirstAdapter());
  const d3dkmthandle allocation = client.CreateOn(other), kept = client.Create();
  client.node.DestroyDevice(other);
  EXPECT_FALSE(client.IsAllocation(allocation));
  EXPECT_EQ(client.TryLock(allocation), -EINVAL);
  EXPECT_TRUE(client.IsAllocation(kept));
}

TEST(CreateAllocation, WorksFromManyThreads) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.push_back(StartThread([&] {
      for (int round = 0; round < 25; ++round) {
        const std::vector<d3dkmthandle> some = client.CreateMany(5);
        const SharedResource resource = client.CreateResource(2);
        EXPECT_EQ(client.TryDestroy(some), 0);
        client.DestroyResource(resource.resource);
      }
    }));
  for (std::thread& thread : threads) thread.join();
}

// Memory of a failed call would still be mapped, or its handles still be there.
TEST(CreateAllocation, IsUndoneWhereItsAnswerCannotBeWritten) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  Creation creation(client.device, 3);
  GuardedMemory memory(3 * sizeof(d3dddi_allocationinfo2));
  std::memcpy(memory.bytes().data(), creation.infos.data(), memory.bytes().size());
  memory.MakeReadOnly();
  creation.args.allocation_info = memory.address();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(creation.Try(client.node), -EFAULT);
  Creation resource(client.device);
  GuardedMemory args(sizeof(resource.args));
  resource.args.flags.create_resource = 1;
  std::memcpy(args.bytes().data(), &resource.args, sizeof(resource.args));
  args.MakeReadOnly();
  EXPECT_EQ(client.node.TryIoctlAt(LX_DXCREATEALLOCATION, args.address()), -EFAULT);
  EXPECT_TRUE(client.IsAllocation(client.Create()));
}

// ---- DestroyAllocation2 ----

TEST(DestroyAllocation, RefusesBadCountsBeforeItReadsTheList) {
  const MemoryClient client;
  d3dkmt_destroyallocation2 args = {};
  args.device = client.device;
  EXPECT_EQ(client.node.TryIoctl(LX_DXDESTROYALLOCATION2, args), -EINVAL) << "nothing to destroy";
  args.allocations = kUnmappedAddress;
  for (uint32_t count : {kAllocationsMax + 1, 0xffffffffu}) {
    args.alloc_count = count;
    EXPECT_EQ(client.node.TryIoctl(LX_DXDESTROYALLOCATION2, args), -EINVAL) << count;
  }
  args.alloc_count = 1;
  EXPECT_EQ(client.node.TryIoctl(LX_DXDESTROYALLOCATION2, args), -EFAULT);
  args.resource = Handle(0x40000040);
  EXPECT_EQ(client.node.TryIoctl(LX_DXDESTROYALLOCATION2, args), -EINVAL) << "a resource and a list";
}

TEST(DestroyAllocation, RefusesAListWithABadHandleAndDestroysNothing) {
  SKIP_WITHOUT_ALLOCATIONS();
  MemoryClient client;
  const d3dkmthandle first = client.Create(), last = client.Create(), stale = client.Create();
  client.Destroy(stale);
  const d3dkmthandle other = client.node.CreateDevice(client.node.FirstAdapter());
  const SharedResource resource = client.CreateResource();
  for (d3dkmthandle bad : {Handle(0), Handle(0x40fff000), stale, client.device, resource.resource,
                           resource.allocations[0], client.CreateOn(other)}) {
    const d3dkmthandle list[] = {first, bad, last};
    EXPECT_EQ(client.TryDestroy(list), -EINVAL) << bad.v;
    const d3dkmthandle other_order[] = {bad, first, last};
    EXPECT_EQ(client.TryDestroy(other_order), -EINVAL) << bad.v;
  }
  for (d3dkmthandle kept : {first, last, resource.allocations[0]}) EXPECT_TRUE(client.IsAllocation(kept));
  const d3dkmthandle list[] = {first, last};
  EXPECT_EQ(client.TryDestroy(list), 0);
  EXPECT_FALSE(client.IsAllocation(first));
}

TEST(DestroyAllocation, RefusesMembersOfTwoResources) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const SharedResource one = client.CreateResource(), two = client.CreateResource();
  const d3dkmthandle list[] = {one.allocations[0], two.allocations[0]};
  EXPECT_EQ(client.TryDestroy(list), -EINVAL);
  EXPECT_TRUE(client.IsAllocation(list[0]));
  EXPECT_TRUE(client.IsAllocation(list[1]));
}

TEST(DestroyAllocation, RefusesMembersOfASharedResource) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const SharedResource shared = client.CreateResource(2, kPageBytes, true);
  EXPECT_EQ(client.TryDestroy(shared.allocations), -EINVAL);
  EXPECT_TRUE(client.IsAllocation(shared.allocations[1]));
  client.DestroyResource(shared.resource);
  EXPECT_FALSE(client.IsAllocation(shared.allocations[1]));
}

TEST(DestroyAllocation, RefusesASecondTime) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const d3dkmthandle allocation = client.Create();
  EXPECT_EQ(client.TryDestroy({&allocation, 1}), 0);
  EXPECT_EQ(client.TryDestroy({&allocation, 1}), -EINVAL);
  const SharedResource resource = client.CreateResource();
  EXPECT_EQ(client.TryDestroyResource(resource.resource), 0);
  EXPECT_EQ(client.TryDestroyResource(resource.resource), -EINVAL);
}

TEST(DestroyAllocation, RefusesAnotherDevice) {
  SKIP_WITHOUT_ALLOCATIONS();
  MemoryClient client;
  const d3dkmthandle other = client.node.CreateDevice(client.node.FirstAdapter());
  const d3dkmthandle allocation = client.Create();
  const SharedResource resource = client.CreateResource();
  d3dkmt_destroyallocation2 args = {};
  args.device = other;
  args.allocations = Address(&allocation);
  args.alloc_count = 1;
  EXPECT_EQ(client.node.TryIoctl(LX_DXDESTROYALLOCATION2, args), -EINVAL);
  args.allocations = 0;
  args.alloc_count = 0;
  args.resource = resource.resource;
  EXPECT_EQ(client.node.TryIoctl(LX_DXDESTROYALLOCATION2, args), -EINVAL);
  EXPECT_TRUE(client.IsAllocation(allocation));
  EXPECT_TRUE(client.IsResource(resource.resource));
}

TEST(DestroyAllocation, RefusesTheAllocationOfAnotherClient) {
  SKIP_WITHOUT_ALLOCATIONS();
  Peer other([](Peer& parent) {
    const MemoryClient client;
    const d3dkmthandle last = client.CreateMany(100).back();
    parent.Send(last.v);
    parent.Receive();
    EXPECT_TRUE(client.IsAllocation(last));
  });
  const d3dkmthandle foreign = Handle(static_cast<uint32_t>(other.Receive()));
  const MemoryClient client;
  EXPECT_EQ(client.TryDestroy({&foreign, 1}), -EINVAL);
  EXPECT_FALSE(client.IsAllocation(foreign));
  other.Send(0);
  other.Join();
}

TEST(DestroyAllocation, OfMembersLeavesTheResource) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const SharedResource resource = client.CreateResource(3);
  EXPECT_EQ(client.TryDestroy({resource.allocations.data(), 2}), 0);
  EXPECT_TRUE(client.IsAllocation(resource.allocations[2]));
  EXPECT_EQ(client.TryDestroy({resource.allocations.data() + 2, 1}), 0);
  Creation more(client.device);
  more.args.resource = resource.resource;
  EXPECT_EQ(more.Try(client.node), 0) << "an empty resource can be filled again";
  client.DestroyResource(resource.resource);
  EXPECT_FALSE(client.IsAllocation(more.infos[0].allocation));
}

TEST(DestroyAllocation, KnownFlagsAreTaken) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  for (uint32_t flags : {1u, 2u, 3u}) {
    const d3dkmthandle allocation = client.Create();
    EXPECT_EQ(client.TryDestroy({&allocation, 1}, flags), 0) << flags;
    EXPECT_FALSE(client.IsAllocation(allocation));
  }
}

TEST(DestroyAllocation, OneOfManyThreadsWins) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  for (int round = 0; round < 50; ++round) {
    const d3dkmthandle allocation = client.Create();
    ExpectOneWinner([&] { return client.TryDestroy({&allocation, 1}); });
  }
}

TEST(DestroyAllocation, StaleHandleDoesNotHitTheNextAllocation) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const d3dkmthandle stale = client.Create();
  client.Destroy(stale);
  const d3dkmthandle next = client.Create();
  EXPECT_NE(next.v, stale.v);
  EXPECT_EQ(client.TryDestroy({&stale, 1}), -EINVAL);
  EXPECT_TRUE(client.IsAllocation(next));
}

}  // namespace
}  // namespace dxg::conformance
