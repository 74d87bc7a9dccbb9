// Budgets, residency and paging fences of the simulated host. Numbers in brackets are rules of
// docs/host-rules.md.

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/conformance/memory.h"
#include "tests/conformance/memory_client.h"
#include "tests/conformance/peer.h"
#include "tests/conformance/sim_queries.h"

namespace dxg::conformance {
namespace {

constexpr uint32_t kNonLocal = _D3DKMT_MEMORY_SEGMENT_GROUP_NON_LOCAL;
constexpr uint32_t kInGpuMemory = _D3DKMT_ALLOCATIONRESIDENCYSTATUS_RESIDENTINGPUMEMORY;
constexpr uint32_t kInSharedMemory = _D3DKMT_ALLOCATIONRESIDENCYSTATUS_RESIDENTINSHAREDMEMORY;

d3dkmt_queryvideomemoryinfo Memory(MemoryClient& client, uint32_t group = kLocal) {
  d3dkmt_queryvideomemoryinfo args = {};
  args.adapter = client.node.FirstAdapter();
  args.memory_segment_group = group;
  client.node.Ioctl(LX_DXQUERYVIDEOMEMORYINFO, args, "QueryVideoMemoryInfo");
  return args;
}

uint64_t Usage(MemoryClient& client) {
  return Memory(client, kLocal).current_usage + Memory(client, kNonLocal).current_usage;
}

// MakeResident that is accepted; nobody waits for it.
void Accept(const MemoryClient& client, const PagingQueue& queue, std::vector<d3dkmthandle> list,
            uint32_t flags = 0) {
  const int result = client.TryMakeResident(queue, list, flags);
  ASSERT_TRUE(result == 0 || result == kPending) << ResultName(result);
}

// A client that has the budgets for itself, which processes share.
struct LoneClient : MemoryClient {
  LoneClient() {
    EXPECT_TRUE(Eventually([&] { return HasBudgetsForItself(node); }));
  }
};

// Pieces of which a budget has room for four.
struct Pieces {
  explicit Pieces(MemoryClient& client)
      : bytes(Memory(client).budget / 9 * 2 / kPageBytes * kPageBytes),
        fit(static_cast<uint32_t>(Memory(client).budget / bytes)) {}
  uint64_t bytes;
  uint32_t fit;
};

// ---- Fences ----

// [PGQ] 98, 99, 100
TEST(SimPagingFence, IsReachedInOrderAndSaysThatAllBeforeIsDone) {
  const MemoryClient client;
  const PagingQueue queue = client.CreatePagingQueue();
  const std::vector<d3dkmthandle> list = client.CreateMany(50, 64 * kPageBytes);
  uint64_t last = 0;
  for (d3dkmthandle allocation : list) {
    uint64_t value = 0;
    const int result = client.TryMakeResident(queue, {&allocation, 1}, 0, &value);
    ASSERT_TRUE(result == 0 || result == kPending) << ResultName(result);
    if (result == 0) {
      EXPECT_GE(queue.Value(), value);
      continue;
    }
    EXPECT_GT(value, last);
    last = value;
  }
  queue.WaitFor(last);
  for (d3dkmthandle allocation : list) {
    uint64_t value = 0;
    EXPECT_EQ(client.TryMakeResident(queue, {&allocation, 1}, 0, &value), 0) << "it has arrived";
    EXPECT_LE(value, queue.Value());
  }
}

// [PGQ] 103: only its queue raises it
TEST(SimPagingFence, CannotBeUsedForAnUpdate) {
  const MemoryClient client;
  const PagingQueue queue = client.CreatePagingQueue();
  d3dddi_updategpuvirtualaddress_operation operation = {};
  d3dkmt_updategpuvirtualaddress args = {};
  args.device = client.device;
  args.fence_object = queue.fence;
  args.num_operations = 1;
  args.operations = Address(&operation);
  EXPECT_EQ(client.node.TryIoctl(LX_DXUPDATEGPUVIRTUALADDRESS, args), -EACCES);
  EXPECT_EQ(queue.Value(), 0u);
}

// Not even one operation is left when the call returns, though each takes a while.
TEST(SimPagingFence, DeviceThatIsDestroyedWaitsForNothing) {
  MemoryClient client;
  const d3dkmthandle other = client.node.CreateDevice(client.node.FirstAdapter());
  const PagingQueue queue = client.CreatePagingQueueOn(other);
  const d3dkmthandle allocation = client.CreateOn(other, kGiB);
  Accept(client, queue, {allocation});
  client.node.DestroyDevice(other);
  EXPECT_EQ(Usage(client), 0u);
}

// A device in error makes nothing resident any more, and nobody waits for what was pending.
TEST(SimPagingFence, DeviceInErrorEndsEveryWait) {
  const MemoryClient client;
  const PagingQueue queue = client.CreatePagingQueue();
  const d3dkmthandle allocation = client.Create(kGiB);
  uint64_t value = 0;
  const int result = client.TryMakeResident(queue, {&allocation, 1}, 0, &value);
  ASSERT_TRUE(result == 0 || result == kPending) << ResultName(result);
  d3dkmt_markdeviceaserror mark = {client.device, _D3DKMT_DEVICE_ERROR_REASON_GENERIC};
  ASSERT_EQ(client.node.TryIoctl(LX_DXMARKDEVICEASERROR, mark), 0);
  queue.WaitFor(value);
  EXPECT_EQ(client.TryMakeResident(queue, {&allocation, 1}), -ENODEV);
  EXPECT_EQ(client.TryEvict({&allocation, 1}), 0);
  EXPECT_EQ(client.TryDestroyPagingQueue(queue.handle), 0);
}

// ---- Counts ----

// [RES] 105
TEST(SimResidency, NeedsAsManyEvictsAsItWasMadeResident) {
  InFreshProcess([] {
    MemoryClient client;
    const PagingQueue queue = client.CreatePagingQueue();
    const d3dkmthandle allocation = client.Create(kMiB);
    for (int i = 0; i < 2; ++i) client.MakeResident(queue, {&allocation, 1});
    const d3dkmthandle thrice[] = {allocation, allocation, allocation};
    client.MakeResident(queue, thrice);  // counts each time that it is listed
    EXPECT_EQ(Usage(client), kMiB) << "counted five times, there once";
    for (int i = 0; i < 5; ++i) {
      EXPECT_NE(client.Residency(allocation), kNotResident) << i;
      EXPECT_EQ(Usage(client), kMiB);
      client.Evict({&allocation, 1});
    }
    EXPECT_EQ(client.Residency(allocation), kNotResident);
    EXPECT_EQ(Usage(client), 0u);
    EXPECT_EQ(client.TryEvict({&allocation, 1}), 0) << "one too many changes nothing";
    Accept(client, queue, {allocation});
    EXPECT_EQ(Usage(client), kMiB);
  });
}

// [RES] 111
TEST(SimResidency, ListWithABadHandleChangesNoCount) {
  InFreshProcess([] {
    MemoryClient client;
    const d3dkmthandle other = client.node.CreateDevice(client.node.FirstAdapter());
    const PagingQueue queue = client.CreatePagingQueue();
    const d3dkmthandle good = client.Create(), stale = client.Create();
    client.Destroy(stale);
    for (d3dkmthandle bad : {client.CreateOn(other), Handle(0), Handle(0x40fff000), stale, client.device}) {
      const d3dkmthandle list[] = {good, bad};
      EXPECT_EQ(client.TryMakeResident(queue, list), -EINVAL);
      EXPECT_NE(client.TryEvict(list), 0);
    }
    EXPECT_EQ(client.Residency(good), kNotResident);
    EXPECT_EQ(Usage(client), 0u);
  });
}

// [ALC] 90, [RES] 116
TEST(SimResidency, UsageEndsWithTheAllocationTheDeviceAndTheProcess) {
  InFreshProcess([] {
    MemoryClient client;
    const PagingQueue queue = client.CreatePagingQueue();
    const std::vector<d3dkmthandle> list = client.CreateMany(4, kMiB);
    Accept(client, queue, list);
    Accept(client, queue, list);
    EXPECT_EQ(Usage(client), 4 * kMiB);
    client.Destroy(list[0]);
    EXPECT_EQ(Usage(client), 3 * kMiB);
    client.node.DestroyDevice(client.device);
    EXPECT_EQ(Usage(client), 0u);
  });
  InFreshProcess([] {
    MemoryClient client;
    EXPECT_EQ(Usage(client), 0u);
    Accept(client, client.CreatePagingQueue(), {client.Create(kMiB)});
    EXPECT_EQ(Usage(client), kMiB);
    InFreshProcess([] {
      MemoryClient other;
      EXPECT_EQ(Usage(other), 0u) << "each process has its own";
    });
  });
}

// Pages are what is counted, whatever was asked for.
TEST(SimResidency, UsageIsInWholePages) {
  InFreshProcess([] {
    MemoryClient client;
    Accept(client, client.CreatePagingQueue(), {client.Create(1), client.Create(kPageBytes + 1)});
    EXPECT_EQ(Usage(client), 3 * kPageBytes);
  });
}

// ---- Where ----

// [RES] 120
TEST(SimResidency, ResourceIsWhereItsWorstAllocationIs) {
  MemoryClient client;
  const PagingQueue queue = client.CreatePagingQueue();
  Creation creation(client.device, 2);
  creation.args.flags.create_resource = 1;
  creation.SetData(1, AllocationData{.bytes = kPageBytes, .flags = AllocationData::kSystemOnly});
  ASSERT_EQ(creation.Try(client.node), 0);
  const auto status_of_resource = [&] {
    uint32_t status = 0;
    d3dkmt_queryallocationresidency args = {};
    args.device = client.device;
    args.resource = creation.args.resource;
    args.residency_status = Address(&status);
    client.node.Ioctl(LX_DXQUERYALLOCATIONRESIDENCY, args, "QueryAllocationResidency");
    return status;
  };
  EXPECT_EQ(status_of_resource(), kNotResident);
  client.MakeResident(queue, {&creation.infos[0].allocation, 1});
  EXPECT_EQ(status_of_resource(), kNotResident);
  client.MakeResident(queue, {&creation.infos[1].allocation, 1});
  const uint32_t first = client.Residency(creation.infos[0].allocation),
                 second = client.Residency(creation.infos[1].allocation);
  EXPECT_EQ(second, kInSharedMemory);
  EXPECT_EQ(status_of_resource(), std::max(first, second));
}

TEST(SimResidency, SystemMemoryCountsAsSuch) {
  InFreshProcess([] {
    MemoryClient client;
    const bool own_memory = GetSegmentSizes(client.node).dedicated_video != 0;
    const PagingQueue queue = client.CreatePagingQueue();
    const d3dkmthandle system = client.CreateWith({.bytes = kMiB, .flags = AllocationData::kSystemOnly});
    client.MakeResident(queue, {&system, 1});
    EXPECT_EQ(client.Residency(system), kInSharedMemory);
    EXPECT_EQ(Memory(client, own_memory ? kNonLocal : kLocal).current_usage, kMiB);
    if (!own_memory) return;
    const d3dkmthandle video = client.Create(2 * kMiB);
    client.MakeResident(queue, {&video, 1});
    EXPECT_EQ(client.Residency(video), kInGpuMemory);
    EXPECT_EQ(Memory(client, kLocal).current_usage, 2 * kMiB);
  });
}

// [RES] 114
TEST(SimEvict, OnlyIfNecessaryLeavesItThere) {
  InFreshProcess([] {
    MemoryClient client;
    const PagingQueue queue = client.CreatePagingQueue();
    const d3dkmthandle allocation = client.Create(kMiB);
    client.MakeResident(queue, {&allocation, 1});
    const uint32_t where = client.Residency(allocation);
    EXPECT_EQ(client.TryEvict({&allocation, 1}, kOnlyIfNecessary), 0);
    EXPECT_EQ(client.Residency(allocation), where);
    EXPECT_EQ(Usage(client), 0u) << "it is nobody's";
    EXPECT_EQ(client.TryMakeResident(queue, {&allocation, 1}), 0) << "it never left";
  });
}

// ---- Budget ----

// [RES] 107, 109. The call that fails does not deliver how many bytes are too many.
TEST(SimBudget, RefusesMoreThanItAndMoreThanThereIs) {
  InFreshProcess([] {
    LoneClient client;
    const Pieces pieces(client);
    const PagingQueue queue = client.CreatePagingQueue();
    for (uint32_t i = 0; i < pieces.fit; ++i) Accept(client, queue, {client.Create(pieces.bytes)});
    const uint64_t usage = Memory(client).current_usage;
    EXPECT_EQ(usage, pieces.fit * pieces.bytes);
    const d3dkmthandle list[] = {client.Create(pieces.bytes), client.Create(kPageBytes)};
    d3dddi_makeresident args = {};
    args.paging_queue = queue.handle;
    args.alloc_count = 2;
    args.allocation_list = Address(list);
    args.paging_fence_value = args.num_bytes_to_trim = 77;
    EXPECT_EQ(client.node.TryIoctl(LX_DXMAKERESIDENT, args), -ENOMEM);
    EXPECT_EQ(args.num_bytes_to_trim, 77u);
    EXPECT_EQ(args.paging_fence_value, 77u);
    EXPECT_EQ(Memory(client).current_usage, usage) << "all or nothing";
    EXPECT_EQ(client.Residency(list[1]), kNotResident);
    const uint64_t capacity = GetSegmentGroupSizes(client.node).local;
    const d3dkmthandle rest =
        client.Create((Memory(client).budget - usage + capacity - usage) / 2 / kPageBytes *
                      kPageBytes);  // above the budget, below what there is
    EXPECT_EQ(client.TryMakeResident(queue, {&rest, 1}), -ENOMEM);
    Accept(client, queue, {rest}, kCantTrimFurther);
    const d3dkmthandle all = client.Create(capacity);
    EXPECT_EQ(client.TryMakeResident(queue, {&all, 1}, kCantTrimFurther), -ENOMEM);
    EXPECT_EQ(client.node.ExecutionState(client.device), _D3DKMT_DEVICEEXECUTION_ACTIVE);
  });
}

// [RES] 108
TEST(SimBudget, EvictSaysHowManyBytesAreTooMany) {
  InFreshProcess([] {
    LoneClient client;
    const uint64_t budget = Memory(client).budget;
    const PagingQueue queue = client.CreatePagingQueue();
    const d3dkmthandle large = client.Create(budget / kPageBytes * kPageBytes - kMiB),
                       small = client.Create(), more = client.Create(3 * kMiB);
    Accept(client, queue, {large, small});
    uint64_t trim = 77;
    ASSERT_EQ(client.TryEvict({&small, 1}, 0, &trim), 0);
    EXPECT_EQ(trim, 0u);
    Accept(client, queue, {more, small}, kCantTrimFurther);
    ASSERT_EQ(client.TryEvict({&small, 1}, 0, &trim), 0);
    EXPECT_EQ(trim, Memory(client).current_usage - Memory(client).budget);
    EXPECT_GT(trim, 0u);
    ASSERT_EQ(client.TryEvict({&more, 1}, 0, &trim), 0);
    EXPECT_EQ(trim, 0u);
    Accept(client, queue, {small});
  });
}

// [RES] 110
TEST(SimBudget, MustSucceedThatCannotEndsTheDevice) {
  MemoryClient client;
  const PagingQueue queue = client.CreatePagingQueue();
  const d3dkmthandle all = client.Create(2 * GetSegmentGroupSizes(client.node).local);
  const d3dkmthandle bystander = client.node.CreateDevice(client.node.FirstAdapter());
  EXPECT_EQ(client.TryMakeResident(queue, {&all, 1}, kMustSucceed | kCantTrimFurther), -ENOMEM);
  EXPECT_EQ(client.node.ExecutionState(client.device), _D3DKMT_DEVICEEXECUTION_ERROR_OUTOFMEMORY);
  EXPECT_EQ(client.node.ExecutionState(bystander), _D3DKMT_DEVICEEXECUTION_ACTIVE);
}

// [RES] 116
TEST(SimBudget, ProcessesShareWhatThereIs) {
  InFreshProcess([] {
    LoneClient client;
    const uint64_t alone = Memory(client).budget, capacity = GetSegmentGroupSizes(client.node).local;
    Peer other([](Peer& parent) {
      MemoryClient client;
      const d3dkmthandle allocation = client.Create(kMiB);
      const PagingQueue queue = client.CreatePagingQueue();
      client.MakeResident(queue, {&allocation, 1});
      parent.Send(Memory(client).current_usage + Memory(client).budget);
      parent.Receive();
    });
    const uint64_t of_other = other.Receive();
    const d3dkmthandle allocation = client.Create(kMiB);
    client.MakeResident(client.CreatePagingQueue(), {&allocation, 1});
    EXPECT_LE(Memory(client).budget, alone);
    EXPECT_LE(Memory(client).current_usage + 1 * kMiB, capacity);
    EXPECT_LE(of_other, capacity + kMiB);
    other.Send(0);
    other.Join();
  });
}

// Two handles of one process on one memory are one use of it.
TEST(SimBudget, SharedMemoryCountsOncePerProcess) {
  InFreshProcess([] {
    MemoryClient client;
    Creation creation(client.device, 1, kMiB);
    creation.MakeShared();
    ASSERT_EQ(creation.Try(client.node), 0);
    const Descriptor descriptor(client.Share(creation.args.resource));
    const SharedResource opened = client.OpenShared(descriptor.get());
    const PagingQueue queue = client.CreatePagingQueue();
    Accept(client, queue, {creation.infos[0].allocation});
    Accept(client, queue, opened.allocations);
    EXPECT_EQ(Usage(client), kMiB);
    client.DestroyResource(creation.args.resource);
    EXPECT_EQ(Usage(client), kMiB) << "the other handle keeps it";
    client.DestroyResource(opened.resource);
    EXPECT_EQ(Usage(client), 0u);
  });
}

// ---- Statistics ----

uint64_t ResidentBytes(Node& node) {
  uint64_t bytes = 0;
  for (const SegmentStatistics& segment : Segments(node)) bytes += segment.resident;
  return bytes;
}

// [MSC] 182, [RES] 116
TEST(SimMemoryStatistics, AddUpOverSegmentsAndProcesses) {
  InFreshProcess([] {
    MemoryClient client;
    const uint64_t before = ResidentBytes(client.node);
    Peer other([](Peer& parent) {
      MemoryClient client;
      Accept(client, client.CreatePagingQueue(), {client.Create(2 * kMiB)});
      parent.Send(Usage(client));
      parent.Receive();
    });
    const uint64_t of_other = other.Receive();
    const PagingQueue queue = client.CreatePagingQueue();
    const d3dkmthandle video = client.Create(kMiB),
                       system = client.CreateWith({.bytes = 3 * kMiB, .flags = AllocationData::kSystemOnly});
    client.MakeResident(queue, {&video, 1});
    client.MakeResident(queue, {&system, 1});
    EXPECT_EQ(Usage(client), 4 * kMiB);
    EXPECT_EQ(ResidentBytes(client.node), before + Usage(client) + of_other);
    uint64_t of_client = 0;
    const std::vector<SegmentStatistics> segments = Segments(client.node);
    for (uint32_t i = 0; i < segments.size(); ++i) {
      EXPECT_LE(segments[i].resident, segments[i].committed);
      EXPECT_LE(segments[i].committed, segments[i].commit_limit);
      of_client +=
          Statistics<ProcessSegmentStatistics>(client.node, _D3DKMT_QUERYSTATISTICS_PROCESS_SEGMENT, i)
              .committed;
    }
    EXPECT_EQ(of_client, Usage(client));
    other.Send(0);
    other.Join();
    EXPECT_TRUE(Eventually([&] { return ResidentBytes(client.node) == before + Usage(client); }));
    client.node.DestroyDevice(client.device);
    EXPECT_EQ(ResidentBytes(client.node), before);
  });
}

// [GEN] 12
TEST(SimMemoryStatistics, KilledClientLeavesNothing) {
  InFreshProcess([] {
    MemoryClient client;
    const uint64_t before = ResidentBytes(client.node);
    Peer other([](Peer& parent) {
      MemoryClient client;
      const PagingQueue queue = client.CreatePagingQueue();
      for (int i = 0; i < 10; ++i) {
        const d3dkmthandle allocation = client.Create(kMiB);
        client.Lock(allocation);
        client.MakeResident(queue, {&allocation, 1});
      }
      parent.Send(0);
      parent.Receive();
    });
    other.Receive();
    EXPECT_EQ(ResidentBytes(client.node), before + 10 * kMiB);
    other.Kill();
    EXPECT_TRUE(Eventually([&] { return ResidentBytes(client.node) == before; }));
  });
}

// ---- Priorities ----

// [RES] 121
TEST(SimAllocationPriority, IsNormalAtFirstAndIsReadBack) {
  const MemoryClient client;
  const SharedResource resource = client.CreateResource(2);
  const auto call = [&](auto args, uint32_t code, const std::vector<d3dkmthandle>& list,
                        std::vector<uint32_t>& values) {
    args.device = client.device;
    args.allocation_list = Address(list.data());
    args.allocation_count = static_cast<uint32_t>(list.size());
    if (list.empty()) args.resource = resource.resource;
    args.priorities = Address(values.data());
    return client.node.TryIoctl(code, args);
  };
  const d3dkmt_getallocationpriority get = {};
  const d3dkmt_setallocationpriority set = {};
  std::vector<uint32_t> values(2);
  ASSERT_EQ(call(get, LX_DXGETALLOCATIONPRIORITY, resource.allocations, values), 0);
  EXPECT_EQ(values, std::vector<uint32_t>(2, 0x78000000));
  std::vector<uint32_t> wanted = {0x28000000, 0xC8000000};
  ASSERT_EQ(call(set, LX_DXSETALLOCATIONPRIORITY, resource.allocations, wanted), 0);
  ASSERT_EQ(call(get, LX_DXGETALLOCATIONPRIORITY, resource.allocations, values), 0);
  EXPECT_EQ(values, wanted);
  wanted = {0xA0000000, 77};  // one word for all of a resource
  ASSERT_EQ(call(set, LX_DXSETALLOCATIONPRIORITY, {}, wanted), 0);
  ASSERT_EQ(call(get, LX_DXGETALLOCATIONPRIORITY, resource.allocations, values), 0);
  EXPECT_EQ(values, std::vector<uint32_t>(2, 0xA0000000));
  std::vector<uint32_t> one = {0, 77};
  ASSERT_EQ(call(get, LX_DXGETALLOCATIONPRIORITY, {}, one), 0);
  EXPECT_EQ(one, (std::vector<uint32_t>{0xA0000000, 77}));
  const d3dkmthandle stale = client.Create();
  client.Destroy(stale);
  EXPECT_EQ(call(get, LX_DXGETALLOCATIONPRIORITY, {resource.allocations[0], stale}, values), -EINVAL);
}

// ---- Properties ----

TEST(SimAllocationProperty, RefusesSegmentsThatAreNotThere) {
  const MemoryClient client;
  d3dddi_updateallocproperty args = {};
  args.paging_queue = client.CreatePagingQueue().handle;
  args.allocation = client.Create();
  args.set_preferred_segment = 1;
  for (uint32_t segment : {0u, 31u}) {
    args.preferred_segment.segment_id0 = segment & 31;
    EXPECT_EQ(client.node.TryIoctl(LX_DXUPDATEALLOCPROPERTY, args), -EINVAL) << segment;
  }
  args.property_mask_value = 0;
  args.set_supported_segmentSet = 1;
  for (uint32_t set : {0u, 1u << 31, 0xffffffffu}) {
    args.supported_segment_set = set;
    EXPECT_EQ(client.node.TryIoctl(LX_DXUPDATEALLOCPROPERTY, args), -EINVAL) << set;
  }
}

TEST(SimAllocationProperty, MovesWhatIsResident) {
  InFreshProcess([] {
    MemoryClient client;
    if (GetSegmentSizes(client.node).dedicated_video == 0) return;  // nowhere to go
    const PagingQueue queue = client.CreatePagingQueue();
    const d3dkmthandle allocation = client.Create(kMiB);
    const std::span memory(client.Lock(allocation), kMiB);
    FillPattern(memory, 1);
    client.MakeResident(queue, {&allocation, 1});
    EXPECT_EQ(client.Residency(allocation), kInGpuMemory);
    d3dddi_updateallocproperty args = {};
    args.paging_queue = queue.handle;
    args.allocation = allocation;
    args.set_supported_segmentSet = 1;
    args.supported_segment_set = 2;  // not where it is
    const int result = client.node.TryIoctl(LX_DXUPDATEALLOCPROPERTY, args);
    ASSERT_TRUE(result == 0 || result == kPending) << ResultName(result);
    queue.WaitFor(args.paging_fence_value);
    EXPECT_EQ(client.Residency(allocation), kInSharedMemory);
    EXPECT_EQ(Memory(client, kNonLocal).current_usage, kMiB);
    EXPECT_EQ(FindWrongByte(memory, 1), -1);
    args.paging_fence_value = 77;
    EXPECT_EQ(client.node.TryIoctl(LX_DXUPDATEALLOCPROPERTY, args), 0) << "as it is already";
    EXPECT_EQ(args.paging_fence_value, 77u) << "only written where it is pending";
  });
}

}  // namespace
}  // namespace dxg::conformance
