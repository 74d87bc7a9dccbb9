#include <array>

#include "hostsim/work/eu/gen12lp.h"

namespace dxg::hostsim::eu::gen12lp {
namespace {

constexpr uint8_t kModifiers = kSourceModifiers | kSaturate | kCondition | kCompact;
constexpr uint8_t kInteger = kSourceModifiers | kCondition | kCompact;
constexpr uint8_t kLogicOp = kSourceModifiers | kCondition | kCompact | kLogic;

constexpr OpRow kOps[] = {
    {Op::kIllegal, 0, "illegal", Form::kNone, 0},
    {Op::kSync, 1, "sync", Form::kSync, kCompact},
    {Op::kJmpi, 32, "jmpi", Form::kJump, 0},
    {Op::kBrd, 33, "brd", Form::kBranch, 0},
    {Op::kIf, 34, "if", Form::kBranch, kUip | kBranchControl},
    {Op::kBrc, 35, "brc", Form::kBranch, kUip},
    {Op::kElse, 36, "else", Form::kBranch, kUip | kBranchControl},
    {Op::kEndif, 37, "endif", Form::kBranch, 0},
    {Op::kWhile, 39, "while", Form::kBranch, 0},
    {Op::kBreak, 40, "break", Form::kBranch, kUip},
    {Op::kCont, 41, "cont", Form::kBranch, kUip},
    {Op::kHalt, 42, "halt", Form::kBranch, kUip},
    {Op::kCalla, 43, "calla", Form::kCall, 0},
    {Op::kCall, 44, "call", Form::kCall, 0},
    {Op::kRet, 45, "ret", Form::kReturn, 0},
    {Op::kGoto, 46, "goto", Form::kBranch, kUip | kBranchControl},
    {Op::kJoin, 47, "join", Form::kBranch, 0},
    {Op::kSend, 49, "send", Form::kSend, 0},
    {Op::kSendc, 50, "sendc", Form::kSend, 0},
    {Op::kMath, 56, "math", Form::kMath, kSourceModifiers | kSaturate},
    {Op::kAdd, 64, "add", Form::kTwo, kModifiers},
    {Op::kMul, 65, "mul", Form::kTwo, kModifiers},
    {Op::kAvg, 66, "avg", Form::kTwo, kModifiers},
    {Op::kFrc, 67, "frc", Form::kOne, kSourceModifiers | kCondition | kCompact},
    {Op::kRndu, 68, "rndu", Form::kOne, kModifiers},
    {Op::kRndd, 69, "rndd", Form::kOne, kModifiers},
    {Op::kRnde, 70, "rnde", Form::kOne, kModifiers},
    {Op::kRndz, 71, "rndz", Form::kOne, kModifiers},
    {Op::kMac, 72, "mac", Form::kTwo, kModifiers},
    {Op::kMach, 73, "mach", Form::kTwo, kSourceModifiers | kCompact},
    {Op::kLzd, 74, "lzd", Form::kOne, kModifiers},
    {Op::kFbh, 75, "fbh", Form::kOne, kCompact},
    {Op::kFbl, 76, "fbl", Form::kOne, kCompact},
    {Op::kCbit, 77, "cbit", Form::kOne, kCompact},
    {Op::kAddc, 78, "addc", Form::kTwo, kCondition | kCompact},
    {Op::kSubb, 79, "subb", Form::kTwo, kCondition | kCompact},
    {Op::kDp4a, 88, "dp4a", Form::kThree, kSaturate | kCondition | kCompact},
    {Op::kMad, 91, "mad", Form::kThree, kModifiers},
    {Op::kNop, 96, "nop", Form::kNone, 0},
    {Op::kMov, 97, "mov", Form::kOne, kModifiers},
    {Op::kSel, 98, "sel", Form::kTwo, kModifiers},
    {Op::kMovi, 99, "movi", Form::kTwo, kSourceModifiers | kSaturate | kCompact},
    {Op::kNot, 100, "not", Form::kOne, kLogicOp},
    {Op::kAnd, 101, "and", Form::kTwo, kLogicOp},
    {Op::kOr, 102, "or", Form::kTwo, kLogicOp},
    {Op::kXor, 103, "xor", Form::kTwo, kLogicOp},
    {Op::kShr, 104, "shr", Form::kTwo, kInteger | kSaturate},
    {Op::kShl, 105, "shl", Form::kTwo, kInteger | kSaturate},
    {Op::kAsr, 108, "asr", Form::kTwo, kInteger | kSaturate},
    {Op::kRor, 110, "ror", Form::kTwo, kCondition | kCompact},
    {Op::kRol, 111, "rol", Form::kTwo, kCondition | kCompact},
    {Op::kCmp, 112, "cmp", Form::kTwo, kInteger},
    {Op::kCmpn, 113, "cmpn", Form::kTwo, kInteger},
    {Op::kCsel, 114, "csel", Form::kThree, kModifiers},
    {Op::kBfrev, 119, "bfrev", Form::kOne, kCompact},
    {Op::kBfe, 120, "bfe", Form::kThree, kCompact},
    {Op::kBfi1, 121, "bfi1", Form::kTwo, kCompact},
    {Op::kBfi2, 122, "bfi2", Form::kThree, kCompact},
};

constexpr auto kByCode = [] {
  std::array<uint8_t, 128> rows{};
  for (uint8_t& row : rows) row = 0xff;
  for (size_t i = 0; i < std::size(kOps); ++i) rows[kOps[i].code] = static_cast<uint8_t>(i);
  return rows;
}();

}  // namespace

const OpRow* FindOp(uint32_t code) {
  return code < kByCode.size() && kByCode[code] != 0xff ? &kOps[kByCode[code]] : nullptr;
}

const OpRow* FindOp(Op op) {
  for (const OpRow& row : kOps)
    if (row.op == op) return &row;
  return nullptr;
}

}  // namespace dxg::hostsim::eu::gen12lp
