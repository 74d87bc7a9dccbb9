#include <gtest/gtest.h>

#include "hostsim/work/streamers/intel.h"
#include "hostsim/work/streamers/register_file.h"
#include "tests/guest/counted_memory.h"
#include "tests/hostsim/streamer_rig.h"

// Streams of Intel's command streamers, written by hand: each header is a number of the manuals.

namespace dxg::hostsim::intel {
namespace {

constexpr uint64_t kBatch = StreamerMemory::kBase;
constexpr uint64_t kSecond = kBatch + 0x10000;  // another batch
constexpr uint64_t kThird = kBatch + 0x20000;
constexpr uint64_t kData = kBatch + 0x40000;
constexpr uint64_t kHole = StreamerMemory::kHole;

constexpr uint32_t kEnd = 0x05000000;
constexpr uint32_t kStart = 0x18800101;   // MI_BATCH_BUFFER_START, which replaces the batch
constexpr uint32_t kNested = 0x18C00101;  // the same, which comes back
constexpr uint32_t kStore = 0x10000002;   // MI_STORE_DATA_IMM of a dword
constexpr uint32_t kStore64 = 0x10200003;
constexpr uint32_t kLoadRegister = 0x11000001;   // MI_LOAD_REGISTER_IMM
constexpr uint32_t kStoreRegister = 0x12000002;  // MI_STORE_REGISTER_MEM
constexpr uint32_t kPipeControl = 0x7A000004;
constexpr uint32_t kWait = 0x0E008003;  // MI_SEMAPHORE_WAIT that polls, memory > data

using Words = std::vector<uint32_t>;

uint32_t Low(uint64_t value) { return static_cast<uint32_t>(value); }
uint32_t High(uint64_t value) { return static_cast<uint32_t>(value >> 32); }

Words operator+(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}
Words StoreOf(uint64_t address, uint32_t value) { return {kStore, Low(address), High(address), value}; }
Words JumpTo(uint64_t address, uint32_t header = kStart) { return {header, Low(address), High(address)}; }

class IntelStream : public StreamerRig {
 public:
  IntelStream() : StreamerRig(AdapterProfile::INTEL_GEN12) {}

  using StreamerRig::Run;
  CommandStop Run(const Words& batch, uint64_t budget = CommandStreamer::kUnlimited) {
    gpu.Set(kBatch, batch);
    return Run(kBatch, static_cast<uint32_t>(batch.size() * 4), budget);
  }
  // The batch and an end.
  void ExpectDone(const Words& batch) { EXPECT_EQ(Run(batch + Words{kEnd}).kind, CommandStop::kDone); }
  void ExpectInvalid(const Words& batch, uint64_t at = kBatch) {
    const CommandStop stop = Run(batch + Words{kEnd});
    EXPECT_EQ(stop.kind, CommandStop::kInvalid);
    EXPECT_EQ(stop.op_address.value, at);
  }
  void ExpectFault(const Words& batch, uint64_t address, bool write) {
    const CommandStop stop = Run(batch + Words{kEnd});
    EXPECT_EQ(stop.kind, CommandStop::kPageFault);
    EXPECT_EQ(stop.fault.address.value, address);
    EXPECT_EQ(stop.fault.write, write);
  }
  void FillWithZeros(uint64_t address, size_t dwords) { gpu.Set(address, Words(dwords, 0)); }
};

// -- Refusals.

TEST_F(IntelStream, NothingIsOverAtOnce) { EXPECT_EQ(Run(kHole, 0).kind, CommandStop::kDone); }

TEST_F(IntelStream, UnknownCommandsAreInvalidAndNoted) {
  const Words unknown = {0x20000000,  // a client that is not there
                         0x7B800000,  // the pipe's 3DPRIMITIVE with a subcode of nobody
                         0x54000001,  // XY_TEXT_BLT
                         0x1F800000,  // MI opcode 0x3F
                         0x7C000000};
  for (const uint32_t header : unknown) {
    SCOPED_TRACE(header);
    gpu.notes.clear();
    ExpectInvalid({header, 0, 0, 0});
    ASSERT_EQ(gpu.notes.size(), 1u);
    EXPECT_EQ(gpu.notes.begin()->first.first, FidelityKind::kUnknown);
  }
}

TEST_F(IntelStream, NamesTheUnknownCommand) {
  ExpectInvalid({0x00000000, 0x54000001, 0, 0}, kBatch + 4);
  EXPECT_EQ(gpu.notes.begin()->first.second, "Intel command 0x54000000");
}

TEST_F(IntelStream, RefusesAnOddAddress) { EXPECT_EQ(Run(kBatch + 2, 64).kind, CommandStop::kInvalid); }

TEST_F(IntelStream, RefusesCommandsThatAreTooShort) {
  ExpectInvalid({0x10000001, Low(kData), 0});             // a store without data
  ExpectInvalid({0x7A000003, 0x4000, Low(kData), 0, 1});  // PIPE_CONTROL of five dwords
  ExpectInvalid({0x18800100, Low(kSecond)});
  ExpectInvalid({0x11000002, 0x2600, 1, 0x2604});  // half a pair
  ExpectInvalid({0x71050000, 0});
}

TEST_F(IntelStream, RefusesTheGlobalTable) {
  ExpectInvalid({kStore | 1u << 22, Low(kData), 0, 1});
  ExpectInvalid(JumpTo(kSecond, kStart & ~(1u << 8)));
  ExpectInvalid({kPipeControl, 0x4000 | 1u << 24, Low(kData), 0, 1, 0});
  ExpectInvalid({kStoreRegister | 1u << 22, 0x2600, Low(kData), 0});
  ExpectInvalid({kWait | 1u << 22, 0, Low(kData), 0, 0});
}

TEST_F(IntelStream, FaultsWhereMemoryIsNot) {
  ExpectFault(StoreOf(kHole + 8, 1), kHole + 8, true);
  ExpectFault(StoreOf(StreamerMemory::kReadOnly, 1), StreamerMemory::kReadOnly, true);
  ExpectFault({kPipeControl, 0x4000, Low(kHole), 0, 1, 0}, kHole, true);
  ExpectFault({0x14800002, 0x2600, Low(kHole), 0}, kHole, false);  // MI_LOAD_REGISTER_MEM
  ExpectFault(JumpTo(kHole), kHole, false);
}

TEST_F(IntelStream, NothingButAnEndEndsABatch) {
  FillWithZeros(kHole - 64, 16);
  const CommandStop stop = Run(kHole - 64, 4);
  EXPECT_EQ(stop.kind, CommandStop::kPageFault) << "it ran on, over what the submission said";
  EXPECT_EQ(stop.fault.address.value, kHole);
}

// -- Flow.

TEST_F(IntelStream, JumpsAreNoCalls) {
  gpu.Set(kSecond, StoreOf(kData, 2) + JumpTo(kThird));
  gpu.Set(kThird, StoreOf(kData + 4, 3) + Words{kEnd});
  EXPECT_EQ(Run(JumpTo(kSecond) + StoreOf(kData + 8, 4) + Words{kEnd}).kind, CommandStop::kDone);
  EXPECT_EQ(gpu.At<uint32_t>(kData), 2u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 4), 3u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 8), 0u);
}

TEST_F(IntelStream, NestedBatchesComeBack) {
  gpu.Set(kThird, StoreOf(kData, 3) + Words{kEnd});
  gpu.Set(kSecond, JumpTo(kThird, kNested) + StoreOf(kData + 4, 4) + Words{kEnd});
  ExpectDone(JumpTo(kSecond, kNested) + StoreOf(kData + 8, 5));
  EXPECT_EQ(gpu.At<uint32_t>(kData), 3u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 4), 4u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 8), 5u);
}

TEST_F(IntelStream, NestsThreeLevelsAndNoMore) {
  gpu.Set(kThird, JumpTo(kSecond, kNested) + Words{kEnd});
  gpu.Set(kSecond, JumpTo(kThird, kNested) + Words{kEnd});
  ExpectInvalid(JumpTo(kSecond, kNested), kThird);
}

TEST_F(IntelStream, EndlessJumpsHang) {
  const CommandStop stop = Run(JumpTo(kBatch));
  EXPECT_EQ(stop.kind, CommandStop::kHang);
}

TEST_F(IntelStream, IsCancelled) {
  cancelled = true;
  EXPECT_EQ(Run(JumpTo(kBatch)).kind, CommandStop::kCancelled);
}

TEST_F(IntelStream, AConditionMayEndABatch) {
  gpu.Set<uint32_t>(kData, {5, 0});
  constexpr uint32_t kIfMore = 0x1B000002;  // MI_CONDITIONAL_BATCH_BUFFER_END
  ExpectDone(Words{kIfMore, 4, Low(kData), 0} + StoreOf(kData + 4, 1));
  EXPECT_EQ(gpu.At<uint32_t>(kData + 4), 1u) << "5 > 4: it goes on";
  ExpectDone(Words{kIfMore, 5, Low(kData), 0} + StoreOf(kData + 4, 2));
  EXPECT_EQ(gpu.At<uint32_t>(kData + 4), 1u);
}

TEST_F(IntelStream, ReadsOverStateByItsLength) {
  const Words state = Words{0x69041320}                             // PIPELINE_SELECT, one dword
                      + Words{0x61050000, 0xFFFFFFFF}               // STATE_COMPUTE_MODE
                      + Words{0x61040001, ~0u, ~0u}                 // GPGPU_CSR_BASE_ADDRESS
                      + Words{0x70000007} + Words(8, ~0u)           // MEDIA_VFE_STATE
                      + Words{0x70040000, ~0u}                      // MEDIA_STATE_FLUSH
                      + Words{0x61020001, ~0u, ~0u}                 // STATE_SIP
                      + Words{0x70011388} + Words(0x1388 + 1, ~0u)  // a length of more than 8 bits
                      + Words{0x78260000, ~0u}                      // 3DSTATE_BINDING_TABLE_POINTERS_VS
                      + Words{0x02800000, 0x04000001, 0x01000000, 0x05800000};  // one-dword MI commands
  ExpectDone(state + StoreOf(kData, 7));
  EXPECT_EQ(gpu.At<uint32_t>(kData), 7u);
  EXPECT_TRUE(gpu.notes.empty());
}

TEST_F(IntelStream, ACommandMayCrossAPage) {
  const uint64_t start = kBatch + kPageBytes - 8;
  gpu.Set(start, StoreOf(kData, 9) + Words{kEnd});
  EXPECT_EQ(Run(start, 20).kind, CommandStop::kDone);
  EXPECT_EQ(gpu.At<uint32_t>(kData), 9u);
}

TEST_F(IntelStream, SeesWhatItWroteIntoItself) {
  const uint64_t patched = kBatch + 4 * 4;
  ExpectDone(StoreOf(patched, kEnd) + Words{0x54000001});
}

// -- Budget.

TEST_F(IntelStream, StopsBeforeWhatIsLargerThanItsBudget) {
  gpu.Set(kBatch, StoreOf(kData, 1) + StoreOf(kData + 4, 2) + Words{kEnd});
  const auto run = MakeStreamer(AdapterProfile::INTEL_GEN12, {GpuAddress(kBatch), 36}, &state_);
  EXPECT_EQ(run->Run(gpu, cancelled, 100).kind, CommandStop::kBudget);
  EXPECT_EQ(gpu.At<uint32_t>(kData), 1u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 4), 0u);
  EXPECT_EQ(run->Run(gpu, cancelled, CommandStreamer::kUnlimited).kind, CommandStop::kDone);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 4), 2u);
}

// -- Memory and registers.

TEST_F(IntelStream, StoresDwordsAndQwords) {
  ExpectDone(Words{kStore64, Low(kData), 0, 0x11111111, 0x22222222} +
             Words{kStore + 2, Low(kData + 12), 0, 1, 2, 3} +               // three dwords at once
             Words{kStore64, Low(kData + 36), 0, 0x33333333, 0x44444444});  // not at a multiple of 8
  EXPECT_EQ(gpu.At<uint64_t>(kData), 0x2222222211111111u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 8), 0u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 12), 1u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 20), 3u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 36), 0x33333333u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 40), 0x44444444u);
}

TEST_F(IntelStream, AddressesAreCanonical) {
  ExpectDone({kStore, Low(kData), 0xFFFF0000, 6});
  EXPECT_EQ(gpu.At<uint32_t>(kData), 6u);
}

TEST_F(IntelStream, RegistersOutliveTheSubmission) {
  ExpectDone({0x11000003, 0x2600, 0x1234, 0x2604, 0x5678});  // two pairs
  ExpectDone({kStoreRegister, 0x2604, Low(kData), 0});
  EXPECT_EQ(gpu.At<uint32_t>(kData), 0x5678u);
  ExpectDone({kStoreRegister, 0x2608, Low(kData), 0});
  EXPECT_EQ(gpu.At<uint32_t>(kData), 0u) << "nobody wrote it";
}

TEST_F(IntelStream, MovesBetweenRegistersAndMemory) {
  gpu.Set<uint32_t>(kData, {0, 77});
  ExpectDone(Words{0x14800002, 0x2610, Low(kData + 4), 0} +  // MI_LOAD_REGISTER_MEM
             Words{0x15000001, 0x2610, 0x2618} +             // MI_LOAD_REGISTER_REG
             Words{kStoreRegister, 0x2618, Low(kData + 8), 0} +
             Words{0x17000003, Low(kData + 12), 0, Low(kData + 4), 0});  // MI_COPY_MEM_MEM
  EXPECT_EQ(gpu.At<uint32_t>(kData + 8), 77u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 12), 77u);
}

TEST_F(IntelStream, ATimestampIsARegister) {
  ExpectDone(Words{kStoreRegister, 0x2358, Low(kData), 0} + Words{kStoreRegister, 0x235C, Low(kData + 4), 0});
  EXPECT_EQ(gpu.At<uint32_t>(kData), 1u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 4), 1u) << "the high half";
}

TEST_F(IntelStream, RegistersAreLimited) {
  constexpr uint32_t kBlockBytes = RegisterFile::kBlock * 4, kMax = RegisterFile::kBlocksMax;
  Words batch;
  for (uint32_t i = 1; i <= kMax; ++i) batch = std::move(batch) + Words{kLoadRegister, i * kBlockBytes, i};
  ExpectDone(batch);
  EXPECT_TRUE(gpu.notes.empty());
  ExpectDone(Words{kLoadRegister, (kMax + 1) * kBlockBytes, 1} +
             Words{kStoreRegister, kMax * kBlockBytes, Low(kData), 0} +
             Words{kStoreRegister, (kMax + 1) * kBlockBytes, Low(kData + 4), 0});
  EXPECT_EQ(gpu.At<uint32_t>(kData), kMax);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 4), 0u);
  EXPECT_EQ((gpu.notes[{FidelityKind::kApproximated, "Intel: too many registers for a queue"}]), 1);
}

TEST_F(IntelStream, PipeControlWritesAtItsEnd) {
  ExpectDone(Words{kPipeControl, 0x00104000, Low(kData), 0, 42, 1} +     // the immediate
             Words{kPipeControl, 0x0010C000, Low(kData + 8), 0, 0, 0} +  // the time
             Words{kPipeControl, 0x00008000, Low(kData + 16), 0, ~0u, ~0u} +
             Words{kPipeControl, 0x00100000, Low(kHole), 0, 1, 0});  // nothing
  EXPECT_EQ(gpu.At<uint64_t>(kData), 42 + (1ull << 32));
  EXPECT_EQ(gpu.At<uint64_t>(kData + 8), 0x1'0000'0001u);
  EXPECT_EQ(gpu.At<uint64_t>(kData + 16), 0u);
  EXPECT_EQ(gpu.notes.size(), 1u) << "no depth was counted";
}

TEST_F(IntelStream, FlushWritesAtItsEnd) {
  ExpectDone(Words{0x13004003, Low(kData), 0, 43, 2} + Words{0x1300C003, Low(kData + 8), 0, 0, 0} +
             Words{0x13000003, Low(kHole), 0, 0, 0});
  EXPECT_EQ(gpu.At<uint64_t>(kData), 43 + (2ull << 32));
  EXPECT_EQ(gpu.At<uint64_t>(kData + 8), 0x1'0000'0001u);
}

TEST_F(IntelStream, WaitsForMemory) {
  struct Case {
    uint32_t comparison;
    bool less, equal, more;  // what passes
  };
  for (const Case& with :
       {Case{0, false, false, true}, Case{1, false, true, true}, Case{2, true, false, false},
        Case{3, true, true, false}, Case{4, false, true, false}, Case{5, true, false, true}}) {
    SCOPED_TRACE(with.comparison);
    const Words wait{kWait | with.comparison << 12, 10, Low(kData), 0, 0};
    auto passes = [&](uint32_t value) {
      gpu.Set<uint32_t>(kData, {value});
      const CommandStop stop = Run(wait + Words{kEnd});
      EXPECT_TRUE(stop.kind == CommandStop::kDone || stop.kind == CommandStop::kWaiting);
      return stop.kind == CommandStop::kDone;
    };
    EXPECT_EQ(passes(9), with.less);
    EXPECT_EQ(passes(10), with.equal);
    EXPECT_EQ(passes(11), with.more);
  }
  ExpectInvalid({kWait | 6u << 12, 10, Low(kData), 0, 0});
}

TEST_F(IntelStream, GoesOnWhereItWaited) {
  gpu.Set(kBatch, Words{kWait | 4u << 12, 1, Low(kData), 0, 0} + Words{0x54000001});
  gpu.Set<uint32_t>(kData, {0});
  const auto run = MakeStreamer(AdapterProfile::INTEL_GEN12, {GpuAddress(kBatch), 24}, &state_);
  EXPECT_EQ(run->Run(gpu, cancelled, CommandStreamer::kUnlimited).kind, CommandStop::kWaiting);
  gpu.Set<uint32_t>(kData, {1});
  gpu.Set<uint32_t>(kBatch + 20, {kEnd});  // what follows may be written until then
  EXPECT_EQ(run->Run(gpu, cancelled, CommandStreamer::kUnlimited).kind, CommandStop::kDone);
}

TEST_F(IntelStream, WaitsForARegister) {
  EXPECT_EQ(Run({kWait | 4u << 12 | 1u << 16, 5, 0x2600, 0, 0, kEnd}).kind, CommandStop::kWaiting);
  ExpectDone(Words{kLoadRegister, 0x2600, 5} + Words{kWait | 4u << 12 | 1u << 16, 5, 0x2600, 0, 0});
}

TEST_F(IntelStream, Atomics) {
  struct Case {
    uint32_t operation;
    uint64_t expected;  // of 0xFFFFFFFE with 3 and 9
  };
  const Case cases[] = {{0, 0xFFFFFFFE},  {1, 2},          {2, 0xFFFFFFFF}, {3, 0xFFFFFFFD},
                        {4, 3},           {5, 0xFFFFFFFF}, {6, 0xFFFFFFFD}, {7, 1},
                        {8, 0xFFFFFFFB},  {9, 5},          {10, 3},         {11, 0xFFFFFFFE},
                        {12, 0xFFFFFFFE}, {13, 3},         {14, 0xFFFFFFFE}};
  for (const Case& with : cases) {
    SCOPED_TRACE(with.operation);
    for (const uint64_t address : {kData, kData + 4}) {
      gpu.Set<uint32_t>(kData, {0xFFFFFFFE, 0xFFFFFFFE});
      // Operands in the command; the old value is returned.
      ExpectDone(Words{0x17850009 | with.operation << 8, Low(address), 0, 3, 9, 0, 0, 0, 0, 0, 0} +
                 Words{kStoreRegister, 0x2610, Low(kData + 8), 0});
      EXPECT_EQ(gpu.At<uint32_t>(address), with.expected);
      EXPECT_EQ(gpu.At<uint32_t>(address == kData ? kData + 4 : kData), 0xFFFFFFFEu);
      EXPECT_EQ(gpu.At<uint32_t>(kData + 8), 0xFFFFFFFEu);
    }
  }
  ExpectInvalid({0x17840F09, Low(kData), 0, 3, 9, 0, 0, 0, 0, 0, 0});
  ExpectInvalid({0x17842709, Low(kData + 4), 0, 3, 9, 0, 0, 0, 0, 0, 0});
}

TEST_F(IntelStream, AtomicsOfEightBytes) {
  gpu.Set<uint64_t>(kData, {0x00000001'FFFFFFFF});
  ExpectDone({0x17842509, Low(kData), 0, 0, 0, 0, 0, 0, 0, 0, 0});
  EXPECT_EQ(gpu.At<uint64_t>(kData), 0x00000002'00000000u);
  ExpectDone(
      {0x17842E09, Low(kData), 0, 0, 7, 2, 1, 0, 0, 0, 0});  // compare with 2'00000000, write 1'00000007
  EXPECT_EQ(gpu.At<uint64_t>(kData), 0x00000001'00000007u);
  ExpectDone(Words{0x11000003, 0x2600, 2, 0x2604, 0} + Words{0x17802701, Low(kData), 0});  // add GPR 0
  EXPECT_EQ(gpu.At<uint64_t>(kData), 0x00000001'00000009u);
}

TEST_F(IntelStream, Arithmetic) {
  const auto alu = [](uint32_t operation, uint32_t left, uint32_t right) {
    return operation << 20 | left << 10 | right;
  };
  const Words set = {0x11000007, 0x2600, 5, 0x2604, 0, 0x2608, 7, 0x260C, 1};
  ExpectDone(
      set +
      Words{0x0D000000 | (13 - 2), alu(0x080, 0x20, 0), alu(0x080, 0x21, 1), alu(0x100, 0, 0),
            alu(0x180, 2, 0x31),                                         // R2 = R0 + R1
            alu(0x101, 0, 0), alu(0x180, 3, 0x31), alu(0x180, 4, 0x33),  // R3, borrow
            alu(0x104, 0, 0), alu(0x180, 5, 0x31), alu(0x081, 0x21, 0), alu(0x103, 0, 0),
            alu(0x580, 6, 0x31)} +  // R6 = ~R0
      Words{kStoreRegister, 0x2610, Low(kData), 0} +
      Words{kStoreRegister, 0x2614, Low(kData + 4), 0} + Words{kStoreRegister, 0x2618, Low(kData + 8), 0} +
      Words{kStoreRegister, 0x2620, Low(kData + 12), 0} + Words{kStoreRegister, 0x2628, Low(kData + 16), 0} +
      Words{kStoreRegister, 0x2630, Low(kData + 20), 0});
  EXPECT_EQ(gpu.At<uint64_t>(kData), 12 + (1ull << 32));
  EXPECT_EQ(gpu.At<uint32_t>(kData + 8), static_cast<uint32_t>(-2));
  EXPECT_EQ(gpu.At<uint32_t>(kData + 12), ~0u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 16), 2u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 20), ~5u);
  ExpectInvalid({0x0D000000, alu(0x080, 0x20, 16)});
}

TEST_F(IntelStream, NotesWhatItLeavesOut) {
  ExpectDone({0x06000000, 0x0D800000, 0, 0x14000002, Low(kData), 0, 0});
  EXPECT_EQ(gpu.notes.size(), 3u);
  for (const auto& [what, count] : gpu.notes)
    EXPECT_EQ(what.first == FidelityKind::kNotExecuted, what.second == "Intel command MI_PREDICATE");
}

// -- Copies and fills.

TEST_F(IntelStream, CopiesBlocks) {
  std::vector<uint8_t> pixels(64 * 8);
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i);
  gpu.Set(kData, pixels);
  const uint64_t to = kData + 0x1000;
  // 3 x 2 pixels of 32 bits from (2, 1), 64 bytes a row, to (1, 4), 32 bytes a row.
  ExpectDone({0x5050000A, 31, 4u << 16 | 1, 6u << 16 | 4, Low(to), 0, 0, 1u << 16 | 2, 63, Low(kData), 0, 0});
  for (uint32_t y = 0; y < 2; ++y) {
    for (uint32_t x = 0; x < 3; ++x) {
      EXPECT_EQ(gpu.At<uint32_t>(to + (4 + y) * 32 + (1 + x) * 4),
                gpu.At<uint32_t>(kData + (1 + y) * 64 + (2 + x) * 4));
    }
  }
  EXPECT_EQ(gpu.At<uint32_t>(to + 4 * 32), 0u) << "left of it";
  EXPECT_EQ(gpu.At<uint32_t>(to + 4 * 32 + 16), 0u) << "right of it";
  EXPECT_EQ(gpu.At<uint32_t>(to + 6 * 32 + 4), 0u) << "below it";
}

TEST_F(IntelStream, OldCopiesDoTheSame) {
  gpu.Set<uint32_t>(kData, {1, 2, 3, 4});
  ExpectDone(Words{0x54F00008, 0x03CC0010, 0, 2u << 16 | 2, Low(kData + 0x100), 0, 0, 8, Low(kData), 0} +
             Words{0x50800008, 0x03000010, 0, 1u << 16 | 4, Low(kData + 0x200), 0, 0, 16, Low(kData), 0});
  EXPECT_EQ(gpu.At<uint64_t>(kData + 0x100), 1 + (2ull << 32));
  EXPECT_EQ(gpu.At<uint64_t>(kData + 0x110), 3 + (4ull << 32));
  EXPECT_EQ(gpu.At<uint64_t>(kData + 0x208), 3 + (4ull << 32));
}

TEST_F(IntelStream, CopiesWhatOverlaps) {
  gpu.Set<uint32_t>(kData, {1, 2, 3, 4});
  ExpectDone({0x5050000A, 15, 0, 1u << 16 | 4, Low(kData + 4), 0, 0, 0, 15, Low(kData), 0, 0});
  EXPECT_EQ(gpu.At<uint32_t>(kData + 4), 1u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 16), 4u);
}

TEST_F(IntelStream, Fills) {
  ExpectDone(Words{0x51100009, 63, 1u << 16 | 1, 3u << 16 | 4, Low(kData), 0, 0, 0xABCD1234, 0, 0, 0} +
             Words{0x54300005, 0x03F00040, 8u << 16, 9u << 16 | 2, Low(kData), 0, 0x55667788} +
             Words{0x51280009, 63, 10u << 16, 11u << 16 | 2, Low(kData), 0, 0, 1, 2, 3, 4} +  // 16 bytes
             Words{0x51000009, 63, 12u << 16 | 1, 13u << 16 | 4, Low(kData), 0, 0, 0xEE, 0, 0, 0});  // bytes
  EXPECT_EQ(gpu.At<uint32_t>(kData + 64), 0u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 68), 0xABCD1234u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 128 + 12), 0xABCD1234u);
  EXPECT_EQ(gpu.At<uint32_t>(kData + 128 + 16), 0u);
  EXPECT_EQ(gpu.At<uint64_t>(kData + 512), 0x5566778855667788u);
  EXPECT_EQ(gpu.At<uint64_t>(kData + 640 + 24), 3 + (4ull << 32));
  EXPECT_EQ(gpu.At<uint64_t>(kData + 768), 0xEEEEEE00u);
}

TEST_F(IntelStream, AFillTakesMemoryForItsRow) {
  const Words pixel = {0x51100009, 63, 1u << 16 | 1, 2u << 16 | 2, Low(kData), 0, 0, 0xAB, 0, 0, 0};
  ExpectDone(pixel);  // memory of the rig comes here
  guest::FailAllocationsFrom(32 * 1024);
  ExpectDone(pixel);
  guest::FailAllocationsFrom(0);
  EXPECT_EQ(gpu.At<uint64_t>(kData + 68), 0xABu);
}

TEST_F(IntelStream, RefusesWhatIsTiledOrClipped) {
  const Words copy = {0x5050000A, 31, 0, 1u << 16 | 1, Low(kData), 0, 0, 0, 31, Low(kData + 64), 0, 0};
  for (const size_t word : {1, 8}) {
    Words tiled = copy;
    tiled[word] |= 1u << 30;
    ExpectInvalid(tiled);
  }
  ExpectInvalid({0x54F00008, 0x43CC0010, 0, 1u << 16 | 1, Low(kData), 0, 0, 8, Low(kData), 0});  // clipped
  ExpectInvalid({0x54F00008, 0x03660010, 0, 1u << 16 | 1, Low(kData), 0, 0, 8, Low(kData), 0});  // xor
  ExpectInvalid({0x5060000A, 31, 0, 1u << 16 | 1, Low(kData), 0, 0, 0, 31, Low(kData), 0, 0});   // 96 bits
}

TEST_F(IntelStream, BlitsFaultAndAreCancelled) {
  ExpectFault({0x5050000A, 8191, 0, 1u << 16 | 2048, Low(kHole - 4096), 0, 0, 0, 8191, Low(kData), 0, 0},
              kHole, true);
  ExpectFault({0x5050000A, 8191, 0, 1u << 16 | 2048, Low(kData), 0, 0, 0, 8191, Low(kHole - 4096), 0, 0},
              kHole, false);
  ExpectFault({0x51100009, 8191, 0, 1u << 16 | 2048, Low(kHole - 4096), 0, 0, 1, 0, 0, 0}, kHole, true);
}

TEST_F(IntelStream, ABlitIsAsLargeAsItsBytes) {
  const Words fill = {0x51100009, 4095, 0, 2u << 16 | 1024, Low(kData), 0, 0, 1, 0, 0, 0, kEnd};
  EXPECT_EQ(Run(fill, 8000).kind, CommandStop::kBudget);
  EXPECT_EQ(gpu.At<uint32_t>(kData), 0u);
  EXPECT_EQ(Run(fill, 9000).kind, CommandStop::kDone);
}

// -- Dispatches.

constexpr uint64_t kDynamic = kBatch + 0x80000, kInstructions = kBatch + 0x90000;

// STATE_BASE_ADDRESS, MEDIA_INTERFACE_DESCRIPTOR_LOAD, and the descriptor of a kernel of 24 bytes.
Words Prepare(StreamerMemory& gpu) {
  Words bases(22, 0);
  bases[0] = 0x61010014;
  bases[6] = Low(kDynamic) | 1;
  bases[10] = Low(kInstructions) | 1;
  gpu.Set<uint32_t>(kDynamic + 0x40 + 32, {0x100, 0, 0, 0, 0, 0, 0, 0});
  gpu.Set<uint32_t>(kInstructions + 0x100,
                    {0x20000061, 5, 0x31, 4, 0, 0, ~0u});  // a compact mov, a send with EOT
  return bases + Words{0x70020002, 0, 64, 0x40};
}

Words Walk(uint32_t x, uint32_t y, uint32_t z) {
  return {0x7105000D, 1, 0, 0, 1u << 30, 0, 0, x, 0, 0, y, 0, z, ~0u, ~0u};
}

TEST_F(IntelStream, DispatchesAreLeftOut) {
  ExpectDone(Prepare(gpu) + Walk(4, 3, 2) + StoreOf(kData, 1));
  ASSERT_EQ(gpu.dispatches.size(), 1u);
  const GpuDispatch dispatch = gpu.dispatches.front();
  EXPECT_EQ(dispatch.kernel.value, kInstructions + 0x100);
  EXPECT_EQ(dispatch.groups, 24u);
  EXPECT_EQ(dispatch.simd, 16u);
  EXPECT_EQ(gpu.At<uint32_t>(kData), 1u) << "and the rest goes on";

  // Of the instructions up to the end of the thread, and of nothing behind it.
  gpu.Set<uint32_t>(kInstructions + 0x118, {0});
  ExpectDone(Walk(1, 1, 1));
  EXPECT_EQ(gpu.dispatches.back().kernel_hash, dispatch.kernel_hash) << "bases outlive the submission";
  gpu.Set<uint32_t>(kInstructions + 0x104, {6});
  ExpectDone(Walk(1, 1, 1));
  EXPECT_NE(gpu.dispatches.back().kernel_hash, gpu.dispatches[1].kernel_hash);
  EXPECT_NE(gpu.dispatches.back().kernel_hash, 0u);
}

TEST_F(IntelStream, ADispatchMayCostTheDevice) {
  gpu.skips = false;
  EXPECT_EQ(Run(Prepare(gpu) + Walk(1, 1, 1) + Words{kEnd}).kind, CommandStop::kDeviceFault);
}

TEST_F(IntelStream, DrawsAreLeftOut) {
  ExpectDone({0x7B000005, 0, 100, 0, 3, 0, 0});
  ASSERT_EQ(gpu.dispatches.size(), 1u);
  EXPECT_EQ(gpu.dispatches.front().groups, 300u);
}

TEST_F(IntelStream, AKernelWithoutEndHasNoHash) {
  const Words prepared = Prepare(gpu);
  gpu.Set(kInstructions + 0x100, Words(17000, 0x61));
  ExpectDone(prepared + Walk(1, 1, 1));
  EXPECT_EQ(gpu.dispatches.front().kernel_hash, 0u);
}

TEST_F(IntelStream, AKernelIsLookedAtOnce) {
  ExpectDone(Prepare(gpu));
  EXPECT_EQ(Run(Walk(1, 1, 1) + Words{kEnd}, 10'000).kind, CommandStop::kBudget) << "that costs";
  EXPECT_TRUE(gpu.dispatches.empty());
  EXPECT_EQ(Run(Walk(1, 1, 1) + Walk(1, 1, 1) + Words{kEnd}, 20'000).kind, CommandStop::kDone);
  ASSERT_EQ(gpu.dispatches.size(), 2u);
  EXPECT_NE(gpu.dispatches[0].kernel_hash, 0u);
  EXPECT_EQ(gpu.dispatches[0].kernel_hash, gpu.dispatches[1].kernel_hash);
}

TEST_F(IntelStream, AKernelThatIsLookedAtIsCancelled) {
  const Words prepared = Prepare(gpu);
  gpu.Set(kInstructions + 0x100, Words(17000, 0x61));
  gpu.on_translate = [this](uint64_t address, uint64_t) {
    if (address == kInstructions + kPageBytes) cancelled = true;
  };
  EXPECT_EQ(Run(prepared + Walk(1, 1, 1) + Words{kEnd}).kind, CommandStop::kCancelled);
  EXPECT_TRUE(gpu.dispatches.empty());
}

TEST_F(IntelStream, AKernelMayEndBeforeMemoryThatIsNotThere) {
  const Words prepared = Prepare(gpu);
  const auto kernel_at = [&](uint64_t address) {
    gpu.Set<uint32_t>(kDynamic + 0x40 + 32, {Low(address - kInstructions), 0, 0, 0, 0, 0, 0, 0});
    ExpectDone(prepared + Walk(1, 1, 1));
    return gpu.dispatches.back().kernel_hash;
  };
  const Words ends = {0x31, 4, 0, 0}, goes_on = {0x61, 0, 0, 0};
  gpu.Set(kHole - 64, goes_on + goes_on + goes_on + ends);
  EXPECT_NE(kernel_at(kHole - 64), 0u);
  gpu.Set(kHole - 16, goes_on);
  EXPECT_EQ(kernel_at(kHole - 64), 0u);
}

TEST_F(IntelStream, ADispatchNeedsItsDescriptor) {
  Words bases(22, 0);
  bases[0] = 0x61010014;
  bases[6] = Low(kHole) | 1;
  ExpectFault(bases + Words{0x70020002, 0, 64, 0} + Walk(1, 1, 1), kHole + 32, false);
}

}  // namespace
}  // namespace dxg::hostsim::intel
