// Random bytes as instructions of Intel's GPUs, and as the registers of a thread that executes them with a
// budget. The first byte says whether the words are taken as they are or get fields that are likely, and
// which handlers execute them. Messages have their registers checked and get an answer of chance.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "hostsim/work/eu/step.h"
#include "hostsim/work/eu/thread.h"
#include "tests/fuzz/fuzz_check.h"

namespace dxg::hostsim::eu {
namespace {

constexpr uint64_t kBudget = 3000;

class Port final : public MessagePort {
 public:
  explicit Port(std::span<const uint8_t> answers) : answers_(answers) {}

  MessageResult Send(const Message& message, Thread& thread) override {
    FUZZ_CHECK(message.destination + message.destination_registers <= kRegisters);
    FUZZ_CHECK(message.src0 + message.src0_registers <= kRegisters);
    FUZZ_CHECK(message.src1 + message.src1_registers <= kRegisters);
    FUZZ_CHECK(message.lanes <= kLanesMax && message.first_lane + message.lanes <= kLanesMax);
    FUZZ_CHECK(message.lanes == kLanesMax || message.lane_mask >> message.lanes == 0);
    const uint8_t answer = answers_.empty() ? 0 : answers_[sent_++ % answers_.size()];
    thread.waits_at_barrier = answer % 16 == 1;
    for (uint32_t i = 0; i < message.destination_registers; ++i)
      thread.SetRegister(message.destination + i, answer % 8, answer);
    switch (answer % 64) {
      case 61:
        return {.kind = MessageResult::kFault};
      case 62:
        return {.kind = MessageResult::kRefused, .why = "chance"};
      case 63:
        return {.kind = MessageResult::kAgain};
      default:
        return {};
    }
  }

 private:
  std::span<const uint8_t> answers_;
  size_t sent_ = 0;
};

// Nearly all random words are refused, most for a few bits.
void MakeLikely(uint64_t* low, uint64_t* high) {
  constexpr uint8_t kCodes[] = {1,   34,  36,  37,  39,  40,  46,  46,  47,  49,  56,  64,
                                65,  68,  69,  70,  71,  73,  74,  75,  76,  77,  78,  79,
                                88,  91,  91,  97,  97,  98,  98,  99,  100, 101, 102, 103,
                                104, 105, 108, 110, 111, 112, 112, 114, 119, 120, 121, 122};
  constexpr uint64_t kTypes[] = {2, 6, 10, 1, 5, 9, 0, 4};
  const uint8_t code = kCodes[(*low & 127) % std::size(kCodes)];
  *low = (*low & ~uint64_t{0xff | 1u << 29 | 1u << 18}) | code;
  *low &= ~(uint64_t{1} << 32 | 0x7000ull | uint64_t{1} << 27);
  if (code >= 34 && code <= 47) {
    // Near targets at multiples of 16.
    *low = (*low & 0x00000000ffffffffull) | uint64_t{0xc000} << 32 | (*low & uint64_t{2} << 32);
    const auto target = [](uint64_t bits) {
      return static_cast<uint64_t>(static_cast<uint32_t>(static_cast<int32_t>(bits << 28) >> 28) * 16);
    };
    *high = target(*high >> 32 & 15) << 32 | target(*high & 15);
    return;
  }
  if (code == 49) return;
  const uint64_t first = kTypes[*low >> 36 & 7], second = kTypes[*low >> 40 & 7];
  *low =
      (*low & ~(uint64_t{0xff} << 36)) | first << 36 | second << 40 | uint64_t{1} << 48 | uint64_t{1} << 50;
  *low &= ~(uint64_t{1} << 63 | uint64_t{1} << 46 | uint64_t{0x7} << 51);
  *high &=
      ~(uint64_t{1} << 15 | uint64_t{1} << 19 | uint64_t{1} << 23 | uint64_t{1} << 47 | uint64_t{1} << 51 |
        uint64_t{1} << 55 | uint64_t{7} << 3 | uint64_t{7} << 35 | uint64_t{8} << 24);
  *high |= uint64_t{1} << 2 | uint64_t{1} << 34;
}

void Fuzz(std::span<const uint8_t> input) {
  if (input.size() < 32) return;
  const uint8_t choice = input[0];
  const auto handlers = static_cast<Handlers>(choice >> 1 & 1 ? choice >> 2 & 1 : 2);
  const std::span<const uint8_t> answers = input.subspan(1, 15);
  std::vector<std::byte> code(input.size() - 16);
  std::memcpy(code.data(), input.data() + 16, code.size());
  if (choice & 1) {
    for (size_t at = 0; at + kInstructionBytes <= code.size(); at += kInstructionBytes) {
      uint64_t word[2];
      std::memcpy(word, code.data() + at, sizeof word);
      MakeLikely(&word[0], &word[1]);
      std::memcpy(code.data() + at, word, sizeof word);
    }
  }
  const auto kernel = Kernel::Load(
      [&](int64_t offset, std::span<std::byte> to) -> size_t {
        if (offset < 0 || offset >= static_cast<int64_t>(code.size())) return 0;
        const size_t count = std::min(to.size(), code.size() - static_cast<size_t>(offset));
        std::memcpy(to.data(), code.data() + offset, count);
        return count;
      },
      handlers);
  for (uint32_t i = 0; i < kernel->instructions(); ++i) FUZZ_CHECK(!kernel->TextOf(i).empty());
  Thread thread;
  std::memset(static_cast<void*>(&thread), 0, sizeof thread);
  for (size_t i = 0; i < sizeof thread.grf; ++i) thread.grf[i] = input[i * 7 % input.size()];
  for (size_t i = 0; i < std::size(thread.address); ++i)
    thread.address[i] = static_cast<uint16_t>(answers[i % 15] * 17);
  std::memcpy(&thread.dispatch_mask, answers.data(), sizeof thread.dispatch_mask);
  std::memcpy(&thread.control[0], answers.data() + 4, sizeof thread.control[0]);
  const uint32_t dispatch_mask = thread.dispatch_mask;
  Port port(answers);
  for (int slice = 0; slice < 4; ++slice) {
    const uint64_t before = thread.executed;
    const ThreadStop stop = Run(thread, *kernel, port, kBudget);
    FUZZ_CHECK(thread.executed - before <= kBudget);
    FUZZ_CHECK(thread.dispatch_mask == dispatch_mask && (thread.active_mask & ~dispatch_mask) == 0);
    FUZZ_CHECK(stop.kind != ThreadStop::kRefused || (!stop.why.empty() && !stop.text.empty()));
    if (stop.kind != ThreadStop::kSlice && stop.kind != ThreadStop::kAgain &&
        stop.kind != ThreadStop::kBarrier)
      return;
    thread.waits_at_barrier = false;
  }
}

}  // namespace
}  // namespace dxg::hostsim::eu

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  dxg::hostsim::eu::Fuzz({data, size});
  return 0;
}
