// Work that takes too long, with a profile that allows a fraction of a second. Numbers in brackets are
// rules of docs/host-rules.md.

#include <gtest/gtest.h>

#include <cerrno>

#include "tests/conformance/peer.h"
#include "tests/conformance/sim_queries.h"
#include "tests/conformance/work_client.h"

namespace dxg::conformance {
namespace {

constexpr uint64_t kLimit_ns = 200'000'000;  // of profiles/timeout.textproto

Commands Long(const WorkClient& client) {
  return client.Compile([](dxg_commands* commands) { dxg_push_delay(commands, 3 * kLimit_ns); });
}

Commands Hang(const WorkClient& client) {
  return client.Compile([](dxg_commands* commands) { dxg_push_hang(commands); });
}

// Lets three times the limit go by on an engine, with work that may take that long.
void LetTimeGoBy(const WorkClient& client, uint32_t node_ordinal) {
  const d3dkmthandle clock = client.CreateContextWith(context_flags::kDisableGpuTimeout, node_ordinal);
  client.Submit(clock, Long(client));
  client.Finish(clock);
}

uint32_t TimeoutsSeen(Node& node) {
  struct Counts {
    uint32_t segments, nodes, sources, vsync, timeouts;
  };
  return Statistics<Counts>(node, _D3DKMT_QUERYSTATISTICS_ADAPTER).timeouts;
}

// [DEV] 47 and 49: the guilty device only.
TEST(SimTroubleTimeout, AHungEngineStopsWhoHungItAndNobodyElse) {
  const WorkClient guilty;
  const WorkClient bystander;
  const GpuMemory memory = bystander.Allocate();
  const d3dkmthandle context = guilty.CreateContext(), waiting = bystander.CreateContext();
  const Fence fence = guilty.CreateFence();
  const Event lost;
  guilty.WaitEvent(fence.handle, ~0ull, lost);
  guilty.Submit(context, Hang(guilty));
  bystander.Submit(
      waiting, bystander.Compile([&](dxg_commands* commands) { dxg_push_write64(commands, memory.gpu, 1); }));
  lost.Wait();
  EXPECT_EQ(guilty.State(), kHung);
  bystander.Finish(waiting);
  EXPECT_EQ(memory.Word(), 1u);
  EXPECT_EQ(bystander.State(), kActive);
  const WorkClient next;
  next.Run(next.Nothing());
  EXPECT_EQ(next.State(), kActive);
}

// [DEV] 49
TEST(SimTroubleTimeout, WorkAboveTheLimitIsHung) {
  const WorkClient client;
  const Fence fence = client.CreateFence();
  const Event lost;
  client.WaitEvent(fence.handle, ~0ull, lost);
  client.Submit(client.CreateContext(), Long(client));
  lost.Wait();
  EXPECT_EQ(client.State(), kHung);
}

// [DEV] 49
TEST(SimTroubleTimeout, WithoutTheLimitItCompletes) {
  const WorkClient client;
  const d3dkmthandle context = client.CreateContextWith(context_flags::kDisableGpuTimeout);
  client.Submit(context, Long(client));
  client.Finish(context);
  EXPECT_EQ(client.State(), kActive);

  const HwQueue queue = client.CreateHwQueue(0, 1);
  client.Submit(queue, 1, Long(client));
  client.Wait(queue.progress, 1);
  EXPECT_EQ(queue.progress.Value(), 1u);
  EXPECT_EQ(client.State(), kActive);

  WorkClient of_device;
  d3dkmt_createdevice args = {};
  args.adapter = of_device.node.FirstAdapter();
  args.flags.disable_gpu_timeout = 1;
  of_device.node.Ioctl(LX_DXCREATEDEVICE, args, "CreateDevice");
  const Commands work = Long(of_device);
  of_device.device = args.device;
  const d3dkmthandle own = of_device.CreateContext();
  of_device.Submit(own, work);
  of_device.Finish(own);
  EXPECT_EQ(of_device.State(), kActive);
}

// [DEV] 50: what waits is not on the engine.
TEST(SimTroubleTimeout, WaitingForAFenceIsNotHanging) {
  const WorkClient client;
  const d3dkmthandle context = client.CreateContext();
  const HwQueue queue = client.CreateHwQueue();
  const Fence gate = client.CreateFence();
  client.GpuWait(context, gate, 1);
  ASSERT_EQ(client.TryHwWait(queue, gate.handle, 1), 0);
  client.Submit(context, client.Nothing());
  LetTimeGoBy(client, 0);
  EXPECT_EQ(client.State(), kActive);
  client.Signal(gate, 1);
  client.Finish(context);
  client.Finish(queue);
  EXPECT_EQ(client.State(), kActive);
}

// [SYN] 161: nobody is left waiting for what the device could have signalled.
TEST(SimTroubleTimeout, FencesOfTheDeviceGoToTheHighestValue) {
  const WorkClient client;
  const Fence fence = client.CreateFence(3), kept = client.CreateFence(3, sync_flags::kNoSignalMaxValueOnTdr);
  const HwQueue queue = client.CreateHwQueue();
  const Event event;
  client.WaitEvent(fence.handle, ~0ull, event);
  Waiter waiter([&] { return client.TryWait(queue.progress.handle, 5); });
  waiter.UntilInCall();
  client.Submit(queue, 1, Hang(client));
  EXPECT_EQ(waiter.Join(), 0);
  event.Wait();
  EXPECT_EQ(fence.Value(), ~0ull);
  EXPECT_EQ(kept.Value(), 3u);
  EXPECT_EQ(client.State(), kHung);
  const Commands nothing = {0x10000, 64};
  EXPECT_EQ(client.TryHwSubmit(queue.handle, 2, nothing.gpu, nothing.bytes),
            HostIsAsynchronous() ? 0 : -ENODEV);
}

// A process that hung its engine can be killed, and the engine is there for the next.
TEST(SimTroubleTimeout, AKilledClientLeavesNoHungEngine) {
  Peer other([](Peer& parent) {
    const WorkClient client;
    const d3dkmthandle context = client.CreateContextWith(context_flags::kDisableGpuTimeout);
    client.Submit(context, Hang(client));
    parent.Send(0);
    parent.Receive();
  });
  other.Receive();
  other.Kill();
  const WorkClient next;
  next.Run(next.Nothing());
  EXPECT_EQ(next.State(), kActive);
}

// [DEV] 48: engines that cannot be reset one by one take the whole adapter along, but nobody's new devices.
TEST(SimTroubleAdapterReset, StopsEveryDeviceOfTheAdapter) {
  WorkClient guilty;
  const WorkClient bystander;
  const Fence fence = guilty.CreateFence(), other_fence = bystander.CreateFence();
  const Event guilty_lost, bystander_lost;
  guilty.WaitEvent(fence.handle, ~0ull, guilty_lost);
  bystander.WaitEvent(other_fence.handle, ~0ull, bystander_lost);
  const uint32_t before = TimeoutsSeen(guilty.node);
  guilty.Submit(guilty.CreateContext(), Hang(guilty));
  guilty_lost.Wait();
  bystander_lost.Wait();
  EXPECT_EQ(guilty.State(), kHung);
  EXPECT_EQ(bystander.State(), kReset);
  EXPECT_EQ(TimeoutsSeen(guilty.node), before + 1);
  const WorkClient next;
  next.Run(next.Nothing());
  EXPECT_EQ(next.State(), kActive);
}

}  // namespace
}  // namespace dxg::conformance
