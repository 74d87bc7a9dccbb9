// What the simulated GPU driver makes of CreateAllocation, and whom the simulated host lets lock it.
// Numbers in brackets are rules of docs/host-rules.md.

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "tests/conformance/memory.h"
#include "tests/conformance/memory_client.h"
#include "tests/conformance/peer.h"
#include "tests/conformance/sim_queries.h"

namespace dxg::conformance {
namespace {

constexpr uint64_t kBytesMax = 1ull << 40;

// The reply of CreateAllocation has no status: a host that refuses answers short.
constexpr int kRefusedByHost = -EOVERFLOW;

int TryCreateWith(const MemoryClient& client, const AllocationData& data) {
  Creation creation(client.device);
  creation.SetData(0, data);
  return creation.Try(client.node);
}

// ---- Private data ----

TEST(SimCreateAllocation, RefusesDataThatTheDriverCannotUse) {
  const MemoryClient client;
  const AllocationData good = {.bytes = kPageBytes};
  AllocationData version = good, flags = good, segment = good;
  version.version = 2;
  flags.flags = 8;
  segment.segment = 30;
  for (const AllocationData& bad : {version, flags, segment, AllocationData{.bytes = 0},
                                    AllocationData{.bytes = kBytesMax + 1}, AllocationData{.bytes = ~0ull}})
    EXPECT_EQ(TryCreateWith(client, bad), kRefusedByHost);
  EXPECT_EQ(TryCreateWith(client, good), 0);
}

TEST(SimCreateAllocation, TakesEverySizeUpToTheLimitAndSaysHowMuchItIs) {
  const MemoryClient client;
  for (uint64_t bytes : {uint64_t{1}, kPageBytes - 1, kPageBytes, kPageBytes + 1, kGiB, kBytesMax}) {
    Creation creation(client.device);
    creation.SetData(0, AllocationData{.bytes = bytes}, 11);
    const std::vector<uint8_t> before = creation.data[0];
    ASSERT_EQ(creation.Try(client.node), 0) << bytes;
    EXPECT_EQ(creation.DataOf(0).allocated, (bytes + kPageBytes - 1) / kPageBytes * kPageBytes);
    EXPECT_EQ(creation.DataOf(0).bytes, bytes);
    EXPECT_EQ(std::memcmp(&creation.data[0][sizeof(AllocationData)], &before[sizeof(AllocationData)], 11), 0)
        << "bytes behind the driver's own come back as they were";
    client.Destroy(creation.infos[0].allocation);
  }
}

TEST(SimCreateAllocation, TakesPrivateDataUpToAMessage) {
  constexpr size_t kMost = 130980;  // with one allocation
  const MemoryClient client;
  const auto result_of = [&](size_t bytes) {
    Creation creation(client.device);
    creation.SetData(0, AllocationData{.bytes = kPageBytes}, bytes - sizeof(AllocationData));
    return creation.Try(client.node);
  };
  EXPECT_EQ(result_of(kMost), 0);
  EXPECT_EQ(result_of(kMost + 1), -EINVAL) << "too much with the header in front of the message";
  EXPECT_EQ(result_of(kMost + 16), -EINVAL);
  EXPECT_EQ(result_of(kMost + 17), -EOVERFLOW);
}

// ---- Combinations of flags ----

// [ALC] 73, 80
TEST(SimCreateAllocation, RefusesCombinationsOfFlags) {
  const MemoryClient client;
  const Pages memory(kPageBytes);
  const SharedResource resource = client.CreateResource();
  const auto result_with = [&](const std::function<void(Creation&)>& spoil) {
    Creation creation(client.device);
    spoil(creation);
    return creation.Try(client.node);
  };
  EXPECT_EQ(result_with([](Creation& creation) { creation.args.flags.nt_security_sharing = 1; }),
            kRefusedByHost)
      << "security without sharing";
  EXPECT_EQ(result_with([&](Creation& creation) {
              creation.args.flags.create_resource = 1;
              creation.args.resource = resource.resource;
            }),
            kRefusedByHost)
      << "a new resource, and an old one";
  EXPECT_EQ(result_with([&](Creation& creation) {
              creation.args.resource = resource.resource;
              creation.infos[0].sysmem = Address(memory.data());
            }),
            kRefusedByHost)
      << "memory of the client in an existing resource";
  EXPECT_EQ(result_with([](Creation& creation) { creation.infos[0].flags.primary = 1; }), kRefusedByHost);
  EXPECT_EQ(result_with([](Creation& creation) { creation.infos[0].flags.reserved = 1; }), kRefusedByHost);
  EXPECT_EQ(result_with([](Creation& creation) { creation.infos[0].flags.override_priority = 1; }), 0);
  for (uint32_t bit : {8u, 9u, 12u, 31u})  // the system's to set, or unknown
    EXPECT_EQ(result_with([bit](Creation& creation) { creation.args.flags.value |= 1u << bit; }),
              kRefusedByHost)
        << bit;
}

// ---- All or nothing ----

// [ALC] 74. Numbers of handles are reused late, so what a failed call left would push the next one up.
void ExpectNothingIsLeft(const std::function<int(const MemoryClient&)>& failing, int expected) {
  InFreshProcess([&] {
    const MemoryClient client;
    const uint32_t before = client.Create().index;
    for (int i = 0; i < 20; ++i) EXPECT_EQ(failing(client), expected);
    const uint32_t after = client.Create().index;
    EXPECT_LT(after, before + 20 * 64 + 64);
    d3dkmt_queryvideomemoryinfo info = {};
    info.adapter = const_cast<Node&>(client.node).FirstAdapter();
    client.node.Ioctl(LX_DXQUERYVIDEOMEMORYINFO, info, "QueryVideoMemoryInfo");
    EXPECT_EQ(info.current_usage, 0u);
  });
}

// [ALC] 74
TEST(SimCreateAllocation, LastElementThatFailsLeavesNothing) {
  ExpectNothingIsLeft(
      [](const MemoryClient& client) {
        Creation creation(client.device, 64);
        creation.SetData(63, AllocationData{.bytes = 0});
        return creation.Try(client.node);
      },
      kRefusedByHost);
}

// [ALC] 74
TEST(SimCreateAllocation, DataThatCannotBeWrittenBackLeavesNothing) {
  ExpectNothingIsLeft(
      [](const MemoryClient& client) {
        Creation creation(client.device, 64);
        GuardedMemory memory(sizeof(AllocationData));
        std::memcpy(memory.bytes().data(), creation.data[40].data(), sizeof(AllocationData));
        memory.MakeReadOnly();
        creation.infos[40].priv_drv_data = memory.address();
        return creation.Try(client.node);
      },
      -EFAULT);
}

// [ALC] 74
TEST(SimCreateAllocation, MemoryThatCannotBePinnedLeavesNothing) {
  ExpectNothingIsLeft(
      [](const MemoryClient& client) {
        const Pages memory(8 * kPageBytes);
        Creation creation(client.device, 8);
        for (size_t i = 0; i < 8; ++i) creation.infos[i].sysmem = Address(memory.data()) + i * kPageBytes;
        creation.infos[7].sysmem = kUnmappedAddress;
        return creation.Try(client.node);
      },
      -ENOMEM);
}

// ---- What is made ----

// [ALC] 81
TEST(SimCreateAllocation, MayBeMoreThanTheAdapterHas) {
  const MemoryClient client;
  const SegmentGroupSizes sizes = GetSegmentGroupSizes(const_cast<Node&>(client.node));
  const uint64_t half = (sizes.local + sizes.non_local) / 2 / kPageBytes * kPageBytes;
  for (int i = 0; i < 4; ++i) client.Create(half);
}

// [ALC] 82
TEST(SimCreateAllocation, IsNotResident) {
  const MemoryClient client;
  EXPECT_EQ(client.Residency(client.Create()), uint32_t{_D3DKMT_ALLOCATIONRESIDENCYSTATUS_NOTRESIDENT});
}

// [ALC] 77
TEST(SimCreateAllocation, GlobalShareIsNeverGiven) {
  const MemoryClient client;
  Creation alone(client.device), shared(client.device);
  shared.MakeShared();
  for (Creation* creation : {&alone, &shared}) {
    ASSERT_EQ(creation->Try(client.node), 0);
    EXPECT_EQ(creation->args.global_share.v, 0u);
  }
  EXPECT_EQ(alone.args.resource.v, 0u);
}

// The pages are the client's, so the driver's data is about nothing but their number.
TEST(SimCreateAllocation, OfClientMemoryWithPrivateData) {
  const MemoryClient client;
  const Pages memory(8 * kPageBytes);
  FillPattern(memory.span(), 1);
  Creation creation(client.device, 4, 2 * kPageBytes);
  for (size_t i = 0; i < 4; ++i) creation.infos[i].sysmem = Address(memory.data()) + 2 * i * kPageBytes;
  ASSERT_EQ(creation.Try(client.node), 0);
  for (size_t i = 0; i < 4; ++i)
    EXPECT_EQ(client.Lock(creation.infos[i].allocation), memory.data() + 2 * i * kPageBytes);
  EXPECT_EQ(client.TryDestroy(creation.Handles()), 0);
  EXPECT_EQ(FindWrongByte(memory.span(), 1), -1);
}

// Nothing is pinned beyond what the driver says it needs: the last page may be missing.
TEST(SimCreateAllocation, PinsAsMuchAsTheDriverSays) {
  const MemoryClient client;
  const Pages memory(4 * kPageBytes);
  memory.Protect(0, 3 * kPageBytes);
  for (uint64_t pages : {3u, 4u}) {
    Creation creation(client.device, 1, pages * kPageBytes);
    creation.infos[0].sysmem = Address(memory.data());
    EXPECT_EQ(creation.Try(client.node), pages == 3 ? 0 : -ENOMEM);
  }
}

// ---- Locks ----

// [LCK] 91: flags are in the table of bad input
TEST(SimLock, RefusesWhatTheCpuCannotSee) {
  const MemoryClient client;
  const d3dkmthandle hidden =
      client.CreateWith({.bytes = kPageBytes, .flags = AllocationData::kNotCpuVisible});
  EXPECT_EQ(client.TryLock(hidden), -EINVAL);
  EXPECT_EQ(client.TryUnlock(hidden), -EINVAL);
}

TEST(SimLock, TakesEveryKindOfMemory) {
  const MemoryClient client;
  for (uint32_t flags : {0u, AllocationData::kSystemOnly, AllocationData::kCached,
                         AllocationData::kSystemOnly | AllocationData::kCached}) {
    const d3dkmthandle allocation = client.CreateWith({.bytes = 2 * kPageBytes, .flags = flags});
    const std::span memory(client.Lock(allocation), 2 * kPageBytes);
    EXPECT_TRUE(IsZero(memory));
    FillPattern(memory, flags);
    client.Unlock(allocation);
    EXPECT_EQ(FindWrongByte({client.Lock(allocation), 2 * kPageBytes}, flags), -1);
  }
}

// [LCK] 94. The host is told of every unlock, and has no lock to end.
TEST(SimLock, UnlockOfClientMemoryAlwaysSucceeds) {
  const MemoryClient client;
  const Pages memory(kPageBytes);
  const d3dkmthandle allocation = client.CreateHeap(memory.data(), memory.bytes());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(client.TryUnlock(allocation), 0);
}

// [LCK] 96
TEST(SimLock, RefusesWhatIsOffered) {
  const MemoryClient client;
  const d3dkmthandle allocation = client.Create();
  client.Offer(allocation, _D3DKMT_OFFER_PRIORITY_HIGH);
  EXPECT_EQ(client.TryLock(allocation), -EINVAL);
  auto reclaim = client.ReclaimArgs(client.CreatePagingQueue(), allocation);
  const int result = client.node.TryIoctl(LX_DXRECLAIMALLOCATIONS2, reclaim);
  ASSERT_TRUE(result == 0 || result == kPending) << ResultName(result);
  EXPECT_EQ(client.TryLock(allocation), 0) << "even while its fence is pending";
}

// A device in error still gives back what it has.
TEST(SimLock, DeviceInErrorUnlocksAndDestroysButLocksNothing) {
  const MemoryClient client;
  const d3dkmthandle locked = client.Create(), other = client.Create();
  client.Lock(locked);
  d3dkmt_markdeviceaserror mark = {client.device, _D3DKMT_DEVICE_ERROR_REASON_GENERIC};
  ASSERT_EQ(client.node.TryIoctl(LX_DXMARKDEVICEASERROR, mark), 0);
  EXPECT_EQ(client.TryLock(locked), 0) << "the guest knows its address";
  EXPECT_EQ(client.TryUnlock(locked), 0);
  EXPECT_EQ(client.TryLock(other), -ENODEV);
  EXPECT_EQ(client.TryUnlock(locked), 0);
  const d3dkmthandle list[] = {locked, other};
  EXPECT_EQ(client.TryDestroy(list), 0);
  EXPECT_EQ(Creation(client.device).Try(client.node), kRefusedByHost);
}

// A last unlock that names a wrong device never reaches the host, which has one lock more from then on.
TEST(SimLock, WorksAfterAnUnlockThatTheHostHasNotHeardOf) {
  const MemoryClient client;
  const d3dkmthandle allocation = client.Create();
  FillPattern({client.Lock(allocation), kPageBytes}, 1);
  EXPECT_EQ(client.TryUnlock(allocation, Handle(0)), -EINVAL);
  EXPECT_EQ(FindWrongByte({client.Lock(allocation), kPageBytes}, 1), -1);
  client.Unlock(allocation);
}

}  // namespace
}  // namespace dxg::conformance
