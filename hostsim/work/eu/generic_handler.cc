#include <string>

#include "hostsim/work/eu/alu.h"

// Which handler an operation has, and of which it is not known what the EU does with them.

namespace dxg::hostsim::eu {
namespace {

enum class Class { kInteger, kFloat, kMixed };

Class SourceClass(const Step& step) {
  uint32_t floats = 0;
  for (uint32_t i = 0; i < step.sources; ++i) floats += IsFloat(step.from[i].type);
  return floats == 0 ? Class::kInteger : floats == step.sources ? Class::kFloat : Class::kMixed;
}

bool IsDword(Type type) { return type == Type::kD || type == Type::kUd; }

// The compiler adds short offsets to the low half of an address.
bool IsCarried(Type type) { return type == Type::kUd || type == Type::kUw || type == Type::kW; }

bool IsChoice(Op op) { return op == Op::kSel || op == Op::kCsel; }

// What is known of integers only for some types.
const char* CheckIntegers(const Step& step) {
  const Type a = step.from[0].type, b = step.from[1].type, c = step.from[2].type;
  const bool all_dwords = IsDword(a) && (step.sources < 2 || IsDword(b)) && (step.sources < 3 || IsDword(c));
  switch (step.op) {
    case Op::kMul:
      if (BytesOf(b) > 2) return "a product with a dword as second factor";
      return step.saturate ? "a saturated product of integers" : nullptr;
    case Op::kMad:
      return BytesOf(c) > 2 ? "a product with a dword as second factor" : nullptr;
    case Op::kMach:
      return all_dwords && IsDword(step.to.type) ? nullptr : "of other types than dwords";
    case Op::kAddc:
    case Op::kSubb:
      if (!IsCarried(a) || !IsCarried(b) || step.to.type != Type::kUd)
        return "of other types than ud and words";
      return step.writes_accumulator ? nullptr : "without AccWrEn";
    case Op::kShr:
      if (IsSigned(a) && a != Type::kD) return "of a signed word or byte";
      return step.saturate ? "a saturated shift" : nullptr;
    case Op::kAsr:
      if (!IsSigned(a)) return "of an unsigned number";
      return step.saturate ? "a saturated shift" : nullptr;
    case Op::kShl:
      return step.saturate ? "a saturated shift" : nullptr;
    case Op::kRol:
    case Op::kRor:
      return BytesOf(a) >= 2 && BytesOf(a) == BytesOf(step.to.type) ? nullptr : "of these types";
    case Op::kLzd:
    case Op::kBfrev:
      return a == Type::kUd ? nullptr : "of another type than ud";
    case Op::kFbl:
      return all_dwords || a == Type::kUw ? nullptr : "of other types than dwords";
    case Op::kFbh:
    case Op::kBfe:
    case Op::kBfi1:
    case Op::kBfi2:
    case Op::kDp4a:
      return all_dwords ? nullptr : "of other types than dwords";
    case Op::kMov:
    case Op::kNot:
    case Op::kAnd:
    case Op::kOr:
    case Op::kXor:
    case Op::kAdd:
    case Op::kAvg:
    case Op::kCbit:
      return nullptr;
    default:
      return "of integers";
  }
}

const char* CheckFloats(const Step& step) {
  switch (step.op) {
    case Op::kMov:
    case Op::kAdd:
    case Op::kMul:
    case Op::kMad:
    case Op::kRndu:
    case Op::kRndd:
    case Op::kRnde:
    case Op::kRndz:
    case Op::kFrc:
    case Op::kMath:
      return nullptr;
    default:
      return "of floats";
  }
}

bool IsCopy(const Step& step) {
  return step.op == Op::kMov && step.to.type == step.from[0].type && IsFloat(step.to.type) &&
         !step.saturate && step.condition == Condition::kNone && step.from[0].kind != Place::kPattern;
}

Handler ChoiceHandler(const Step& step, Class kind, std::string* why) {
  const bool ordered = step.condition == Condition::kGe || step.condition == Condition::kLt ||
                       step.condition == Condition::kGt || step.condition == Condition::kLe;
  if (step.op == Op::kSel && step.condition != Condition::kNone && !ordered)
    *why = "a choice by this condition";
  else if (step.op == Op::kSel && step.condition != Condition::kNone && step.is_selector)
    *why = "a choice by condition and predicate";
  else if (step.op == Op::kSel && step.condition == Condition::kNone && !step.is_selector)
    *why = "a choice without condition and predicate";
  else if (step.op == Op::kCsel && step.condition == Condition::kNone)
    *why = "a choice without condition";
  else if ((kind == Class::kFloat) != IsFloat(step.to.type))
    *why = "a choice that changes between floats and integers";
  else
    return kind == Class::kFloat ? ExecuteChooseFloats : ExecuteChooseIntegers;
  return nullptr;
}

}  // namespace

Handler GenericHandler(const Step& step, std::string* why) {
  const Class kind = SourceClass(step);
  if (kind == Class::kMixed) {
    *why = "sources of floats and integers together";
    return nullptr;
  }
  if (step.condition == Condition::kOverflow) {
    *why = "the condition of overflow";
    return nullptr;
  }
  if (IsChoice(step.op)) return ChoiceHandler(step, kind, why);
  if (step.op == Op::kCmp) {
    if (step.condition == Condition::kNone) *why = "a comparison without condition";
    return !why->empty() ? nullptr : kind == Class::kFloat ? ExecuteCompareFloats : ExecuteCompareIntegers;
  }
  if (step.op == Op::kMath && kind == Class::kInteger) {
    const bool divides = step.math == Math::kIqot || step.math == Math::kIrem;
    const bool same = step.from[0].type == step.from[1].type && IsDword(step.from[0].type);
    if (!divides || !same || !IsDword(step.to.type) || step.saturate) *why = "a math function of these types";
    return why->empty() ? ExecuteIntegerMath : nullptr;
  }
  if (step.op == Op::kMath && (step.sources != 1 || !IsFloat(step.to.type))) {
    *why = "a math function of these types";
    return nullptr;
  }
  if (IsCopy(step)) return ExecuteCopy;
  if ((kind == Class::kFloat) != IsFloat(step.to.type)) {
    if (step.op != Op::kMov)
      *why = "a result that changes between floats and integers";
    else if (step.from[0].kind == Place::kPattern && kind == Class::kFloat)
      *why = "a vector of floats";
    return !why->empty() ? nullptr : kind == Class::kFloat ? ExecuteToInteger : ExecuteToFloat;
  }
  if (const char* unknown = kind == Class::kFloat ? CheckFloats(step) : CheckIntegers(step)) {
    *why = unknown;
    return nullptr;
  }
  if (kind == Class::kFloat) return ExecuteFloat;
  if (step.op == Op::kMach) return ExecuteMach;
  if (step.op == Op::kAddc || step.op == Op::kSubb) return ExecuteCarry;
  return ExecuteInteger;
}

}  // namespace dxg::hostsim::eu
