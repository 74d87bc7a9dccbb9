#include <gtest/gtest.h>

#include <cfenv>
#include <cstring>
#include <fstream>
#include <functional>
#include <random>

#include "hostsim/work/eu/kernel.h"
#include "hostsim/work/eu/step.h"
#include "hostsim/work/eu/thread.h"

// Whole programs: flow by lane, messages, barriers, slices, and what a kernel is kept as.

namespace dxg::hostsim::eu {
namespace {

std::vector<uint64_t> Program(const std::string& name) {
  std::ifstream file(std::string(DXG_EU_PROGRAMS) + "/" + name + ".words");
  EXPECT_TRUE(file) << name;
  std::vector<uint64_t> words;
  for (uint64_t word; file >> std::hex >> word;) words.push_back(word);
  return words;
}

Kernel::Fetch FetchFrom(const std::vector<uint64_t>& words) {
  return [&words](int64_t offset, std::span<std::byte> to) -> size_t {
    const auto bytes = std::as_bytes(std::span(words));
    if (offset < 0 || offset >= static_cast<int64_t>(bytes.size())) return 0;
    const size_t count = std::min(to.size(), bytes.size() - static_cast<size_t>(offset));
    std::memcpy(to.data(), bytes.data() + offset, count);
    return count;
  };
}

class Port : public MessagePort {
 public:
  MessageResult Send(const Message& message, Thread& thread) override {
    messages.push_back(message);
    roundings.push_back(std::fegetround());
    if (message.sfid == 3) thread.waits_at_barrier = true;
    return answer ? answer(message) : MessageResult{};
  }
  std::vector<Message> messages;
  std::vector<int> roundings;
  std::function<MessageResult(const Message&)> answer;
};

Thread NewThread(uint32_t dispatch_mask) {
  Thread thread;
  std::memset(static_cast<void*>(&thread), 0, sizeof(thread));
  thread.dispatch_mask = dispatch_mask;
  thread.control[0] = 0x4c0;
  return thread;
}

int32_t LaneOf(const Thread& thread, uint32_t reg, int lane) {
  return static_cast<int32_t>(
      thread.Register(reg + static_cast<uint32_t>(lane) / 8, static_cast<uint32_t>(lane) % 8));
}

// Runs it in slices of so many instructions.
ThreadStop RunInSlices(Thread& thread, const Kernel& kernel, uint64_t slice) {
  Port port;
  ThreadStop stop;
  do stop = Run(thread, kernel, port, slice);
  while (stop.kind == ThreadStop::kSlice);
  return stop;
}

// `expected` of the numbers in r10 and r20 of a lane.
void CheckLanes(const std::string& name, int32_t r10_most, int32_t r20_most,
                int32_t (*expected)(int32_t, int32_t)) {
  const std::vector<uint64_t> words = Program(name);
  const auto kernel = Kernel::Load(FetchFrom(words));
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    SCOPED_TRACE(round);
    const uint32_t mask = round % 3 ? static_cast<uint32_t>(random()) & 0xffff : 0xffff;
    Thread thread = NewThread(mask);
    for (uint32_t i = 0; i < 16; ++i) {
      thread.SetRegister(10 + i / 8, i % 8, random() % static_cast<uint32_t>(r10_most));
      thread.SetRegister(20 + i / 8, i % 8, random() % static_cast<uint32_t>(r20_most));
    }
    const Thread before = thread;
    ASSERT_EQ(RunInSlices(thread, *kernel, round % 2 ? 1 : 1000000).kind, ThreadStop::kEnded);
    for (int lane = 0; lane < 16; ++lane)
      ASSERT_EQ(LaneOf(thread, 40, lane),
                mask >> lane & 1 ? expected(LaneOf(before, 10, lane), LaneOf(before, 20, lane)) : 0)
          << lane;
  }
}

TEST(Flow, IfAndElseChooseLaneByLane) {
  CheckLanes("choose", 200, 200, [](int32_t a, int32_t b) { return a > b ? 1 + (a > 100) : 10; });
}

TEST(Flow, BlocksThatNoLaneTakesAreJumpedOver) {
  const std::vector<uint64_t> words = Program("choose");
  const auto kernel = Kernel::Load(FetchFrom(words));
  for (const int32_t value : {0, 50, 150}) {
    Thread thread = NewThread(0xffff);
    for (uint32_t i = 0; i < 16; ++i) {
      thread.SetRegister(10 + i / 8, i % 8, static_cast<uint32_t>(value));
      thread.SetRegister(20 + i / 8, i % 8, 20);
    }
    ASSERT_EQ(RunInSlices(thread, *kernel, 3).kind, ThreadStop::kEnded);
    EXPECT_EQ(thread.Register(42, 0), value > 20);
    EXPECT_EQ(thread.Register(42, 1), value > 100);
    EXPECT_EQ(thread.Register(42, 2), value <= 20);
  }
}

TEST(Flow, LoopsBreakAndContinueLaneByLane) {
  CheckLanes("loop", 40, 300, [](int32_t a, int32_t limit) {
    int32_t sum = 0;
    do {
      if (--a < 0) break;
      if (a % 4 == 0) continue;
      sum += a;
    } while (sum < limit);
    return sum + 1000;
  });
}

TEST(Flow, BackwardGotosRepeatForTheirLanes) {
  CheckLanes("back", 2, 30, [](int32_t, int32_t limit) { return std::max(limit, 1) + 1; });
}

TEST(Flow, HalvesOf32LanesRunTogether) {
  const std::vector<uint64_t> words = Program("nested");
  const auto kernel = Kernel::Load(FetchFrom(words));
  Thread thread = NewThread(0xffffffff);
  for (uint32_t i = 0; i < 32; ++i) thread.SetRegister(10 + i / 8, i % 8, i * 5 % 13);
  ASSERT_EQ(RunInSlices(thread, *kernel, 1000).kind, ThreadStop::kEnded);
  for (int lane = 0; lane < 32; ++lane) {
    int32_t odd = 0;
    for (int i = 0; i <= lane * 5 % 13; ++i)
      for (int j = 0; j <= i; ++j) odd += (i + j) % 2;
    EXPECT_EQ(LaneOf(thread, 40, lane), odd) << lane;
  }
}

TEST(Messages, HaveTheirFieldsAndOnlyTheLanesThatAreOn) {
  const std::vector<uint64_t> words = Program("messages");
  const auto kernel = Kernel::Load(FetchFrom(words));
  Thread thread = NewThread(0xff0f);
  thread.flag[0] = 0x3333;
  Port port;
  ThreadStop stop = eu::Run(thread, *kernel, port, 100);
  ASSERT_EQ(stop.kind, ThreadStop::kBarrier) << stop.why;
  EXPECT_EQ(stop.offset, 0x30);
  EXPECT_EQ(eu::Run(thread, *kernel, port, 100).kind, ThreadStop::kBarrier);
  ASSERT_EQ(port.messages.size(), 2u);
  const Message& read = port.messages[0];
  EXPECT_EQ(read.offset, 0x10u);
  EXPECT_EQ(read.sfid, 12);
  EXPECT_EQ(read.descriptor, 0x04205e01u);
  EXPECT_EQ(read.lane_mask, 0xff0fu);
  EXPECT_EQ(read.lanes, 16);
  EXPECT_EQ(read.destination, 25);
  EXPECT_EQ(read.destination_registers, 2);
  EXPECT_EQ(read.src0, 20);
  EXPECT_EQ(read.src0_registers, 2);
  EXPECT_TRUE(read.src1_is_null);
  EXPECT_FALSE(read.header);
  EXPECT_EQ(port.messages[1].sfid, 3);
  EXPECT_EQ(port.messages[1].lane_mask, 0xffu);

  thread.waits_at_barrier = false;
  stop = eu::Run(thread, *kernel, port, 100);
  EXPECT_EQ(stop.kind, ThreadStop::kEnded) << stop.why;
  // Of the two writes one had no lane.
  ASSERT_EQ(port.messages.size(), 4u);
  const Message& write = port.messages[2];
  EXPECT_EQ(write.descriptor, 0x04025e00u);
  EXPECT_EQ(write.extended_descriptor, 0x80u);
  EXPECT_EQ(write.lane_mask, 0x3303u);
  EXPECT_TRUE(write.destination_is_null);
  EXPECT_EQ(write.src1, 30);
  EXPECT_EQ(write.src1_registers, 2);
  EXPECT_TRUE(port.messages[3].eot);
  EXPECT_EQ(thread.executed, 9u);
  // The kernel rounds towards zero; the host's mathematics does not, neither in messages nor afterwards.
  for (const int rounding : port.roundings) EXPECT_EQ(rounding, FE_TONEAREST);
  EXPECT_EQ(std::fegetround(), FE_TONEAREST);
}

TEST(Messages, ThatFailStopTheThreadWhereItIs) {
  const std::vector<uint64_t> words = Program("messages");
  const auto kernel = Kernel::Load(FetchFrom(words));
  Thread thread = NewThread(0xffff);
  Port port;
  port.answer = [](const Message&) {
    return MessageResult{.kind = MessageResult::kFault,
                         .fault = {.reason = GpuFault::kReadOnly, .address = GpuAddress(0x1234)}};
  };
  ThreadStop stop = eu::Run(thread, *kernel, port, 100);
  EXPECT_EQ(stop.kind, ThreadStop::kFault);
  EXPECT_EQ(stop.offset, 0x10);
  EXPECT_EQ(stop.fault.address, GpuAddress(0x1234));
  EXPECT_EQ(stop.text, "send.dc1 (16|M0) r25 r20 null 0x0 0x04205E01 {$0}");
  port.answer = [](const Message&) {
    return MessageResult{.kind = MessageResult::kRefused, .why = "too difficult"};
  };
  stop = eu::Run(thread, *kernel, port, 100);
  EXPECT_EQ(stop.kind, ThreadStop::kRefused);
  EXPECT_EQ(stop.why, "too difficult");
  port.answer = [](const Message&) { return MessageResult{.kind = MessageResult::kAgain}; };
  EXPECT_EQ(eu::Run(thread, *kernel, port, 100).kind, ThreadStop::kAgain);
  EXPECT_EQ(thread.executed, 1u);
  port.answer = nullptr;
  EXPECT_EQ(eu::Run(thread, *kernel, port, 100).kind, ThreadStop::kBarrier);
}

TEST(Slices, EndAfterAsManyInstructionsAsWereGiven) {
  const std::vector<uint64_t> words = Program("back");
  const auto kernel = Kernel::Load(FetchFrom(words));
  Thread thread = NewThread(0xffff);
  thread.SetRegister(20, 0, 0x7fffffff);
  Port port;
  EXPECT_EQ(eu::Run(thread, *kernel, port, 0).kind, ThreadStop::kSlice);
  EXPECT_EQ(thread.executed, 0u);
  for (int slice = 1; slice <= 3; ++slice) {
    EXPECT_EQ(eu::Run(thread, *kernel, port, 1000).kind, ThreadStop::kSlice);
    EXPECT_EQ(thread.executed, 1000u * static_cast<uint64_t>(slice));
  }
}

TEST(Refusals, NameTheInstructionAndComeWhenItIsReached) {
  std::vector<uint64_t> words = Program("back");
  // The second instruction becomes a call, which is not executed.
  words[2] = 0x040440000004002c;
  words[3] = 0x0000004000000000;
  const auto kernel = Kernel::Load(FetchFrom(words));
  Thread thread = NewThread(0xffff);
  Port port;
  const ThreadStop stop = eu::Run(thread, *kernel, port, 100);
  EXPECT_EQ(stop.kind, ThreadStop::kRefused);
  EXPECT_EQ(stop.offset, 0x10);
  EXPECT_EQ(stop.text, "call (16|M0) r4.0 64");
  EXPECT_EQ(stop.why, "a call (recursion, or a function's address) is not known");
  EXPECT_EQ(thread.executed, 1u);
}

TEST(Refusals, OfWhatIsNoInstructionHaveItsWords) {
  std::vector<uint64_t> words = Program("back");
  words[2] = 0x0000000500000002;
  const auto kernel = Kernel::Load(FetchFrom(words));
  Thread thread = NewThread(0xffff);
  Port port;
  const ThreadStop stop = eu::Run(thread, *kernel, port, 100);
  EXPECT_EQ(stop.kind, ThreadStop::kRefused);
  EXPECT_EQ(stop.why, "there is no operation 0x2");
  EXPECT_EQ(stop.text.substr(0, 17), "00000002 00000005");
}

TEST(Refusals, OfIndirectAddressesOutsideTheRegisters) {
  // mov (16|M0) r40.0<1>:ud r[a0.0]<1,0>:ud
  const std::vector<uint64_t> words = {0x2805022000040061, 0x0000000000f10000};
  const auto kernel = Kernel::Load(FetchFrom(words));
  Thread thread = NewThread(1);
  thread.address[0] = 4096 - 4;
  thread.address[1] = 60000;  // of a lane that is off
  Port port;
  EXPECT_EQ(eu::Run(thread, *kernel, port, 1).kind, ThreadStop::kSlice);
  thread.ip = 0;
  thread.address[0] = 4096 - 3;
  const ThreadStop stop = eu::Run(thread, *kernel, port, 1);
  EXPECT_EQ(stop.kind, ThreadStop::kRefused);
  EXPECT_EQ(stop.why, "an indirect address is outside of the registers");
}

TEST(Refusals, OfACarryOfANegativeWord) {
  // addc (8|M0) r40.0<1>:ud r10.0<0;1,0>:ud r20.0<8;8,1>:w {AccWrEn}
  const std::vector<uint64_t> words = {0x280502220003004e, 0x0046140505000a04};
  for (const Handlers handlers : {Handlers::kGeneric, Handlers::kBaseline, Handlers::kBest}) {
    const auto kernel = Kernel::Load(FetchFrom(words), handlers);
    Thread thread = NewThread(1);
    thread.SetRegister(10, 0, 0xfffffff0);
    thread.SetRegister(20, 0, 0x80007fff);  // the negative one is of a lane that is off
    Port port;
    EXPECT_EQ(eu::Run(thread, *kernel, port, 1).kind, ThreadStop::kSlice);
    EXPECT_EQ(thread.Register(40, 0), 0x7fefu);
    EXPECT_EQ(thread.accumulator[0], 1);
    thread.ip = 0;
    thread.SetRegister(20, 0, 0x8000);
    const ThreadStop stop = eu::Run(thread, *kernel, port, 1);
    EXPECT_EQ(stop.kind, ThreadStop::kRefused);
    EXPECT_EQ(stop.why, "a carry of a negative number");
  }
}

TEST(Refusals, OfAVectorThatEndsBeforeTheLanes) {
  const struct {
    uint64_t low;
    const char* why;
  } cases[] = {
      {0x2805446000030061,
       "a vector with elements for some of the lanes is not known"},  // mov (8|M0) r40.0<1>:d
      {0x2805445000040061,
       "a vector with elements for some of the lanes is not known"},        // mov (16|M0) r40.0<1>:w
      {0x2805444000030061, "a vector of elements for bytes is not known"},  // mov (8|M0) r40.0<1>:b
  };
  for (const auto& [low, why] : cases) {
    const std::vector<uint64_t> words = {low, 0x7654321000000000};  // 0x76543210:v
    const auto kernel = Kernel::Load(FetchFrom(words));
    Thread thread = NewThread(0xffff);
    Port port;
    const ThreadStop stop = eu::Run(thread, *kernel, port, 1);
    EXPECT_EQ(stop.kind, ThreadStop::kRefused);
    EXPECT_EQ(stop.why, why);
  }
}

TEST(Refusals, OfCodeThatCannotBeReadSayWhere) {
  std::vector<uint64_t> words = Program("back");
  words.resize(5);
  const auto kernel = Kernel::Load(FetchFrom(words));
  Thread thread = NewThread(0xffff);
  Port port;
  const ThreadStop stop = eu::Run(thread, *kernel, port, 100);
  EXPECT_EQ(stop.kind, ThreadStop::kNoCode);
  EXPECT_EQ(stop.offset, 0x20);
}

TEST(Kernels, AreWhatIsReachedAndNotWhatFollows) {
  std::vector<uint64_t> words = Program("messages");
  const auto kernel = Kernel::Load(FetchFrom(words));
  EXPECT_EQ(kernel->instructions(), 9u);
  EXPECT_TRUE(kernel->IsStill(FetchFrom(words)));
  const std::vector<uint64_t> before = words;
  words[4] ^= 1ull << 56;
  EXPECT_FALSE(kernel->IsStill(FetchFrom(words)));
  const auto changed = Kernel::Load(FetchFrom(words));
  EXPECT_NE(changed->hash(), kernel->hash());
  EXPECT_EQ(Kernel::Load(FetchFrom(before))->hash(), kernel->hash());
  EXPECT_GT(kernel->memory_bytes(), kernel->instructions() * 100);
}

TEST(Kernels, HaveSoManyInstructionsAndNoMore) {
  const std::vector<uint64_t> words = {0x60, 0};
  // Instructions that do nothing, without an end.
  const auto kernel = Kernel::Load([&](int64_t offset, std::span<std::byte> to) -> size_t {
    if (offset < 0) return 0;
    for (size_t i = 0; i < to.size(); ++i)
      to[i] = std::as_bytes(std::span(words))[(static_cast<size_t>(offset) + i) % 16];
    return to.size();
  });
  EXPECT_EQ(kernel->instructions(), Kernel::kInstructionsMax);
  Thread thread = NewThread(0xffff);
  Port port;
  EXPECT_EQ(eu::Run(thread, *kernel, port, 1u << 20).kind, ThreadStop::kNoCode);
  EXPECT_EQ(thread.executed, Kernel::kInstructionsMax);
}

}  // namespace
}  // namespace dxg::hostsim::eu
