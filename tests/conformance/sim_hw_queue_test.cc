// Hardware queues as the simulated host treats them. Numbers in brackets are rules of docs/host-rules.md.

#include <gtest/gtest.h>

#include <cerrno>
#include <vector>

#include "tests/conformance/peer.h"
#include "tests/conformance/sim_queries.h"
#include "tests/conformance/work_client.h"

namespace dxg::conformance {
namespace {

// [CTX] 63
TEST(SimCreateHwQueue, WantsAContextThatWasMadeForIt) {
  const WorkClient client;
  HwQueue queue;
  EXPECT_EQ(client.TryCreateHwQueue(client.CreateContext(), &queue), -EINVAL);
  EXPECT_EQ(client.TryCreateHwQueue(client.CreateContextWith(context_flags::kHwQueues), &queue), 0);
}

// [QAI] 36
TEST(SimCreateHwQueue, WorksOnEveryNodeThatSchedulesContexts) {
  WorkClient client;
  const uint32_t nodes = static_cast<uint32_t>(Nodes(client.node).size());
  for (uint32_t node = 0; node < nodes; ++node) {
    const HwQueue queue = client.CreateHwQueue(node);
    client.Submit(queue, 1, client.Nothing());
    client.Wait(queue.progress, 1);
  }
}

TEST(SimCreateHwQueue, RefusesReservedFlags) {
  const WorkClient client;
  const d3dkmthandle context = client.CreateContextWith(context_flags::kHwQueues);
  HwQueue queue;
  for (uint32_t flags : {1u << 5, 1u << 31})
    EXPECT_EQ(client.TryCreateHwQueue(context, &queue, flags), -EINVAL);
  for (uint32_t flags : {0u, 1u, 1u << 1, 1u << 2})
    EXPECT_EQ(client.TryCreateHwQueue(context, &queue, flags), 0);
}

// [CTX] 61
TEST(SimHwQueue, ProgressIsThatOfTheLastFinishedCommand) {
  const WorkClient client;
  const HwQueue queue = client.CreateHwQueue();
  const Fence gate = client.CreateFence();
  const Commands nothing = client.Nothing();
  EXPECT_EQ(queue.progress.Value(), 0u);
  client.Submit(queue, 3, nothing);
  client.Wait(queue.progress, 3);
  EXPECT_EQ(queue.progress.Value(), 3u);
  client.Submit(queue, 10, nothing);  // gaps are allowed
  ASSERT_EQ(client.TryHwWait(queue, gate.handle, 1), 0);
  client.Submit(queue, 11, nothing);
  client.Wait(queue.progress, 10);
  client.Finish(client.CreateHwQueue());
  EXPECT_EQ(queue.progress.Value(), 10u);
  client.Signal(gate, 1);
  client.Wait(queue.progress, 11);
}

// [CTX] 62
TEST(SimHwQueue, ProgressOnlyGrows) {
  for (uint64_t id : {0, 1, 5})
    ExpectHostRefusesWork(-EINVAL, [&](WorkClient& client) {
      const HwQueue queue = client.CreateHwQueue();
      const Commands nothing = client.Nothing();
      client.Submit(queue, 5, nothing);
      client.Wait(queue.progress, 5);
      return client.TryHwSubmit(queue.handle, id, nothing.gpu, nothing.bytes);
    });
}

// [CTX] 55
TEST(SimHwQueue, ThousandsOfCommandsRunInOrder) {
  constexpr uint64_t kCommandsCount = 3000;
  const WorkClient client;
  const GpuMemory memory = client.Allocate();
  const HwQueue queue = client.CreateHwQueue();
  const Fence gate = client.CreateFence();
  const Commands add =
      client.Compile([&](dxg_commands* commands) { dxg_push_atomic_add64(commands, memory.gpu, 1); });
  ASSERT_EQ(client.TryHwWait(queue, gate.handle, 1), 0);
  for (uint64_t i = 1; i <= kCommandsCount; ++i) client.Submit(queue, i, add);
  EXPECT_EQ(queue.progress.Value(), 0u);
  client.Signal(gate, 1);
  client.Wait(queue.progress, kCommandsCount);
  EXPECT_EQ(memory.Word(), kCommandsCount);
}

// [SYN] 150, for queues
TEST(SimHwQueue, ASignalOfManyComesAfterTheSlowest) {
  const WorkClient client;
  const HwQueue queues[] = {client.CreateHwQueue(0), client.CreateHwQueue(1)};
  const d3dkmthandle handles[] = {queues[0].handle, queues[1].handle};
  const Fence gate = client.CreateFence(), fence = client.CreateFence();
  const uint64_t value = 2;
  ASSERT_EQ(client.TryHwWait(queues[1], gate.handle, 1), 0);
  ASSERT_EQ(client.TryHwSignal(handles, {&fence.handle, 1}, {&value, 1}), 0);
  client.Finish(queues[0]);
  EXPECT_EQ(fence.Value(), 0u);
  client.Signal(gate, 1);
  client.Wait(fence, 2);
}

// [CTX] 64: other engines and the CPU wait for its progress.
TEST(SimHwQueue, ItsProgressIsAFenceForEverybody) {
  const WorkClient client;
  const GpuMemory memory = client.Allocate();
  const HwQueue producer = client.CreateHwQueue(0), consumer = client.CreateHwQueue(1);
  const Commands produce =
      client.Compile([&](dxg_commands* commands) { dxg_push_atomic_add64(commands, memory.gpu, 1); });
  const Commands consume =
      client.Compile([&](dxg_commands* commands) { dxg_push_copy(commands, memory.gpu + 8, memory.gpu, 8); });
  ASSERT_EQ(client.TryHwWait(consumer, producer.progress.handle, 4), 0);
  client.Submit(consumer, 1, consume);
  for (uint64_t i = 1; i <= 4; ++i) client.Submit(producer, i, produce);
  client.Wait(consumer.progress, 1);
  EXPECT_EQ(memory.Word(1), 4u);
}

// The queue writes it, and the GPU can see it at its own address.
TEST(SimHwQueue, TheGpuReadsItsProgress) {
  const WorkClient client;
  const GpuMemory memory = client.Allocate();
  const HwQueue queue = client.CreateHwQueue();
  ASSERT_NE(queue.progress.gpu_address, 0u);
  client.Submit(queue, 42, client.Nothing());
  client.Wait(queue.progress, 42);
  client.Run(client.Compile(
      [&](dxg_commands* commands) { dxg_push_copy(commands, memory.gpu, queue.progress.gpu_address, 8); }));
  EXPECT_EQ(memory.Word(), 42u);
}

TEST(SimDestroyHwQueue, EndsWaitsForItsProgress) {
  const WorkClient client;
  // A wait that is in its call may still come after the destruction, and finds no fence then: another try.
  constexpr int kTries = 20;
  int waited = -EINVAL;
  for (int tries = 0; tries < kTries && waited == -EINVAL; ++tries) {
    const HwQueue queue = client.CreateHwQueue();
    const Event event;
    client.WaitEvent(queue.progress.handle, 5, event);
    Waiter waiter([&] { return client.TryWait(queue.progress.handle, 5); });
    waiter.UntilInCall();
    ASSERT_EQ(client.TryDestroyHwQueue(queue.handle), 0);
    waited = waiter.Join();
    event.Wait();
  }
  EXPECT_EQ(waited, 0);
}

TEST(SimDestroyHwQueue, WithPendingCommandsDisturbsNobody) {
  const WorkClient client;
  const HwQueue doomed = client.CreateHwQueue(), other = client.CreateHwQueue();
  const Fence gate = client.CreateFence(), never = client.CreateFence();
  ASSERT_EQ(client.TryHwWait(doomed, gate.handle, 1), 0);
  for (uint64_t i = 1; i <= 10; ++i) client.Submit(doomed, i, client.Nothing());
  ASSERT_EQ(client.TryHwSignal(doomed, never.handle, 1), 0);
  ASSERT_EQ(client.TryDestroyHwQueue(doomed.handle), 0);
  client.Signal(gate, 1);
  client.Finish(other);
  EXPECT_EQ(never.Value(), 0u);
  EXPECT_EQ(client.State(), kActive);
}

}  // namespace
}  // namespace dxg::conformance
