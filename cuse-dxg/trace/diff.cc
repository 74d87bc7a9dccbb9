#include "cuse-dxg/trace/diff.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <utility>

#include "cuse-dxg/trace/decode.h"

namespace dxg::trace {
namespace {

using contract::Kind;
using contract::Value;
using Thread = std::vector<Comparable>;

constexpr size_t kNamesMax = 4096;  // of a call; those that follow have to be the same
constexpr size_t kTextMax = 4096;   // a longer text is compared by its size and its hash

// A message with its names, and with what may differ, put aside.
class Maker {
 public:
  Maker(const contract::Message& request, bool exact, Comparable* to)
      : request_(request), exact_(exact), to_(to) {}

  void Add(const contract::Message& message, bool given) {
    const std::unique_ptr<contract::Message> copy(message.New());
    copy->CopyFrom(message);
    contract::Rewrite(
        copy.get(), request_, [&](const Value& value) { return Put(value, given); },
        exact_ ? contract::Room::kKept : contract::Room::kEmptied);
    if (!exact_) contract::ClearBytesThatMayDiffer(copy.get(), request_);
    const std::string bytes = copy->SerializeAsString();
    to_->text += fmt::format(" {}:", bytes.size()) + bytes;
  }

 private:
  static constexpr uint64_t kThereIsOne = 1;

  // What stands in the text.
  uint64_t Put(const Value& value, bool given) {
    if (contract::MayDiffer(value.kind)) return exact_ ? value.number : 0;
    if (value.kind == Kind::kEvent) return value.number == 0 ? 0 : kThereIsOne;
    if ((value.number == 0 && value.kind != Kind::kDescriptor) || to_->names.size() == kNamesMax)
      return value.number;
    to_->names.push_back({value.kind, value.number, given});
    return kThereIsOne;
  }

  const contract::Message& request_;
  const bool exact_;
  Comparable* const to_;
};

Comparable MakeComparable(const guest::CallReport& call, bool exact, std::string line) {
  Comparable made{.text = call.row != nullptr ? call.row->name : fmt::format("ioctl {:#x}", call.code),
                  .names = {},
                  .line = std::move(line)};
  made.text += fmt::format("={}", call.status->value());
  if (call.row == nullptr || call.request == nullptr) return made;
  Maker maker(*call.request, exact, &made);
  maker.Add(*call.request, false);
  if (call.reply != nullptr && call.status->ok()) maker.Add(*call.reply, true);
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
    for (Comparable::Name& name : made.names) name.process = name.kind == Kind::kLuid ? 0 : record.pid();
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
