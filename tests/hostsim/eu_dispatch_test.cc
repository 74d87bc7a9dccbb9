#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "hostsim/work/eu/dispatch.h"
#include "tests/hostsim/packet_rig.h"

// Dispatches from the walker to memory, with kernels of a few instructions, assembled by Intel's assembler.

namespace dxg::hostsim::eu {
namespace {

// Each lane writes 16 * group + its id + r2.1 at r2.0 + 4 * (16 * group + its id).
const std::vector<uint32_t> kStores = {
    0x00030061, 0x0a050120, 0x00460105, 0x00000000, 0x80000069, 0x0b058220, 0x02000024, 0x00000004,
    0x00030040, 0x0c050220, 0x02460a05, 0x00000b04, 0x00030069, 0x0d058220, 0x02460c05, 0x00000002,
    0x00030040, 0x0e050220, 0x02460d05, 0x00000204, 0x80030061, 0x10054220, 0x00000000, 0x00000000,
    0x80030061, 0x11054220, 0x00000000, 0x00000000, 0x00030061, 0x10060220, 0x00460e05, 0x00000000,
    0x00030040, 0x14050220, 0x02460c05, 0x00000224, 0x00030031, 0x00000000, 0xcdfe1014, 0x019a140c,
    0x80030061, 0x7f050220, 0x00460005, 0x00000000, 0x80030031, 0x00000004, 0x70207f0c, 0x00000000};
// while (8) to itself
const std::vector<uint32_t> kEndless = {0x00030027, 0x00004000, 0x00000000, 0x00000000};
// Threads whose local ids are below r2.2:uw, the second word of 32 bits, come to the barrier, the others end.
const std::vector<uint32_t> kBarrier = {
    0x00030070, 0x00010110, 0x51460105, 0x00000224, 0x01030022, 0x0000c000, 0x00000030,
    0x00000030, 0x80000031, 0x00000000, 0x3008000c, 0x00000000, 0x80000001, 0x00010000,
    0xe0000000, 0x00000000, 0x00030025, 0x00004000, 0x00000000, 0x00000010, 0x80030061,
    0x7f050220, 0x00460005, 0x00000000, 0x80030031, 0x00000004, 0x70207f0c, 0x00000000};
// send.smpl, and the end
const std::vector<uint32_t> kSamples = {0x00030031, 0x0a0c0000, 0x2002140c, 0x00080000,
                                        0x80030031, 0x00000004, 0x70207f0c, 0x00000000};

constexpr uint64_t kBatchAt = StreamerMemory::kBase, kDynamicAt = kBatchAt + 0x80000,
                   kCodeAt = kBatchAt + 0x90000, kPayloadAt = kBatchAt + 0xA0000,
                   kOutAt = kBatchAt + 0x100000;

constexpr uint32_t LowOf(uint64_t address) { return static_cast<uint32_t>(address); }

class EuDispatch : public PacketRig {
 protected:
  EuDispatch() : PacketRig(AdapterProfile::INTEL_GEN12) {
    gpu.execution = {true, 1'000'000'000, 1'000'000};
    // Local ids of threads of 8 lanes, behind one register that all of them get.
    std::vector<uint16_t> ids(16 * 4);
    for (uint32_t thread = 0; thread < 4; ++thread)
      for (uint32_t lane = 0; lane < 8; ++lane)
        ids[16 * thread + lane] = static_cast<uint16_t>(8 * thread + lane);
    gpu.Set<uint32_t>(kPayloadAt, {LowOf(kOutAt), 1000});
    gpu.Set(kPayloadAt + kRegisterBytes, ids);
  }

  // Of `groups` groups of two threads.
  Words Batch(const std::vector<uint32_t>& kernel, uint32_t groups, uint32_t last_mask = 0xFF) {
    gpu.Set(kCodeAt + 0x40, kernel);
    gpu.Set<uint32_t>(kDynamicAt + 0x40, {0x40, 0, 0, 0, 0, 1u << 16, 2, 1});
    std::vector<uint32_t> bases(22, 0);
    bases[0] = 0x61010014;
    bases[6] = LowOf(kDynamicAt) | 1;
    bases[8] = LowOf(kPayloadAt) | 1;
    bases[10] = LowOf(kCodeAt) | 1;
    Words words;
    for (const uint32_t word : bases) words.Add(word);
    words.Add(0x70020002, 0, 32, 0x40);
    words.Add(0x7105000D, 0, 96, 0, 1, 0, 0, groups, 0, 0, 1, 0, 1, last_mask, ~0u);
    return words.Add(0x05000000);  // MI_BATCH_BUFFER_END
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
  EXPECT_EQ(took_ns_, 2400u * kCyclesPerInstruction / kExecutionUnits);
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
