// SetAllocationPriority, GetAllocationPriority.

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "proto/contract/numbers.gen.h"
#include "tests/conformance/memory.h"
#include "tests/conformance/memory_client.h"

namespace dxg::conformance {
namespace {

constexpr uint32_t kPrioritiesMax = limits::kSetAllocationPriorityPrioritiesMax;  // by the first check
constexpr uint32_t kSetMessageMax = 16377;  // what a message holds, with the header of version 40
constexpr uint32_t kGetMessageMax = 16376;
constexpr uint32_t kNormalPriority = 0x78000000;

struct Priorities {
  Priorities(const MemoryClient& client, std::vector<d3dkmthandle> handles, uint32_t priority = 77)
      : list(std::move(handles)), values(list.size() + 1, priority) {
    set.device = client.device;
    set.allocation_list = Address(list.data());
    set.allocation_count = static_cast<uint32_t>(list.size());
    set.priorities = Address(values.data());
    static_assert(sizeof(set) == sizeof(get));
    std::memcpy(&get, &set, sizeof(get));
  }
  int Set(const MemoryClient& client) { return client.node.TryIoctl(LX_DXSETALLOCATIONPRIORITY, set); }
  int Get(const MemoryClient& client) { return client.node.TryIoctl(LX_DXGETALLOCATIONPRIORITY, get); }

  std::vector<d3dkmthandle> list;
  std::vector<uint32_t> values;
  d3dkmt_setallocationpriority set = {};
  d3dkmt_getallocationpriority get = {};
};

TEST(AllocationPriority, RefusesWhatIsNoDeviceFirst) {
  const MemoryClient client;
  for (d3dkmthandle bad : {Handle(0), Handle(0x40fff000), client.CreatePagingQueue().handle}) {
    Priorities call(client, {Handle(0)});
    call.set.device = call.get.device = bad;
    call.set.allocation_list = call.get.allocation_list = kUnmappedAddress;
    EXPECT_EQ(call.Set(client), -EINVAL);
    EXPECT_EQ(call.Get(client), -EINVAL);
  }
}

TEST(AllocationPriority, RefusesMoreThanTheLimitBeforeItReadsTheList) {
  const MemoryClient client;
  Priorities call(client, {Handle(0)});
  call.set.allocation_list = call.get.allocation_list = kUnmappedAddress;
  for (uint32_t count : {kPrioritiesMax + 1, 0xffffffffu}) {
    call.set.allocation_count = call.get.allocation_count = count;
    EXPECT_EQ(call.Set(client), -EINVAL) << count;
    EXPECT_EQ(call.Get(client), -EINVAL) << count;
  }
  call.set.allocation_count = call.get.allocation_count = kPrioritiesMax;
  EXPECT_EQ(call.Set(client), -EFAULT);
  EXPECT_EQ(call.Get(client), -EFAULT);
}

// [RES] 121, the half of the guest
TEST(AllocationPriority, RefusesResourceAndListTogetherAndNeither) {
  const MemoryClient client;
  Priorities call(client, {Handle(0)});
  call.set.resource = call.get.resource = Handle(0x40000040);
  EXPECT_EQ(call.Set(client), -EINVAL);
  EXPECT_EQ(call.Get(client), -EINVAL);
  call.set.resource = call.get.resource = Handle(0);
  call.set.allocation_count = call.get.allocation_count = 0;
  EXPECT_EQ(call.Set(client), -EINVAL);
  EXPECT_EQ(call.Get(client), -EINVAL);
}

TEST(AllocationPriority, FaultsOnBadPointers) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const d3dkmthandle allocation = client.Create();
  GuardedMemory memory(sizeof(uint32_t));
  for (uint64_t address : {uint64_t{0}, kUnmappedAddress, kKernelAddress, memory.one_byte_short()}) {
    Priorities list(client, {allocation}), priorities(client, {allocation});
    list.set.allocation_list = list.get.allocation_list = address;
    EXPECT_EQ(list.Set(client), -EFAULT);
    EXPECT_EQ(list.Get(client), -EFAULT);
    priorities.set.priorities = priorities.get.priorities = address;
    EXPECT_EQ(priorities.Set(client), -EFAULT);
    EXPECT_EQ(priorities.Get(client), -EFAULT);
  }
}

TEST(AllocationPriority, TakesAsManyAsAMessageHolds) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  Priorities call(client, std::vector<d3dkmthandle>(kSetMessageMax + 16, client.Create()), kNormalPriority);
  call.set.allocation_count = kSetMessageMax;
  EXPECT_EQ(call.Set(client), 0);
  call.get.allocation_count = kGetMessageMax;
  EXPECT_EQ(call.Get(client), 0);
  call.set.allocation_count = call.get.allocation_count = kSetMessageMax + 16;
  EXPECT_EQ(call.Set(client), -EINVAL);
  EXPECT_EQ(call.Get(client), -EINVAL);
}

TEST(AllocationPriority, ReadsAndWritesOneWordForEach) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  Priorities call(client, client.CreateMany(3));
  const auto before = call.get;
  ASSERT_EQ(call.Get(client), 0);
  EXPECT_EQ(call.values[3], 77u);
  EXPECT_EQ(std::memcmp(&call.get, &before, sizeof(before)), 0);
  const SharedResource resource = client.CreateResource(3);
  Priorities whole(client, {Handle(0)});
  whole.get.allocation_count = 0;
  whole.get.allocation_list = kUnmappedAddress;
  whole.get.resource = resource.resource;
  ASSERT_EQ(whole.Get(client), 0);
  EXPECT_EQ(whole.values[1], 77u);
}

}  // namespace
}  // namespace dxg::conformance
