// Random bytes as commands of each format: the first byte chooses it. The second byte says whether the others
// are the buffer, or whether they choose packets with headers that are good and words that are likely. The
// memory that commands name is one MiB, of which a page is missing.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <iterator>
#include <string>
#include <vector>

#include "hostsim/memory/video_memory.h"
#include "hostsim/work/command_streamer.h"
#include "proto/abi/dxg_commands.h"
#include "tests/fuzz/fuzz_check.h"

namespace dxg::hostsim {
namespace {

constexpr uint64_t kBytes = 1u << 20;
constexpr uint64_t kBuffer = 1u << 30;

class Memory final : public CommandEnvironment {
 public:
  explicit Memory(uint64_t length)
      : budget_({}),
        video_(std::make_shared<VideoMemory>(std::vector<Segment>{{kLocal, 1ull << 30, false}}, budget_,
                                             AdapterProfile::Trouble())),
        regions_(std::make_shared<IoSpace>(1)),
        memory_(New(kBytes)),
        buffer_(New(RoundToPages(std::max<uint64_t>(length, 1)))) {}

  void SetBuffer(ConstBytes bytes) { buffer_->Write(0, bytes); }

  bool Translate(GpuAddress start, uint64_t bytes, bool write, std::vector<GpuSpan>* spans,
                 GpuFault* fault) override {
    spans->clear();
    FUZZ_CHECK(bytes != 0);
    for (uint64_t at = start.value; bytes != 0;) {
      const bool in_buffer = at >= kBuffer && at - kBuffer < buffer_->bytes();
      const bool in_memory = at < kBytes && at / kPageBytes != 7;
      if (!in_memory && (!in_buffer || write)) {
        *fault = {GpuFault::kUnmapped, GpuAddress(at), write};
        return false;
      }
      const uint64_t part = std::min(bytes, kPageBytes - at % kPageBytes);
      spans->push_back({in_buffer ? buffer_ : memory_, in_buffer ? at - kBuffer : at, part, nullptr});
      at += part;
      bytes -= part;
    }
    return true;
  }
  uint64_t Timestamp() override { return 1; }
  void Mark(uint64_t) override {}
  Aftermath* aftermath() override { return &after_; }
  void Note(FidelityKind, std::string_view) override {}
  bool LeaveOut(const GpuDispatch&) override { return true; }

 private:
  std::shared_ptr<Storage> New(uint64_t bytes) {
    StorageTraits traits;
    traits.bytes = bytes;
    return std::make_shared<Storage>(video_, traits, regions_.Allocate(bytes), count_);
  }

  std::atomic<uint64_t> count_{0};
  MemoryBudget budget_;
  std::shared_ptr<VideoMemory> video_;
  RegionSet regions_;
  Aftermath after_;
  std::shared_ptr<Storage> memory_, buffer_;
};

constexpr AdapterProfile::CommandFormat kFormats[] = {AdapterProfile::SIMULATED, AdapterProfile::AMD_PM4,
                                                      AdapterProfile::AMD_SDMA, AdapterProfile::ADRENO,
                                                      AdapterProfile::INTEL_GEN12};
static_assert(std::size(kFormats) == AdapterProfile::CommandFormat_ARRAYSIZE);

// What is left of the input; zeros behind its end.
class Choices {
 public:
  explicit Choices(ConstBytes left) : left_(left) {}
  bool any() const { return !left_.empty(); }
  uint32_t Byte() {
    if (left_.empty()) return 0;
    const uint8_t byte = left_[0];
    left_ = left_.subspan(1);
    return byte;
  }
  uint32_t Word() { return Byte() | Byte() << 8 | Byte() << 16 | Byte() << 24; }

 private:
  ConstBytes left_;
};

// The header of a packet with so many words behind it.
uint32_t Header(AdapterProfile::CommandFormat format, uint32_t choice, uint32_t words) {
  auto parity = [](uint32_t value) { return std::popcount(value) % 2 == 0 ? 1u : 0u; };
  switch (format) {
    case AdapterProfile::AMD_PM4:
      return words == 0 ? 0xFFFF1000u : 3u << 30 | (words - 1) << 16 | choice << 8;
    case AdapterProfile::AMD_SDMA:
      return choice % 18 | (choice / 18 % 4) << 30 | (choice / 72) << 25;
    case AdapterProfile::ADRENO: {
      const uint32_t opcode = choice % 128;
      return 0x70000000 | words | parity(words) << 15 | opcode << 16 | parity(opcode) << 23;
    }
    default:  // Intel's: a memory interface command, a blit, or one of the pipe
      return choice < 64    ? choice << 23 | (words == 0 ? 0 : words - 1)
             : choice < 192 ? 2u << 29 | (choice - 64) << 22 | (words == 0 ? 0 : words - 1)
                            : 3u << 29 | (choice - 192) << 22 | (words == 0 ? 0 : words - 1);
  }
}

// Nearly all numbers of 32 bits are no addresses of memory, so few are taken as they come.
uint32_t LikelyWord(Choices& choices) {
  switch (choices.Byte() % 8) {
    case 0:
      return choices.Word();
    case 1:
      return static_cast<uint32_t>(kBuffer);
    case 2:
    case 3:
      return (choices.Byte() | choices.Byte() << 8) << 4;  // in memory, at a multiple of 16
    case 4:
      return choices.Byte();
    case 5:
      return choices.Byte() << 24;
    default:
      return 0;
  }
}

std::string Packets(AdapterProfile::CommandFormat format, Choices choices) {
  std::vector<uint32_t> words;
  while (choices.any()) {
    const uint32_t choice = choices.Byte(), count = choices.Byte() % 12;
    words.push_back(Header(format, choice, count));
    for (uint32_t i = 0; i < count; ++i) words.push_back(LikelyWord(choices));
  }
  return std::string(reinterpret_cast<const char*>(words.data()), words.size() * sizeof words[0]);
}

std::string BufferOf(AdapterProfile::CommandFormat format, bool as_it_is, ConstBytes input) {
  if (!as_it_is && format != AdapterProfile::SIMULATED) return Packets(format, Choices(input));
  std::string bytes;
  const uint64_t magic = DXG_COMMANDS_MAGIC;
  if (format == AdapterProfile::SIMULATED) bytes.assign(reinterpret_cast<const char*>(&magic), sizeof magic);
  bytes.append(reinterpret_cast<const char*>(input.data()), input.size());
  return bytes;
}

void Fuzz(ConstBytes input) {
  if (input.size() < 2) return;
  const AdapterProfile::CommandFormat format = kFormats[input[0] % std::size(kFormats)];
  const std::string bytes = BufferOf(format, input[1] % 4 == 0, input.subspan(2));
  Memory memory(bytes.size());
  memory.SetBuffer(BytesOf(std::string_view(bytes)));
  std::unique_ptr<StreamerState> state;
  const auto run = MakeStreamer(format, {GpuAddress(kBuffer), static_cast<uint32_t>(bytes.size())}, &state);
  const std::atomic<bool> cancelled{false};
  for (size_t steps = 0;; ++steps) {
    const CommandStop stop = run->Run(memory, cancelled, 1u << 20);
    FUZZ_CHECK(stop.kind != CommandStop::kCancelled);
    if (stop.kind != CommandStop::kDelay) return;
    FUZZ_CHECK(stop.delay_ns != 0 && stop.delay_ns <= DXG_DELAY_NS_MAX);
    FUZZ_CHECK(steps <= bytes.size());  // each delay is an op
  }
}

}  // namespace
}  // namespace dxg::hostsim

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  dxg::hostsim::Fuzz({data, size});
  return 0;
}
