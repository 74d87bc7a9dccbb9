// Random bytes as a command buffer of the simulated GPU. The memory that it names is one MiB, of which a page
// is missing.
#include <algorithm>
#include <cstdint>
#include <string>

#include "hostsim/memory/video_memory.h"
#include "hostsim/work/command_buffer.h"
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

void Fuzz(ConstBytes input) {
  const uint64_t magic = DXG_COMMANDS_MAGIC;
  std::string bytes(reinterpret_cast<const char*>(&magic), sizeof magic);
  bytes.append(reinterpret_cast<const char*>(input.data()), input.size());
  Memory memory(bytes.size());
  memory.SetBuffer(BytesOf(std::string_view(bytes)));
  CommandRun run(GpuAddress(kBuffer), static_cast<uint32_t>(bytes.size()));
  const std::atomic<bool> cancelled{false};
  for (size_t steps = 0;; ++steps) {
    const CommandStop stop = run.Run(memory, cancelled, 1u << 20);
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
