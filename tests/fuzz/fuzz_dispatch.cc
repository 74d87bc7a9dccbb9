// Random bytes as a kernel of execution units, with a random order of groups and threads, a random payload
// and random surfaces. Some instructions are sends with a likely descriptor. The memory that they reach is 64
// KiB, of which a page is missing and a page takes no writes.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "hostsim/memory/video_memory.h"
#include "hostsim/work/eu/dispatch.h"
#include "tests/fuzz/fuzz_check.h"

namespace dxg::hostsim::eu {
namespace {

constexpr uint64_t kBytes = 64 * 1024, kStart = 0x10000, kMissing = 7, kNoWrites = 9;  // pages
constexpr uint64_t kInstructions = 4096;

class Memory final : public CommandEnvironment {
 public:
  Memory()
      : budget_({}),
        video_(std::make_shared<VideoMemory>(std::vector<Segment>{{kLocal, 1ull << 30, false}}, budget_,
                                             AdapterProfile::Trouble())),
        regions_(std::make_shared<IoSpace>(1)) {
    StorageTraits traits;
    traits.bytes = kBytes;
    storage_ = std::make_shared<Storage>(video_, traits, regions_.Allocate(kBytes), count_);
  }
  void Set(uint64_t at, ConstBytes bytes) { storage_->Write(at, bytes); }

  bool Translate(GpuAddress start, uint64_t bytes, bool write, std::vector<GpuSpan>* spans,
                 GpuFault* fault) override {
    spans->clear();
    FUZZ_CHECK(bytes != 0);
    for (uint64_t at = start.value; bytes != 0;) {
      const uint64_t page = (at - kStart) / kPageBytes;
      if (at < kStart || at - kStart >= kBytes || page == kMissing || (write && page == kNoWrites)) {
        *fault = {GpuFault::kUnmapped, GpuAddress(at), write};
        return false;
      }
      const uint64_t part = std::min(bytes, kPageBytes - at % kPageBytes);
      spans->push_back({storage_, at - kStart, part, nullptr});
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
  std::atomic<uint64_t> count_{0};
  MemoryBudget budget_;
  std::shared_ptr<VideoMemory> video_;
  RegionSet regions_;
  Aftermath after_;
  std::shared_ptr<Storage> storage_;
};

// A send of 16 or 8 lanes to a data cache, with registers that are there.
void MakeSend(uint8_t* instruction) {
  const uint8_t choice = instruction[1];
  uint64_t low, high;
  std::memcpy(&low, instruction, sizeof low);
  std::memcpy(&high, instruction + 8, sizeof high);
  low = (low & ~0xFF'FFFFull) | 0x31 | (choice % 2 == 0 ? 4u : 3u) << 16;
  high = (high & ~(0xFull << 28)) | uint64_t{choice % 4 < 2 ? 10u : 12u} << 28;
  std::memcpy(instruction, &low, sizeof low);
  std::memcpy(instruction + 8, &high, sizeof high);
}

void Fuzz(ConstBytes input) {
  constexpr size_t kHead = 16, kSurfaceBytes = 128;
  if (input.size() < kHead + kSurfaceBytes + kInstructionBytes) return;
  DispatchOrder order;
  order.kernel = kStart;
  order.lanes = 8u << input[0] % 3;
  order.threads = 1 + input[1] % 4;
  order.last_mask = static_cast<uint32_t>(input[2]) * 0x01010101u;
  for (int i = 0; i < 3; ++i) {
    order.first[i] = input[3 + i] % 2;
    order.end[i] = order.first[i] + input[3 + i] / 2 % 3;
  }
  order.common_registers = input[6] % 64;
  order.own_registers = input[7] % 8;
  order.local_bytes = input[8] % 4 == 0 ? 0 : 1024u << input[8] % 8;
  order.rounding = input[9] % 4;
  order.scratch = input[10] * 1024u;
  order.scratch_code = input[11] % 4;
  order.bases = {input[12] * 256u, kStart + input[13] * 256u, input[14] * 32u};
  if (!Dispatch::Refusal(order).empty()) return;
  Memory memory;
  memory.Set(input[13] * 128u, input.subspan(kHead, kSurfaceBytes));
  const ConstBytes rest = input.subspan(kHead + kSurfaceBytes);
  order.payload.resize((order.common_registers + order.threads * order.own_registers) * kRegisterBytes);
  for (size_t i = 0; i < order.payload.size(); ++i) order.payload[i] = rest[i % rest.size()];

  std::vector<uint8_t> code(rest.begin(), rest.end());
  for (size_t at = 0; at + kInstructionBytes <= code.size(); at += kInstructionBytes)
    if (code[at] >= 0xC0) MakeSend(&code[at]);
  auto kernel = Kernel::Load([&code](int64_t offset, std::span<std::byte> to) -> size_t {
    if (offset < 0 || static_cast<uint64_t>(offset) >= code.size()) return 0;
    const size_t there = std::min<size_t>(to.size(), code.size() - static_cast<size_t>(offset));
    std::memcpy(to.data(), &code[static_cast<size_t>(offset)], there);
    return there;
  });
  Dispatch dispatch(std::move(order), std::move(kernel), kInstructions, [](uint64_t) { return true; });
  const std::atomic<bool> cancelled{false};
  const uint64_t threads = dispatch.order().groups() * dispatch.order().threads;
  while (dispatch.Run(memory, cancelled).kind == Dispatch::Stop::kSlice) {
    // A turn may run over the limit, once.
    FUZZ_CHECK(dispatch.instructions() <= (threads + 1) * (kInstructions + 64 * 1024));
  }
}

}  // namespace
}  // namespace dxg::hostsim::eu

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  dxg::hostsim::eu::Fuzz({data, size});
  return 0;
}
