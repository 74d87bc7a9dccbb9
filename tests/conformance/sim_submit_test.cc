// Work on contexts: what the simulated GPU executes, and in which order. Numbers in brackets are rules of
// docs/host-rules.md.

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "tests/conformance/peer.h"
#include "tests/conformance/sim_queries.h"
#include "tests/conformance/work_client.h"

namespace dxg::conformance {
namespace {

uint32_t NodesOfAdapter() {
  Node node = OpenNode();
  return static_cast<uint32_t>(Nodes(node).size());
}

// ---- What is executed ----

TEST(SimSubmit, FillsCopiesAndCounts) {
  const WorkClient client;
  const GpuMemory from = client.Allocate(kMiB), to = client.Allocate(kMiB);
  client.Run(client.Compile([&](dxg_commands* commands) {
    dxg_push_fill(commands, from.gpu, kMiB, 0xC0FFEE);
    dxg_push_copy(commands, to.gpu, from.gpu, kMiB - 64);
    dxg_push_write64(commands, to.gpu + kMiB - 64, 1ull << 40);
    dxg_push_atomic_add64(commands, to.gpu + kMiB - 64, 5);
  }));
  const auto words = to.as<uint32_t>();
  EXPECT_TRUE(std::all_of(words.begin(), words.end() - 16, [](uint32_t word) { return word == 0xC0FFEE; }));
  EXPECT_EQ(to.Word(kMiB / 8 - 8), (1ull << 40) + 5);
  EXPECT_EQ(to.Word(kMiB / 8 - 7), 0u);
}

TEST(SimSubmit, RunsOnEveryNode) {
  const WorkClient client;
  const GpuMemory memory = client.Allocate();
  for (uint32_t node = 0; node < NodesOfAdapter(); ++node) {
    client.Run(client.Compile([&](dxg_commands* commands) {
      dxg_push_write64(commands, memory.gpu + 8 * node, node + 1);
    }),
               node);
    EXPECT_EQ(memory.Word(node), node + 1);
  }
}

TEST(SimSubmit, WhatIsNoCommandOfItsOwnSucceeds) {
  const WorkClient client;
  const GpuMemory memory = client.Allocate();
  FillPattern(memory.as<std::byte>(), 1);
  client.Run({memory.gpu, 4096});
  EXPECT_EQ(FindWrongByte(memory.as<std::byte>(), 1), -1);
  EXPECT_EQ(client.State(), kActive);
}

// The command is read when it runs.
TEST(SimSubmit, ReadsTheCommandsWhenTheyRun) {
  const WorkClient client;
  const GpuMemory memory = client.Allocate(), buffer = client.Allocate();
  const d3dkmthandle context = client.CreateContext();
  const Fence gate = client.CreateFence();
  client.GpuWait(context, gate, 1);
  const auto write = [&](uint64_t value) {
    dxg_commands commands = dxg_commands_begin(buffer.cpu, buffer.bytes);
    dxg_push_write64(&commands, memory.gpu, value);
    return static_cast<uint32_t>(commands.used);
  };
  client.Submit(context, {buffer.gpu, write(1)});
  write(2);
  client.Signal(gate, 1);
  client.Finish(context);
  EXPECT_EQ(memory.Word(), 2u);
}

// [SYN] and engines meet in memory: a command that waits for a word holds its engine until somebody writes
// it.
TEST(SimSubmit, ACommandWaitsForMemory) {
  const WorkClient client;
  const GpuMemory memory = client.Allocate();
  const d3dkmthandle waiting = client.CreateContext(0), writing = client.CreateContext(1);
  client.Submit(waiting, client.Compile([&](dxg_commands* commands) {
    dxg_push_wait64(commands, memory.gpu, 3, ~0ull, DXG_COMPARE_GREATER_EQUAL);
    dxg_push_write64(commands, memory.gpu + 8, 1);
  }));
  client.Finish(writing);
  EXPECT_EQ(memory.Word(1), 0u);
  client.Submit(writing,
                client.Compile([&](dxg_commands* commands) { dxg_push_write64(commands, memory.gpu, 3); }));
  client.Finish(waiting);
  EXPECT_EQ(memory.Word(1), 1u);
}

// [ALC] 79: the client's own memory, used by the GPU.
TEST(SimSubmit, ReadsAndWritesTheClientsOwnMemory) {
  const WorkClient client;
  const Pages pages(2 * kPageBytes);
  const d3dkmthandle heap = client.CreateHeap(pages.data(), pages.bytes());
  client.MakeResident(client.paging, {&heap, 1});
  const uint64_t address = client.Map(heap, pages.bytes());
  FillPattern(pages.span().first(kPageBytes), 5);
  client.Run(client.Compile(
      [&](dxg_commands* commands) { dxg_push_copy(commands, address + kPageBytes, address, kPageBytes); }));
  EXPECT_EQ(FindWrongByte(pages.span().last(kPageBytes), 5), -1);
}

// ---- Order ----

// [CTX] 55 and 58: thousands of packets are taken although nothing runs, and end in their order.
TEST(SimSubmit, ThousandsOfQueuedPacketsRunInOrder) {
  constexpr uint64_t kPackets = 4000;
  const WorkClient client;
  const GpuMemory memory = client.Allocate();
  const d3dkmthandle context = client.CreateContext();
  const Fence gate = client.CreateFence(), progress = client.CreateFence();
  client.GpuWait(context, gate, 1);
  // Each doubles nothing and skips nothing: n is written only where n - 1 is.
  const Commands add =
      client.Compile([&](dxg_commands* commands) { dxg_push_atomic_add64(commands, memory.gpu, 1); });
  const Commands note =
      client.Compile([&](dxg_commands* commands) { dxg_push_copy(commands, memory.gpu + 8, memory.gpu, 8); });
  for (uint64_t i = 1; i <= kPackets; ++i) {
    client.Submit(context, add);
    if (i == kPackets / 2) client.Submit(context, note);
    if (i % 100 == 0) client.GpuSignal(context, progress, i);
  }
  EXPECT_EQ(progress.Value(), 0u);
  EXPECT_EQ(memory.Word(), 0u);
  client.Signal(gate, 1);
  client.Wait(progress, kPackets);
  EXPECT_EQ(memory.Word(0), kPackets);
  EXPECT_EQ(memory.Word(1), kPackets / 2);
}

// [CTX] 57: also on the same node.
TEST(SimSubmit, AHeldContextHoldsNobodyElse) {
  const WorkClient client;
  const d3dkmthandle held = client.CreateContext(), other = client.CreateContext();
  const Fence gate = client.CreateFence(), done = client.CreateFence();
  const Commands nothing = client.Nothing();
  client.GpuWait(held, gate, 1);
  client.Submit(held, nothing);
  client.GpuSignal(held, done, 1);
  for (int i = 0; i < 10; ++i) client.Submit(other, nothing);
  client.Finish(other);
  EXPECT_EQ(done.Value(), 0u);
  client.Signal(gate, 1);
  client.Wait(done, 1);
}

// [SYN] 149 and 165
TEST(SimSubmit, ASignalComesAfterTheWorkBeforeIt) {
  const WorkClient client;
  const GpuMemory memory =
      client.Allocate(4 * kMiB);  // no more: where a page takes long, an engine's time would be over
  const d3dkmthandle context = client.CreateContext();
  const Fence fence = client.CreateFence();
  client.Submit(context, client.Compile([&](dxg_commands* commands) {
    dxg_push_fill(commands, memory.gpu, memory.bytes, 0xFFFFFFFF);
  }));
  client.GpuSignal(context, fence, 1);
  client.GpuWait(context, fence, 1);  // does not block itself
  client.Submit(context,
                client.Compile([&](dxg_commands* commands) { dxg_push_write64(commands, memory.gpu, 3); }));
  client.GpuSignal(context, fence, 2);
  client.Wait(fence, 1);
  EXPECT_EQ(memory.Word(memory.bytes / 8 - 1), ~0ull);
  client.Wait(fence, 2);
  EXPECT_EQ(memory.Word(), 3u);
}

// [SYN] 163
TEST(SimSubmit, ContextsThatWaitForEachOtherStayUntilTheCpuBreaksTheTie) {
  const WorkClient client;
  const d3dkmthandle one = client.CreateContext(), two = client.CreateContext(),
                     other = client.CreateContext();
  const Fence a = client.CreateFence(), b = client.CreateFence();
  client.GpuWait(one, a, 1);
  client.GpuSignal(one, b, 1);
  client.GpuWait(two, b, 1);
  client.GpuSignal(two, a, 1);
  client.Finish(other);
  EXPECT_EQ(a.Value() + b.Value(), 0u);
  EXPECT_EQ(client.State(), kActive);
  client.Signal(a, 1);
  client.Wait(b, 1);
  client.Finish(two);
}

// [PGQ] 104: work behind a paging operation, without the CPU between them.
TEST(SimSubmit, AContextWaitsForAPagingFence) {
  const WorkClient client;
  const d3dkmthandle allocation = client.Create(4 * kMiB), context = client.CreateContext();
  const uint64_t address = client.Map(allocation, 4 * kMiB);
  uint64_t value = 0;
  ASSERT_EQ(client.TryMakeResident(client.paging, {&allocation, 1}, 0, &value), kPending);
  ASSERT_EQ(client.TryGpuWait(context, client.paging.fence, value), 0);
  client.Submit(context,
                client.Compile([&](dxg_commands* commands) { dxg_push_write64(commands, address, 1); }));
  client.Finish(context);
  EXPECT_EQ(client.State(), kActive);
}

// ---- Broadcast ----

// [CTX] 59
TEST(SimBroadcast, EachContextRunsTheCommand) {
  const WorkClient client;
  const GpuMemory memory = client.Allocate();
  std::vector<d3dkmthandle> contexts;
  for (int i = 0; i < 64; ++i) contexts.push_back(client.CreateContext(i % 2));
  const Commands add =
      client.Compile([&](dxg_commands* commands) { dxg_push_atomic_add64(commands, memory.gpu, 1); });
  ASSERT_EQ(client.TrySubmit(contexts, add.gpu, add.bytes), 0);
  for (d3dkmthandle context : contexts) client.Finish(context);
  EXPECT_EQ(memory.Word(), 64u);
}

// [CTX] 59
TEST(SimBroadcast, ContextsAreOfOneDevice) {
  const WorkClient other;
  for (d3dkmthandle bad : {other.CreateContext(), other.device, Handle(0x40fff000), Handle(0)})
    ExpectHostRefusesWork(-EINVAL, [&](WorkClient& client) {
      const Commands nothing = client.Nothing();
      const d3dkmthandle contexts[] = {client.CreateContext(), bad};
      return client.TrySubmit(contexts, nothing.gpu, nothing.bytes);
    });
  EXPECT_EQ(other.State(), kActive);
}

// [SYN] 150
TEST(SimBroadcast, ASignalComesAfterTheSlowestContext) {
  const WorkClient client;
  const d3dkmthandle contexts[] = {client.CreateContext(0), client.CreateContext(1), client.CreateContext(0)};
  const Fence gates[] = {client.CreateFence(), client.CreateFence()}, fence = client.CreateFence();
  const uint64_t value = 3;
  client.GpuWait(contexts[0], gates[0], 1);
  client.GpuWait(contexts[2], gates[1], 1);
  ASSERT_EQ(client.TryGpuSignal2(contexts, {&fence.handle, 1}, {&value, 1}), 0);
  client.Finish(contexts[1]);
  EXPECT_EQ(fence.Value(), 0u);
  client.Signal(gates[0], 1);
  client.Finish(contexts[0]);
  EXPECT_EQ(fence.Value(), 0u);
  client.Signal(gates[1], 1);
  client.Wait(fence, 3);
}

TEST(SimBroadcast, ALegacySignalTakesMoreContextsToo) {
  const WorkClient client;
  const d3dkmthandle first = client.CreateContext();
  const std::vector<d3dkmthandle> more = {client.CreateContext(1), client.CreateContext(0)};
  const Fence gate = client.CreateFence(), passed = client.CreateFence();
  const d3dkmthandle object = client.CreateLegacyFence(), waiting = client.CreateContext();
  client.GpuWait(more[1], gate, 1);
  ASSERT_EQ(client.TryLegacyWait(waiting, object, 4), 0);
  client.GpuSignal(waiting, passed, 1);
  ASSERT_EQ(client.TryLegacySignal(first, {&object, 1}, 4, 0, more), 0);
  client.Finish(first);
  client.Finish(more[0]);
  EXPECT_EQ(passed.Value(), 0u);
  client.Signal(gate, 1);
  client.Wait(passed, 1);
}

// ---- Events in the order of contexts ----

// [SYN] 151
TEST(SimEnqueueEvent, IsSetOnceWhenAllContextsArePast) {
  const WorkClient client;
  const d3dkmthandle contexts[] = {client.CreateContext(), client.CreateContext(1)};
  const Fence gate = client.CreateFence();
  const Event event, legacy;
  client.GpuWait(contexts[1], gate, 1);
  ASSERT_EQ(client.TryEnqueueEvent(contexts, event.fd()), 0);
  d3dkmt_signalsynchronizationobject2 args = {};
  args.context = contexts[0];
  args.context_count = 1;
  args.contexts[0] = contexts[1];
  args.flags.enqueue_cpu_event = 1;
  args.cpu_event_handle = static_cast<uint64_t>(legacy.fd());
  ASSERT_EQ(client.node.TryIoctl(LX_DXSIGNALSYNCHRONIZATIONOBJECT, args), 0);
  client.Finish(contexts[0]);
  EXPECT_EQ(event.Take() + legacy.Take(), 0u);
  client.Signal(gate, 1);
  event.Wait();
  legacy.Wait();
  client.Finish(contexts[1]);
  EXPECT_EQ(event.Take(1u), 1u);
  EXPECT_EQ(legacy.Take(1u), 1u);
}

// [SYN] 151
TEST(SimEnqueueEvent, GoesWithoutObjects) {
  const Event event;
  ExpectHostRefuses(-EINVAL, [&](WorkClient& client) {
    d3dkmt_signalsynchronizationobject2 args = {};
    args.context = client.CreateContext();
    args.object_count = 1;
    args.object_array[0] = client.CreateFence().handle;
    args.flags.enqueue_cpu_event = 1;
    args.cpu_event_handle = static_cast<uint64_t>(event.fd());
    return client.node.TryIoctl(LX_DXSIGNALSYNCHRONIZATIONOBJECT, args);
  });
  EXPECT_EQ(event.Take(), 0u);
}

// [SYN] 149
TEST(SimSubmit, ASignalAtSubmissionMayBeEarlierButNotThanItsWaits) {
  const WorkClient client;
  const d3dkmthandle context = client.CreateContext();
  const Fence gate = client.CreateFence(), fence = client.CreateFence();
  const uint64_t value = 1;
  client.GpuWait(context, gate, 1);
  client.Submit(context, client.Nothing());
  ASSERT_EQ(client.TryGpuSignal2({&context, 1}, {&fence.handle, 1}, {&value, 1}, signal_flags::kAtSubmission),
            0);
  client.Finish(client.CreateContext());
  EXPECT_EQ(fence.Value(), 0u);
  client.Signal(gate, 1);
  client.Wait(fence, 1);
}

// ---- Kinds of contexts ----

// [CTX] 68, and [GEN] 15: a host that is not waited for cannot say no, so it stops the device.
TEST(SimContextKinds, ASynchronizationContextCarriesNoCommands) {
  const WorkClient client;
  const d3dkmthandle context = client.CreateContextWith(context_flags::kSynchronizationOnly);
  const Fence gate = client.CreateFence(), done = client.CreateFence();
  client.GpuWait(context, gate, 1);
  client.GpuSignal(context, done, 1);
  client.Signal(gate, 1);
  client.Wait(done, 1);
  ExpectHostRefusesWork(-EINVAL, [](WorkClient& other) {
    return other.TrySubmitTo(other.CreateContextWith(context_flags::kSynchronizationOnly), other.Nothing());
  });
}

// [CTX] 71
TEST(SimContextKinds, NullRenderingHasEffectsOnFencesOnly) {
  const WorkClient client;
  const GpuMemory memory = client.Allocate();
  const Commands write =
      client.Compile([&](dxg_commands* commands) { dxg_push_write64(commands, memory.gpu, 1); });
  const d3dkmthandle null_context = client.CreateContextWith(context_flags::kNullRendering);
  client.Submit(null_context, write);
  client.Finish(null_context);
  const d3dkmthandle context = client.CreateContext();
  client.Submit(context, write, 1);
  client.Finish(context);
  EXPECT_EQ(memory.Word(), 0u);
}

// What goes along with a submission of 32 bytes of private data; the result.
int SubmitWithData(const WorkClient& client, dxg_submission header) {
  struct {
    dxg_submission header;
    uint64_t own = 0x1122334455667788;
  } data = {header};
  const auto before = data;
  const Commands nothing = client.Nothing();
  d3dkmt_submitcommand args = {};
  args.command_buffer = nothing.gpu;
  args.command_length = nothing.bytes;
  args.broadcast_context_count = 1;
  args.broadcast_context[0] = client.CreateContext();
  args.priv_drv_data = Address(&data);
  args.priv_drv_data_size = sizeof(data);
  const int result = client.node.TryIoctl(LX_DXSUBMITCOMMAND, args);
  EXPECT_EQ(std::memcmp(&data, &before, sizeof(data)), 0);
  return result;
}

// [CTX] 60 and 72
TEST(SimSubmit, PrivateDataIsForTheDriverAndNotWrittenBack) {
  constexpr dxg_submission kGood = {DXG_SUBMISSION_MAGIC, DXG_SUBMISSION_VERSION, 32, 0, 77};
  dxg_submission bad_version = kGood, bad_size = kGood, of_another = kGood;
  bad_version.version = 9;
  bad_size.bytes = 24;
  of_another.magic = 0;
  for (const dxg_submission& bad : {bad_version, bad_size})
    ExpectHostRefusesWork(-EINVAL, [&](WorkClient& client) { return SubmitWithData(client, bad); });
  const WorkClient client;
  for (const dxg_submission& good : {kGood, of_another}) EXPECT_EQ(SubmitWithData(client, good), 0);
  client.Finish(client.CreateContext());
  EXPECT_EQ(client.State(), kActive);
}

// [CTX] 70
TEST(SimPriority, WorkOfLowPriorityIsDoneBesideHigh) {
  const WorkClient client;
  const d3dkmthandle low = client.CreateContext(), high = client.CreateContext();
  d3dkmt_setcontextschedulingpriority priority = {low, -7};
  client.node.Ioctl(LX_DXSETCONTEXTSCHEDULINGPRIORITY, priority, "SetContextSchedulingPriority");
  priority = {high, 7};
  client.node.Ioctl(LX_DXSETCONTEXTSCHEDULINGPRIORITY, priority, "SetContextSchedulingPriority");
  const Commands work = client.Compile([&](dxg_commands* commands) { dxg_push_delay(commands, 100'000); });
  const Fence low_done = client.CreateFence();
  std::atomic<bool> stop = false;
  std::thread busy = StartThread([&] {
    while (!stop) {
      for (int i = 0; i < 20; ++i) client.Submit(high, work);
      client.Finish(high);
    }
  });
  for (int i = 0; i < 5; ++i) client.Submit(low, work);
  client.GpuSignal(low, low_done, 1);
  client.Wait(low_done, 1);
  stop = true;
  busy.join();
}

// ---- Statistics ----

// [MSC] 181
TEST(SimNodeStatistics, GrowWithTheWork) {
  WorkClient client;
  const auto read = [&] { return Statistics<NodeStatistics>(client.node, _D3DKMT_QUERYSTATISTICS_NODE, 0); };
  const NodeStatistics before = read();
  client.Run(client.Compile([](dxg_commands* commands) { dxg_push_delay(commands, 2'000'000); }));
  const NodeStatistics after = read();
  EXPECT_GT(after.running_us, before.running_us);
}

}  // namespace
}  // namespace dxg::conformance
