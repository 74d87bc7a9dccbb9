// Adapters: EnumAdapters2 and 3, OpenAdapterFromLuid, CloseAdapter, and the handles that they give out.

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "proto/abi/interface.h"
#include "tests/conformance/limits.h"
#include "tests/conformance/memory.h"
#include "tests/conformance/node.h"
#include "tests/conformance/peer.h"

namespace dxg::conformance {
namespace {

constexpr uint32_t kFirstAdapterHandle = 1u << kHandleUniqueShift;
constexpr uint32_t kAdapterHandleStep = 1u << kHandleIndexShift;

uint32_t KnownAdapters(const Node& node) {
  d3dkmt_enumadapters2 args = {};
  node.Ioctl(LX_DXENUMADAPTERS2, args, "EnumAdapters2 (count)");
  return args.num_adapters;
}

// The result; the list is in `room`, which decides the capacity unless `capacity` does.
int EnumAdapters2(const Node& node, std::vector<d3dkmt_adapterinfo>& room, uint32_t capacity) {
  d3dkmt_enumadapters2 args = {};
  args.num_adapters = capacity;
  args.adapters = Address(room.data());
  const int result = node.TryIoctl(LX_DXENUMADAPTERS2, args);
  if (result == 0) room.resize(args.num_adapters);
  return result;
}

int EnumAdapters3(const Node& node, uint64_t filter, std::vector<d3dkmt_adapterinfo>& room,
                  uint32_t capacity) {
  d3dkmt_enumadapters3 args = {};
  args.filter.value = filter;
  args.adapter_count = capacity;
  args.adapters = Address(room.data());
  const int result = node.TryIoctl(LX_DXENUMADAPTERS3, args);
  if (result == 0) room.resize(args.adapter_count);
  return result;
}

int TryOpen(const Node& node, winluid luid, uint32_t handle_in, uint32_t* handle_out) {
  d3dkmt_openadapterfromluid args = {luid, Handle(handle_in)};
  const int result = node.TryIoctl(LX_DXOPENADAPTERFROMLUID, args);
  *handle_out = args.adapter_handle.v;
  return result;
}

int TryClose(const Node& node, d3dkmthandle adapter) {
  d3dkmt_closeadapter args = {adapter};
  return node.TryIoctl(LX_DXCLOSEADAPTER, args);
}

// ---- EnumAdapters2 ----

// [ADP] 18
TEST(EnumAdapters2, NullArrayGivesTheCountWhateverTheCapacity) {
  const Node node = OpenNode();
  const uint32_t known = KnownAdapters(node);
  EXPECT_GE(known, 1u);
  for (uint32_t capacity : {0u, 1u, 64u, 65u, 0xffffffffu}) {
    d3dkmt_enumadapters2 args = {};
    args.num_adapters = capacity;
    EXPECT_EQ(node.TryIoctl(LX_DXENUMADAPTERS2, args), 0) << capacity;
    EXPECT_EQ(args.num_adapters, known) << capacity;
  }
}

// [ADP] 19
TEST(EnumAdapters2, TooSmallCapacityOverflowsAndWritesNothing) {
  const Node node = OpenNode();
  const uint32_t known = KnownAdapters(node);
  for (uint32_t capacity = 0; capacity < known; ++capacity) {
    auto room = std::vector(known, Filled<d3dkmt_adapterinfo>(0xa5));
    d3dkmt_enumadapters2 args = {};
    args.num_adapters = capacity;
    args.adapters = Address(room.data());
    EXPECT_EQ(node.TryIoctl(LX_DXENUMADAPTERS2, args), -EOVERFLOW) << capacity;
    EXPECT_EQ(args.num_adapters, capacity);
    EXPECT_EQ(room[0].adapter_handle.v, 0xa5a5a5a5);
  }
}

TEST(EnumAdapters2, CapacityAboveTheLimitIsInvalid) {
  const Node node = OpenNode();
  std::vector<d3dkmt_adapterinfo> room(D3DKMT_ADAPTERS_MAX + 1);
  EXPECT_EQ(EnumAdapters2(node, room, D3DKMT_ADAPTERS_MAX + 1), -EINVAL);
  EXPECT_EQ(EnumAdapters2(node, room, 0xffffffff), -EINVAL);
  EXPECT_EQ(EnumAdapters2(node, room, D3DKMT_ADAPTERS_MAX), 0);
}

TEST(EnumAdapters2, LooksAtTheCapacityBeforeTheArray) {
  const Node node = OpenNode();
  d3dkmt_enumadapters2 args = {};
  args.adapters = kUnmappedAddress;
  EXPECT_EQ(node.TryIoctl(LX_DXENUMADAPTERS2, args), -EOVERFLOW);
  args.num_adapters = D3DKMT_ADAPTERS_MAX + 1;
  EXPECT_EQ(node.TryIoctl(LX_DXENUMADAPTERS2, args), -EINVAL);
}

TEST(EnumAdapters2, ArrayThatEndsTooEarlyFaults) {
  SKIP_WITHOUT_FULL_ADAPTER();
  const Node node = OpenNode();
  std::vector<d3dkmt_adapterinfo> room(D3DKMT_ADAPTERS_MAX);
  ASSERT_EQ(EnumAdapters2(node, room, D3DKMT_ADAPTERS_MAX), 0);
  GuardedMemory memory(room.size() * sizeof(d3dkmt_adapterinfo));
  d3dkmt_enumadapters2 args = {};
  args.num_adapters = D3DKMT_ADAPTERS_MAX;
  args.adapters = memory.one_byte_short();
  EXPECT_EQ(node.TryIoctl(LX_DXENUMADAPTERS2, args), -EFAULT);
  EXPECT_EQ(args.num_adapters, room.size());  // written before the array
  args.num_adapters = D3DKMT_ADAPTERS_MAX;
  args.adapters = memory.address();
  EXPECT_EQ(node.TryIoctl(LX_DXENUMADAPTERS2, args), 0);
}

TEST(EnumAdapters2, FaultOpensNothing) {
  SKIP_WITHOUT_FULL_ADAPTER();
  InFreshProcess([] {
    const Node node = OpenNode();
    d3dkmt_enumadapters2 args = {};
    args.num_adapters = D3DKMT_ADAPTERS_MAX;
    args.adapters = kUnmappedAddress;
    ASSERT_EQ(node.TryIoctl(LX_DXENUMADAPTERS2, args), -EFAULT);
    for (uint32_t i = 0; i < 64; ++i)
      EXPECT_FALSE(node.IsAdapter(Handle(kFirstAdapterHandle + i * kAdapterHandleStep)));
  });
}

TEST(EnumAdapters2, EveryCallOpensNewHandles) {
  const Node node = OpenNode();
  std::vector<d3dkmt_adapterinfo> first(D3DKMT_ADAPTERS_MAX), second(D3DKMT_ADAPTERS_MAX);
  ASSERT_EQ(EnumAdapters2(node, first, D3DKMT_ADAPTERS_MAX), 0);
  ASSERT_EQ(EnumAdapters2(node, second, D3DKMT_ADAPTERS_MAX), 0);
  ASSERT_EQ(first.size(), second.size());
  std::set<uint32_t> handles;
  for (const auto* list : {&first, &second})
    for (const d3dkmt_adapterinfo& info : *list) {
      EXPECT_TRUE(handles.insert(info.adapter_handle.v).second) << "a handle was given out twice";
      EXPECT_TRUE(node.IsAdapter(info.adapter_handle));
    }
}

TEST(EnumAdapters2, EntriesDescribeParavirtualAdapters) {
  const Node node = OpenNode();
  auto room = std::vector(D3DKMT_ADAPTERS_MAX, Filled<d3dkmt_adapterinfo>(0xa5));
  ASSERT_EQ(EnumAdapters2(node, room, D3DKMT_ADAPTERS_MAX), 0);
  for (const d3dkmt_adapterinfo& info : room) {
    EXPECT_EQ(info.num_sources, 0u);
    EXPECT_EQ(info.present_move_regions_preferred, 0u);
    d3dkmt_adaptertype type = {};
    ASSERT_EQ(node.TryQuery(info.adapter_handle, KMTQAITYPE_ADAPTERTYPE, &type, sizeof(type)), 0);
    EXPECT_FALSE(type.compute_only);  // those are only in EnumAdapters3
  }
}

TEST(EnumAdapters2, ReservedFieldIsIgnoredAndKept) {
  const Node node = OpenNode();
  d3dkmt_enumadapters2 args = {};
  args.reserved = 0xa5a5a5a5;
  EXPECT_EQ(node.TryIoctl(LX_DXENUMADAPTERS2, args), 0);
  EXPECT_EQ(args.reserved, 0xa5a5a5a5);
}

// ---- EnumAdapters3 ----

TEST(EnumAdapters3, NullArrayOrCapacityZeroGivesTheCount) {
  const Node node = OpenNode();
  const uint32_t known = KnownAdapters(node);
  std::vector<d3dkmt_adapterinfo> room(known);
  for (uint64_t filter : {0ull, 1ull, 2ull, ~0ull}) {
    d3dkmt_enumadapters3 args = {};
    args.filter.value = filter;
    args.adapter_count = 0xffffffff;
    EXPECT_EQ(node.TryIoctl(LX_DXENUMADAPTERS3, args), 0);
    EXPECT_EQ(args.adapter_count, known) << "array NULL, filter " << filter;
    args.adapter_count = 0;
    args.adapters = Address(room.data());
    EXPECT_EQ(node.TryIoctl(LX_DXENUMADAPTERS3, args), 0);
    EXPECT_EQ(args.adapter_count, known) << "capacity 0, filter " << filter;
    EXPECT_EQ(room[0].adapter_handle.v, 0u);
  }
}

TEST(EnumAdapters3, CapacityAboveTheLimitIsInvalid) {
  const Node node = OpenNode();
  std::vector<d3dkmt_adapterinfo> room(kEnumAdapters3Max + 1);
  EXPECT_EQ(EnumAdapters3(node, 1, room, kEnumAdapters3Max + 1), -EINVAL);
  EXPECT_EQ(EnumAdapters3(node, 1, room, 0xffffffff), -EINVAL);
  EXPECT_EQ(EnumAdapters3(node, 1, room, kEnumAdapters3Max), 0);
}

TEST(EnumAdapters3, ListsEveryAdapterWithComputeOnlyOnes) {
  const Node node = OpenNode();
  std::vector<d3dkmt_adapterinfo> room(KnownAdapters(node));
  const size_t known = room.size();
  ASSERT_EQ(EnumAdapters3(node, 1, room, static_cast<uint32_t>(room.size())), 0);
  EXPECT_EQ(room.size(), known);
  for (const d3dkmt_adapterinfo& info : room) EXPECT_TRUE(node.IsAdapter(info.adapter_handle));
}

// [ADP] 21
TEST(EnumAdapters3, WithoutTheFilterBitListsWhatEnumAdapters2Lists) {
  const Node node = OpenNode();
  for (uint64_t filter : {0ull, 2ull}) {
    std::vector<d3dkmt_adapterinfo> two(D3DKMT_ADAPTERS_MAX), three(D3DKMT_ADAPTERS_MAX);
    ASSERT_EQ(EnumAdapters2(node, two, D3DKMT_ADAPTERS_MAX), 0);
    ASSERT_EQ(EnumAdapters3(node, filter, three, D3DKMT_ADAPTERS_MAX), 0);
    ASSERT_EQ(two.size(), three.size());
    for (size_t i = 0; i < two.size(); ++i) {
      EXPECT_EQ(two[i].adapter_luid.a, three[i].adapter_luid.a);
      EXPECT_EQ(two[i].adapter_luid.b, three[i].adapter_luid.b);
      EXPECT_NE(two[i].adapter_handle.v, three[i].adapter_handle.v);
    }
  }
}

TEST(EnumAdapters3, UnknownFilterBitsAreIgnoredAndKept) {
  const Node node = OpenNode();
  std::vector<d3dkmt_adapterinfo> room(D3DKMT_ADAPTERS_MAX);
  d3dkmt_enumadapters3 args = {};
  args.filter.value = ~0ull;
  args.adapter_count = D3DKMT_ADAPTERS_MAX;
  args.reserved = 0xa5a5a5a5;
  args.adapters = Address(room.data());
  EXPECT_EQ(node.TryIoctl(LX_DXENUMADAPTERS3, args), 0);
  EXPECT_EQ(args.adapter_count, KnownAdapters(node));
  EXPECT_EQ(args.filter.value, ~0ull);
  EXPECT_EQ(args.reserved, 0xa5a5a5a5);
}

TEST(EnumAdapters3, ArrayThatEndsTooEarlyFaults) {
  const Node node = OpenNode();
  const uint32_t known = KnownAdapters(node);
  GuardedMemory memory(known * sizeof(d3dkmt_adapterinfo));
  d3dkmt_enumadapters3 args = {};
  args.filter.include_compute_only = 1;
  args.adapter_count = known;
  args.adapters = memory.one_byte_short();
  EXPECT_EQ(node.TryIoctl(LX_DXENUMADAPTERS3, args), -EFAULT);
  args.adapters = memory.address();
  EXPECT_EQ(node.TryIoctl(LX_DXENUMADAPTERS3, args), 0);
}

TEST(EnumAdapters3, FaultOpensNothing) {
  InFreshProcess([] {
    const Node node = OpenNode();
    d3dkmt_enumadapters3 args = {};
    args.filter.value = 1;
    args.adapter_count = D3DKMT_ADAPTERS_MAX;
    args.adapters = kUnmappedAddress;
    ASSERT_EQ(node.TryIoctl(LX_DXENUMADAPTERS3, args), -EFAULT);
    for (uint32_t i = 0; i < 64; ++i)
      EXPECT_FALSE(node.IsAdapter(Handle(kFirstAdapterHandle + i * kAdapterHandleStep)));
  });
}

// ---- OpenAdapterFromLuid ----

// [ADP] 22
TEST(OpenAdapterFromLuid, RefusesUnknownLuid) {
  const Node node = OpenNode();
  uint32_t handle;
  EXPECT_EQ(TryOpen(node, kNoSuchLuid, 0, &handle), -EINVAL);
  EXPECT_EQ(TryOpen(node, {0, 0}, 0, &handle), -EINVAL);
  EXPECT_EQ(handle, 0u);
}

TEST(OpenAdapterFromLuid, ComparesBothHalvesOfTheLuid) {
  Node node = OpenNode();
  const winluid luid = node.FirstLuid();
  uint32_t handle;
  EXPECT_EQ(TryOpen(node, {luid.a + 1, luid.b}, 0, &handle), -EINVAL);
  EXPECT_EQ(TryOpen(node, {luid.a, luid.b + 1}, 0, &handle), -EINVAL);
}

// Looks like success, and the caller keeps its own number. So the driver does it.
TEST(OpenAdapterFromLuid, UnknownLuidWithANonZeroHandleDoesNothing) {
  const Node node = OpenNode();
  uint32_t handle;
  EXPECT_EQ(TryOpen(node, kNoSuchLuid, 0x12345678, &handle), 0);
  EXPECT_EQ(handle, 0x12345678u);
  EXPECT_FALSE(node.IsAdapter(Handle(0x12345678)));
}

TEST(OpenAdapterFromLuid, KnownLuidIgnoresTheHandleThatComesIn) {
  Node node = OpenNode();
  for (uint32_t in : {0u, 1u, node.FirstAdapter().v, 0xffffffffu}) {
    uint32_t handle;
    EXPECT_EQ(TryOpen(node, node.FirstLuid(), in, &handle), 0);
    EXPECT_NE(handle, in);
    EXPECT_TRUE(node.IsAdapter(Handle(handle)));
  }
  EXPECT_TRUE(node.IsAdapter(node.FirstAdapter()));
}

TEST(OpenAdapterFromLuid, OpensEveryAdapterThatIsListed) {
  const Node node = OpenNode();
  for (const d3dkmt_adapterinfo& info : node.EnumAdapters())
    EXPECT_TRUE(node.IsAdapter(node.OpenAdapter(info.adapter_luid)));
}

// [ADP] 20
TEST(OpenAdapterFromLuid, HandlesOfOneAdapterAreEquivalent) {
  Node node = OpenNode();
  const d3dkmthandle other = node.OpenAdapter(node.FirstLuid());
  const d3dkmthandle device = node.CreateDevice(other);
  node.CloseAdapter(other);
  EXPECT_TRUE(node.IsDevice(device));
  EXPECT_FALSE(node.IsAdapter(other));
}

TEST(OpenAdapterFromLuid, FaultOpensNothing) {
  InFreshProcess([] {
    Node node = OpenNode();
    const winluid luid = node.FirstLuid();
    GuardedMemory memory(sizeof(d3dkmt_openadapterfromluid));
    memory.as<d3dkmt_openadapterfromluid>()->adapter_luid = luid;
    memory.MakeReadOnly();
    const d3dkmthandle before = node.OpenAdapter(luid);
    EXPECT_EQ(node.TryIoctlAt(LX_DXOPENADAPTERFROMLUID, memory.address()), -EFAULT);
    EXPECT_FALSE(node.IsAdapter(Handle(before.v + kAdapterHandleStep)));
  });
}

// ---- Handles ----

// [GEN] 6
TEST(AdapterHandles, CountUpFrom40000000InAFreshProcess) {
  winluid luid;
  {
    Node node = OpenNode();
    luid = node.FirstLuid();
  }
  InFreshProcess([&] {
    const Node node = OpenNode();
    for (uint32_t i = 0; i < 10; ++i)
      EXPECT_EQ(node.OpenAdapter(luid).v, kFirstAdapterHandle + i * kAdapterHandleStep);
  });
}

TEST(AdapterHandles, EnumerationTakesFromTheSameSequence) {
  InFreshProcess([] {
    const Node node = OpenNode();
    const std::vector<d3dkmt_adapterinfo> adapters = node.EnumAdapters();
    for (uint32_t i = 0; i < adapters.size(); ++i)
      EXPECT_EQ(adapters[i].adapter_handle.v, kFirstAdapterHandle + i * kAdapterHandleStep);
    EXPECT_EQ(node.OpenAdapter(adapters[0].adapter_luid).v,
              kFirstAdapterHandle + static_cast<uint32_t>(adapters.size()) * kAdapterHandleStep);
  });
}

// [GEN] 6
TEST(AdapterHandles, ClosedHandleDoesNotComeBackSoon) {
  Node node = OpenNode();
  const winluid luid = node.FirstLuid();
  const d3dkmthandle closed = node.OpenAdapter(luid);
  node.CloseAdapter(closed);
  for (int i = 0; i < 100; ++i) {
    const d3dkmthandle handle = node.OpenAdapter(luid);
    EXPECT_NE(handle.index, closed.index);
    EXPECT_FALSE(node.IsAdapter(closed));
    node.CloseAdapter(handle);
  }
}

// A number comes back one day; its unique bits tell the second life from the first.
TEST(AdapterHandles, ReusedIndexHasOtherUniqueBits) {
  InFreshProcess([] {
    Node node = OpenNode();
    const winluid luid = node.FirstLuid();
    const d3dkmthandle closed = node.OpenAdapter(luid);
    node.CloseAdapter(closed);
    int opens = 0;
    d3dkmthandle handle;
    do {
      handle = node.OpenAdapter(luid);
      node.CloseAdapter(handle);
    } while (handle.index != closed.index && ++opens < 5000);
    EXPECT_GE(opens, 128);
    EXPECT_EQ(handle.index, closed.index);
    EXPECT_EQ(handle.unique, 2u);
    EXPECT_EQ(TryClose(node, closed), -EINVAL);
  });
}

TEST(AdapterHandles, TableGrows) {
  Node node = OpenNode();
  std::set<uint32_t> handles;
  for (int i = 0; i < 2200; ++i) handles.insert(node.OpenAdapter(node.FirstLuid()).v);
  EXPECT_EQ(handles.size(), 2200u);
  EXPECT_TRUE(node.IsAdapter(Handle(*handles.begin())));
  EXPECT_TRUE(node.IsAdapter(Handle(*handles.rbegin())));
  for (uint32_t handle : handles) node.CloseAdapter(Handle(handle));
}

// ---- CloseAdapter ----

TEST(CloseAdapter, HandleZeroIsNothingToClose) {
  const Node node = OpenNode();
  EXPECT_EQ(TryClose(node, Handle(0)), 0);
}

// [ADP] 20 and [GEN] 2
TEST(CloseAdapter, RefusesASecondClose) {
  Node node = OpenNode();
  const d3dkmthandle adapter = node.OpenAdapter(node.FirstLuid());
  EXPECT_EQ(TryClose(node, adapter), 0);
  EXPECT_EQ(TryClose(node, adapter), -EINVAL);
  EXPECT_TRUE(node.IsAdapter(node.FirstAdapter()));
}

TEST(CloseAdapter, LastCloseEndsTheDevicesOfTheAdapter) {
  Node node = OpenNode();
  const winluid luid = node.FirstLuid();
  const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
  node.CloseAdapter(node.FirstAdapter());
  EXPECT_FALSE(node.IsDevice(device));
  d3dkmt_destroydevice destroy = {device};
  EXPECT_EQ(node.TryIoctl(LX_DXDESTROYDEVICE, destroy), -EINVAL);
  EXPECT_FALSE(node.IsDevice(device)) << "opening the adapter again does not bring it back";
  const d3dkmthandle again = node.OpenAdapter(luid);
  EXPECT_TRUE(node.IsDevice(node.CreateDevice(again)));
}

TEST(CloseAdapter, DevicesLiveWhileAnotherHandleIsOpen) {
  Node node = OpenNode();
  const d3dkmthandle first = node.FirstAdapter(), second = node.OpenAdapter(node.FirstLuid());
  const d3dkmthandle device = node.CreateDevice(first);
  node.CloseAdapter(first);
  EXPECT_TRUE(node.IsDevice(device));
  node.CloseAdapter(second);
  EXPECT_FALSE(node.IsDevice(device));
}

TEST(CloseAdapter, LastCloseOfOneProcessIsNoneOfAnothers) {
  Node node = OpenNode();
  const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
  InFreshProcess([] {
    Node node = OpenNode();
    node.CreateDevice(node.FirstAdapter());
    node.CloseAdapter(node.FirstAdapter());
  });
  EXPECT_TRUE(node.IsDevice(device));
}

// ---- FlushHeapTransitions ----

TEST(FlushHeapTransitions, AdapterFieldIsTheHostsAfterwardsAndTheHandleStillOurs) {
  Node node = OpenNode();
  for (int i = 0; i < 3; ++i) {
    d3dkmt_flushheaptransitions args = {node.FirstAdapter()};
    EXPECT_EQ(node.TryIoctl(LX_DXFLUSHHEAPTRANSITIONS, args), 0);
  }
  EXPECT_TRUE(node.IsAdapter(node.FirstAdapter()));
}

}  // namespace
}  // namespace dxg::conformance
