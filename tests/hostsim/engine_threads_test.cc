#include <gtest/gtest.h>

#include <thread>

#include "tests/hostsim/gpu_rig.h"

// Engines with threads of their own, as in service. The clock stands still, so nothing here times out.

namespace dxg::hostsim {
namespace {

class ThreadRig : public GpuRig {
 public:
  ThreadRig() : GpuRig(Shipped("discrete"), nullptr, nullptr, true) {}

  void WaitUntil(const Sync& fence, uint64_t value) {
    while (ValueOf(fence) < value) std::this_thread::yield();
  }
};

TEST(EngineThreads, ShortCommandsAreOverAtOnce) {
  ThreadRig rig;
  const auto fence = rig.NewFence();
  EXPECT_EQ(rig.Submit(CommandWriter().Write64(rig.data, 5)), kStatusSuccess);
  EXPECT_EQ(rig.GpuSignal({rig.context}, {{fence.handle, 1}}), kStatusSuccess);
  EXPECT_EQ(rig.ValueOf(fence), 1u);
  EXPECT_EQ(rig.DataAt(0), 5u);
}

TEST(EngineThreads, LongCommandsRunElsewhere) {
  ThreadRig rig;
  const auto fence = rig.NewFence();
  const uint64_t large = rig.Memory(32 * kMiB);
  for (uint64_t i = 1; i <= 20; ++i) {
    EXPECT_EQ(rig.Submit(CommandWriter().Fill(large, 32 * kMiB, static_cast<uint32_t>(i))), kStatusSuccess);
    EXPECT_EQ(rig.GpuSignal({rig.context}, {{fence.handle, i}}), kStatusSuccess);
  }
  rig.WaitUntil(fence, 20);
  EXPECT_EQ(rig.GpuRead(large + 32 * kMiB - 8), 20u * 0x100000001u);
  rig.EndAndExpectNothing();
}

// One op that takes seconds is stopped inside: the clock says so, not its own end.
TEST(EngineThreads, OneLongOpEndsAtItsDeadline) {
  ThreadRig rig;
  constexpr uint32_t kSide = 2048;
  constexpr uint64_t kBytes = uint64_t{kSide} * kSide * sizeof(int64_t);
  const uint64_t factors = rig.Memory(kBytes);
  const uint64_t product = rig.Memory(kBytes);
  const auto filled = rig.NewFence();
  rig.Submit(CommandWriter().Fill(factors, kBytes, 1));
  rig.GpuSignal({rig.context}, {{filled.handle, 1}});
  rig.WaitUntil(filled, 1);
  rig.Settle();  // no timer is left
  dxg_op_matmul op = {};
  op.c = product;
  op.a = op.b = factors;
  op.m = op.n = op.k = op.a_row = op.b_row = op.c_row = kSide;
  op.type = DXG_TYPE_I64;
  EXPECT_EQ(rig.Submit(CommandWriter().Matmul(op).Marker(1)), kStatusSuccess);
  // The engine has set its timer, or a first part of the product is there without one.
  while (rig.clock.Pending() == 0 && rig.GpuRead(product) == 0u) std::this_thread::yield();
  EXPECT_EQ(rig.StateOf(rig.device), 1u);
  rig.clock.AdvanceNs(2000 * kMs);
  while (rig.StateOf(rig.device) == 1) std::this_thread::yield();
  EXPECT_EQ(rig.StateOf(rig.device), 3u) << "hung";
  EXPECT_EQ(rig.GpuRead(product + kBytes - sizeof(int64_t)), 0u) << "the op never came to its last element";
  EXPECT_TRUE(rig.Marks().empty());
  rig.EndAndExpectNothing();
}

TEST(EngineThreads, HungCommandEndsWithItsContextDeviceOrProcess) {
  for (const int end : {0, 1, 2}) {
    ThreadRig rig;
    EXPECT_EQ(rig.Submit(CommandWriter().Hang()), kStatusSuccess);
    EXPECT_EQ(rig.Submit(CommandWriter().Marker(1)), kStatusSuccess);
    if (end == 0) {
      EXPECT_EQ(rig.DestroyContext(rig.caller, rig.context), kStatusSuccess);
    } else if (end == 1) {
      EXPECT_EQ(rig.DestroyDevice(rig.caller, rig.device), kStatusSuccess);
    }
    rig.EndAndExpectNothing();
    EXPECT_TRUE(rig.Marks().empty());
  }
}

TEST(EngineThreads, NothingTouchesMemoryAfterItsEnd) {
  ThreadRig rig;
  const uint32_t other = rig.NewDevice(rig.caller);
  const uint64_t large = rig.Memory(64 * kMiB);
  for (int round = 0; round < 5; ++round) {
    const uint32_t context = rig.NewContext(rig.caller, rig.device);
    CommandWriter commands;
    for (uint32_t i = 0; i < 100; ++i) commands.Fill(large, 64 * kMiB, 0xAAAAAAAA);
    EXPECT_EQ(rig.SubmitTo({context}, commands), kStatusSuccess);
    EXPECT_EQ(rig.DestroyContext(rig.caller, context), kStatusSuccess);
    EXPECT_TRUE(rig.GpuWrite(large, 1));
    EXPECT_EQ(rig.Submit(CommandWriter().Fill(rig.data, 8, 0)), kStatusSuccess);
    EXPECT_EQ(rig.GpuRead(large), 1u);
  }
  EXPECT_EQ(rig.StateOf(other), 1u);
}

TEST(EngineThreads, EnginesWaitForEachOther) {
  ThreadRig rig;
  const auto ping = rig.NewFence();
  const auto pong = rig.NewFence();
  const uint32_t other = rig.TryContext(rig.caller, rig.device, 1);
  constexpr uint64_t kRounds = 500;
  for (uint64_t i = 1; i <= kRounds; ++i) {
    rig.GpuWait(rig.context, {{pong.handle, i - 1}});
    rig.Submit(CommandWriter().AtomicAdd64(rig.data, 1));
    rig.GpuSignal({rig.context}, {{ping.handle, i}});
    rig.GpuWait(other, {{ping.handle, i}});
    rig.SubmitTo({other}, CommandWriter().AtomicAdd64(rig.data, 1));
    rig.GpuSignal({other}, {{pong.handle, i}});
  }
  rig.WaitUntil(pong, kRounds);
  EXPECT_EQ(rig.DataAt(0), 2 * kRounds);
}

TEST(EngineThreads, MemoryWaitsAreSatisfiedByAnotherEngine) {
  ThreadRig rig;
  const auto fence = rig.NewFence();
  const uint32_t other = rig.TryContext(rig.caller, rig.device, 1);
  rig.Submit(CommandWriter().Wait64(rig.data, 1).Write64(rig.data + 8, 2));
  rig.GpuSignal({rig.context}, {{fence.handle, 1}});
  rig.SubmitTo({other}, CommandWriter().Write64(rig.data, 1));
  // The clock stands still, so the wait looks again only because something has run.
  rig.WaitUntil(fence, 1);
  EXPECT_EQ(rig.DataAt(8), 2u);
}

TEST(EngineThreads, HostEndsUnderItsWork) {
  for (int round = 0; round < 5; ++round) {
    ThreadRig rig;
    const uint64_t large = rig.Memory(16 * kMiB);
    for (uint32_t node = 0; node < 3; ++node) {
      const uint32_t context = rig.TryContext(rig.caller, rig.device, node);
      for (int i = 0; i < 50; ++i)
        rig.SubmitTo({context}, CommandWriter().Fill(large + node * 5 * kMiB, 5 * kMiB, 1));
    }
  }
}

// Everything at once: work, waits, errors and ends from several threads.
TEST(EngineThreads, DevicesComeAndGoUnderTheirWork) {
  ThreadRig rig;
  const auto fence = rig.NewFence();
  const uint64_t marker = rig.Put(CommandWriter().Marker(1).bytes());
  const uint64_t hang = rig.Put(CommandWriter().Hang().bytes());
  std::vector<std::jthread> threads;
  for (uint32_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (uint32_t i = 0; i < 100; ++i) {
        const uint32_t device = rig.NewDevice(rig.caller);
        const uint32_t context = rig.TryContext(rig.caller, device, i % 3);
        rig.GpuWait(context, {{fence.handle, i % 2}});
        for (int n = 0; n < 5; ++n) rig.Submit(rig.SubmitRequest({context}, marker, 24));
        rig.Submit(rig.SubmitRequest({context}, hang, 16));
        rig.GpuSignal({context}, {{fence.handle, 1}});
        if (i % 3 == 0) rig.MarkAsError(rig.caller, device);
        if (i % 3 == 1) rig.DestroyContext(rig.caller, context);
        EXPECT_EQ(rig.DestroyDevice(rig.caller, device), kStatusSuccess);
        if (thread == 0) rig.Signal(fence.handle, 1);
      }
    });
  }
  threads.clear();
  rig.EndAndExpectNothing();
}

}  // namespace
}  // namespace dxg::hostsim
