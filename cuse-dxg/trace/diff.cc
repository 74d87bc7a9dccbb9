#include "cuse-dxg/trace/diff.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <utility>

#include "cuse-dxg/trace/decode.h"
#include "cuse-dxg/trace/fields.h"
#include "proto/contract/answers.h"
#include "proto/contract/plan.h"
#include "proto/contract/text.h"

namespace dxg::trace {
namespace {

using contract::FieldPlan;
using google::protobuf::FieldDescriptor;
using Thread = std::vector<Comparable>;

constexpr size_t kNamesMax = 4096;  // of a call; those that follow have to be the same
constexpr size_t kTextMax = 4096;   // a longer text is compared by its size and its hash

// Numbers of descriptors: which one is free is chance.
bool IsDescriptor(const std::string& field) {
  return field == "nt_handle" || field == "async_event" || field == "cpu_event_handle" || field == "event" ||
         field == "sync_file_handle" || field == "shared_handle_out";
}

// 0: the number has to be the same.
char KindOf(const FieldPlan& plan) {
  if (plan.format == HANDLE) return IsAdapter(plan.name) ? 'A' : 'h';
  if (plan.format == LUID) return 'l';
  if (plan.format == HEX && plan.type == FieldDescriptor::CPPTYPE_UINT64 && plan.bits.empty()) return 'a';
  return IsDescriptor(plan.name) ? 'd' : 0;
}

class Maker {
 public:
  Maker(bool given, Comparable* to) : given_(given), to_(to) {}

  void Add(const contract::Message& message, int left_out = 0) {
    const auto* const reflection = message.GetReflection();
    to_->text += '{';
    for (const FieldPlan& plan : contract::PlanOf(message.GetDescriptor())) {
      if (plan.field->number() == left_out) continue;
      const int count = plan.repeated ? reflection->FieldSize(message, plan.field) : 1;
      if (!plan.repeated && plan.needs_presence && !reflection->HasField(message, plan.field)) continue;
      to_->text += plan.name;
      for (int i = 0; i < count; ++i) Add(message, plan, plan.repeated ? i : -1);
      to_->text += ';';
    }
    to_->text += '}';
  }

 private:
  void Add(const contract::Message& message, const FieldPlan& plan, int index) {
    const auto* const reflection = message.GetReflection();
    const FieldDescriptor* const field = plan.field;
    const bool one = index < 0;
    to_->text += '=';
    switch (plan.type) {
      case FieldDescriptor::CPPTYPE_UINT32:
        return AddNumber(plan, one ? reflection->GetUInt32(message, field)
                                   : reflection->GetRepeatedUInt32(message, field, index));
      case FieldDescriptor::CPPTYPE_UINT64:
        return AddNumber(plan, one ? reflection->GetUInt64(message, field)
                                   : reflection->GetRepeatedUInt64(message, field, index));
      case FieldDescriptor::CPPTYPE_INT32:
        to_->text += std::to_string(one ? reflection->GetInt32(message, field)
                                        : reflection->GetRepeatedInt32(message, field, index));
        return;
      case FieldDescriptor::CPPTYPE_BOOL:
        to_->text += reflection->GetBool(message, field) ? '1' : '0';
        return;
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return Add(one ? reflection->GetMessage(message, field)
                       : reflection->GetRepeatedMessage(message, field, index));
      default: {
        std::string scratch;
        const std::string& bytes = reflection->GetStringReference(message, field, &scratch);
        to_->text += std::to_string(bytes.size()) + ':' + bytes;
      }
    }
  }

  void AddNumber(const FieldPlan& plan, uint64_t value) {
    const char kind = value == 0 || to_->names.size() == kNamesMax ? 0 : KindOf(plan);
    if (kind == 0) {
      to_->text += std::to_string(value);
      return;
    }
    to_->text += kind;
    to_->names.push_back({kind, value, given_});
  }

  const bool given_;
  Comparable* const to_;
};

// Times, loads and counters of the machine: another run has others.
bool IsMeasured(const guest::CallReport& call, const contract::DecodedField& decoded) {
  if (std::string_view(call.row->name) == "QueryClockCalibration") return true;
  return decoded.message != nullptr && contract::IsMeasured(*decoded.message);
}

Comparable MakeComparable(const guest::CallReport& call, bool exact, std::string line) {
  Comparable made{.text = call.row != nullptr ? call.row->name : fmt::format("ioctl {:#x}", call.code),
                  .names = {},
                  .line = std::move(line)};
  if (call.request != nullptr) Maker(false, &made).Add(*call.request);
  made.text += fmt::format("={}", call.status->value());
  if (call.row == nullptr || call.request == nullptr || call.reply == nullptr || !call.status->ok())
    return made;
  thread_local contract::AnswerDecoder answers;
  const contract::DecodedField decoded = answers.OfReply(*call.row, *call.request, *call.reply);
  if (!exact && IsMeasured(call, decoded)) return made;
  Maker(true, &made).Add(*call.reply);
  return made;
}

Result<std::vector<Thread>> ReadThreads(TraceReader& reader, const DiffOptions& options) {
  std::vector<Thread> threads;
  std::map<std::pair<uint32_t, uint32_t>, size_t> order;
  Decoder decoder;
  const LineOptions line{.begin_ns = reader.header().begin_ns()};
  for (size_t calls = 0, bytes = 0;;) {
    DXG_ASSIGN(const TraceReader::What what, reader.Next());
    if (what == TraceReader::What::kEnd) break;
    if (what != TraceReader::What::kRecord || !reader.record().has_call()) continue;
    const TraceRecord& record = reader.record();
    if (!options.filter.Passes(record)) continue;
    if (Status decoded = decoder.Decode(record); !decoded.ok())
      return Status::Refuse(EINVAL, "record {}: {}", reader.records(), decoded.why());
    if (++calls > Diff::kCallsMax || bytes > Diff::kBytesMax)
      return Status::Refuse(
          EFBIG, "record {}: more than {} calls, or {} bytes of text; choose some calls with --filter",
          reader.records(), Diff::kCallsMax, Diff::kBytesMax);
    const auto [thread, added] = order.try_emplace({record.pid(), record.tid()}, threads.size());
    if (added) threads.emplace_back();
    Comparable made = MakeComparable(decoder.call(), options.exact, LineOf(record, decoder, line));
    for (Comparable::Name& name : made.names) name.process = name.kind == 'l' ? 0 : record.pid();
    if (made.text.size() > kTextMax)
      made.text = fmt::format("{} bytes, {:#x}", made.text.size(), std::hash<std::string>()(made.text));
    bytes += made.text.size() + made.line.size() + made.names.size() * sizeof(made.names[0]);
    threads[thread->second].push_back(std::move(made));
  }
  return threads;
}

struct Place {
  size_t a, b;
};

// From where on both agree again, with the fewest calls left out. Two calls in a row, where there are two:
// one alone is often somewhere near.
Place NextAgreement(const Thread& a, const Thread& b, Place at, const Renaming& renaming) {
  const auto agree = [&](size_t i, size_t j) {
    Renaming tried = renaming;
    if (!tried.Agree(a[i], b[j])) return false;
    return i + 1 == a.size() || j + 1 == b.size() || tried.Agree(a[i + 1], b[j + 1]);
  };
  for (size_t left_out = 1; left_out <= Diff::kAheadMax; ++left_out) {
    for (size_t of_a = 0; of_a <= left_out; ++of_a) {
      const size_t i = at.a + of_a, j = at.b + (left_out - of_a);
      if (i < a.size() && j < b.size() && a[i].text == b[j].text && agree(i, j)) return {i, j};
    }
  }
  return {std::min(at.a + 1, a.size()), std::min(at.b + 1, b.size())};
}

void DiffThread(size_t number, const Thread& a, const Thread& b, Renaming* renaming, DiffResult* result,
                std::string* out) {
  bool said = false;
  for (Place at{0, 0}; at.a < a.size() || at.b < b.size();) {
    if (at.a < a.size() && at.b < b.size() && renaming->Agree(a[at.a], b[at.b])) {
      ++result->same, ++at.a, ++at.b;
      continue;
    }
    Place next{a.size(), b.size()};
    if (at.a < a.size() && at.b < b.size()) next = NextAgreement(a, b, at, *renaming);
    if (!said) *out += fmt::format("@@ thread {} @@\n", number + 1);
    said = true;
    for (; at.a < next.a; ++at.a, ++result->only_a) *out += "- " + a[at.a].line;
    for (; at.b < next.b; ++at.b, ++result->only_b) *out += "+ " + b[at.b].line;
  }
}

}  // namespace

bool Renaming::Agree(const Comparable& a, const Comparable& b) {
  if (a.text != b.text || a.names.size() != b.names.size()) return false;
  // What a Request names has to be known as the other's, or be new in both; what a Reply gives is new.
  for (size_t i = 0; i < a.names.size(); ++i) {
    if (a.names[i].given) continue;
    const Key key_a = KeyOf(a.names[i]), key_b = KeyOf(b.names[i]);
    const auto to_b = to_b_.find(key_a), to_a = to_a_.find(key_b);
    if (to_b == to_b_.end() && to_a == to_a_.end()) continue;
    if (to_b == to_b_.end() || to_a == to_a_.end() || to_b->second != key_b || to_a->second != key_a)
      return false;
  }
  for (size_t i = 0; i < a.names.size(); ++i) {
    const Key key_a = KeyOf(a.names[i]), key_b = KeyOf(b.names[i]);
    if (const auto old = to_b_.find(key_a); old != to_b_.end()) to_a_.erase(old->second);
    if (const auto old = to_a_.find(key_b); old != to_a_.end()) to_b_.erase(old->second);
    to_b_[key_a] = key_b;
    to_a_[key_b] = key_a;
  }
  return true;
}

Result<DiffResult> Diff::Run(TraceReader& a, TraceReader& b, const DiffOptions& options, std::FILE* to) {
  for (const TraceReader* each : {&a, &b}) {
    if (each->header().side() == TraceHeader::HOST)
      return Status::Refuse(EINVAL,
                            "the {} file is a recording of host commands; expected one of calls, as of "
                            "`cuse-dxg run --record`",
                            each == &a ? "first" : "second");
  }
  DXG_ASSIGN(const auto of_a, ReadThreads(a, options));
  DXG_ASSIGN(const auto of_b, ReadThreads(b, options));
  DiffResult result;
  Renaming renaming;
  std::string out;
  static const Thread kNone;
  for (size_t i = 0; i < std::max(of_a.size(), of_b.size()); ++i) {
    DiffThread(i, i < of_a.size() ? of_a[i] : kNone, i < of_b.size() ? of_b[i] : kNone, &renaming, &result,
               &out);
  }
  out += fmt::format("{} calls are the same, {} only in the first, {} only in the second\n", result.same,
                     result.only_a, result.only_b);
  if (std::fwrite(out.data(), 1, out.size(), to) != out.size() || std::fflush(to) != 0) {
    const int error = errno;
    return Status::Refuse(error, "the output cannot be written: {}", std::strerror(error));
  }
  return result;
}

}  // namespace dxg::trace
