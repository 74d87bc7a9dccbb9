#pragma once

#include <cstdint>
#include <string>

#include "hostsim/work/eu/instruction.h"
#include "hostsim/work/eu/thread.h"

namespace dxg::hostsim::eu {

// Where elements of an operand are. A lane i of a region has its element at
//   base + (i >> width_log2) * row_bytes + (i & (width - 1)) * column_bytes
// in the bytes of the Thread.
struct Place {
  enum Kind : uint8_t {
    kNone,          // null, or there is no such operand
    kRegion,        // in the Thread
    kImmediate,     // `value` of every lane
    kPattern,       // `value`: eight words of four bits each; a lane's is column_bytes after that before it
    kIndirect,      // a region whose base is in one address register
    kIndirectRows,  // each row has an address register of its own
    kLaneMask,      // ce0
  };
  Kind kind = kNone;
  Type type = Type::kNone;
  bool negate = false;
  bool absolute = false;
  uint8_t width_log2 = 0;
  uint8_t address_subreg = 0;
  uint16_t row_bytes = 0, column_bytes = 0;
  int16_t address_offset = 0;
  uint32_t base = 0;
  uint64_t value = 0;
  // Of regions whose lanes are all as far apart: so many bytes.
  bool is_linear = false;
  uint16_t lane_bytes = 0;
  uint32_t dword = 0;  // an immediate, extended as its type says
};

struct Step;

// Executes an operation for the lanes of the mask, bit 0 for the instruction's first. A result other than
// null says why it cannot.
using Handler = const char* (*)(Thread& thread, const Step& step, uint32_t lanes);

// An instruction made ready for execution.
struct Step {
  enum Kind : uint8_t {
    kRefused,
    kNoCode,
    kNothing,
    kOperation,
    kSend,
    kBarrier,
    kIf,
    kElse,
    kEndif,  // and join
    kWhile,
    kBreak,
    kGoto,
    kGotoBack,
  };
  Kind kind = kRefused;
  uint8_t lanes = 1, first_lane = 0;
  bool write_all = false;
  bool is_selector = false;  // its predicate selects, and does not mask
  bool writes_state = false;
  // Lanes may be parked at this instruction.
  bool wakes = false;
  Predicate predicate = Predicate::kNone;
  bool predicate_inverted = false;
  uint8_t flag_register = 0;
  uint8_t flag_bit = 0;  // of lane 0

  // The first while rounding is to nearest and denormals are kept, the second always.
  Handler plain = nullptr, any = nullptr;

  int32_t offset = 0;
  uint32_t next = 0, jip = 0, uip = 0;  // indices of steps
  int32_t next_offset = 0, jip_offset = 0, uip_offset = 0;

  Op op = Op::kIllegal;
  Math math = Math::kNone;
  Condition condition = Condition::kNone;
  bool saturate = false;
  bool writes_accumulator = false;
  uint8_t sources = 0;
  Place to;
  Place from[3];
};

// Which handlers steps get. All give the same bits.
enum class Handlers : uint8_t { kBest, kBaseline, kGeneric };

// Makes an instruction ready; jumps are still to be resolved. A text says why it cannot be executed.
std::string Prepare(const Instruction& instruction, Handlers handlers, Step* step);

// The handler of an operation; `step` has its operands. Null, with a text, if its types or modifiers are not
// known.
Handler GenericHandler(const Step& step, std::string* why);
// Null: there is none for it. The best ones are those for AVX2 if this processor has that.
Handler FastHandler(const Step& step, Handlers handlers);
bool HasAvx2();

// The lanes whose predicate holds, of all lanes of the step.
uint32_t PredicateOf(const Thread& thread, const Step& step);

}  // namespace dxg::hostsim::eu
