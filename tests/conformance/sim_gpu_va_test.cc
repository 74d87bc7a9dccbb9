// GPU addresses as the simulated host gives them. What the GPU finds behind them needs work for it, which
// is tested elsewhere. Numbers in brackets are rules of docs/host-rules.md.

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "tests/conformance/memory.h"
#include "tests/conformance/memory_client.h"
#include "tests/conformance/peer.h"

namespace dxg::conformance {
namespace {

constexpr uint64_t kUnit = 65536;  // of a reservation

// A client that maps; what is pending is waited for.
struct Mapper {
  MemoryClient client;
  PagingQueue queue = client.CreatePagingQueue();

  // The address, or 0: a refusal of the host has no status.
  uint64_t Reserve(uint64_t size, uint64_t base = 0, uint64_t minimum = 0, uint64_t maximum = 0,
                   uint32_t type = _D3DDDIGPUVA_RESERVE_NO_ACCESS) {
    d3dddi_reservegpuvirtualaddress args = {};
    args.adapter = queue.handle;
    args.size = size;
    args.base_address = base;
    args.minimum_address = minimum;
    args.maximum_address = maximum;
    args.reservation_type = type;
    client.node.Ioctl(LX_DXRESERVEGPUVIRTUALADDRESS, args, "ReserveGpuVirtualAddress");
    return args.virtual_address;
  }

  d3dddi_mapgpuvirtualaddress Mapping(d3dkmthandle allocation, uint64_t pages, uint64_t base = 0) {
    d3dddi_mapgpuvirtualaddress args = {};
    args.paging_queue = queue.handle;
    args.allocation = allocation;
    args.size_in_pages = pages;
    args.base_address = base;
    args.protection.write = allocation.v != 0 ? 1 : 0;
    return args;
  }

  int TryMap(d3dddi_mapgpuvirtualaddress& args) {
    const int result = client.node.TryIoctl(LX_DXMAPGPUVIRTUALADDRESS, args);
    if (result != kPending) return result;
    queue.WaitFor(args.paging_fence_value);
    return 0;
  }
  int TryMap(d3dkmthandle allocation, uint64_t pages, uint64_t base = 0) {
    auto args = Mapping(allocation, pages, base);
    return TryMap(args);
  }
  uint64_t Map(d3dkmthandle allocation, uint64_t pages) {
    auto args = Mapping(allocation, pages);
    EXPECT_EQ(TryMap(args), 0);
    return args.virtual_address;
  }

  int Free(uint64_t base, uint64_t size) {
    d3dkmt_freegpuvirtualaddress args = {};
    args.adapter = client.node.FirstAdapter();
    args.base_address = base;
    args.size = size;
    return client.node.TryIoctl(LX_DXFREEGPUVIRTUALADDRESS, args);
  }
};

// ---- Reserve ----

// [GVA] 128
TEST(SimReserveGpuVa, RefusesWhatIsNotInUnits) {
  Mapper mapper;
  EXPECT_EQ(mapper.Reserve(0), 0u);
  for (uint64_t odd : {uint64_t{1}, kPageBytes, kUnit - 1, kUnit + kPageBytes}) {
    EXPECT_EQ(mapper.Reserve(odd), 0u) << odd;
    EXPECT_EQ(mapper.Reserve(kUnit, 16 * kUnit + odd), 0u) << odd;
    EXPECT_EQ(mapper.Reserve(kUnit, 0, odd), 0u) << odd;
  }
  for (uint64_t size : {~kUnit + 1, uint64_t{1} << 63, uint64_t{1} << 48})
    EXPECT_EQ(mapper.Reserve(size), 0u);
  EXPECT_EQ(mapper.Reserve(kUnit, ~kUnit + 1), 0u) << "it would wrap";
  EXPECT_NE(mapper.Reserve(kUnit), 0u);
}

TEST(SimReserveGpuVa, TakesTwoTypes) {
  Mapper mapper;
  EXPECT_NE(mapper.Reserve(kUnit, 0, 0, 0, _D3DDDIGPUVA_RESERVE_ZERO), 0u);
  for (uint32_t type : {uint32_t{_D3DDDIGPUVA_RESERVE_NO_COMMIT}, 3u, 0xffffffffu})
    EXPECT_EQ(mapper.Reserve(kUnit, 0, 0, 0, type), 0u) << type;
}

// [GVA] 129
TEST(SimReserveGpuVa, ChoosesInsideTheLimits) {
  Mapper mapper;
  const uint64_t low = uint64_t{1} << 40, high = low + 4 * kUnit;
  std::vector<uint64_t> given;
  for (int i = 0; i < 4; ++i) {
    given.push_back(mapper.Reserve(kUnit, 0, low, high));
    EXPECT_GE(given.back(), low);
    EXPECT_LE(given.back() + kUnit, high);
    EXPECT_EQ(given.back() % kUnit, 0u);
  }
  std::sort(given.begin(), given.end());
  EXPECT_EQ(std::unique(given.begin(), given.end()), given.end());
  EXPECT_EQ(mapper.Reserve(kUnit, 0, low, high), 0u) << "full";
  EXPECT_EQ(mapper.Reserve(kUnit, 0, high, low), 0u) << "nothing is in there";
}

// [GVA] 129: compute-runtime passes the last address that it can use.
TEST(SimReserveGpuVa, MaximumIsRoundedDownToUnits) {
  Mapper mapper;
  const uint64_t low = uint64_t{1} << 40;
  EXPECT_EQ(mapper.Reserve(2 * kUnit, 0, low, low + 2 * kUnit - 1), 0u) << "only one unit is below it";
  EXPECT_EQ(mapper.Reserve(kUnit, 0, low, low + 2 * kUnit - 1), low);
  EXPECT_EQ(mapper.Reserve(kUnit, 0, 0, 1), 0u) << "not the same as no maximum";
}

// [GVA] 130
TEST(SimReserveGpuVa, BaseThatHitsALiveRangeFails) {
  Mapper mapper;
  const uint64_t base = mapper.Reserve(4 * kUnit, uint64_t{1} << 41);
  ASSERT_EQ(base, uint64_t{1} << 41);
  for (uint64_t hit : {base, base + 3 * kUnit, base - kUnit})
    EXPECT_EQ(mapper.Reserve(2 * kUnit, hit), 0u) << hit - base;
  EXPECT_EQ(mapper.Reserve(kUnit, base - kUnit), base - kUnit);
  EXPECT_EQ(mapper.Reserve(kUnit, base + 4 * kUnit), base + 4 * kUnit);
}

// ---- Map ----

// [GVA] 128, [GEN] 16: sizes and offsets are in the table of bad input
TEST(SimMapGpuVa, RefusesWhatIsNotInPages) {
  Mapper mapper;
  const d3dkmthandle allocation = mapper.client.Create(4 * kPageBytes);
  for (uint64_t odd : {uint64_t{1}, kPageBytes - 1}) {
    EXPECT_EQ(mapper.TryMap(allocation, 1, kUnit + odd), -EINVAL);
    auto minimum = mapper.Mapping(allocation, 1);
    minimum.minimum_address = odd;
    EXPECT_EQ(mapper.TryMap(minimum), -EINVAL);
  }
}

TEST(SimMapGpuVa, RefusesWhatPassesTheEndOfTheAllocation) {
  Mapper mapper;
  const d3dkmthandle allocation = mapper.client.Create(4 * kPageBytes);
  struct {
    uint64_t offset, pages;
    int result;
  } const ranges[] = {{0, 4, 0},       {3, 1, 0},           {0, 5, -EINVAL},     {4, 1, -EINVAL},
                      {3, 2, -EINVAL}, {1, ~0ull, -EINVAL}, {~0ull, 1, -EINVAL}, {~0ull, ~0ull, -EINVAL}};
  for (const auto& range : ranges) {
    auto args = mapper.Mapping(allocation, range.pages);
    args.offset_in_pages = range.offset;
    EXPECT_EQ(mapper.TryMap(args), range.result) << range.offset << " " << range.pages;
  }
}

// [GVA] 129
TEST(SimMapGpuVa, ChoosesInsideTheLimits) {
  Mapper mapper;
  const d3dkmthandle allocation = mapper.client.Create();
  auto args = mapper.Mapping(allocation, 1);
  args.minimum_address = uint64_t{1} << 42;
  args.maximum_address = args.minimum_address + 2 * kPageBytes;
  for (int i = 0; i < 2; ++i) {
    auto each = args;
    ASSERT_EQ(mapper.TryMap(each), 0);
    EXPECT_GE(each.virtual_address, args.minimum_address);
    EXPECT_LE(each.virtual_address + kPageBytes, args.maximum_address);
  }
  EXPECT_EQ(mapper.TryMap(args), -ENOMEM) << "full";
  args.maximum_address = args.minimum_address - kPageBytes;
  EXPECT_EQ(mapper.TryMap(args), -EINVAL);
}

// [GVA] 129
TEST(SimMapGpuVa, MaximumIsRoundedDownToPages) {
  Mapper mapper;
  const d3dkmthandle allocation = mapper.client.Create(2 * kPageBytes);
  auto args = mapper.Mapping(allocation, 2);
  args.minimum_address = uint64_t{1} << 42;
  args.maximum_address = args.minimum_address + 2 * kPageBytes - 1;
  EXPECT_EQ(mapper.TryMap(args), -ENOMEM) << "only one page is below it";
  args.maximum_address = args.minimum_address + 3 * kPageBytes - 1;
  ASSERT_EQ(mapper.TryMap(args), 0);
  EXPECT_EQ(args.virtual_address, args.minimum_address);
  args.minimum_address = 0;
  args.maximum_address = kPageBytes - 1;
  EXPECT_EQ(mapper.TryMap(args), -EINVAL) << "not the same as no maximum";
}

// [GVA] 130
TEST(SimMapGpuVa, LiveRangesNeverOverlap) {
  Mapper mapper;
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (uint64_t i = 1; i <= 60; ++i) {
    const uint64_t pages = i % 7 + 1;
    ranges.emplace_back(mapper.Map(mapper.client.Create(pages * kPageBytes), pages), pages * kPageBytes);
    if (i % 3 == 0) ranges.emplace_back(mapper.Reserve(kUnit), kUnit);
    if (i % 5 == 0) {
      EXPECT_EQ(mapper.Free(ranges.front().first, ranges.front().second), 0);
      ranges.erase(ranges.begin());
    }
  }
  std::sort(ranges.begin(), ranges.end());
  for (size_t i = 1; i < ranges.size(); ++i)
    EXPECT_LE(ranges[i - 1].first + ranges[i - 1].second, ranges[i].first);
  EXPECT_GT(ranges.front().first, 0u);
}

// [GVA] 130
TEST(SimMapGpuVa, BaseMayBeFreeOrInsideOneRangeButNotAcrossItsEnd) {
  Mapper mapper;
  const d3dkmthandle allocation = mapper.client.Create(2 * kUnit);
  const uint64_t pages_of_unit = kUnit / kPageBytes;
  const uint64_t base = mapper.Reserve(2 * kUnit, uint64_t{1} << 43);
  ASSERT_NE(base, 0u);
  EXPECT_EQ(mapper.TryMap(allocation, 2 * pages_of_unit, base), 0);
  EXPECT_EQ(mapper.TryMap(allocation, 1, base + kPageBytes), 0) << "over what is mapped there";
  EXPECT_EQ(mapper.TryMap(allocation, 2 * pages_of_unit, base + kPageBytes), -EINVAL) << "beyond its end";
  EXPECT_EQ(mapper.TryMap(allocation, 2, base - kPageBytes), -EINVAL) << "from before its start";
  EXPECT_EQ(mapper.TryMap(allocation, 1, base + 2 * kUnit), 0) << "free";
  EXPECT_EQ(mapper.TryMap(allocation, 1, base + 2 * kUnit), 0) << "inside a range that Map gave";
  EXPECT_EQ(mapper.Reserve(kUnit, base + 2 * kUnit), 0u);
}

// [GVA] 133, but for what the GPU finds there
TEST(SimMapGpuVa, OneAllocationMayHaveManyAddresses) {
  Mapper mapper;
  const d3dkmthandle allocation = mapper.client.Create(4 * kPageBytes);
  std::vector<uint64_t> given;
  for (int i = 0; i < 10; ++i) given.push_back(mapper.Map(allocation, 4));
  std::sort(given.begin(), given.end());
  EXPECT_EQ(std::unique(given.begin(), given.end()), given.end());
}

// [GVA] 134
TEST(SimMapGpuVa, ZeroAndNoAccessAreForReservationsWithoutAnAllocation) {
  Mapper mapper;
  const d3dkmthandle allocation = mapper.client.Create();
  const uint64_t reserved = mapper.Reserve(kUnit), mapped = mapper.Map(allocation, 1);
  for (uint64_t protection : {4u, 8u}) {
    auto with_allocation = mapper.Mapping(allocation, 1, reserved),
         over_map = mapper.Mapping(Handle(0), 1, mapped), free_address = mapper.Mapping(Handle(0), 1),
         inside = mapper.Mapping(Handle(0), 1, reserved);
    for (auto* args : {&with_allocation, &over_map, &free_address, &inside})
      args->protection.value = protection;
    EXPECT_EQ(mapper.TryMap(with_allocation), -EINVAL);
    EXPECT_EQ(mapper.TryMap(over_map), -EINVAL);
    EXPECT_EQ(mapper.TryMap(free_address), -EINVAL);
    EXPECT_EQ(mapper.TryMap(inside), 0);
  }
  auto nothing = mapper.Mapping(Handle(0), 1, reserved);
  EXPECT_EQ(mapper.TryMap(nothing), -EINVAL) << "neither an allocation nor a protection that needs none";
}

// ---- Free ----

// [GVA] 135, 136
TEST(SimFreeGpuVa, TakesWholeRangesOnlyAndAtOnce) {
  Mapper mapper;
  const uint64_t base = mapper.Reserve(4 * kUnit, uint64_t{1} << 44);
  struct {
    uint64_t base, size;
  } const wrong[] = {{base, kUnit},
                     {base + kUnit, 3 * kUnit},
                     {base, 5 * kUnit},
                     {base - kUnit, 4 * kUnit},
                     {base, 0},
                     {0, 4 * kUnit},
                     {base + 1, 4 * kUnit},
                     {base, 4 * kUnit + 1},
                     {~0ull, 4 * kUnit},
                     {base, ~0ull}};
  for (const auto& range : wrong) EXPECT_EQ(mapper.Free(range.base, range.size), -EINVAL);
  EXPECT_EQ(mapper.Reserve(kUnit, base), 0u) << "it is still there";
  EXPECT_EQ(mapper.Free(base, 4 * kUnit), 0);
  EXPECT_EQ(mapper.Free(base, 4 * kUnit), -EINVAL);
  EXPECT_EQ(mapper.Reserve(4 * kUnit, base), base);
}

TEST(SimFreeGpuVa, ReservationTakesAlongWhatIsMappedInIt) {
  Mapper mapper;
  const d3dkmthandle allocation = mapper.client.Create();
  const uint64_t base = mapper.Reserve(kUnit);
  ASSERT_EQ(mapper.TryMap(allocation, 1, base + kPageBytes), 0);
  EXPECT_EQ(mapper.Free(base + kPageBytes, kPageBytes), -EINVAL) << "a part of a reservation";
  EXPECT_EQ(mapper.Free(base, kUnit), 0);
  EXPECT_EQ(mapper.TryMap(allocation, 1, base + kPageBytes), 0) << "free again";
}

// [ALC] 90
TEST(SimFreeGpuVa, HappensWithTheAllocation) {
  Mapper mapper;
  const d3dkmthandle allocation = mapper.client.Create();
  const uint64_t reserved = mapper.Reserve(kUnit), mapped = mapper.Map(allocation, 1);
  ASSERT_EQ(mapper.TryMap(allocation, 1, reserved), 0);
  mapper.client.Destroy(allocation);
  EXPECT_EQ(mapper.Free(mapped, kPageBytes), -EINVAL) << "gone already";
  EXPECT_EQ(mapper.Free(reserved, kUnit), 0) << "the reservation is not";
}

// Ends only with the process: addresses are the process's, not a device's.
TEST(SimFreeGpuVa, ReservationOutlivesTheDevice) {
  Mapper mapper;
  const uint64_t base = mapper.Reserve(kUnit);
  mapper.client.node.DestroyDevice(mapper.client.device);
  EXPECT_EQ(mapper.Free(base, kUnit), 0);
}

TEST(SimFreeGpuVa, WorksOnADeviceInError) {
  Mapper mapper;
  const uint64_t base = mapper.Reserve(kUnit);
  d3dkmt_markdeviceaserror mark = {mapper.client.device, _D3DKMT_DEVICE_ERROR_REASON_GENERIC};
  ASSERT_EQ(mapper.client.node.TryIoctl(LX_DXMARKDEVICEASERROR, mark), 0);
  EXPECT_EQ(mapper.TryMap(Handle(0), 1, base), -EINVAL);
  EXPECT_EQ(mapper.Reserve(kUnit), 0u);
  EXPECT_EQ(mapper.Free(base, kUnit), 0);
}

// [GVA] 137
TEST(SimGpuVa, ProcessesHaveTheirOwnAddresses) {
  Mapper mapper;
  const uint64_t base = uint64_t{1} << 45;
  ASSERT_EQ(mapper.Reserve(kUnit, base), base);
  InFreshProcess([&] {
    Mapper other;
    EXPECT_EQ(other.Free(base, kUnit), -EINVAL);
    EXPECT_EQ(other.Reserve(kUnit, base), base);
  });
  EXPECT_EQ(mapper.Free(base, kUnit), 0);
}

// [GVA] 137
TEST(SimGpuVa, DevicesOfOneProcessShareTheirs) {
  Mapper mapper, second;
  const uint64_t base = uint64_t{1} << 45;
  ASSERT_EQ(mapper.Reserve(kUnit, base), base);
  EXPECT_EQ(second.Reserve(kUnit, base), 0u);
  EXPECT_EQ(second.TryMap(second.client.Create(), 1, base), 0) << "inside the other's reservation";
}

// Opened memory has an address of its own for each opener.
TEST(SimGpuVa, OfSharedMemory) {
  Mapper mapper;
  const SharedResource shared = mapper.client.CreateResource(1, kPageBytes, true);
  const Descriptor descriptor(mapper.client.Share(shared.resource));
  const SharedResource opened = mapper.client.OpenShared(descriptor.get());
  const uint64_t first = mapper.Map(shared.allocations[0], 1), second = mapper.Map(opened.allocations[0], 1);
  EXPECT_NE(first, second);
  mapper.client.DestroyResource(shared.resource);
  EXPECT_EQ(mapper.Free(first, kPageBytes), -EINVAL);
  EXPECT_EQ(mapper.Free(second, kPageBytes), 0);
}

// ---- Update ----

TEST(SimUpdateGpuVa, NeedsAFence) {
  Mapper mapper;
  d3dddi_updategpuvirtualaddress_operation operation = {};
  operation.operation = _D3DDDI_UPDATEGPUVIRTUALADDRESS_UNMAP;
  operation.unmap.base_address = mapper.Reserve(kUnit);
  operation.unmap.size = kUnit;
  d3dkmt_updategpuvirtualaddress args = {};
  args.device = mapper.client.device;
  args.num_operations = 1;
  args.operations = Address(&operation);
  args.fence_value = 5;
  for (d3dkmthandle fence : {Handle(0), Handle(0x40fff000), mapper.client.device}) {
    args.fence_object = fence;
    EXPECT_EQ(mapper.client.node.TryIoctl(LX_DXUPDATEGPUVIRTUALADDRESS, args), -EINVAL);
  }
  EXPECT_EQ(args.fence_value, 5u);
}

}  // namespace
}  // namespace dxg::conformance
