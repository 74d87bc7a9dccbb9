#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "hostsim/work/eu/dispatch.h"
#include "hostsim/work/streamers/intel_dispatch.h"
#include "tests/hostsim/eu_kernels.h"
#include "tests/hostsim/packet_rig.h"

// Dispatches from the walker to memory.

namespace dxg::hostsim::eu {
namespace {

constexpr uint64_t kBatchAt = StreamerMemory::kBase, kDynamicAt = kBatchAt + 0x80000,
                   kCodeAt = kBatchAt + 0x90000, kPayloadAt = kBatchAt + 0xA0000,
                   kOutAt = kBatchAt + 0x100000;

constexpr uint32_t LowOf(uint64_t address) { return static_cast<uint32_t>(address); }

class EuDispatch : public PacketRig {
 protected:
  EuDispatch() : PacketRig(AdapterProfile::INTEL_GEN12) {
    gpu.execution = {true, 1'000'000'000, 1'000'000};
    gpu.Set<uint32_t>(kPayloadAt, {LowOf(kOutAt), 1000});
    gpu.Set(kPayloadAt + kRegisterBytes, LocalIds());
  }

  // Of `groups` groups of two threads.
  Words Batch(const std::vector<uint32_t>& kernel, uint32_t groups, uint32_t last_mask = 0xFF) {
    gpu.Set(kCodeAt + kKernelOffset, kernel);
    gpu.Set(kDynamicAt + kDescriptorOffset, kDescriptor);
    return DispatchBatch({kDynamicAt, kCodeAt, kPayloadAt}, groups, last_mask);
  }
  // Slice after slice, as an engine does; the time that they take adds up.
  CommandStop RunToEnd(const Words& words) {
    gpu.Set(kStream, words.all());
    const auto streamer = MakeStreamer(format_, {GpuAddress(kStream), words.count() * 4}, &state_);
    while (true) {
      const CommandStop stop = streamer->Run(gpu, cancelled, CommandStreamer::kUnlimited);
      if (stop.kind != CommandStop::kSlice) return stop;
      took_ns_ += stop.delay_ns;
      ++slices_;
    }
  }

  uint64_t took_ns_ = 0, slices_ = 0;
};

TEST_F(EuDispatch, EachLaneOfEachGroupRunsOnce) {
  ASSERT_EQ(RunToEnd(Batch(kStores, 100)).kind, CommandStop::kDone);
  for (uint32_t i = 0; i < 1600; ++i) ASSERT_EQ(gpu.At<uint32_t>(kOutAt + 4 * i), 1000 + i) << i;
  EXPECT_EQ(gpu.At<uint32_t>(kOutAt + 6400), 0u);
  ASSERT_EQ(gpu.executed.size(), 1u);
  EXPECT_EQ(gpu.executed[0].second, 200u * 12) << "instructions";
  EXPECT_NE(gpu.executed[0].first.kernel_hash, 0u);
  EXPECT_EQ(gpu.executed[0].first.groups, 100u);
  EXPECT_TRUE(gpu.dispatches.empty());
  EXPECT_EQ(took_ns_, 200u * kCyclesPerThread) << "their start takes longer than their instructions";
}

TEST_F(EuDispatch, TheMaskIsOfAGroupsLastThread) {
  ASSERT_EQ(RunToEnd(Batch(kStores, 2, 0x07)).kind, CommandStop::kDone);
  for (uint32_t i = 0; i < 32; ++i)
    EXPECT_EQ(gpu.At<uint32_t>(kOutAt + 4 * i), i % 16 < 11 ? 1000 + i : 0u) << i;
}

TEST_F(EuDispatch, NoGroupsAreNoThreads) {
  ASSERT_EQ(RunToEnd(Batch(kStores, 0)).kind, CommandStop::kDone);
  EXPECT_EQ(gpu.At<uint32_t>(kOutAt), 0u);
}

TEST_F(EuDispatch, AKernelThatWasChangedIsDecodedAnew) {
  ASSERT_EQ(RunToEnd(Batch(kStores, 1)).kind, CommandStop::kDone);
  ASSERT_EQ(RunToEnd(Batch(kStores, 1)).kind, CommandStop::kDone);
  std::vector<uint32_t> changed = kStores;
  changed[4 + 3] = 5;  // 32 lanes from group to group
  ASSERT_EQ(RunToEnd(Batch(changed, 2)).kind, CommandStop::kDone);
  ASSERT_EQ(gpu.executed.size(), 3u);
  EXPECT_EQ(gpu.executed[0].first.kernel_hash, gpu.executed[1].first.kernel_hash);
  EXPECT_NE(gpu.executed[0].first.kernel_hash, gpu.executed[2].first.kernel_hash);
  EXPECT_EQ(gpu.At<uint32_t>(kOutAt + 4 * 32), 1032u);
  EXPECT_EQ(gpu.At<uint32_t>(kOutAt + 4 * 16), 0u);
}

TEST_F(EuDispatch, WhatIsNotKnownIsLeftOutByItsName) {
  ASSERT_EQ(RunToEnd(Batch(kSamples, 3)).kind, CommandStop::kDone);
  ASSERT_EQ(gpu.dispatches.size(), 1u);
  EXPECT_NE(gpu.dispatches[0].why.find("at 0x0, send.smpl"), std::string::npos) << gpu.dispatches[0].why;
  EXPECT_NE(gpu.dispatches[0].why.find("the sampler"), std::string::npos) << gpu.dispatches[0].why;
  EXPECT_TRUE(gpu.executed.empty());
  gpu.skips = false;
  EXPECT_EQ(RunToEnd(Batch(kSamples, 3)).kind, CommandStop::kDeviceFault);
}

TEST_F(EuDispatch, TheKernelThatWasNotUsedLongestMakesRoom) {
  intel::PageMemory memory(gpu);
  intel::KernelCache cache;
  uint64_t used = 0;
  const auto find = [&](uint64_t number) {
    return cache.Find(memory, cancelled, kCodeAt + number * 64,
                      {[&used](uint64_t bytes) { return used += bytes, true; },
                       [&used](uint64_t bytes) { used -= bytes; }});
  };
  std::vector<std::shared_ptr<const Kernel>> first;
  // A kernel is read in blocks, so all of them are there before the first one is.
  for (uint64_t i = 0; i <= intel::KernelCache::kKernelsMax; ++i) gpu.Set(kCodeAt + i * 64, kEmpty);
  for (uint64_t i = 0; i < intel::KernelCache::kKernelsMax; ++i) first.push_back(find(i));
  const uint64_t full = used;
  EXPECT_EQ(find(0), first[0]);
  (void)find(first.size());
  EXPECT_EQ(cache.size(), first.size());
  EXPECT_EQ(used, full) << "those that went gave their bytes";
  EXPECT_EQ(find(0), first[0]);
  EXPECT_NE(find(1), first[1]);
}

TEST_F(EuDispatch, AnEndlessKernelHangs) {
  EXPECT_EQ(RunToEnd(Batch(kEndless, 1)).kind, CommandStop::kHung);
  EXPECT_GE(slices_, 3u) << "others had their turns meanwhile";
}

TEST_F(EuDispatch, AnEndlessKernelIsCancelled) {
  const Words words = Batch(kEndless, 1);
  gpu.Set(kStream, words.all());
  const auto streamer = MakeStreamer(format_, {GpuAddress(kStream), words.count() * 4}, &state_);
  EXPECT_EQ(streamer->Run(gpu, cancelled, CommandStreamer::kUnlimited).kind, CommandStop::kSlice);
  cancelled = true;
  EXPECT_EQ(streamer->Run(gpu, cancelled, CommandStreamer::kUnlimited).kind, CommandStop::kCancelled);
}

TEST_F(EuDispatch, ABarrierThatNotAllReachHangs) {
  gpu.Set<uint32_t>(kPayloadAt, {0, 8});
  EXPECT_EQ(RunToEnd(Batch(kBarrier, 3)).kind, CommandStop::kHung);
  gpu.Set<uint32_t>(kPayloadAt, {0, 16});
  EXPECT_EQ(RunToEnd(Batch(kBarrier, 3)).kind, CommandStop::kDone);
}

TEST_F(EuDispatch, AWildPointerIsAPageFault) {
  gpu.Set<uint32_t>(kPayloadAt, {LowOf(StreamerMemory::kReadOnly)});
  const CommandStop stop = RunToEnd(Batch(kStores, 1));
  EXPECT_EQ(stop.kind, CommandStop::kPageFault);
  EXPECT_EQ(stop.fault.address.value, StreamerMemory::kReadOnly);
  EXPECT_TRUE(stop.fault.write);
  ASSERT_EQ(gpu.dispatches.size(), 1u);
  EXPECT_NE(gpu.dispatches[0].why.find("at 0x90, send.dc1"), std::string::npos) << gpu.dispatches[0].why;
}

TEST_F(EuDispatch, ShortTurnsDoNotBeginOne) {
  EXPECT_EQ(RunWords(Batch(kStores, 1), 1 << 20).kind, CommandStop::kBudget);
  EXPECT_TRUE(gpu.executed.empty());
}

TEST_F(EuDispatch, OrdersThatTheGpuHasNoRoomForAreRefused) {
  DispatchOrder order;
  order.threads = kThreadsMax + 1;
  EXPECT_NE(Dispatch::Refusal(order), "");
  order.threads = kThreadsMax;
  EXPECT_EQ(Dispatch::Refusal(order), "");
  order.local_bytes = kLocalBytesMax + 1;
  EXPECT_NE(Dispatch::Refusal(order), "");
  order.local_bytes = 0;
  order.common_registers = 128;
  EXPECT_NE(Dispatch::Refusal(order), "");
}

}  // namespace
}  // namespace dxg::hostsim::eu
