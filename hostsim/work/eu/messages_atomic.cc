#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "hostsim/work/eu/messages.h"

// Atomic operations: one step to CPUs and to other engines.

namespace dxg::hostsim::eu {
namespace {

enum AtomicOp : uint32_t {
  kAnd = 1,
  kOr = 2,
  kXor = 3,
  kMove = 4,
  kIncrement = 5,
  kDecrement = 6,
  kAdd = 7,
  kSubtract = 8,
  kReverseSubtract = 9,
  kSignedMax = 10,
  kSignedMin = 11,
  kMax = 12,
  kMin = 13,
  kCompareWrite = 14,
  kPredecrement = 15,
};
enum FloatAtomicOp : uint32_t { kFloatMax = 1, kFloatMin = 2, kFloatCompareWrite = 3 };

uint32_t OperandsOf(uint32_t operation, bool of_floats) {
  if (of_floats) return operation == kFloatCompareWrite ? 2 : 1;
  switch (operation) {
    case kIncrement:
    case kDecrement:
    case kPredecrement:
      return 0;
    case kCompareWrite:
      return 2;
    default:
      return 1;
  }
}

template <class Word>
Word Integer(uint32_t operation, Word old, Word first, Word second) {
  using Signed = std::make_signed_t<Word>;
  switch (operation) {
    case kAnd:
      return old & first;
    case kOr:
      return old | first;
    case kXor:
      return old ^ first;
    case kMove:
      return first;
    case kIncrement:
      return old + 1;
    case kDecrement:
    case kPredecrement:
      return old - 1;
    case kAdd:
      return old + first;
    case kSubtract:
      return old - first;
    case kReverseSubtract:
      return first - old;
    case kSignedMax:
      return static_cast<Word>(std::max(static_cast<Signed>(old), static_cast<Signed>(first)));
    case kSignedMin:
      return static_cast<Word>(std::min(static_cast<Signed>(old), static_cast<Signed>(first)));
    case kMax:
      return std::max(old, first);
    case kMin:
      return std::min(old, first);
    default:  // kCompareWrite
      return old == first ? second : old;
  }
}

uint32_t Float(uint32_t operation, uint32_t old, uint32_t first, uint32_t second) {
  const auto a = std::bit_cast<float>(old), b = std::bit_cast<float>(first);
  switch (operation) {
    case kFloatMax:
      return std::bit_cast<uint32_t>(std::fmax(a, b));
    case kFloatMin:
      return std::bit_cast<uint32_t>(std::fmin(a, b));
    default:
      return a == b ? second : old;
  }
}

template <class Word>
Word AtomicAnswer(uint32_t operation, bool of_floats, Word old) {
  return !of_floats && operation == kPredecrement ? old - 1 : old;
}

}  // namespace

MessageResult Messages::Atomic(const Message& message, Thread& thread, bool wide_addresses, bool of_floats) {
  const uint32_t descriptor = message.descriptor;
  const uint32_t operation = Field(descriptor, 8, 11);
  if (operation == 0 || (of_floats && operation > kFloatCompareWrite))
    return Refuse(fmt::format("atomic message {:#x}", descriptor));
  // Those by address are of 8 lanes, and say by the bit how wide the number is.
  const bool wide = wide_addresses && !of_floats && Field(descriptor, 12, 12) != 0;
  const uint32_t lanes = wide_addresses || Field(descriptor, 12, 12) != 0 ? 8 : 16;
  const bool answers = Field(descriptor, 13, 13) != 0;
  const uint32_t header = message.header ? 1 : 0, bytes = wide ? 8 : 4;
  const uint32_t of_addresses = lanes * (wide_addresses ? 8 : 4) / kRegisterBytes;
  const uint32_t of_operand = lanes * bytes / kRegisterBytes;
  const uint32_t operands = OperandsOf(operation, of_floats);
  const Payload payload(message, thread);
  if (payload.registers() < header + of_addresses + operands * of_operand ||
      (answers && (message.destination_is_null || message.destination_registers != of_operand))) {
    return Refuse(fmt::format("atomic message {:#x} of {} registers with an answer of {}", descriptor,
                              payload.registers(), message.destination_registers));
  }
  Target target{Target::kMemory, 0, ~0ull};
  if (!wide_addresses) {
    MessageResult result;
    const auto found = FindTarget(Field(descriptor, 0, 7), &result);
    if (!found) return result;
    target = *found;
  }

  std::array<uint8_t, 2 * kRegisterBytes> answer;
  if (answers) std::memcpy(answer.data(), payload.Answer(), of_operand * kRegisterBytes);
  const auto do_lane = [&]<class Word>(uint32_t lane, Word) {
    const uint32_t data = header + of_addresses;
    const Word first = operands > 0 ? payload.Get<Word>(data, lane) : Word{0};
    const Word second = operands > 1 ? payload.Get<Word>(data + of_operand, lane) : Word{0};
    uint64_t offset =
        wide_addresses ? payload.Get<uint64_t>(header, lane) : payload.Get<uint32_t>(header, lane);
    offset &= ~uint64_t{sizeof(Word) - 1};
    const auto change = [&](Word old) -> Word {
      if constexpr (sizeof(Word) == sizeof(uint32_t)) {
        if (of_floats) return Float(operation, old, first, second);
      }
      return Integer<Word>(operation, old, first, second);
    };
    Word old = 0;
    if (target.kind == Target::kMemory && offset < target.bytes && sizeof(Word) <= target.bytes - offset) {
      const uint64_t address = (target.base + offset) & ~uint64_t{sizeof(Word) - 1};
      if (!pages_->Update<Word>(address, change, &old)) return false;
    } else {
      // The threads of a group take turns on one CPU, so this is one step to all of them.
      (void)Load(target, offset, &old, sizeof old);
      const Word changed = change(old);
      (void)Store(target, offset, &changed, sizeof changed);
    }
    old = AtomicAnswer(operation, of_floats, old);
    std::memcpy(&answer[lane * sizeof old], &old, sizeof old);
    return true;
  };
  const uint32_t active = message.lane_mask & ((1u << lanes) - 1);
  for (uint32_t left = active; left != 0; left &= left - 1) {
    const auto lane = static_cast<uint32_t>(std::countr_zero(left));
    if (!(wide ? do_lane(lane, uint64_t{0}) : do_lane(lane, uint32_t{0}))) return Fault();
  }
  if (answers) std::memcpy(payload.Answer(), answer.data(), of_operand * kRegisterBytes);
  return {};
}

}  // namespace dxg::hostsim::eu
