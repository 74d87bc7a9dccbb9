#include "hostsim/work/eu/kernel.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <utility>

#include "hostsim/work/eu/step.h"

namespace dxg::hostsim::eu {

struct Kernel::Found {
  Instruction instruction;
  Step step;
  std::string why;
};

namespace {

constexpr int64_t kBlockBytes = 256;

// Instructions are fetched in blocks, because each fetch goes through page tables.
class CodeBlocks {
 public:
  explicit CodeBlocks(const Kernel::Fetch& fetch) : fetch_(fetch) {}

  // Up to 16 bytes; fewer if no more can be read.
  std::span<const std::byte> At(int64_t offset) {
    size_t count = 0;
    while (count < kInstructionBytes) {
      const int64_t at = offset + static_cast<int64_t>(count);
      const int64_t begin = at - ((at % kBlockBytes) + kBlockBytes) % kBlockBytes;
      const std::vector<std::byte>& block = Block(begin);
      const auto within = static_cast<size_t>(at - begin);
      if (within >= block.size()) break;
      const size_t part = std::min(block.size() - within, kInstructionBytes - count);
      std::memcpy(bytes_ + count, block.data() + within, part);
      count += part;
    }
    return {bytes_, count};
  }

  std::map<int64_t, std::vector<std::byte>>& blocks() { return blocks_; }

 private:
  const std::vector<std::byte>& Block(int64_t begin) {
    const auto [it, is_new] = blocks_.try_emplace(begin);
    if (is_new) {
      it->second.resize(kBlockBytes);
      it->second.resize(std::min(fetch_(begin, it->second), it->second.size()));
    }
    return it->second;
  }

  const Kernel::Fetch& fetch_;
  std::map<int64_t, std::vector<std::byte>> blocks_;
  std::byte bytes_[kInstructionBytes];
};

uint64_t Mix(uint64_t hash, uint64_t value) {
  for (int byte = 0; byte < 8; ++byte) hash = (hash ^ (value >> (8 * byte) & 0xff)) * 0x100000001b3ull;
  return hash;
}

// The step of the instruction at an offset, or why there is none.
void Read(CodeBlocks& code, int32_t offset, Handlers handlers, Instruction* instruction, Step* step,
          std::string* why) {
  const std::span<const std::byte> bytes = code.At(offset);
  step->offset = offset;
  // A compact instruction may be the last that can be read.
  const bool is_compact =
      bytes.size() >= kCompactInstructionBytes && (static_cast<uint8_t>(bytes[3]) >> 5 & 1);
  if (bytes.size() < (is_compact ? kCompactInstructionBytes : kInstructionBytes)) {
    step->kind = Step::kNoCode;
    return;
  }
  Result<Instruction> decoded = Decode(bytes);
  if (!decoded.ok()) {
    *why = decoded.status().why();
    std::memcpy(instruction->word, bytes.data(), bytes.size());
    if (is_compact) instruction->size_bytes = kCompactInstructionBytes;
    return;
  }
  *instruction = *decoded;
  if (std::string unknown = Prepare(*instruction, handlers, step); !unknown.empty()) {
    step->kind = Step::kRefused;
    *why = unknown + " is not known";
  }
}

bool HasJip(const Step& step) { return step.kind >= Step::kIf; }

bool HasUip(const Step& step) {
  return step.kind == Step::kIf || step.kind == Step::kElse || step.kind == Step::kBreak ||
         step.kind == Step::kGoto || step.kind == Step::kGotoBack;
}

bool Ends(const Step& step, const Instruction& instruction) {
  return step.kind == Step::kRefused || step.kind == Step::kNoCode ||
         (step.kind == Step::kSend && instruction.send.eot);
}

// Offsets that do not fit are no code.
std::optional<int32_t> Offset(int64_t offset) {
  if (offset < INT32_MIN || offset > INT32_MAX) return std::nullopt;
  return static_cast<int32_t>(offset);
}

}  // namespace

Kernel::Kernel() = default;
Kernel::~Kernel() = default;

const Step* Kernel::steps() const { return steps_.data(); }

std::shared_ptr<const Kernel> Kernel::Load(const Fetch& fetch) { return Load(fetch, Handlers::kBest); }

std::shared_ptr<const Kernel> Kernel::Load(const Fetch& fetch, Handlers handlers) {
  std::shared_ptr<Kernel> kernel(new Kernel());
  CodeBlocks code(fetch);
  std::map<int32_t, Found> found;
  std::vector<int32_t> to_do = {0};
  while (!to_do.empty()) {
    const int32_t offset = to_do.back();
    to_do.pop_back();
    if (found.contains(offset)) continue;
    if (found.size() >= kInstructionsMax) break;
    Found& one = found[offset];
    Step& step = one.step;
    Read(code, offset, handlers, &one.instruction, &step, &one.why);
    const std::optional<int32_t> next = Offset(int64_t{offset} + one.instruction.size_bytes);
    const std::optional<int32_t> jip = Offset(int64_t{offset} + one.instruction.jip);
    const std::optional<int32_t> uip = Offset(int64_t{offset} + one.instruction.uip);
    if (!next || (HasJip(step) && !jip) || (HasUip(step) && !uip)) {
      step.kind = Step::kRefused;
      one.why = "a branch out of the address space";
    }
    if (Ends(step, one.instruction)) continue;
    step.next_offset = *next;
    to_do.push_back(*next);
    if (HasJip(step)) to_do.push_back(step.jip_offset = *jip);
    if (HasUip(step)) to_do.push_back(step.uip_offset = *uip);
  }
  for (auto& [begin, bytes] : code.blocks()) kernel->blocks_.push_back({begin, std::move(bytes)});
  kernel->Fill(std::move(found));
  return kernel;
}

void Kernel::Fill(std::map<int32_t, Found>&& found) {
  hash_ = 0xcbf29ce484222325ull;
  for (auto& [offset, one] : found) {
    hash_ = Mix(hash_, static_cast<uint64_t>(int64_t{offset}));
    for (const uint64_t word : one.instruction.word) hash_ = Mix(hash_, word);
    offsets_.push_back(offset);
    steps_.push_back(one.step);
    instructions_.push_back(one.instruction);
    whys_.push_back(std::move(one.why));
  }
  for (Step& step : steps_) Resolve(&step);
}

// The indices of the steps that may follow, and where lanes may be parked.
void Kernel::Resolve(Step* step) {
  step->next = StepAt(step->next_offset);
  if (!HasJip(*step)) return;
  step->jip = StepAt(step->jip_offset);
  if (HasUip(*step)) step->uip = StepAt(step->uip_offset);
  switch (step->kind) {
    case Step::kIf:
    case Step::kElse:
    case Step::kGotoBack:
      MarkWaking(step->jip);
      break;
    case Step::kWhile:
      MarkWaking(step->next);
      break;
    case Step::kGoto:
      MarkWaking(step->uip);
      break;
    case Step::kBreak:
      // Its second target is the loop's end itself, where the lanes must not take part: they leave behind it.
      if (step->uip != kNowhere && steps_[step->uip].kind == Step::kWhile) {
        step->uip_offset = steps_[step->uip].next_offset;
        step->uip = StepAt(step->uip_offset);
      }
      MarkWaking(step->uip);
      break;
    default:
      break;
  }
}

void Kernel::MarkWaking(uint32_t step) {
  if (step != kNowhere) steps_[step].wakes = true;
}

uint32_t Kernel::StepAt(int32_t offset) const {
  const auto it = std::lower_bound(offsets_.begin(), offsets_.end(), offset);
  return it != offsets_.end() && *it == offset ? static_cast<uint32_t>(it - offsets_.begin()) : kNowhere;
}

bool Kernel::IsStill(const Fetch& fetch) const {
  std::vector<std::byte> now(kBlockBytes);
  for (const Block& block : blocks_) {
    const size_t count = std::min(fetch(block.offset, now), now.size());
    if (count != block.bytes.size() || std::memcmp(now.data(), block.bytes.data(), count) != 0) return false;
  }
  return true;
}

size_t Kernel::memory_bytes() const {
  size_t bytes = sizeof(*this) +
                 steps_.size() * (sizeof(Step) + sizeof(Instruction) + sizeof(int32_t) + sizeof(std::string));
  for (const Block& block : blocks_) bytes += sizeof(block) + block.bytes.size();
  for (const std::string& why : whys_) bytes += why.capacity();
  return bytes;
}

std::string Kernel::TextOf(uint32_t step) const {
  const Instruction& in = instructions_[step];
  if (steps_[step].kind != Step::kRefused || in.op != Op::kIllegal) return Disassemble(in);
  std::string text;
  for (uint32_t i = 0; i < in.size_bytes / sizeof(uint32_t); ++i)
    text += fmt::format("{}{:08x}", i ? " " : "", static_cast<uint32_t>(in.word[i / 2] >> (i % 2 * 32)));
  return text;
}

}  // namespace dxg::hostsim::eu
