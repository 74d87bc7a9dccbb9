#include "hostsim/work/streamers/amd_pm4.h"

#include <gtest/gtest.h>

#include "tests/hostsim/packet_rig.h"

// Streams of PM4 packets, written by hand.

namespace dxg::hostsim {
namespace {

constexpr uint32_t Type3(uint32_t opcode, uint32_t words_behind) {
  return 3u << 30 | (words_behind - 1) << 16 | opcode << 8;
}

class AmdPm4Streams : public PacketRig {
 public:
  AmdPm4Streams() : PacketRig(AdapterProfile::AMD_PM4) {}

  static Words WriteData(uint64_t to, uint32_t value, bool predicated = false) {
    return Words().Add(Type3(0x37, 4) | (predicated ? 1 : 0), 5 << 8).Wide(to).Add(value);
  }
  static Words DmaData(uint64_t to, uint64_t from, uint32_t bytes) {
    return Words().Add(Type3(0x50, 6), 3u << 29 | 3u << 20).Wide(from).Wide(to).Add(bytes);
  }
  static Words Call(uint64_t address, uint32_t words, bool chain = false) {
    return Words().Add(Type3(0x3F, 3)).Wide(address).Add(words | (chain ? 1u << 20 : 0));
  }
  static Words Atomic(uint32_t operation, uint64_t at, uint64_t source, uint64_t compared = 0,
                      uint32_t command = 0) {
    return Words().Add(Type3(0x1E, 8), operation | command << 8).Wide(at).Wide(source).Wide(compared).Add(0);
  }
};

// -- Refusals.

TEST_F(AmdPm4Streams, UnknownPacketsAreInvalidAndNamed) {
  ExpectInvalid(Words().Add(Type3(0x39, 1), 0), "AMD PM4: packet 0x39");
  ExpectInvalid(Words().Add(Type3(0xA0, 7)).Repeat(7, 0), "AMD PM4: packet 0xa0");
  ExpectInvalid(Words().Add(1u << 30), "AMD PM4: packet of type 1");
  ExpectInvalid(Words().Append(WriteData(kData, 1)).Add(Type3(0x39, 1), 0), "AMD PM4: packet 0x39", 5);
  EXPECT_EQ(gpu.At<uint32_t>(kData), 1u) << "what was before it is done";
}

TEST_F(AmdPm4Streams, PacketsHaveToFit) {
  ExpectInvalid(Words().Add(Type3(0x10, 2), 0), "AMD PM4: packet that is cut off");
  ExpectInvalid(Words().Add(2u << 30, Type3(0x50, 6)), "AMD PM4: packet that is cut off", 1);
  ExpectInvalid(Words().Add(Type3(0x50, 5)).Repeat(5, 0), "AMD PM4: packet 0x50 that is too short");
  ExpectInvalid(Words().Add(Type3(0x3F, 2)).Repeat(2, 0), "AMD PM4: packet 0x3f that is too short");
  for (const auto& [opcode, least] : std::map<uint32_t, uint32_t>{{0x37, 3},
                                                                  {0x40, 5},
                                                                  {0x49, 6},
                                                                  {0x47, 5},
                                                                  {0x48, 4},
                                                                  {0x3C, 6},
                                                                  {0x93, 8},
                                                                  {0x1E, 8},
                                                                  {0x22, 4},
                                                                  {0x45, 8},
                                                                  {0x20, 3},
                                                                  {0x15, 4}}) {
    EXPECT_EQ(RunWords(Words().Add(Type3(opcode, least - 1)).Repeat(least - 1, 0)).kind,
              CommandStop::kInvalid)
        << opcode;
  }
}

TEST_F(AmdPm4Streams, MemoryThatIsNotThereFaults) {
  ExpectFault(WriteData(StreamerMemory::kHole + 8, 1), StreamerMemory::kHole + 8, true);
  ExpectFault(WriteData(StreamerMemory::kReadOnly, 1), StreamerMemory::kReadOnly, true);
  ExpectFault(DmaData(kData, StreamerMemory::kHole - 4096, 8192), StreamerMemory::kHole, false);
  ExpectFault(DmaData(StreamerMemory::kHole - 4096, kData, 8192), StreamerMemory::kHole, true);
  ExpectFault(Call(StreamerMemory::kHole, 4), StreamerMemory::kHole, false);
  ExpectFault(Words().Add(Type3(0x3C, 6), 3 | 1 << 4).Wide(StreamerMemory::kHole).Add(1, ~0u, 4),
              StreamerMemory::kHole, false);
  ExpectFault(Atomic(0x2F, StreamerMemory::kReadOnly, 1), StreamerMemory::kReadOnly, true);
}

TEST_F(AmdPm4Streams, AStreamMayEndBeforeMemoryThatIsNotThere) {
  const Words nop = Words().Repeat(16, 0xFFFF1000);
  gpu.Set(StreamerMemory::kHole - 64, nop.all());
  EXPECT_EQ(Run(StreamerMemory::kHole - 64, 64).kind, CommandStop::kDone);
  const CommandStop stop = Run(StreamerMemory::kHole - 64, 68);
  EXPECT_EQ(stop.kind, CommandStop::kPageFault);
  EXPECT_EQ(stop.op_address.value, StreamerMemory::kHole) << "all before it was executed";
}

TEST_F(AmdPm4Streams, CallsAreThreeBuffersDeep) {
  const auto at = [](uint32_t level) { return kCalled + level * 0x10000; };
  gpu.Set(at(2), WriteData(kData + 8, 3).all());
  gpu.Set(at(1), Words(Call(at(2), 5)).Append(WriteData(kData + 4, 2)).all());
  ExpectDone(Words(Call(at(1), 9)).Append(WriteData(kData, 1)));
  EXPECT_EQ(gpu.At<uint32_t>(kData), 1u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 4), 2u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 8), 3u);
  gpu.Set(at(2), Call(at(3), 5).all());
  const CommandStop stop = RunWords(Call(at(1), 9));
  EXPECT_EQ(stop.kind, CommandStop::kInvalid);
  EXPECT_EQ(stop.op_address.value, at(2));
  ExpectNote(FidelityKind::kUnknown, "AMD PM4: buffer that is called from too deep");
}

TEST_F(AmdPm4Streams, AnEndlessStreamHangs) {
  EXPECT_EQ(RunWords(Call(kStream, 4, true)).kind, CommandStop::kHang);
}

TEST_F(AmdPm4Streams, AnEndlessStreamCanBeCancelled) {
  cancelled = true;
  EXPECT_EQ(RunWords(Call(kStream, 4, true)).kind, CommandStop::kCancelled);
}

// -- Packets.

TEST_F(AmdPm4Streams, PaddingAndStateAreReadOver) {
  ExpectDone(Words()
                 .Add(0x80000000, 0xFFFF1000)  // type 2; NOP of one word
                 .Add(Type3(0x10, 3))          // NOP with what would be invalid packets
                 .Repeat(3, 1u << 30)
                 .Add(0x00010100, 7, 8)      // type 0: two registers
                 .Add(Type3(0x28, 2), 0, 0)  // CONTEXT_CONTROL
                 .Add(Type3(0x58, 7))
                 .Repeat(7, 0)               // ACQUIRE_MEM
                 .Add(Type3(0x42, 1), 0)     // PFP_SYNC_ME
                 .Add(Type3(0x46, 1), 0x16)  // EVENT_WRITE without an address
                 .Append(WriteData(kData, 5)));
  EXPECT_EQ(gpu.At<uint32_t>(kData), 5u);
  EXPECT_TRUE(gpu.notes.empty());
}

// What the demo "dxgkrnl_linux" submits.
TEST_F(AmdPm4Streams, DmaDataCopies) {
  gpu.Set<uint64_t>(kData, {0xDEADBEEFDEADBEEF, 1});
  ExpectDone(
      Words().Add(0xC0055000, 0x60300000).Wide(kData).Wide(kData + 4096).Add(8).Repeat(1017, 0xFFFF1000));
  EXPECT_EQ(gpu.At<uint64_t>(kData + 4096), 0xDEADBEEFDEADBEEF);
  EXPECT_EQ(gpu.At<uint64_t>(kData + 4104), 0u);
}

TEST_F(AmdPm4Streams, DmaDataFills) {
  ExpectDone(Words().Add(Type3(0x50, 6), 2u << 29).Wide(0x11223344).Wide(kData + 4).Add(12));
  EXPECT_EQ(gpu.At<uint32_t>(kData), 0u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 4), 0x11223344u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 12), 0x11223344u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 16), 0u);
}

TEST_F(AmdPm4Streams, DmaDataThatOverlapsItselfMovesForwards) {
  std::vector<uint32_t> numbers(1024);
  for (uint32_t i = 0; i < 1024; ++i) numbers[i] = i;
  gpu.Set(kData, numbers);
  ExpectDone(DmaData(kData, kData + 400, 2000));
  for (uint32_t i = 0; i < 500; ++i) ASSERT_EQ(gpu.At<uint32_t>(kData + i * 4), i + 100);
}

TEST_F(AmdPm4Streams, DmaDataWithRegistersIsNoted) {
  ExpectDone(Words().Add(Type3(0x50, 6), 3u << 29 | 3u << 20).Wide(kData).Wide(kData + 64).Add(8 | 1u << 27));
  ExpectNote(FidelityKind::kApproximated,
             "AMD PM4: DMA_DATA with registers, GDS or a fixed address is read over");
}

TEST_F(AmdPm4Streams, WriteDataOfAnyLength) {
  Words words = Words().Add(Type3(0x37, 3 + 1000), 5 << 8).Wide(kData);
  for (uint32_t i = 0; i < 1000; ++i) words.Add(i);
  ExpectDone(words);
  for (uint32_t i = 0; i < 1000; ++i) ASSERT_EQ(gpu.At<uint32_t>(kData + i * 4), i);
}

TEST_F(AmdPm4Streams, CopyDataBetweenMemoryRegistersAndTheClock) {
  gpu.Set<uint64_t>(kData, {0x1122334455667788});
  const auto copy = [](uint32_t control, uint64_t from, uint64_t to) {
    return Words().Add(Type3(0x40, 5), control).Wide(from).Wide(to);
  };
  ExpectDone(Words(copy(1 | 5 << 8, kData, kData + 8))                   // memory, 32 bits
                 .Append(copy(2 | 2 << 8 | 1 << 16, kData, kData + 16))  // 64 bits
                 .Append(copy(5 | 5 << 8 | 1 << 16, 0xABCDEF0123, kData + 24))
                 .Append(copy(9 | 5 << 8 | 1 << 16, 0, kData + 32))
                 .Append(copy(5 | 0 << 8, 77, 0x2345))            // to a register
                 .Append(copy(0 | 5 << 8, 0x2345, kData + 40)));  // and from it
  EXPECT_EQ(gpu.At<uint64_t>(kData + 8), 0x55667788u);
  EXPECT_EQ(gpu.At<uint64_t>(kData + 16), 0x1122334455667788u);
  EXPECT_EQ(gpu.At<uint64_t>(kData + 24), 0xABCDEF0123u);
  EXPECT_EQ(gpu.At<uint64_t>(kData + 32), gpu.timestamp);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 40), 77u);
}

TEST_F(AmdPm4Streams, EventsWriteAtTheEndOfThePipe) {
  const auto release = [](uint32_t select, uint64_t to, uint64_t data) {
    return Words().Add(Type3(0x49, 7), 0x14 | 5 << 8, select << 29 | 2 << 24).Wide(to).Wide(data).Add(0);
  };
  const uint64_t value = 0x1111111122222222;
  ExpectDone(Words(release(0, kData, value))
                 .Append(release(1, kData + 8, value))
                 .Append(release(2, kData + 16, value))
                 .Append(release(3, kData + 24, value))
                 .Add(Type3(0x47, 5), 0x14 | 5 << 8, kData + 32, 2u << 29)
                 .Wide(value)
                 .Add(Type3(0x48, 4), 0x2F | 6 << 8, kData + 40, 2u << 29, 9));
  EXPECT_EQ(gpu.At<uint64_t>(kData), 0u);
  EXPECT_EQ(gpu.At<uint64_t>(kData + 8), 0x22222222u);
  EXPECT_EQ(gpu.At<uint64_t>(kData + 16), value);
  EXPECT_EQ(gpu.At<uint64_t>(kData + 24), gpu.timestamp);
  EXPECT_EQ(gpu.At<uint64_t>(kData + 32), value);
  EXPECT_EQ(gpu.At<uint64_t>(kData + 40), 9u);
}

TEST_F(AmdPm4Streams, WaitsGoOnWhenTheConditionHolds) {
  struct Case {
    uint32_t function, before, after;
  };
  for (const Case& c : {Case{1, 5, 4}, {2, 6, 5}, {3, 4, 5}, {4, 5, 6}, {5, 4, 5}, {6, 5, 6}}) {
    gpu.Set<uint32_t>(kData, {c.before | 0xFF00u, 0});
    const Words wait = Words().Add(Type3(0x3C, 6), c.function | 1 << 4).Wide(kData).Add(5, 0xFF, 4);
    const auto run = Begin(Words(wait).Append(WriteData(kData + 4, 1)));
    EXPECT_EQ(GoOn(*run), CommandStop::kWaiting) << c.function;
    EXPECT_EQ(GoOn(*run), CommandStop::kWaiting) << c.function;
    EXPECT_EQ(gpu.At<uint32_t>(kData + 4), 0u);
    gpu.Set<uint32_t>(kData, {c.after});
    EXPECT_EQ(GoOn(*run), CommandStop::kDone) << c.function;
    EXPECT_EQ(gpu.At<uint32_t>(kData + 4), 1u);
  }
  gpu.Set<uint64_t>(kData, {1ull << 40});
  const auto run =
      Begin(Words().Add(Type3(0x93, 8), 5 | 1 << 4).Wide(kData).Wide(2ull << 40).Wide(~0ull).Add(4));
  EXPECT_EQ(GoOn(*run), CommandStop::kWaiting);
  gpu.Set<uint64_t>(kData, {2ull << 40});
  EXPECT_EQ(GoOn(*run), CommandStop::kDone);
}

TEST_F(AmdPm4Streams, AtomicsChangeOneNumber) {
  struct Case {
    uint32_t operation;
    uint64_t before, source, after;
  };
  const uint64_t minus = ~0ull;
  for (const Case& c : {Case{0x07, 1, 2, 2},
                        {0x0F, 5, 3, 8},
                        {0x10, 5, 7, minus - 1},
                        {0x11, minus, 3, minus},
                        {0x12, minus, 3, 3},
                        {0x13, minus, 3, 3},
                        {0x14, minus, 3, minus},
                        {0x15, 6, 3, 2},
                        {0x16, 6, 3, 7},
                        {0x17, 6, 3, 5},
                        {0x18, 3, 3, 0},
                        {0x18, 2, 3, 3},
                        {0x19, 0, 3, 3},
                        {0x19, 2, 3, 1}}) {
    for (const uint32_t base : {0u, 64u}) {
      const uint64_t other = 0x77777777'00000000;
      gpu.Set<uint64_t>(kData, {(c.before & 0xFFFFFFFF) | other, c.before});
      ExpectDone(Words(Atomic(base + c.operation, kData, c.source))
                     .Append(Atomic(base + 32 + c.operation, kData + 8, c.source)));
      EXPECT_EQ(gpu.At<uint64_t>(kData), (c.after & 0xFFFFFFFF) | other) << c.operation;
      EXPECT_EQ(gpu.At<uint64_t>(kData + 8), c.after) << c.operation;
    }
  }
  ExpectInvalid(Atomic(0x02, kData, 1), "AMD PM4: atomic operation 0x02");
}

TEST_F(AmdPm4Streams, AnAtomicLoopWaitsForItsValue) {
  gpu.Set<uint64_t>(kData, {1});
  const auto run = Begin(Atomic(0x28, kData, 9, 2, 1));
  EXPECT_EQ(GoOn(*run), CommandStop::kWaiting);
  gpu.Set<uint64_t>(kData, {2});
  EXPECT_EQ(GoOn(*run), CommandStop::kDone);
  EXPECT_EQ(gpu.At<uint64_t>(kData), 9u);
}

TEST_F(AmdPm4Streams, ConditionsSkipWhatIsBehindThem) {
  const auto cond_exec = [](uint64_t flag, uint32_t words) {
    return Words().Add(Type3(0x22, 4)).Wide(flag).Add(0, words);
  };
  gpu.Set<uint32_t>(kData, {0, 1});
  ExpectDone(Words(cond_exec(kData, 5))
                 .Append(WriteData(kData + 16, 1))
                 .Append(cond_exec(kData + 4, 5))
                 .Append(WriteData(kData + 20, 1))
                 .Append(cond_exec(kData, 0x3FFF)));  // to the end
  EXPECT_EQ(gpu.At<uint32_t>(kData + 16), 0u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 20), 1u);
  const auto cond_write = [](uint32_t reference, uint64_t to) {
    return Words()
        .Add(Type3(0x45, 8), 3 | 1 << 4 | 1 << 8)
        .Wide(kData + 4)
        .Add(reference, ~0u)
        .Wide(to)
        .Add(6);
  };
  ExpectDone(Words(cond_write(1, kData + 24)).Append(cond_write(2, kData + 28)));
  EXPECT_EQ(gpu.At<uint32_t>(kData + 24), 6u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 28), 0u);
}

TEST_F(AmdPm4Streams, PredicatesSkipThePacketsThatAskForThem) {
  const auto predicate = [](uint32_t operation, uint64_t flag) {
    return Words().Add(Type3(0x20, 3), operation << 16 | 1 << 8).Wide(flag);
  };
  gpu.Set<uint64_t>(kData, {0, 1ull << 32});
  ExpectDone(Words(predicate(3, kData))
                 .Append(WriteData(kData + 16, 1, true))
                 .Append(WriteData(kData + 20, 1, false))
                 .Append(predicate(3, kData + 8))
                 .Append(WriteData(kData + 24, 1, true))
                 .Append(predicate(4, kData + 8))
                 .Append(WriteData(kData + 28, 1, true))
                 .Append(predicate(0, 0))
                 .Append(WriteData(kData + 32, 1, true)));
  EXPECT_EQ(gpu.At<uint32_t>(kData + 16), 0u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 20), 1u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 24), 1u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 28), 0u) << "the low half alone";
  EXPECT_EQ(gpu.At<uint32_t>(kData + 32), 1u);
}

TEST_F(AmdPm4Streams, AChainReplacesItsBuffer) {
  gpu.Set(kCalled, Call(kCalled + 0x10000, 5, true).all());
  gpu.Set(kCalled + 0x10000, WriteData(kData, 1).all());
  ExpectDone(Words(Call(kCalled, 4)).Append(WriteData(kData + 4, 2)));
  EXPECT_EQ(gpu.At<uint32_t>(kData), 1u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 4), 2u) << "a chain returns where its buffer would";
}

TEST_F(AmdPm4Streams, WhatIsCalledIsReadThen) {
  gpu.Set(kCalled, WriteData(kData, 1).all());
  ExpectDone(Words(WriteData(kCalled + 16, 7)).Append(Call(kCalled, 5)));
  EXPECT_EQ(gpu.At<uint32_t>(kData), 7u);
}

// -- What is left out.

TEST_F(AmdPm4Streams, DispatchesAreLeftOutAndNameTheirKernel) {
  const std::vector<uint32_t> program = {0xBE800080, 0xBF810000, 0x12345678};
  gpu.Set(kCalled, program);
  const Words set = Words().Add(Type3(0x76, 3), 0x20C).Wide(kCalled >> 8);
  const Words dispatch = Words().Add(Type3(0x15, 4) | 2, 3, 4, 5, 1);
  ExpectDone(Words(set).Append(dispatch).Append(WriteData(kData, 1)));
  ASSERT_EQ(gpu.dispatches.size(), 1u);
  EXPECT_EQ(gpu.dispatches[0].kernel.value, kCalled);
  EXPECT_EQ(gpu.dispatches[0].groups, 60u);
  const uint64_t hash = gpu.dispatches[0].kernel_hash;
  EXPECT_NE(hash, 0u);
  EXPECT_EQ(gpu.At<uint32_t>(kData), 1u);
  // Registers are the queue's; a program is what is before its end.
  gpu.Set<uint32_t>(kCalled + 8, {0x55555555});
  ExpectDone(dispatch);
  EXPECT_EQ(gpu.dispatches[1].kernel_hash, hash);
  gpu.Set<uint32_t>(kCalled, {0xBE800081});
  ExpectDone(dispatch);
  EXPECT_NE(gpu.dispatches[2].kernel_hash, hash);
}

TEST_F(AmdPm4Streams, DispatchesLoseTheDeviceIfTheProfileSaysSo) {
  gpu.skips = false;
  const CommandStop stop = RunWords(Words().Add(Type3(0x15, 4), 1, 1, 1, 1).Append(WriteData(kData, 1)));
  EXPECT_EQ(stop.kind, CommandStop::kDeviceFault);
  EXPECT_EQ(stop.op_address.value, kStream);
  EXPECT_EQ(gpu.At<uint32_t>(kData), 0u);
}

TEST_F(AmdPm4Streams, DrawsAreLeftOut) {
  for (const uint32_t opcode : {0x24, 0x25, 0x27, 0x2C, 0x2D, 0x2E, 0x30, 0x35, 0x38, 0x3A, 0x9C, 0x9D})
    ExpectDone(Words().Add(Type3(opcode, 2), 3, 2));
  EXPECT_EQ(gpu.dispatches.size(), 12u);
  EXPECT_EQ(gpu.dispatches[0].kernel_hash, 0u) << "no program is set";
}

// -- Budget and cancellation.

TEST_F(AmdPm4Streams, ABudgetEndsBeforeWhatIsLarger) {
  const auto run = Begin(Words(WriteData(kData, 1)).Append(DmaData(kData + 4096, kData, 4096)));
  EXPECT_EQ(GoOn(*run, 1000), CommandStop::kBudget);
  EXPECT_EQ(gpu.At<uint32_t>(kData), 1u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 4096), 0u);
  EXPECT_EQ(GoOn(*run, 1000), CommandStop::kBudget) << "again, and nothing twice";
  EXPECT_EQ(GoOn(*run, 10000), CommandStop::kDone);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 4096), 1u);
}

TEST_F(AmdPm4Streams, SmallPacketsAskThePageTablesOnceForAPage) {
  Words words;
  for (uint32_t i = 0; i < 512; ++i) words.Append(WriteData(kData + i * 4, i));
  ExpectDone(words);
  EXPECT_LT(gpu.translations, 16u);
}

}  // namespace
}  // namespace dxg::hostsim
