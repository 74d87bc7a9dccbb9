// MakeResident, Evict, QueryAllocationResidency, UpdateAllocationProperty.

#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <vector>

#include "proto/contract/numbers.gen.h"
#include "tests/conformance/memory.h"
#include "tests/conformance/memory_client.h"
#include "tests/conformance/peer.h"

namespace dxg::conformance {
namespace {

constexpr uint32_t kResidentMax = limits::kMakeResidentAllocationsMax;
constexpr uint32_t kQueryMax = limits::kQueryAllocationResidencyAllocationsMax;  // by the first check
constexpr uint32_t kQueryMessageMax = 32750;  // what a message holds, with the header of interface version 40

// ---- MakeResident ----

TEST(MakeResident, RefusesBadCountsBeforeItLooksAtTheQueue) {
  const MemoryClient client;
  for (uint32_t count : {0u, kResidentMax + 1, 0xffffffffu}) {
    d3dddi_makeresident args = {};
    args.alloc_count = count;
    args.allocation_list = kUnmappedAddress;
    EXPECT_EQ(client.node.TryIoctl(LX_DXMAKERESIDENT, args), -EINVAL) << count;
  }
}

TEST(MakeResident, RefusesWhatIsNoQueueBeforeItReadsTheList) {
  const MemoryClient client;
  const PagingQueue stale = client.CreatePagingQueue();
  client.TryDestroyPagingQueue(stale.handle);
  for (d3dkmthandle bad : {Handle(0), Handle(0x40fff000), client.device, stale.handle}) {
    d3dddi_makeresident args = {};
    args.paging_queue = bad;
    args.alloc_count = 1;
    args.allocation_list = kUnmappedAddress;
    EXPECT_EQ(client.node.TryIoctl(LX_DXMAKERESIDENT, args), -EINVAL) << bad.v;
  }
}

TEST(MakeResident, FaultsOnABadList) {
  const MemoryClient client;
  d3dddi_makeresident args = {};
  args.paging_queue = client.CreatePagingQueue().handle;
  args.alloc_count = 2;
  GuardedMemory memory(2 * sizeof(d3dkmthandle));
  for (uint64_t address : {uint64_t{0}, kUnmappedAddress, kKernelAddress, memory.one_byte_short()}) {
    args.allocation_list = address;
    EXPECT_EQ(client.node.TryIoctl(LX_DXMAKERESIDENT, args), -EFAULT);
  }
}

TEST(MakeResident, TakesAsManyAsTheLimitAndNeverReadsPriorities) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const std::vector<d3dkmthandle> list(kResidentMax, client.Create());
  d3dddi_makeresident args = {};
  args.paging_queue = client.CreatePagingQueue().handle;
  args.alloc_count = kResidentMax;
  args.allocation_list = Address(list.data());
  args.priority_list = kUnmappedAddress;
  const int result = client.node.TryIoctl(LX_DXMAKERESIDENT, args);
  EXPECT_TRUE(result == 0 || result == kPending) << ResultName(result);
}

TEST(MakeResident, WritesTwoFieldsAndNothingElse) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const d3dkmthandle allocation = client.Create();
  d3dddi_makeresident args = {};
  args.paging_queue = client.CreatePagingQueue().handle;
  args.alloc_count = 1;
  args.allocation_list = Address(&allocation);
  args.num_bytes_to_trim = 0x5a5a;
  const d3dddi_makeresident before = args;
  const int result = client.node.TryIoctl(LX_DXMAKERESIDENT, args);
  ASSERT_TRUE(result == 0 || result == kPending) << ResultName(result);
  EXPECT_EQ(args.num_bytes_to_trim, 0u);
  args.num_bytes_to_trim = before.num_bytes_to_trim;
  args.paging_fence_value = before.paging_fence_value;
  EXPECT_EQ(std::memcmp(&args, &before, sizeof(args)), 0);
}

TEST(MakeResident, MakesResident) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const PagingQueue queue = client.CreatePagingQueue();
  const std::vector<d3dkmthandle> list = client.CreateMany(10);
  client.MakeResident(queue, list);
  for (d3dkmthandle allocation : list)
    EXPECT_NE(client.Residency(allocation), uint32_t{_D3DKMT_ALLOCATIONRESIDENCYSTATUS_NOTRESIDENT});
}

TEST(MakeResident, ManyThreadsOnOneQueue) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const PagingQueue queue = client.CreatePagingQueue();
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.push_back(StartThread([&] {
      const std::vector<d3dkmthandle> own = client.CreateMany(4);
      for (int round = 0; round < 25; ++round) {
        client.MakeResident(queue, own);
        client.Evict(own);
      }
    }));
  for (std::thread& thread : threads) thread.join();
}

// What is written stays, wherever the memory is.
TEST(MakeResident, LeavesTheBytesAlone) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const PagingQueue queue = client.CreatePagingQueue();
  const d3dkmthandle allocation = client.Create(4 * kPageBytes);
  const std::span memory(client.Lock(allocation), 4 * kPageBytes);
  FillPattern(memory, 1);
  for (int round = 0; round < 3; ++round) {
    client.MakeResident(queue, {&allocation, 1});
    EXPECT_EQ(FindWrongByte(memory, 1), -1);
    client.Evict({&allocation, 1});
    EXPECT_EQ(FindWrongByte(memory, 1), -1);
  }
}

// ---- Evict ----

TEST(Evict, RefusesBadCountsBeforeItLooksAtTheDevice) {
  const MemoryClient client;
  for (uint32_t count : {0u, kResidentMax + 1, 0xffffffffu}) {
    d3dkmt_evict args = {};
    args.alloc_count = count;
    args.allocations = kUnmappedAddress;
    EXPECT_EQ(client.node.TryIoctl(LX_DXEVICT, args), -EINVAL) << count;
  }
}

TEST(Evict, RefusesWhatIsNoDeviceBeforeItReadsTheList) {
  const MemoryClient client;
  d3dkmt_evict args = {};
  args.alloc_count = 1;
  args.allocations = kUnmappedAddress;
  for (d3dkmthandle bad : {Handle(0), Handle(0x40fff000), client.CreatePagingQueue().handle}) {
    args.device = bad;
    EXPECT_EQ(client.node.TryIoctl(LX_DXEVICT, args), -EINVAL);
  }
  args.device = client.device;
  EXPECT_EQ(client.node.TryIoctl(LX_DXEVICT, args), -EFAULT);
}

TEST(Evict, FaultsWhereItsAnswerCannotBeWritten) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const d3dkmthandle allocation = client.Create();
  client.MakeResident(client.CreatePagingQueue(), {&allocation, 1});
  GuardedMemory args(sizeof(d3dkmt_evict));
  args.as<d3dkmt_evict>()->device = client.device;
  args.as<d3dkmt_evict>()->alloc_count = 1;
  args.as<d3dkmt_evict>()->allocations = Address(&allocation);
  args.MakeReadOnly();
  EXPECT_EQ(client.node.TryIoctlAt(LX_DXEVICT, args.address()), -EFAULT);
}

TEST(Evict, WritesTheBytesToTrimAndNothingElse) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const d3dkmthandle allocation = client.Create();
  client.MakeResident(client.CreatePagingQueue(), {&allocation, 1});
  d3dkmt_evict args = {};
  args.device = client.device;
  args.alloc_count = 1;
  args.allocations = Address(&allocation);
  args.reserved = 0x5a5a;
  args.num_bytes_to_trim = 77;
  const d3dkmt_evict before = args;
  ASSERT_EQ(client.node.TryIoctl(LX_DXEVICT, args), 0);
  EXPECT_EQ(args.num_bytes_to_trim, 0u) << "one page is no trouble";
  args.num_bytes_to_trim = before.num_bytes_to_trim;
  EXPECT_EQ(std::memcmp(&args, &before, sizeof(args)), 0);
}

// ---- QueryAllocationResidency ----

struct ResidencyQuery {
  ResidencyQuery(const MemoryClient& client, d3dkmthandle allocation) : handle(allocation) {
    args.device = client.device;
    args.allocations = Address(&handle);
    args.allocation_count = 1;
    args.residency_status = Address(status);
  }
  d3dkmthandle handle;
  uint32_t status[2] = {77, 77};
  d3dkmt_queryallocationresidency args = {};
};

TEST(QueryAllocationResidency, RefusesNeitherAndBoth) {
  const MemoryClient client;
  ResidencyQuery query(client, Handle(0));
  query.args.resource = Handle(0x40000040);
  EXPECT_EQ(client.node.TryIoctl(LX_DXQUERYALLOCATIONRESIDENCY, query.args), -EINVAL);
  query.args.resource = Handle(0);
  query.args.allocation_count = 0;
  EXPECT_EQ(client.node.TryIoctl(LX_DXQUERYALLOCATIONRESIDENCY, query.args), -EINVAL);
}

TEST(QueryAllocationResidency, RefusesMoreThanItsLimitBeforeItReadsTheList) {
  const MemoryClient client;
  ResidencyQuery query(client, Handle(0));
  query.args.allocations = kUnmappedAddress;
  for (uint32_t count : {kQueryMax + 1, 0xffffffffu}) {
    query.args.allocation_count = count;
    EXPECT_EQ(client.node.TryIoctl(LX_DXQUERYALLOCATIONRESIDENCY, query.args), -EINVAL) << count;
  }
  query.args.allocation_count = kQueryMax;
  EXPECT_EQ(client.node.TryIoctl(LX_DXQUERYALLOCATIONRESIDENCY, query.args), -EFAULT);
}

TEST(QueryAllocationResidency, FaultsWhereItsAnswerCannotBeWritten) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  ResidencyQuery query(client, client.Create());
  GuardedMemory memory(sizeof(uint32_t));
  for (uint64_t address : {uint64_t{0}, kUnmappedAddress, kKernelAddress, memory.one_byte_short()}) {
    query.args.residency_status = address;
    EXPECT_EQ(client.node.TryIoctl(LX_DXQUERYALLOCATIONRESIDENCY, query.args), -EFAULT);
  }
}

TEST(QueryAllocationResidency, TakesAsManyAsAMessageHolds) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const std::vector<d3dkmthandle> list(kQueryMax, client.Create());
  std::vector<uint32_t> status(kQueryMax, 77);
  ResidencyQuery query(client, list[0]);
  query.args.allocations = Address(list.data());
  query.args.residency_status = Address(status.data());
  query.args.allocation_count = kQueryMessageMax;
  ASSERT_EQ(client.node.TryIoctl(LX_DXQUERYALLOCATIONRESIDENCY, query.args), 0);
  for (uint32_t i : {0u, kQueryMessageMax - 1}) {
    EXPECT_GE(status[i], 1u);
    EXPECT_LE(status[i], 3u);
  }
  EXPECT_EQ(status[kQueryMessageMax], 77u);
  query.args.allocation_count = kQueryMessageMax + 16;
  EXPECT_EQ(client.node.TryIoctl(LX_DXQUERYALLOCATIONRESIDENCY, query.args), -EINVAL);
}

TEST(QueryAllocationResidency, AnswersOneWordForAResource) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const SharedResource resource = client.CreateResource(3);
  ResidencyQuery query(client, Handle(0));
  query.args.allocation_count = 0;
  query.args.resource = resource.resource;
  query.args.allocations = kUnmappedAddress;
  ASSERT_EQ(client.node.TryIoctl(LX_DXQUERYALLOCATIONRESIDENCY, query.args), 0);
  EXPECT_GE(query.status[0], 1u);
  EXPECT_LE(query.status[0], 3u);
  EXPECT_EQ(query.status[1], 77u);
}

// ---- UpdateAllocationProperty ----

TEST(UpdateAllocationProperty, RefusesWhatIsNoQueue) {
  const MemoryClient client;
  for (d3dkmthandle bad : {Handle(0), Handle(0x40fff000), client.device}) {
    d3dddi_updateallocproperty args = {};
    args.paging_queue = bad;
    EXPECT_EQ(client.node.TryIoctl(LX_DXUPDATEALLOCPROPERTY, args), -EINVAL);
  }
}

// ---- QueryVideoMemoryInfo, ChangeVideoMemoryReservation ----

TEST(QueryVideoMemoryInfo, RefusesAnyProcessBeforeItLooksAtTheAdapter) {
  Node node = OpenNode();
  for (uint64_t process : {uint64_t{1}, static_cast<uint64_t>(getpid()), ~uint64_t{0}}) {
    auto args = Filled<d3dkmt_queryvideomemoryinfo>(0xa5);
    args.process = process;
    args.adapter = node.FirstAdapter();
    EXPECT_EQ(node.TryIoctl(LX_DXQUERYVIDEOMEMORYINFO, args), -EINVAL);
    EXPECT_EQ(args.budget, 0xa5a5a5a5a5a5a5a5);
  }
}

TEST(QueryVideoMemoryInfo, WritesTheFourAnswersAndNothingElse) {
  Node node = OpenNode();
  auto args = Filled<d3dkmt_queryvideomemoryinfo>(0xa5);
  args.process = 0;
  args.adapter = node.FirstAdapter();
  args.memory_segment_group = _D3DKMT_MEMORY_SEGMENT_GROUP_LOCAL;
  args.physical_adapter_index = 0;
  d3dkmt_queryvideomemoryinfo before = args;
  ASSERT_EQ(node.TryIoctl(LX_DXQUERYVIDEOMEMORYINFO, args), 0);
  EXPECT_NE(args.budget, before.budget);
  before.budget = args.budget;
  before.current_usage = args.current_usage;
  before.current_reservation = args.current_reservation;
  before.available_for_reservation = args.available_for_reservation;
  EXPECT_EQ(std::memcmp(&args, &before, sizeof(args)), 0);
}

TEST(ChangeVideoMemoryReservation, RefusesAnyProcess) {
  Node node = OpenNode();
  for (uint64_t process : {uint64_t{1}, static_cast<uint64_t>(getpid()), ~uint64_t{0}}) {
    d3dkmt_changevideomemoryreservation args = {};
    args.process = process;
    args.adapter = node.FirstAdapter();
    EXPECT_EQ(node.TryIoctl(LX_DXCHANGEVIDEOMEMORYRESERVATION, args), -EINVAL);
  }
}

}  // namespace
}  // namespace dxg::conformance
