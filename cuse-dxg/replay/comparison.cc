#include "cuse-dxg/replay/comparison.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "proto/abi/ntstatus.h"
#include "proto/contract/text.h"

namespace dxg::replay {
namespace {

// Stands for names that fit, in both messages.
constexpr uint64_t kFits = 1;

std::vector<Value> ValuesOf(const Message& message, const Message& request) {
  std::vector<Value> values;
  ForEachValue(message, request, [&](const Value& value) { values.push_back(value); });
  return values;
}

bool IsDefault(const Message& message, const FieldDescriptor* field) {
  return field->is_repeated() ? message.GetReflection()->FieldSize(message, field) == 0
                              : !message.GetReflection()->HasField(message, field);
}

// What the call did not write is in the client's struct as the client had it: where the recorded reply has
// nothing and the other one what was asked, it is nothing either.
void ForgetWhatWasAsked(const Message& recorded, const Message& request, Message* live,
                        bool in_list = false) {
  for (int i = 0; i < recorded.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* const field = recorded.GetDescriptor()->field(i);
    const FieldDescriptor* const asked = request.GetDescriptor()->FindFieldByName(field->name());
    if (asked == nullptr || asked->cpp_type() != field->cpp_type() ||
        asked->is_repeated() != field->is_repeated())
      continue;
    const auto* const reflection = live->GetReflection();
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      if (!field->is_repeated() || asked->message_type() != field->message_type()) continue;
      const int count = std::min({reflection->FieldSize(recorded, field), reflection->FieldSize(*live, field),
                                  request.GetReflection()->FieldSize(request, asked)});
      for (int k = 0; k < count; ++k)
        ForgetWhatWasAsked(reflection->GetRepeatedMessage(recorded, field, k),
                           request.GetReflection()->GetRepeatedMessage(request, asked, k),
                           reflection->MutableRepeatedMessage(live, field, k), true);
      continue;
    }
    if (field->is_repeated() || !IsDefault(recorded, field)) continue;
    const bool number = field->cpp_type() == FieldDescriptor::CPPTYPE_UINT32 ||
                        field->cpp_type() == FieldDescriptor::CPPTYPE_UINT64;
    const bool bytes = field->cpp_type() == FieldDescriptor::CPPTYPE_STRING;
    // Private data of elements is not recorded.
    if ((number && NumberIn(*live, field->name()) == NumberIn(request, field->name())) ||
        (bytes && in_list) ||
        (bytes && reflection->GetString(*live, field) == request.GetReflection()->GetString(request, asked)))
      reflection->ClearField(live, field);
  }
}

bool IsWaiting(int32_t result) { return result == 0 || result == kStatusPending; }

}  // namespace

bool Comparison::Names::Bind(uint64_t of_recording, uint64_t of_live, bool made_anew) {
  if (made_anew) {
    if (const auto was = live.find(of_recording); was != live.end()) recorded.erase(was->second);
    if (const auto was = recorded.find(of_live); was != recorded.end()) live.erase(was->second);
    live[of_recording] = of_live;
    recorded[of_live] = of_recording;
    return true;
  }
  const auto [mine, is_new] = live.try_emplace(of_recording, of_live);
  const auto [yours, is_also_new] = recorded.try_emplace(of_live, of_recording);
  if (is_new != is_also_new) {
    if (is_new) live.erase(mine);
    if (is_also_new) recorded.erase(yours);
    return false;
  }
  return mine->second == of_live && yours->second == of_recording;
}

Verdict Comparison::Compare(uint64_t process, const RecordedCall& call, const Message& request,
                            int32_t result, const Message& reply) {
  Verdict verdict;
  if (result != call.result) {
    verdict.differs_as_it_may = IsWaiting(result) && IsWaiting(call.result);
    verdict.same = verdict.differs_as_it_may;
    if (!verdict.same) verdict.fields.emplace_back("result");
  }
  // Of a refused call nothing is written back but by accident; and where nothing was, there is nothing to
  // compare.
  const std::unique_ptr<Message> recorded = call.Reply();
  if (result < 0 || call.result < 0 || recorded->ByteSizeLong() == 0) return verdict;

  const std::unique_ptr<Message> live(reply.New());
  live->CopyFrom(reply);
  ForgetWhatWasAsked(*recorded, request, live.get());
  const std::vector<Value> theirs = ValuesOf(*recorded, request), ours = ValuesOf(*live, request);
  std::vector<bool> fits(theirs.size());
  if (theirs.size() == ours.size()) {
    for (size_t i = 0; i < theirs.size(); ++i) {
      const uint64_t a = theirs[i].number, b = ours[i].number;
      if (MayDiffer(theirs[i].kind)) {
        verdict.differs_as_it_may |= a != b;
        fits[i] = true;
      } else if (theirs[i].kind == Kind::kEvent) {
        fits[i] = (a == 0) == (b == 0);
      } else if (a == 0 || b == 0) {
        // A descriptor may well be 0, but no two are the same thing because they are.
        fits[i] = a == b || theirs[i].kind == Kind::kDescriptor;
      } else {
        const bool of_machine = theirs[i].kind == Kind::kLuid;
        const bool made =
            theirs[i].kind == Kind::kDescriptor || std::ranges::any_of(call.handles, [&](const Made& each) {
              return IsHandle(theirs[i].kind) && each.name == NameOf(theirs[i].kind, a);
            });
        // The same address may be given again when it is free.
        const bool anew = made || theirs[i].kind == Kind::kGpuAddress;
        fits[i] = names_[{of_machine ? 0 : process, theirs[i].kind}].Bind(a, b, anew);
        verdict.renamed |= fits[i] && a != b;
      }
    }
  }
  for (Message* message : {recorded.get(), live.get()}) {
    size_t at = 0;
    Rewrite(message, request, [&](const Value& value) {
      const bool fitting = at < fits.size() && fits[at];
      ++at;
      return fitting ? kFits : value.number;
    });
    const size_t before = message->ByteSizeLong();
    contract::ClearBytesThatMayDiffer(message, request);
    verdict.differs_as_it_may |= before != message->ByteSizeLong();
  }
  for (std::string& field : DifferentFields(*recorded, *live)) verdict.fields.push_back(std::move(field));
  verdict.same = verdict.fields.empty();
  return verdict;
}

std::string DifferenceText(const RecordedCall& recorded, int32_t result, const Message& reply) {
  return fmt::format("  recorded: = {} {}{}\n  here:     = {} {}\n", contract::ResultText(recorded.result),
                     Brief(*recorded.Reply()), recorded.reason.empty() ? "" : ": " + recorded.reason,
                     contract::ResultText(result), Brief(reply));
}

void Counts::Add(const RecordedCall& recorded, int32_t result, const Verdict& verdict) {
  ++calls_;
  if (verdict.same) {
    renamed_ += verdict.renamed;
    may_differ_ += verdict.differs_as_it_may;
    return;
  }
  ++different_;
  const std::string what =
      result == recorded.result
          ? fmt::format("{}: {}", recorded.row->name, fmt::join(verdict.fields, ", "))
          : fmt::format("{}: {} instead of {}", recorded.row->name, contract::ResultText(result),
                        contract::ResultText(recorded.result));
  const auto known = kinds_.find(what);
  if (known == kinds_.end() && kinds_.size() >= kKindsMax) return;
  Kind& kind = known == kinds_.end() ? kinds_[what] : known->second;
  if (++kind.count == 1) kind.first = recorded.record;
}

std::string Counts::Text() const {
  std::string text = fmt::format(
      "{} calls compared: {} the same ({} with other names, {} with values that may differ), {} different\n",
      calls_, calls_ - different_, renamed_, may_differ_, different_);
  for (const auto& [what, kind] : kinds_)
    text += fmt::format("{:>8}  {}, first in record {}\n", kind.count, what, kind.first);
  return text;
}

std::vector<const RecordedCall*> HistoryOf(const Recording& recording, const RecordedCall& call,
                                           size_t calls_max) {
  std::unordered_map<uint32_t, const RecordedCall*> makers;
  for (const RecordedCall& each : recording.calls()) {
    if (each.record >= call.record) break;
    for (const Made& made : each.handles) makers[made.object] = &each;
    for (const Made& made : each.descriptors) makers[made.object] = &each;
  }
  return HistoryOf(
      [&makers](uint32_t object) {
        const auto found = makers.find(object);
        return found == makers.end() ? nullptr : found->second;
      },
      call, calls_max);
}

std::vector<const RecordedCall*> HistoryOf(const std::function<const RecordedCall*(uint32_t object)>& maker,
                                           const RecordedCall& call, size_t calls_max) {
  std::set<uint64_t> seen;
  std::vector<const RecordedCall*> history, todo{&call};
  while (!todo.empty()) {
    const RecordedCall* const next = todo.back();
    todo.pop_back();
    const std::unique_ptr<Message> question(next->row->request->New());
    if (!question->ParseFromString(next->question.substr(1))) continue;
    ForEachValue(*question, *question, [&](const Value& value) {
      if (!IsHandle(value.kind) && value.kind != Kind::kDescriptor) return;
      const uint64_t mark = IsHandle(value.kind) ? kObjectMark : kObjectMark << 32;
      const RecordedCall* const made_by =
          (value.number & mark) == mark ? maker(static_cast<uint32_t>(value.number & kObjectMask)) : nullptr;
      if (made_by == nullptr || !seen.insert(made_by->record).second) return;
      history.push_back(made_by);
      todo.push_back(made_by);
    });
  }
  std::ranges::sort(history, {}, [](const RecordedCall* each) { return each->record; });
  if (history.size() > calls_max)
    history.erase(history.begin(), history.end() - static_cast<ptrdiff_t>(calls_max));
  return history;
}

std::string LineOf(const RecordedCall& call) {
  return fmt::format("record {}: {}({}) = {} {}", call.record, call.row->name, Brief(*call.Request()),
                     contract::ResultText(call.result), Brief(*call.Reply()));
}

}  // namespace dxg::replay
