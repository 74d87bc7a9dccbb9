#include "tests/eu/vectors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "hostsim/work/eu/step.h"
#include "tests/eu/listed_words.h"
#include "tests/eu/random_state.h"

// One instruction at a time, with random registers, against formulas of C.

namespace dxg::hostsim::eu {
namespace {

constexpr uint64_t kEnd[] = {0x0000000480030131, 0x0000000070207f0c};

class NoMessages : public MessagePort {
 public:
  MessageResult Send(const Message& message, Thread&) override {
    return message.eot ? MessageResult{} : MessageResult{.kind = MessageResult::kRefused, .why = "a message"};
  }
};

std::shared_ptr<const Kernel> KernelOf(const std::vector<uint64_t>& words, Handlers handlers) {
  return Kernel::Load(
      [&](int64_t offset, std::span<std::byte> to) -> size_t {
        const auto bytes = std::as_bytes(std::span(words));
        if (offset < 0 || offset >= static_cast<int64_t>(bytes.size())) return 0;
        const size_t count = std::min(to.size(), bytes.size() - static_cast<size_t>(offset));
        std::memcpy(to.data(), bytes.data() + offset, count);
        return count;
      },
      handlers);
}

// By the definition, bit by bit.
bool PredicateHolds(const Instruction& in, const Thread& thread, int lane) {
  const uint32_t flag = thread.flag[in.flag / 2];
  const int base = in.flag % 2 * 16;
  bool holds = true;
  switch (in.predicate) {
    case Predicate::kNone:
      return true;
    case Predicate::kLane:
      holds = flag >> (base + in.first_lane + lane) & 1;
      break;
    case Predicate::kAny8h:
      holds = flag >> (base + lane / 8 * 8) & 0xff;
      break;
    case Predicate::kAny16h:
      holds = flag >> base & 0xffff;
      break;
    case Predicate::kAll32h:
      holds = flag == 0xffffffff;
      break;
    default:
      ADD_FAILURE() << "a predicate that the test does not know";
  }
  return holds != in.predicate_inverted;
}

struct Expected {
  uint8_t grf[sizeof(Thread::grf)];
  uint32_t flag[2];
  uint32_t accumulator[16];
};

Expected Expect(const Vector& vector, const Instruction& in, const Thread& before) {
  Expected expected;
  std::memcpy(expected.grf, before.grf, sizeof(expected.grf));
  std::memcpy(expected.flag, before.flag, sizeof(expected.flag));
  std::memcpy(expected.accumulator, before.accumulator, sizeof(expected.accumulator));
  for (int i = 0; i < in.lanes; ++i) {
    const Lane lane(before, i, in.first_lane);
    const bool enabled = in.write_all || (before.active_mask >> (in.first_lane + i) & 1);
    if (!enabled || (in.op != Op::kSel && !PredicateHolds(in, before, i))) continue;
    if (vector.result) {
      const uint64_t value = vector.result(lane);
      const Destination& to = in.destination;
      const uint32_t bytes = BytesOf(to.type);
      std::memcpy(expected.grf + to.reg * 32 + to.subreg_bytes + static_cast<size_t>(i) * to.stride * bytes,
                  &value, bytes);
    }
    if (vector.flag) {
      const uint32_t bit = 1u << (in.flag % 2 * 16 + in.first_lane + i);
      uint32_t& flag = expected.flag[in.flag / 2];
      flag = vector.flag(lane) ? flag | bit : flag & ~bit;
    }
    if (vector.accumulator) expected.accumulator[i] = static_cast<uint32_t>(vector.accumulator(lane));
  }
  return expected;
}

Values ValuesFor(const std::string& text) {
  if (text.find(":hf ") != std::string::npos && text.find(":f ") == std::string::npos) return Values::kHalves;
  return text.find(":f") != std::string::npos ? Values::kFloats : Values::kIntegers;
}

void Check(const Vector& vector, Handlers handlers, int rounds) {
  SCOPED_TRACE(vector.text);
  const auto listed = ListedWords().find(vector.text);
  ASSERT_NE(listed, ListedWords().end()) << "not in vectors.txt; update it: tests/eu/assemble.py --update";
  const Words& word = listed->second;
  const Result<Instruction> in = Decode(std::as_bytes(std::span(word)));
  ASSERT_TRUE(in.ok()) << in.status().why();
  Instruction instruction = *Result<Instruction>(in);
  EXPECT_EQ(Disassemble(instruction), vector.text);
  const auto kernel = KernelOf({word[0], word[1], kEnd[0], kEnd[1]}, handlers);
  std::mt19937 random(static_cast<uint32_t>(word[0] ^ word[1]));
  for (int round = 0; round < rounds; ++round) {
    const auto before = RandomThread(random, round % 4 == 3 ? Values::kMixed : ValuesFor(vector.text));
    before->control[0] = vector.control;
    const Expected expected = Expect(vector, instruction, *before);
    Thread thread;
    std::memcpy(static_cast<void*>(&thread), before.get(), sizeof(thread));
    NoMessages port;
    const ThreadStop stop = Run(thread, *kernel, port, 10);
    ASSERT_EQ(stop.kind, ThreadStop::kEnded) << stop.text << ": " << stop.why;
    EXPECT_EQ(thread.executed, 2u);
    for (uint32_t at = 0; at < sizeof(thread.grf); at += 4)
      ASSERT_EQ(std::memcmp(thread.grf + at, expected.grf + at, 4), 0)
          << "round " << round << " r" << at / 32 << "." << at % 32 / 4 << ": " << std::hex
          << thread.Register(at / 32, at % 32 / 4) << " before " << before->Register(at / 32, at % 32 / 4)
          << " expected " << *reinterpret_cast<const uint32_t*>(expected.grf + at);
    ASSERT_EQ(thread.flag[0], expected.flag[0]) << "round " << round;
    ASSERT_EQ(thread.flag[1], expected.flag[1]) << "round " << round;
    ASSERT_EQ(std::memcmp(thread.accumulator, expected.accumulator, sizeof(expected.accumulator)), 0)
        << "round " << round;
    ASSERT_EQ(thread.control[0], before->control[0]);
  }
}

class OneInstruction : public testing::TestWithParam<Handlers> {};

TEST_P(OneInstruction, OfIntegersDoesWhatItsFormulaSays) {
  for (const Vector& vector : IntegerVectors()) Check(vector, GetParam(), 60);
}

TEST_P(OneInstruction, OfFloatsDoesWhatItsFormulaSays) {
  for (const Vector& vector : FloatVectors()) Check(vector, GetParam(), 60);
}

INSTANTIATE_TEST_SUITE_P(Handlers, OneInstruction,
                         testing::Values(Handlers::kGeneric, Handlers::kBaseline, Handlers::kBest),
                         [](const auto& info) {
                           return info.param == Handlers::kGeneric    ? "Generic"
                                  : info.param == Handlers::kBaseline ? "Baseline"
                                                                      : "Best";
                         });

}  // namespace
}  // namespace dxg::hostsim::eu
