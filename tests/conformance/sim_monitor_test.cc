// What a monitor in another process sees of a client: its work, its memory, itself.

#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/conformance/peer.h"
#include "tests/conformance/sim_queries.h"
#include "tests/conformance/work_client.h"

namespace dxg::conformance {
namespace {

constexpr uint64_t kRounds = 5;

NodeStatistics WorkOf(Node& node, pid_t pid) {
  return Statistics<NodeStatistics>(node, _D3DKMT_QUERYSTATISTICS_PROCESS_NODE, 0,
                                    static_cast<uint64_t>(pid));
}

uint64_t MemoryOf(Node& node, pid_t pid) {
  uint64_t bytes = 0;
  const uint32_t segments = Statistics<AdapterStatistics>(node, _D3DKMT_QUERYSTATISTICS_ADAPTER).segments;
  for (uint32_t i = 0; i < segments; ++i) {
    bytes += Statistics<ProcessSegmentStatistics>(node, _D3DKMT_QUERYSTATISTICS_PROCESS_SEGMENT, i,
                                                  static_cast<uint64_t>(pid))
                 .committed;
  }
  return bytes;
}

// Both sides in turn: the client does something and says so, the monitor looks and lets it go on.
void Step(Peer& parent, uint64_t said = 0) {
  parent.Send(said);
  parent.Receive();
}

// [MSC] 181
TEST(SimMonitor, SeesWhatAnotherProcessHasDone) {
  Node node = OpenNode();
  node.FirstAdapter();
  Peer client_process([](Peer& parent) {
    WorkClient client;
    const d3dkmthandle context = client.CreateContext();
    const Commands nothing = client.Nothing();
    Step(parent);
    for (uint64_t round = 1; round <= kRounds; ++round) {
      for (uint64_t i = 0; i < round; ++i) client.Submit(context, nothing);
      client.Finish(context);
      Step(parent);
    }
  });
  client_process.Receive();
  const NodeStatistics before = WorkOf(node, client_process.pid());
  EXPECT_EQ(before.commands().submitted, 0u);
  EXPECT_EQ(before.running_us, 0u);
  uint64_t commands = 0;
  NodeStatistics last = before;
  for (uint64_t round = 1; round <= kRounds; ++round) {
    client_process.Send(0);
    client_process.Receive();
    commands += round;
    const NodeStatistics now = WorkOf(node, client_process.pid());
    EXPECT_EQ(now.commands().submitted, commands);
    EXPECT_EQ(now.commands().completed, commands);
    EXPECT_GE(now.running_us, last.running_us);
    const auto all = Statistics<NodeStatistics>(node, _D3DKMT_QUERYSTATISTICS_NODE, 0);
    EXPECT_GE(all.running_us, now.running_us) << "the node's is of all processes";
    EXPECT_EQ(WorkOf(node, getpid()).running_us, WorkOf(node, 0).running_us) << "0 is the caller";
    last = now;
  }
  client_process.Send(0);
  client_process.Join();
}

// [MSC] 181
TEST(SimMonitor, ACommandCountsWhileItRuns) {
  Node node = OpenNode();
  node.FirstAdapter();
  Peer client_process([](Peer& parent) {
    WorkClient client;
    const GpuMemory memory = client.Allocate();
    const d3dkmthandle context = client.CreateContextWith(context_flags::kDisableGpuTimeout);
    client.Submit(context, client.Compile([&](dxg_commands* commands) {
      dxg_push_wait64(commands, memory.gpu, 1, ~0ull, DXG_COMPARE_GREATER_EQUAL);
    }));
    Step(parent);
    __atomic_store_n(memory.as<uint64_t>().data(), uint64_t{1}, __ATOMIC_RELEASE);
    client.Finish(context);
    Step(parent);
  });
  client_process.Receive();
  const pid_t pid = client_process.pid();
  EXPECT_EQ(WorkOf(node, pid).commands().submitted, 1u);
  uint64_t running_us = 0;
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(Eventually([&] { return WorkOf(node, pid).running_us > running_us; }));
    running_us = WorkOf(node, pid).running_us;
  }
  EXPECT_TRUE(Eventually([&] {
    const auto perf = Ask<NodePerformance>(node, KMTQAITYPE_NODEPERFDATA);
    return perf.frequency == perf.frequency_max;
  })) << "a busy engine has its highest frequency";
  EXPECT_EQ(WorkOf(node, pid).commands().completed, 0u);
  client_process.Send(0);
  client_process.Receive();
  const NodeStatistics ended = WorkOf(node, pid);
  EXPECT_EQ(ended.commands().completed, 1u);
  EXPECT_GE(ended.running_us, running_us);
  EXPECT_EQ(WorkOf(node, pid).running_us, ended.running_us) << "an idle engine's time stands still";
  client_process.Send(0);
  client_process.Join();
}

TEST(SimMonitor, SeesWhatAnotherProcessHasResident) {
  Node node = OpenNode();
  node.FirstAdapter();
  Peer client_process([](Peer& parent) {
    MemoryClient client;
    const PagingQueue queue = client.CreatePagingQueue();
    Step(parent);
    for (uint64_t round = 1; round <= kRounds; ++round) {
      const d3dkmthandle allocation = client.Create(round * kMiB);
      Step(parent, 0);
      client.MakeResident(queue, {&allocation, 1});
      Step(parent, round * kMiB);
      client.Evict({&allocation, 1});
    }
    Step(parent);
  });
  client_process.Receive();
  const pid_t pid = client_process.pid();
  const uint64_t before = MemoryOf(node, pid), own = MemoryOf(node, 0);
  for (uint64_t look = 0; look < 2 * kRounds + 1; ++look) {
    client_process.Send(0);
    const uint64_t resident = client_process.Receive();
    EXPECT_EQ(MemoryOf(node, pid), before + resident) << "look " << look;
    EXPECT_EQ(MemoryOf(node, 0), own) << "each process has its own";
  }
  client_process.Send(0);
  client_process.Join();
}

}  // namespace
}  // namespace dxg::conformance
