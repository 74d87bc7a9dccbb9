#include "cuse-dxg/replay/live_differences.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>

namespace dxg::replay {
namespace {

constexpr size_t kMakersMax = 1u << 16;  // calls that are kept because they made an object

}  // namespace

std::string LiveDifferences::Compare(const std::shared_ptr<const RecordedCall>& call,
                                     const Outcome& outcome) {
  const Verdict verdict =
      comparison_.Compare(call->process + 1, *call, *outcome.request, outcome.result, *outcome.reply);
  counts_.Add(*call, outcome.result, verdict);
  Keep(call);
  if (verdict.same || std::exchange(differs_, true)) return {};
  std::string text = fmt::format(
      "record {}: {}({})\n{}  other:    {}\n", call->record, call->row->name, Brief(*outcome.request),
      DifferenceText(*call, outcome.result, *outcome.reply), fmt::join(verdict.fields, ", "));
  const auto maker = [this](uint32_t object) -> const RecordedCall* {
    const auto found = makers_.find(object);
    return found == makers_.end() ? nullptr : found->second.get();
  };
  for (const RecordedCall* each : HistoryOf(maker, *call, kHistoryMax))
    text += fmt::format("    {}\n", LineOf(*each));
  kept_.clear();
  makers_.clear();
  return text;
}

void LiveDifferences::Keep(const std::shared_ptr<const RecordedCall>& call) {
  if (differs_ || (call->handles.empty() && call->descriptors.empty())) return;
  kept_.push_back(call);
  for (const auto* made : {&call->handles, &call->descriptors}) {
    for (const Made& each : *made) makers_[each.object] = call;
  }
  if (kept_.size() <= kMakersMax) return;
  for (const auto* made : {&kept_.front()->handles, &kept_.front()->descriptors}) {
    for (const Made& each : *made) makers_.erase(each.object);
  }
  kept_.pop_front();
}

}  // namespace dxg::replay
