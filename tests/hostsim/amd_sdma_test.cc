#include "hostsim/work/streamers/amd_sdma.h"

#include <gtest/gtest.h>

#include "hostsim/work/streamers/register_file.h"
#include "tests/hostsim/packet_rig.h"

// Streams of SDMA packets, written by hand.

namespace dxg::hostsim {
namespace {

class AmdSdmaStreams : public PacketRig {
 public:
  AmdSdmaStreams() : PacketRig(AdapterProfile::AMD_SDMA) {}

  static Words Fence(uint64_t to, uint32_t value) { return Words().Add(5).Wide(to).Add(value); }
  static Words Copy(uint64_t to, uint64_t from, uint32_t bytes, uint32_t flags = 0) {
    return Words().Add(1 | flags, bytes - 1, 0).Wide(from).Wide(to);
  }
  static Words Poll(uint32_t function, uint64_t from, uint32_t reference, uint32_t retries = 0xFFF) {
    return Words().Add(8 | function << 28 | 1u << 31).Wide(from).Add(reference, 0xFF, 10 | retries << 16);
  }
};

// -- Registers.

// A write to one register of each block, from the first given to before the last.
Words WriteBlocks(uint32_t first, uint32_t end) {
  Words words;
  for (uint32_t i = first; i < end; ++i) words.Add(14, i * RegisterFile::kBlock, i);
  return words;
}

constexpr char kTooMany[] = "AMD SDMA: too many registers for a queue";

TEST_F(AmdSdmaStreams, RegistersAreLimited) {
  ExpectDone(WriteBlocks(0, RegisterFile::kBlocksMax));
  EXPECT_TRUE(gpu.notes.empty());
  ExpectDone(WriteBlocks(RegisterFile::kBlocksMax, RegisterFile::kBlocksMax + 3));
  ExpectNote(FidelityKind::kApproximated, kTooMany);
  const RegisterFile& registers = RegisterFile::Of(&state_);
  for (uint32_t i = 0; i < RegisterFile::kBlocksMax + 3; ++i)
    EXPECT_EQ(registers.Read(i * RegisterFile::kBlock), i < RegisterFile::kBlocksMax ? i : 0);
}

TEST_F(AmdSdmaStreams, RegistersCountForTheirProcessAndUser) {
  for (const uint64_t of_user : {3000, 10000}) {
    const auto process = std::make_shared<UserBound>(13000 - of_user);
    const auto user = std::make_shared<UserBound>(of_user);
    RegisterFile::Of(&state_).ChargeTo(process, user);
    ExpectDone(WriteBlocks(1, 4));
    ExpectNote(FidelityKind::kApproximated, kTooMany);
    const RegisterFile& registers = RegisterFile::Of(&state_);
    EXPECT_EQ(registers.Read(2 * RegisterFile::kBlock), 2u);
    EXPECT_EQ(registers.Read(3 * RegisterFile::kBlock), 0u);
    EXPECT_GT(user->used(), 2 * 1024u);
    EXPECT_EQ(process->used(), user->used()) << "what one of them refuses counts for neither";
    state_ = nullptr;
    EXPECT_EQ(user->used() + process->used(), 0u);
    gpu.notes.clear();
  }
}

// -- Refusals.

TEST_F(AmdSdmaStreams, UnknownPacketsAreInvalidAndNamed) {
  ExpectInvalid(Words().Add(12).Repeat(8, 0), "AMD SDMA: operation 12.0");
  ExpectInvalid(Words().Add(1 | 5 << 8).Repeat(16, 0), "AMD SDMA: operation 1.5");
  ExpectInvalid(Words().Add(2 | 1 << 8).Repeat(16, 0), "AMD SDMA: operation 2.1");
  ExpectInvalid(Words().Add(8 | 3 << 8).Repeat(16, 0), "AMD SDMA: operation 8.3");
  ExpectInvalid(Words().Add(13 | 3 << 8).Repeat(16, 0), "AMD SDMA: operation 13.3");
  ExpectInvalid(Words().Add(0, 0x55).Repeat(16, 0), "AMD SDMA: operation 85.0", 1);
  ExpectInvalid(Words().Add(11 | 3u << 30).Wide(kData).Add(0, 7), "AMD SDMA: fill with units of 8 bytes");
}

TEST_F(AmdSdmaStreams, PacketsHaveToFit) {
  for (const uint32_t operation : {1, 4, 5, 6, 8, 9, 10, 11, 13, 14, 15, 16, 17, 32})
    ExpectInvalid(Words().Add(0, operation), "AMD SDMA: packet that is cut off", 1);
  ExpectInvalid(Words().Add(2).Wide(kData), "AMD SDMA: packet that is cut off");
  ExpectInvalid(Words().Add(2).Wide(kData).Add(1, 5), "AMD SDMA: packet that is cut off");
  ExpectInvalid(Words().Add(2 << 16, 5), "AMD SDMA: packet that is cut off");
}

// The buffer goes on into memory that is not there, so words are fetched for each packet.
TEST_F(AmdSdmaStreams, APacketThatIsWrittenOverIsMeasuredAgain) {
  const uint64_t hole = StreamerMemory::kHole, at = hole - kPageBytes - 4;
  gpu.Set(at, Words().Add(15).Wide(kData).Add(7).all());  // PRE_EXE of 2 words
  gpu.on_translate = [&](uint64_t address, uint64_t bytes) {
    if (address == at && bytes == 8) gpu.Set(at, Fence(kData, 7).all());
  };
  const CommandStop stop = Run(at, 2 * kPageBytes);
  EXPECT_EQ(stop.kind, CommandStop::kPageFault);
  EXPECT_EQ(stop.fault.address.value, hole);
  EXPECT_EQ(gpu.At<uint32_t>(kData), 7u);
}

TEST_F(AmdSdmaStreams, MemoryThatIsNotThereFaults) {
  ExpectFault(Fence(StreamerMemory::kHole, 1), StreamerMemory::kHole, true);
  ExpectFault(Copy(kData, StreamerMemory::kHole, 8), StreamerMemory::kHole, false);
  ExpectFault(Poll(3, StreamerMemory::kHole, 1), StreamerMemory::kHole, false);
  ExpectFault(Words().Add(2).Wide(StreamerMemory::kReadOnly).Add(0, 5), StreamerMemory::kReadOnly, true);
}

TEST_F(AmdSdmaStreams, CallsAreTwoBuffersDeep) {
  const auto call = [](uint64_t address, uint32_t words) {
    return Words().Add(4).Wide(address).Add(words, 0, 0);
  };
  gpu.Set(kCalled, Fence(kData, 1).all());
  ExpectDone(Words(call(kCalled, 4)).Append(Fence(kData + 4, 2)));
  EXPECT_EQ(gpu.At<uint32_t>(kData), 1u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 4), 2u);
  gpu.Set(kCalled, call(kCalled, 6).all());
  EXPECT_EQ(RunWords(call(kCalled, 6)).kind, CommandStop::kInvalid);
}

// -- Packets.

TEST_F(AmdSdmaStreams, PaddingTrapsAndCachesAreReadOver) {
  ExpectDone(Words()
                 .Add(0, 2 << 16, 0x55, 0x55)  // NOP, and one with two words behind it
                 .Add(6, 0)                    // TRAP
                 .Add(14, 0x1234, 5)           // SRBM_WRITE
                 .Add(15, 3)                   // PRE_EXE
                 .Add(16, 0, 0, 0)             // GPUVM_INV
                 .Add(17, 0, 0, 0, 0)          // GCR_REQ
                 .Add(32, 0)                   // DUMMY_TRAP
                 .Append(Fence(kData, 0x12345678)));
  EXPECT_EQ(gpu.At<uint64_t>(kData), 0x12345678u);
  EXPECT_TRUE(gpu.notes.empty());
}

TEST_F(AmdSdmaStreams, CopiesToOnePlaceOrTwo) {
  gpu.Set<uint64_t>(kData, {0x1111111111111111, 0x2222222222222222});
  ExpectDone(Words(Copy(kData + 0x1000, kData, 12))
                 .Append(Copy(kData + 0x2000, kData, 16, 1 << 27).Wide(kData + 0x3000)));
  EXPECT_EQ(gpu.At<uint64_t>(kData + 0x1000), 0x1111111111111111u);
  EXPECT_EQ(gpu.At<uint64_t>(kData + 0x1008), 0x22222222u);
  EXPECT_EQ(gpu.At<uint64_t>(kData + 0x2008), 0x2222222222222222u);
  EXPECT_EQ(gpu.At<uint64_t>(kData + 0x3008), 0x2222222222222222u);
}

TEST_F(AmdSdmaStreams, CopiesThatOverlapMayGoBackwards) {
  constexpr uint32_t kCount = 64 * 1024;  // words: more than a block
  std::vector<uint32_t> numbers(kCount);
  for (uint32_t i = 0; i < kCount; ++i) numbers[i] = i;
  gpu.Set(kData, numbers);
  ExpectDone(Copy(kData + 4000, kData, kCount * 4, 1 << 25));
  for (uint32_t i = 0; i < kCount; ++i) ASSERT_EQ(gpu.At<uint32_t>(kData + 4000 + i * 4), i);
}

TEST_F(AmdSdmaStreams, FillsWithUnitsOfThreeSizes) {
  ExpectDone(Words()
                 .Add(11 | 2u << 30)
                 .Wide(kData)
                 .Add(0x11223344, 15)  // words: bytes - 1
                 .Add(11 | 2u << 30)
                 .Wide(kData + 0x100)
                 .Add(0x11223344, 12)  // bytes - 4, the same
                 .Add(11)
                 .Wide(kData + 0x201)
                 .Add(0x55, 2)  // bytes
                 .Add(11 | 1u << 30)
                 .Wide(kData + 0x302)
                 .Add(0x6677, 5));  // halves
  for (const uint64_t at : {kData, kData + 0x100}) {
    EXPECT_EQ(gpu.At<uint32_t>(at + 12), 0x11223344u);
    EXPECT_EQ(gpu.At<uint32_t>(at + 16), 0u);
  }
  EXPECT_EQ(gpu.At<uint64_t>(kData + 0x200), 0x55555500u);
  EXPECT_EQ(gpu.At<uint64_t>(kData + 0x300), 0x6677667766770000u);
  EXPECT_EQ(gpu.At<uint64_t>(kData + 0x308), 0u);
}

TEST_F(AmdSdmaStreams, WritesAnyNumberOfWords) {
  Words words = Words().Add(2).Wide(kData).Add(4999);
  for (uint32_t i = 0; i < 5000; ++i) words.Add(i);
  ExpectDone(words.Append(Fence(kData + 20000, 1)));
  for (uint32_t i = 0; i < 5000; ++i) ASSERT_EQ(gpu.At<uint32_t>(kData + i * 4), i);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 20000), 1u);
}

TEST_F(AmdSdmaStreams, PollsUntilTheConditionHoldsOrRetriesAreOver) {
  gpu.Set<uint32_t>(kData, {0x104, 0});
  const auto run = Begin(Words(Poll(5, kData, 5)).Append(Fence(kData + 4, 1)));
  for (int i = 0; i < 10; ++i) EXPECT_EQ(GoOn(*run), CommandStop::kWaiting);
  gpu.Set<uint32_t>(kData, {0x105});
  EXPECT_EQ(GoOn(*run), CommandStop::kDone);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 4), 1u);
  const auto limited = Begin(Words(Poll(3, kData, 1, 2)).Append(Fence(kData + 4, 2)));
  EXPECT_EQ(GoOn(*limited), CommandStop::kWaiting);
  EXPECT_EQ(GoOn(*limited), CommandStop::kWaiting);
  EXPECT_EQ(GoOn(*limited), CommandStop::kDone);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 4), 2u);
  ExpectNote(FidelityKind::kApproximated, "AMD SDMA: wait whose retries are over goes on");
}

TEST_F(AmdSdmaStreams, AtomicsAndTheirLoops) {
  const auto atomic = [](uint32_t operation, uint64_t source, uint64_t compared, bool loop) {
    return Words()
        .Add(10 | operation << 25 | (loop ? 1 << 16 : 0))
        .Wide(kData)
        .Wide(source)
        .Wide(compared)
        .Add(0);
  };
  gpu.Set<uint64_t>(kData, {40});
  ExpectDone(atomic(0x2F, 2, 0, false));  // 64-bit add
  EXPECT_EQ(gpu.At<uint64_t>(kData), 42u);
  const auto run = Begin(atomic(0x28, 7, 1, true));
  EXPECT_EQ(GoOn(*run), CommandStop::kWaiting);
  gpu.Set<uint64_t>(kData, {1});
  EXPECT_EQ(GoOn(*run), CommandStop::kDone);
  EXPECT_EQ(gpu.At<uint64_t>(kData), 7u);
  ExpectInvalid(atomic(0x7F, 1, 1, false), "AMD SDMA: atomic operation 0x7f");
}

TEST_F(AmdSdmaStreams, AConditionSkipsWhatIsBehindIt) {
  gpu.Set<uint32_t>(kData, {5});
  const auto condition = [](uint32_t reference) { return Words().Add(9).Wide(kData).Add(reference, 4); };
  ExpectDone(
      Words(condition(5)).Append(Fence(kData + 4, 1)).Append(condition(6)).Append(Fence(kData + 8, 1)));
  EXPECT_EQ(gpu.At<uint32_t>(kData + 4), 1u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 8), 0u);
}

TEST_F(AmdSdmaStreams, TimestampsAreTheClock) {
  ExpectDone(Words().Add(13 | 2 << 8).Wide(kData).Add(13 | 1 << 8).Wide(kData + 8));
  EXPECT_EQ(gpu.At<uint64_t>(kData), gpu.timestamp - 1);
  EXPECT_EQ(gpu.At<uint64_t>(kData + 8), gpu.timestamp);
}

TEST_F(AmdSdmaStreams, ALargeCopyIsPutOffAndStops) {
  const auto run = Begin(Copy(kData + 0x10000, kData, 0x10000));
  EXPECT_EQ(GoOn(*run, 0x10000), CommandStop::kBudget) << "the packet itself costs something";
  cancelled = true;
  EXPECT_EQ(GoOn(*run), CommandStop::kCancelled);
}

}  // namespace
}  // namespace dxg::hostsim
