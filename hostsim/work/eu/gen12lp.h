#pragma once

#include <cstdint>
#include <optional>

#include "hostsim/work/eu/instruction.h"

// What Gen12LP (Tiger Lake and its kin) has alone: where the fields of an instruction are, the numbers of its
// operations and types, its compact forms. Another family gets such a header, and such files, of its own.

namespace dxg::hostsim::eu::gen12lp {

// The bits of an instruction of 16 bytes. A field has its highest bit first, as manuals count them, and does
// not cross the middle.
struct Word {
  uint64_t half[2] = {};

  constexpr uint32_t Get(uint32_t high, uint32_t low) const {
    return static_cast<uint32_t>(half[low / 64] >> (low % 64) & (~uint64_t{0} >> (63 - (high - low))));
  }
  constexpr bool Bit(uint32_t bit) const { return Get(bit, bit) != 0; }
  constexpr void Set(uint32_t high, uint32_t low, uint64_t value) {
    half[low / 64] |= (value & (~uint64_t{0} >> (63 - (high - low)))) << (low % 64);
  }
};

// How the bits behind the common ones are laid out.
enum class Form : uint8_t { kNone, kSync, kOne, kTwo, kThree, kMath, kSend, kBranch, kCall, kReturn, kJump };

// Which modifiers an operation can have.
enum Can : uint8_t {
  kSourceModifiers = 1,
  kSaturate = 2,
  kCondition = 4,
  kCompact = 8,
  kUip = 16,  // of branches
  kBranchControl = 32,
  kLogic = 64,  // its source modifier inverts bits
};

struct OpRow {
  Op op = Op::kIllegal;
  uint8_t code = 0;
  const char* name = nullptr;
  Form form = Form::kNone;
  uint8_t can = 0;
};

// Null: there is no such operation.
const OpRow* FindOp(uint32_t code);
const OpRow* FindOp(Op op);

inline constexpr uint32_t kCompactBit = 29;

// The 16 bytes that a compact instruction stands for. Nothing: it has no such form.
std::optional<Word> Uncompact(uint64_t compact, const OpRow& row);

}  // namespace dxg::hostsim::eu::gen12lp
