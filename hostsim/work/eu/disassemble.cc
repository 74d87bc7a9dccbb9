#include <fmt/format.h>

#include <bit>
#include <vector>

#include "hostsim/work/eu/gen12lp.h"

namespace dxg::hostsim::eu {
namespace {

using gen12lp::Form;

const char* NameOf(Type type) {
  constexpr const char* kNames[] = {"ub", "b", "uw", "w",  "ud", "d",  "uq", "q",
                                    "hf", "f", "df", "uv", "v",  "vf", "?"};
  return kNames[static_cast<uint8_t>(type)];
}

const char* NameOf(Condition condition) {
  constexpr const char* kNames[] = {"", "eq", "ne", "gt", "ge", "lt", "le", "ov", "un"};
  return kNames[static_cast<uint8_t>(condition)];
}

const char* NameOf(Math function) {
  constexpr const char* kNames[] = {"none", "inv", "log",  "exp",  "sqt",  "rsqt", "sin",  "cos",
                                    "fdiv", "pow", "idiv", "iqot", "irem", "invm", "rsqtm"};
  return kNames[static_cast<uint8_t>(function)];
}

const char* NameOf(Sync function) {
  constexpr const char* kNames[] = {"nop", "allrd", "allwr", "bar", "host"};
  return kNames[static_cast<uint8_t>(function)];
}

const char* NameOfFunction(uint8_t sfid) {
  constexpr const char* kNames[] = {"null", "?",    "smpl", "gtwy", "dc2", "rc",  "urb", "ts",
                                    "vme",  "dcro", "dc0",  "pixi", "dc1", "cre", "?",   "?"};
  return kNames[sfid & 15];
}

std::string ArfName(uint8_t reg) {
  constexpr const char* kNames[] = {"null", "a", "acc", "f",   "ce", "msg", "sp", "sr",
                                    "cr",   "n", "ip",  "tdr", "tm", "fc",  "?",  "dbg"};
  constexpr uint16_t kNumbered = 0b1011101110111110;
  const uint32_t kind = reg >> 4;
  return kNumbered >> kind & 1 ? fmt::format("{}{}", kNames[kind], reg & 15) : kNames[kind];
}

std::string Register(File file, uint8_t reg, uint8_t subreg_bytes, uint32_t element_bytes) {
  if (file == File::kGrf) return fmt::format("r{}.{}", reg, subreg_bytes / element_bytes);
  if (reg >> 4 == static_cast<uint8_t>(Arf::kNull)) return "null";
  if (reg >> 4 == static_cast<uint8_t>(Arf::kIp)) return "ip";
  if (reg >> 4 == static_cast<uint8_t>(Arf::kChannelEnable)) return "ce";
  return fmt::format("{}.{}", ArfName(reg), subreg_bytes / element_bytes);
}

std::string Indirect(uint8_t subreg, int16_t offset) {
  return offset == 0 ? fmt::format("r[a0.{}]", subreg) : fmt::format("r[a0.{},{}]", subreg, offset);
}

std::string Immediate(const Source& source) {
  const uint64_t bits = source.immediate;
  switch (source.type) {
    case Type::kW:
      return fmt::format("{}:w", static_cast<int16_t>(bits));
    case Type::kD:
      return fmt::format("{}:d", static_cast<int32_t>(bits));
    case Type::kQ:
      return fmt::format("{}:q", static_cast<int64_t>(bits));
    case Type::kUw:
    case Type::kHf:
      return fmt::format("0x{:X}:{}", bits & 0xffff, NameOf(source.type));
    default:
      return fmt::format("0x{:X}:{}", bits, NameOf(source.type));
  }
}

// As a set of scoreboard tokens.
std::string Tokens(uint64_t bits) {
  std::string text;
  for (uint32_t token = 0; token < 32; ++token)
    if (bits >> token & 1) text += fmt::format("{}${}", text.empty() ? "" : ",", token);
  return "(" + text + ")";
}

std::string Text(const Source& source, Form form, bool logic, bool last_of_three) {
  if (source.file == File::kImmediate) return Immediate(source);
  std::string text = source.negate ? (logic ? "~" : "-") : "";
  if (source.absolute) text += "(abs)";
  const uint32_t bytes = std::max(BytesOf(source.type), 1u);
  text += source.indirect ? Indirect(source.address_subreg, source.address_offset)
                          : Register(source.file, source.reg, source.subreg_bytes, bytes);
  if (form == Form::kThree)
    text += last_of_three ? fmt::format("<{}>", source.vertical_stride)
                          : fmt::format("<{};{}>", source.vertical_stride, source.stride);
  else if (source.vertical_stride == Source::kVxH)
    text += fmt::format("<{},{}>", source.width, source.stride);
  else
    text += fmt::format("<{};{},{}>", source.vertical_stride, source.width, source.stride);
  return text + ":" + NameOf(source.type);
}

std::string Text(const Destination& to) {
  const uint32_t bytes = std::max(BytesOf(to.type), 1u);
  return (to.indirect ? Indirect(to.address_subreg, to.address_offset)
                      : Register(to.file, to.reg, to.subreg_bytes, bytes)) +
         fmt::format("<{}>:{}", to.stride, NameOf(to.type));
}

std::string FlagName(uint8_t flag) { return fmt::format("f{}.{}", flag / 2, flag % 2); }

std::string PredicateText(const Instruction& in) {
  constexpr const char* kSuffixes[] = {"",        "",        ".anyv",   ".allv",  ".any2h",
                                       ".all2h",  ".any4h",  ".all4h",  ".any8h", ".all8h",
                                       ".any16h", ".all16h", ".any32h", ".all32h"};
  std::string text;
  if (in.predicate != Predicate::kNone)
    text = fmt::format("{}{}{}", in.predicate_inverted ? "~" : "", FlagName(in.flag),
                       kSuffixes[static_cast<uint8_t>(in.predicate)]);
  if (in.write_all) text = text.empty() ? "W" : "W&" + text;
  return text.empty() ? text : "(" + text + ") ";
}

// What an instruction waits for, as the assembler writes it.
void Waits(const Instruction& in, bool takes_token, std::vector<std::string>* out) {
  const uint32_t token = in.swsb & 15, kind = in.swsb >> 4;
  if (in.swsb == 0) return;
  if (kind >= 8) {
    out->push_back(fmt::format("@{}", kind & 7));
    out->push_back(fmt::format("${}{}", token, takes_token ? "" : ".dst"));
  } else if (kind == 0) {
    out->push_back(fmt::format("@{}", token));
  } else {
    out->push_back(fmt::format("${}{}", token, kind == 2 ? ".dst" : kind == 3 ? ".src" : ""));
  }
}

std::string Options(const Instruction& in, Form form) {
  std::vector<std::string> options;
  const bool is_operation =
      form == Form::kOne || form == Form::kTwo || form == Form::kThree || form == Form::kMath;
  if (is_operation && in.writes_accumulator) options.push_back("AccWrEn");
  if (in.atomic) options.push_back("Atomic");
  if (in.word[0] >> 30 & 1) options.push_back("Breakpoint");
  if (in.size_bytes == kCompactInstructionBytes) options.push_back("Compacted");
  if (in.send.eot) options.push_back("EOT");
  if (in.send.fused) options.push_back("Serialize");
  Waits(in, form == Form::kSend || form == Form::kMath, &options);
  std::string text;
  for (const std::string& option : options) text += (text.empty() ? "{" : ",") + option;
  return text.empty() ? text : " " + text + "}";
}

std::string SendOperands(const Instruction& in) {
  const SendFields& send = in.send;
  const auto name = [](File file, uint8_t reg) {
    return file == File::kGrf ? fmt::format("r{}", reg) : std::string("null");
  };
  std::string text =
      fmt::format(" {} {} {}", name(in.destination.file, in.destination.reg),
                  name(in.source[0].file, in.source[0].reg), name(in.source[1].file, in.source[1].reg));
  if (send.extended_in_a0)
    text += fmt::format(" a0.{}", send.extended_subreg);
  else if (const uint32_t extended = send.extended_descriptor | uint32_t{send.src1_registers} << 6)
    text += fmt::format(" 0x{:X}", extended);
  else
    text += " 0x0";
  return text + (send.descriptor_in_a0 ? " a0.0" : fmt::format(" 0x{:08X}", send.descriptor));
}

std::string BranchOperands(const Instruction& in, const gen12lp::OpRow& row) {
  std::string text;
  if (row.form == Form::kCall)
    text += " " + Register(in.destination.file, in.destination.reg, in.destination.subreg_bytes, 4);
  if (in.jip_in_register)
    text += " " + Register(in.source[0].file, in.source[0].reg, in.source[0].subreg_bytes, 4);
  else
    text += fmt::format(" {}", in.jip);
  if ((row.can & gen12lp::kUip) && !in.jip_in_register) text += fmt::format(" {}", in.uip);
  return text;
}

}  // namespace

std::string Disassemble(const Instruction& in) {
  const gen12lp::OpRow* row = gen12lp::FindOp(in.op);
  if (!row) return "?";
  std::string text = row->name;
  if (in.op == Op::kIllegal) return text;
  if (row->form == Form::kNone) return text + Options(in, row->form);
  text = PredicateText(in) + text;
  if (row->form == Form::kMath) text += fmt::format(".{}", NameOf(in.math));
  if (row->form == Form::kSync) text += fmt::format(".{}", NameOf(in.sync));
  if (row->form == Form::kSend) text += fmt::format(".{}", NameOfFunction(in.send.sfid));
  if (in.branch_control) text += ".b";
  if (row->form == Form::kSync) {
    text += in.source[0].file == File::kImmediate ? " " + Tokens(in.source[0].immediate) : " null";
    return text + Options(in, row->form);
  }
  if (row->form != Form::kJump) text += fmt::format(" ({}|M{})", in.lanes, in.first_lane);
  if (row->form == Form::kSend) return text + SendOperands(in) + Options(in, row->form);
  if (row->form == Form::kBranch || row->form == Form::kCall || row->form == Form::kReturn ||
      row->form == Form::kJump)
    return text + BranchOperands(in, *row) + Options(in, row->form);
  if (in.condition != Condition::kNone)
    text += fmt::format(" ({}){}", NameOf(in.condition), FlagName(in.flag));
  text += in.saturate ? " (sat)" : " ";
  text += Text(in.destination);
  for (int i = 0; i < in.sources; ++i)
    text += " " + Text(in.source[i], row->form, row->can & gen12lp::kLogic, i == 2);
  return text + Options(in, row->form);
}

}  // namespace dxg::hostsim::eu
