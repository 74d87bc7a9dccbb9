#include <gtest/gtest.h>

#include <bit>

#include "hostsim/work/streamers/adreno.h"
#include "tests/hostsim/packet_rig.h"

// Streams of Adreno packets, written by hand.

namespace dxg::hostsim {
namespace {

constexpr uint32_t OddParity(uint32_t value) { return std::popcount(value) % 2 == 0 ? 1 : 0; }
constexpr uint32_t Type7(uint32_t opcode, uint32_t count) {
  return 0x70000000 | count | OddParity(count) << 15 | opcode << 16 | OddParity(opcode) << 23;
}
constexpr uint32_t Type4(uint32_t first, uint32_t count) {
  return 0x40000000 | count | OddParity(count) << 7 | first << 8 | OddParity(first) << 27;
}

class AdrenoStreams : public PacketRig {
 public:
  AdrenoStreams() : PacketRig(AdapterProfile::ADRENO) {}

  static Words MemWrite(uint64_t to, uint32_t value) {
    return Words().Add(Type7(0x3D, 3)).Wide(to).Add(value);
  }
  static Words Call(uint64_t address, uint32_t words, uint32_t opcode = 0x3F) {
    return Words().Add(Type7(opcode, 3)).Wide(address).Add(words);
  }
  static Words RegToMem(uint32_t first, uint64_t to, uint32_t count, uint32_t flags = 0) {
    return Words().Add(Type7(0x3E, 3), first | count << 18 | flags).Wide(to);
  }
};

// -- Refusals.

TEST_F(AdrenoStreams, UnknownPacketsAreInvalidAndNamed) {
  ExpectInvalid(Words().Add(Type7(0x53, 4)).Repeat(4, 0), "Adreno: packet 0x53");
  ExpectInvalid(Words().Add(0xC0001000, 0), "Adreno: packet of type 12");
  ExpectInvalid(Words().Add(0), "Adreno: packet of type 0");
  ExpectInvalid(Words(MemWrite(kData, 1)).Add(Type7(0x50, 1), 0), "Adreno: packet 0x50", 4);
  EXPECT_EQ(gpu.At<uint32_t>(kData), 1u) << "what was before it is done";
}

TEST_F(AdrenoStreams, ParityIsChecked) {
  for (const uint32_t bit : {15u, 23u, 14u, 24u, 27u})
    ExpectInvalid(Words().Add(Type7(0x10, 1) ^ 1u << bit, 0), "Adreno: packet with a wrong parity");
  for (const uint32_t bit : {7u, 26u, 27u})
    ExpectInvalid(Words().Add(Type4(0x123, 1) ^ 1u << bit, 0), "Adreno: register write with a wrong parity");
  // Two headers of which Mesa's documentation of packets shows the bits.
  ExpectDone(Words().Add(0x70B90001, 0x00000C10));
  ExpectDone(Words().Add(0x70C70002, 0x10000000, 0x00000004));
}

TEST_F(AdrenoStreams, PacketsHaveToFit) {
  ExpectInvalid(Words().Add(Type7(0x10, 2), 0), "Adreno: packet that is cut off");
  ExpectInvalid(Words().Add(Type4(0x123, 2), 0), "Adreno: packet that is cut off");
  for (const auto& [opcode, least] : std::map<uint32_t, uint32_t>{{0x3D, 2},
                                                                  {0x73, 5},
                                                                  {0x75, 5},
                                                                  {0x46, 1},
                                                                  {0x3C, 6},
                                                                  {0x14, 4},
                                                                  {0x45, 8},
                                                                  {0x3E, 3},
                                                                  {0x42, 3},
                                                                  {0x21, 3},
                                                                  {0x39, 1},
                                                                  {0x47, 2},
                                                                  {0x44, 6},
                                                                  {0x65, 1},
                                                                  {0x3F, 3},
                                                                  {0x57, 3},
                                                                  {0x33, 4}}) {
    EXPECT_EQ(RunWords(Words().Add(Type7(opcode, least - 1)).Repeat(least - 1, 0)).kind,
              CommandStop::kInvalid)
        << opcode;
  }
}

TEST_F(AdrenoStreams, MemoryThatIsNotThereFaults) {
  ExpectFault(MemWrite(StreamerMemory::kHole + 8, 1), StreamerMemory::kHole + 8, true);
  ExpectFault(MemWrite(StreamerMemory::kReadOnly, 1), StreamerMemory::kReadOnly, true);
  ExpectFault(Call(StreamerMemory::kHole, 4), StreamerMemory::kHole, false);
}

TEST_F(AdrenoStreams, CallsAreThreeBuffersDeep) {
  const auto at = [](uint32_t level) { return kCalled + level * 0x10000; };
  gpu.Set(at(2), MemWrite(kData + 8, 3).all());
  gpu.Set(at(1), Words(Call(at(2), 4, 0x37)).Append(MemWrite(kData + 4, 2)).all());
  ExpectDone(Words(Call(at(1), 8)).Append(MemWrite(kData, 1)));
  for (uint32_t i = 0; i < 3; ++i) EXPECT_EQ(gpu.At<uint32_t>(kData + i * 4), i + 1);
  gpu.Set(at(2), Call(at(3), 4).all());
  EXPECT_EQ(RunWords(Call(at(1), 8)).kind, CommandStop::kInvalid);
  ExpectNote(FidelityKind::kUnknown, "Adreno: buffer that is called from too deep");
}

TEST_F(AdrenoStreams, AnEndlessStreamHangs) {
  EXPECT_EQ(RunWords(Call(kStream, 4, 0x57)).kind, CommandStop::kHang);
}

// -- Packets.

// The word that Mesa's replay program waits for.
TEST_F(AdrenoStreams, MemWriteWritesItsWords) {
  ExpectDone(Words().Add(0x703D8003).Wide(kData).Add(0xABABFCFC));
  EXPECT_EQ(gpu.At<uint64_t>(kData), 0xABABFCFCu);
  Words words = Words().Add(Type7(0x3D, 2 + 300)).Wide(kData + 64);
  for (uint32_t i = 0; i < 300; ++i) words.Add(i);
  ExpectDone(words.Append(Words().Add(Type7(0x3D, 2)).Wide(StreamerMemory::kHole)));
  for (uint32_t i = 0; i < 300; ++i) ASSERT_EQ(gpu.At<uint32_t>(kData + 64 + i * 4), i);
}

TEST_F(AdrenoStreams, StateIsReadOver) {
  Words words;
  for (const uint32_t opcode : {0x10, 0x12, 0x13, 0x26, 0x2F, 0x32, 0x34, 0x36, 0x43, 0x48, 0x56, 0x63, 0x64})
    words.Add(Type7(opcode, 3), 1, 2, 3);
  ExpectDone(words.Append(MemWrite(kData, 1)));
  EXPECT_EQ(gpu.At<uint32_t>(kData), 1u);
  EXPECT_TRUE(gpu.notes.empty());
}

TEST_F(AdrenoStreams, RegistersAreWrittenReadAndKept) {
  ExpectDone(Words().Add(Type4(0x883, 3), 7, 8, 9));
  ExpectDone(Words(RegToMem(0x884, kData, 2)).Append(RegToMem(0x883, kData + 8, 0)));
  EXPECT_EQ(gpu.At<uint32_t>(kData), 8u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 4), 9u);
  EXPECT_EQ(gpu.At<uint64_t>(kData + 8), 7u) << "a count of 0 is 1";
  ExpectDone(RegToMem(0x884, kData, 2, 1u << 31));  // added to what is there
  EXPECT_EQ(gpu.At<uint32_t>(kData), 16u);
  gpu.Set<uint32_t>(kData, {0x100, 0x200});
  ExpectDone(Words()
                 .Add(Type7(0x42, 3), 0x900 | 2 << 19)
                 .Wide(kData)                                       // CP_MEM_TO_REG
                 .Add(Type7(0x21, 3), 0x900 | 4 << 24, 0xF00, 0x5)  // CP_REG_RMW: turned by 4, or 5
                 .Append(RegToMem(0x900, kData + 16, 2)));
  EXPECT_EQ(gpu.At<uint32_t>(kData + 16), 0x1005u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 20), 0x200u);
}

TEST_F(AdrenoStreams, TheAlwaysOnCounterIsTheClock) {
  ExpectDone(RegToMem(0x980, kData, 2, 1u << 30));
  EXPECT_EQ(gpu.At<uint64_t>(kData), gpu.timestamp);
}

TEST_F(AdrenoStreams, MemToMemAddsAndSubtracts) {
  gpu.Set<uint64_t>(kData, {0x1'0000'0005, 0x1'0000'0003, 10});
  ExpectDone(Words()
                 .Add(Type7(0x73, 9), 1u << 29 | 2)
                 .Wide(kData + 64)
                 .Wide(kData)
                 .Wide(kData + 8)
                 .Wide(kData + 16)
                 .Add(Type7(0x73, 5), 0)
                 .Wide(kData + 72)
                 .Wide(kData));
  EXPECT_EQ(gpu.At<uint64_t>(kData + 64), 12u) << "a - b + c";
  EXPECT_EQ(gpu.At<uint64_t>(kData + 72), 5u);
}

TEST_F(AdrenoStreams, MemcpyCopiesWords) {
  gpu.Set<uint32_t>(kData, {1, 2, 3, 4});
  ExpectDone(Words().Add(Type7(0x75, 5), 3).Wide(kData).Wide(kData + 64));
  EXPECT_EQ(gpu.At<uint32_t>(kData + 72), 3u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 76), 0u);
}

TEST_F(AdrenoStreams, EventsOfBothGenerationsWrite) {
  const auto event = [](uint32_t word, uint64_t to) {
    return Words().Add(Type7(0x46, 4), word).Wide(to).Add(77);
  };
  ExpectDone(Words(event(0x04, kData))                                 // a6xx: the word
                 .Append(event(0x16 | 1u << 30, kData + 8))            // the clock
                 .Append(event(0x31, kData + 16))                      // does not write
                 .Append(event(0x16 | 1 << 27, kData + 24))            // a7xx: the word
                 .Append(event(0x16 | 1 << 27 | 3 << 20, kData + 32))  // the clock
                 .Add(Type7(0x46, 5), 0x16 | 1 << 27 | 1 << 20)
                 .Wide(kData + 40)
                 .Wide(0x123456789A)
                 .Add(Type7(0x46, 1), 0x05));
  EXPECT_EQ(gpu.At<uint64_t>(kData), 77u);
  EXPECT_EQ(gpu.At<uint64_t>(kData + 8), gpu.timestamp - 1);
  EXPECT_EQ(gpu.At<uint64_t>(kData + 16), 0u);
  EXPECT_EQ(gpu.At<uint64_t>(kData + 24), 77u);
  EXPECT_EQ(gpu.At<uint64_t>(kData + 32), gpu.timestamp);
  EXPECT_EQ(gpu.At<uint64_t>(kData + 40), 0x123456789Au);
}

TEST_F(AdrenoStreams, WaitsGoOnWhenTheConditionHolds) {
  gpu.Set<uint32_t>(kData, {0xFFFFFF04});
  const auto wait = [](uint32_t control, uint32_t reference, uint32_t mask) {
    return Words().Add(Type7(0x3C, 6), control | 1 << 4).Wide(kData).Add(reference, mask, 16);
  };
  auto run = Begin(wait(5, 5, 0xFF));
  EXPECT_EQ(GoOn(*run), CommandStop::kWaiting);
  gpu.Set<uint32_t>(kData, {0xFFFFFF05});
  EXPECT_EQ(GoOn(*run), CommandStop::kDone);
  EXPECT_EQ(RunWords(wait(1 | 1 << 3, 0, ~0u)).kind, CommandStop::kDone) << "less than 0, with a sign";
  EXPECT_EQ(RunWords(wait(1, 0, ~0u)).kind, CommandStop::kWaiting);
  // CP_WAIT_MEM_GTE, and CP_WAIT_TIMESTAMP with 64 bits
  EXPECT_EQ(RunWords(Words().Add(Type7(0x14, 4), 0).Wide(kData).Add(0)).kind, CommandStop::kWaiting);
  gpu.Set<uint64_t>(kData, {1ull << 32});
  EXPECT_EQ(RunWords(Words().Add(Type7(0x14, 4), 0).Wide(kData).Add(0)).kind, CommandStop::kDone);
  EXPECT_EQ(RunWords(Words().Add(Type7(0x14, 5), 1).Wide(kData).Wide(2ull << 32)).kind,
            CommandStop::kWaiting);
  EXPECT_EQ(RunWords(Words().Add(Type7(0x14, 5), 1).Wide(kData).Wide(1ull << 32)).kind, CommandStop::kDone);
}

TEST_F(AdrenoStreams, ConditionsSkipWhatIsBehindThem) {
  gpu.Set<uint32_t>(kData, {0, 1, 100});
  const auto cond_exec = [](uint64_t flag, uint32_t timestamp) {
    return Words().Add(Type7(0x44, 6)).Wide(flag).Wide(kData + 8).Add(timestamp, 4);
  };
  const auto cond_reg = [](uint32_t word) { return Words().Add(Type7(0x47, 2), word, 4); };
  ExpectDone(Words(cond_exec(kData, 100))
                 .Append(MemWrite(kData + 0x20, 1))
                 .Append(cond_exec(kData + 4, 100))
                 .Append(MemWrite(kData + 0x24, 1))
                 .Append(cond_exec(kData + 4, 99))
                 .Append(MemWrite(kData + 0x28, 1))
                 .Add(Type4(0x883, 1), 1 << 6)
                 .Add(Type7(0x39, 1), 0x883 | 6 << 20 | 3 << 26)  // predicate 3: bit 6
                 .Append(cond_reg(1u << 28 | 3 << 18))
                 .Append(MemWrite(kData + 0x2C, 1))
                 .Append(cond_reg(1u << 28 | 2 << 18))
                 .Append(MemWrite(kData + 0x30, 1))
                 .Add(Type7(0x65, 1), 2)  // binning
                 .Append(cond_reg(3u << 28 | 1 << 25))
                 .Append(MemWrite(kData + 0x34, 1))
                 .Append(cond_reg(3u << 28 | 1 << 27))
                 .Append(MemWrite(kData + 0x38, 1)));
  EXPECT_EQ(gpu.At<uint32_t>(kData + 0x20), 0u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 0x24), 1u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 0x28), 0u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 0x2C), 1u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 0x30), 0u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 0x34), 1u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 0x38), 0u);
  const auto cond_write = [](uint32_t reference, uint64_t to) {
    return Words()
        .Add(Type7(0x45, 8), 3 | 1 << 4 | 1 << 8)
        .Wide(kData + 4)
        .Add(reference, ~0u)
        .Wide(to)
        .Add(6);
  };
  ExpectDone(Words(cond_write(1, kData + 0x40)).Append(cond_write(2, kData + 0x44)));
  EXPECT_EQ(gpu.At<uint64_t>(kData + 0x40), 6u);
}

TEST_F(AdrenoStreams, AChainReplacesItsBuffer) {
  gpu.Set(kCalled, Call(kCalled + 0x10000, 4, 0x57).all());
  gpu.Set(kCalled + 0x10000, MemWrite(kData, 1).all());
  ExpectDone(Words(Call(kCalled, 4)).Append(MemWrite(kData + 4, 2)));
  EXPECT_EQ(gpu.At<uint64_t>(kData), 0x2'0000'0001u);
}

// -- What is left out.

TEST_F(AdrenoStreams, DispatchesAndDrawsAreLeftOut) {
  gpu.Set<uint64_t>(kCalled, {0x0, 0x1300000000000000, 5});
  ExpectDone(Words()
                 .Add(Type4(0xA9B4, 2))
                 .Wide(kCalled)
                 .Add(Type7(0x33, 4), 0, 2, 3, 4)
                 .Add(Type7(0x41, 4), 0, 0, 0, 0)
                 .Add(Type7(0x38, 3), 0, 1, 3)
                 .Append(MemWrite(kData, 1)));
  ASSERT_EQ(gpu.dispatches.size(), 3u);
  EXPECT_EQ(gpu.dispatches[0].kernel.value, kCalled);
  EXPECT_EQ(gpu.dispatches[0].groups, 24u);
  EXPECT_NE(gpu.dispatches[0].kernel_hash, 0u);
  const uint64_t hash = gpu.dispatches[1].kernel_hash;
  EXPECT_EQ(hash, gpu.dispatches[0].kernel_hash);
  EXPECT_FALSE(gpu.dispatches[2].kernel) << "a draw";
  EXPECT_EQ(gpu.At<uint32_t>(kData), 1u);
  gpu.Set<uint64_t>(kCalled + 16, {6});  // behind its end
  ExpectDone(Words().Add(Type7(0x33, 4), 0, 2, 3, 4));
  EXPECT_EQ(gpu.dispatches[3].kernel_hash, hash);
  gpu.skips = false;
  EXPECT_EQ(RunWords(Words().Add(Type7(0x33, 4), 0, 2, 3, 4)).kind, CommandStop::kDeviceFault);
}

}  // namespace
}  // namespace dxg::hostsim
