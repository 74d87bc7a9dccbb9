// CreateDevice, DestroyDevice, GetDeviceState, MarkDeviceAsError.

#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <thread>
#include <vector>

#include "tests/conformance/memory.h"
#include "tests/conformance/node.h"
#include "tests/conformance/peer.h"
#include "tests/conformance/race.h"

namespace dxg::conformance {
namespace {

int TryCreateDevice(const Node& node, d3dkmthandle adapter) {
  d3dkmt_createdevice args = {};
  args.adapter = adapter;
  return node.TryIoctl(LX_DXCREATEDEVICE, args);
}

int TryDestroyDevice(const Node& node, d3dkmthandle device) {
  d3dkmt_destroydevice args = {device};
  return node.TryIoctl(LX_DXDESTROYDEVICE, args);
}

int MarkAsError(const Node& node, d3dkmthandle device, uint32_t reason) {
  d3dkmt_markdeviceaserror args = {device, reason};
  return node.TryIoctl(LX_DXMARKDEVICEASERROR, args);
}

// ---- CreateDevice ----

TEST(CreateDevice, RefusesUnknownAdapter) {
  const Node node = OpenNode();
  EXPECT_EQ(TryCreateDevice(node, Handle(0)), -EINVAL);
  EXPECT_EQ(TryCreateDevice(node, Handle(0x40000000)), -EINVAL) << "no adapter is open yet";
}

TEST(CreateDevice, RefusesAClosedAdapter) {
  Node node = OpenNode();
  const d3dkmthandle closed = node.OpenAdapter(node.FirstLuid());
  node.CloseAdapter(closed);
  EXPECT_EQ(TryCreateDevice(node, closed), -EINVAL);
}

TEST(CreateDevice, RefusesTheAdapterOfAnotherClient) {
  Node node = OpenNode();
  const winluid luid = node.FirstLuid();
  Peer other([&](Peer& parent) {
    const Node node = OpenNode();
    d3dkmthandle last = Handle(0);
    for (int i = 0; i < 50; ++i) last = node.OpenAdapter(luid);
    parent.Send(last.v);
    parent.Receive();
  });
  EXPECT_EQ(TryCreateDevice(node, Handle(static_cast<uint32_t>(other.Receive()))), -EINVAL);
  other.Send(0);
  other.Join();
}

TEST(CreateDevice, WritesTheDeviceFieldAndNothingElse) {
  Node node = OpenNode();
  auto args = Filled<d3dkmt_createdevice>(0xa5);
  args.adapter = node.FirstAdapter();
  args.flags = {};
  args.device.v = 0;
  const d3dkmt_createdevice before = args;
  ASSERT_EQ(node.TryIoctl(LX_DXCREATEDEVICE, args), 0);
  EXPECT_TRUE(node.IsDevice(args.device));
  args.device.v = 0;
  EXPECT_EQ(std::memcmp(&args, &before, sizeof(args)), 0);
}

// Buffers of the old submission model: their fields are there, and nobody looks at them.
TEST(CreateDevice, NeverFollowsTheOldBufferPointers) {
  Node node = OpenNode();
  d3dkmt_createdevice args = {};
  args.adapter = node.FirstAdapter();
  args.command_buffer = kUnmappedAddress;
  args.command_buffer_size = 4096;
  args.allocation_list = kUnmappedAddress;
  args.allocation_list_size = 4096;
  args.patch_location_list = kUnmappedAddress;
  args.patch_location_list_size = 4096;
  EXPECT_EQ(node.TryIoctl(LX_DXCREATEDEVICE, args), 0);
  EXPECT_TRUE(node.IsDevice(args.device));
}

TEST(CreateDevice, GivesEachDeviceItsOwnHandle) {
  Node node = OpenNode();
  std::set<uint32_t> handles;
  for (int i = 0; i < 200; ++i) handles.insert(node.CreateDevice(node.FirstAdapter()).v);
  EXPECT_EQ(handles.size(), 200u);
  EXPECT_EQ(handles.count(0), 0u);
  for (uint32_t handle : handles) {
    EXPECT_EQ(Handle(handle).instance, 0u);
    EXPECT_NE(Handle(handle).unique, 0u);
    node.DestroyDevice(Handle(handle));
  }
}

TEST(CreateDevice, WorksFromManyThreads) {
  Node node = OpenNode();
  const d3dkmthandle adapter = node.FirstAdapter();
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.push_back(StartThread([&] {
      for (int round = 0; round < 50; ++round) {
        const d3dkmthandle device = node.CreateDevice(adapter);
        EXPECT_EQ(node.ExecutionState(device), _D3DKMT_DEVICEEXECUTION_ACTIVE);
        node.DestroyDevice(device);
      }
    }));
  for (std::thread& thread : threads) thread.join();
}

// ---- DestroyDevice ----

// [GEN] 2
TEST(DestroyDevice, RefusesASecondTime) {
  Node node = OpenNode();
  const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
  EXPECT_EQ(TryDestroyDevice(node, device), 0);
  EXPECT_EQ(TryDestroyDevice(node, device), -EINVAL);
}

TEST(DestroyDevice, StaleHandleDoesNotHitTheNextDevice) {
  Node node = OpenNode();
  const d3dkmthandle stale = node.CreateDevice(node.FirstAdapter());
  node.DestroyDevice(stale);
  const d3dkmthandle next = node.CreateDevice(node.FirstAdapter());
  EXPECT_NE(next.v, stale.v);
  EXPECT_EQ(TryDestroyDevice(node, stale), -EINVAL);
  EXPECT_TRUE(node.IsDevice(next));
}

TEST(DestroyDevice, InstanceBitsAreIgnored) {
  Node node = OpenNode();
  const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
  EXPECT_EQ(TryDestroyDevice(node, Handle(device.v | 0x15)), 0);
  EXPECT_FALSE(node.IsDevice(device));
}

TEST(DestroyDevice, LeavesOtherDevicesAndTheAdapter) {
  Node node = OpenNode();
  const d3dkmthandle first = node.CreateDevice(node.FirstAdapter()),
                     second = node.CreateDevice(node.FirstAdapter());
  node.DestroyDevice(first);
  EXPECT_TRUE(node.IsDevice(second));
  EXPECT_TRUE(node.IsAdapter(node.FirstAdapter()));
}

TEST(DestroyDevice, EndsTheContextsOfTheDevice) {
  SKIP_WITHOUT_CONTEXTS();
  Node node = OpenNode();
  const d3dkmthandle device = node.CreateDevice(node.FirstAdapter()),
                     other = node.CreateDevice(node.FirstAdapter());
  const d3dkmthandle context = node.CreateContext(device), context_of_other = node.CreateContext(other);
  node.DestroyDevice(device);
  EXPECT_FALSE(node.IsContext(context));
  d3dkmt_destroycontext args = {context};
  EXPECT_EQ(node.TryIoctl(LX_DXDESTROYCONTEXT, args), -EINVAL);
  EXPECT_TRUE(node.IsContext(context_of_other));
}

TEST(DestroyDevice, ContextsEndWithTheLastHandleOfTheAdapterToo) {
  SKIP_WITHOUT_CONTEXTS();
  Node node = OpenNode();
  const winluid luid = node.FirstLuid();
  const d3dkmthandle context = node.CreateContext(node.CreateDevice(node.FirstAdapter()));
  node.CloseAdapter(node.FirstAdapter());
  node.OpenAdapter(luid);
  EXPECT_FALSE(node.IsContext(context));
}

TEST(DestroyDevice, OneOfManyThreadsWins) {
  Node node = OpenNode();
  for (int round = 0; round < 50; ++round) {
    const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
    ExpectOneWinner([&] { return TryDestroyDevice(node, device); });
  }
}

// ---- GetDeviceState ----

// [DEV] 42
TEST(GetDeviceState, FreshDeviceIsActive) {
  Node node = OpenNode();
  EXPECT_EQ(node.ExecutionState(node.CreateDevice(node.FirstAdapter())), _D3DKMT_DEVICEEXECUTION_ACTIVE);
}

TEST(GetDeviceState, KeepsTheQuestion) {
  Node node = OpenNode();
  d3dkmt_getdevicestate args = {};
  args.device = node.CreateDevice(node.FirstAdapter());
  args.state_type = _D3DKMT_DEVICESTATE_EXECUTION;
  const d3dkmt_getdevicestate before = args;
  ASSERT_EQ(node.TryIoctl(LX_DXGETDEVICESTATE, args), 0);
  EXPECT_EQ(args.device.v, before.device.v);
  EXPECT_EQ(args.state_type, before.state_type);
}

// ---- MarkDeviceAsError ----

TEST(MarkDeviceAsError, MakesTheDeviceNotActive) {
  Node node = OpenNode();
  for (uint32_t reason :
       {uint32_t{_D3DKMT_DEVICE_ERROR_REASON_GENERIC}, uint32_t{_D3DKMT_DEVICE_ERROR_REASON_DRIVER_ERROR}}) {
    const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
    EXPECT_EQ(MarkAsError(node, device, reason), 0);
    // The local answer is RESET; a host that has something to say since then is asked instead.
    const uint32_t state = node.ExecutionState(device);
    EXPECT_GE(state, uint32_t{_D3DKMT_DEVICEEXECUTION_RESET});
    EXPECT_LE(state, uint32_t{_D3DKMT_DEVICEEXECUTION_ERROR_DMAPAGEFAULT});
    EXPECT_EQ(TryDestroyDevice(node, device), 0) << "a device in error can still be destroyed";
  }
}

TEST(MarkDeviceAsError, IsNotUndone) {
  Node node = OpenNode();
  const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
  ASSERT_EQ(MarkAsError(node, device, _D3DKMT_DEVICE_ERROR_REASON_GENERIC), 0);
  for (int i = 0; i < 5; ++i)
    EXPECT_NE(node.ExecutionState(device), uint32_t{_D3DKMT_DEVICEEXECUTION_ACTIVE});
}

TEST(MarkDeviceAsError, LeavesOtherDevicesActive) {
  Node node = OpenNode();
  const d3dkmthandle bad = node.CreateDevice(node.FirstAdapter()),
                     good = node.CreateDevice(node.FirstAdapter());
  ASSERT_EQ(MarkAsError(node, bad, _D3DKMT_DEVICE_ERROR_REASON_GENERIC), 0);
  EXPECT_EQ(node.ExecutionState(good), _D3DKMT_DEVICEEXECUTION_ACTIVE);
  EXPECT_EQ(node.ExecutionState(node.CreateDevice(node.FirstAdapter())), _D3DKMT_DEVICEEXECUTION_ACTIVE);
  InFreshProcess([] {
    Node node = OpenNode();
    EXPECT_EQ(node.ExecutionState(node.CreateDevice(node.FirstAdapter())), _D3DKMT_DEVICEEXECUTION_ACTIVE);
  });
}

}  // namespace
}  // namespace dxg::conformance
