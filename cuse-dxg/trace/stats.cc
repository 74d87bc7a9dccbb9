#include "cuse-dxg/trace/stats.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <regex>
#include <vector>

#include "base/printable.h"
#include "cuse-dxg/trace/decode.h"
#include "proto/contract/names.h"
#include "proto/contract/text.h"

namespace dxg::trace {
namespace {

std::string Microseconds(uint64_t ns) { return fmt::format("{}.{:01}", ns / 1000, ns / 100 % 10); }

double Share(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0 : 100 * static_cast<double>(part) / static_cast<double>(whole);
}

std::string ErrorName(int32_t result) {
  if (result == 0) return "others";
  if (result < 0 && result >= -kErrnoMax) return contract::ErrnoName(-result);
  const char* const name = contract::NtStatusName(result);
  return name != nullptr ? name : fmt::format("{:#x}", static_cast<uint32_t>(result));
}

std::string ErrorsText(const std::map<int32_t, uint64_t>& errors) {
  std::string text;
  for (const auto& [result, count] : errors)
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, ErrorName(result));
  return text;
}

// A reason that names a handle is the same one for another handle.
std::string WithoutNumbers(const std::string& reason) {
  static const std::regex number("\\b(0x[0-9a-f]+|[0-9]+)\\b");
  return std::regex_replace(reason, number, "#");
}

}  // namespace

// 0 to 63 have a place each; from there on 64 of each power of two.
size_t Durations::PlaceOf(uint64_t ns) {
  constexpr uint64_t kSteps = 1u << kStepsLog;
  if (ns < kSteps) return ns;
  const auto shift = static_cast<uint32_t>(std::bit_width(ns)) - kStepsLog - 1;
  return (size_t{shift} << kStepsLog) + (ns >> shift);
}

uint64_t Durations::HighestOf(size_t place) {
  constexpr uint64_t kSteps = 1u << kStepsLog;
  if (place < kSteps) return place;
  const size_t shift = (place >> kStepsLog) - 1;
  const uint64_t step = place - (shift << kStepsLog);
  return ((step + 1) << shift) - 1;
}

void Durations::Add(uint64_t ns) {
  ++counts_[PlaceOf(ns)];
  ++count_;
  sum_ns_ += ns;
  max_ns_ = std::max(max_ns_, ns);
}

uint64_t Durations::Percentile(uint32_t percent) const {
  uint64_t left = count_ / 100 * percent + (count_ % 100 * percent + 99) / 100;
  for (size_t place = 0; place < counts_.size(); ++place) {
    if (counts_[place] >= left) return left == 0 ? 0 : std::min(HighestOf(place), max_ns_);
    left -= counts_[place];
  }
  return max_ns_;
}

void Stats::Add(const TraceRecord& record) {
  const uint64_t ns = record.end_ns() - record.begin_ns();
  ++records_;
  first_ns_ = std::min<uint64_t>(first_ns_, record.begin_ns());
  last_ns_ = std::max<uint64_t>(last_ns_, record.end_ns());
  if (!record.has_call()) return;
  sum_ns_ += ns;
  OfCall& call = calls_[NameOf(record)];
  call.durations.Add(ns);
  if (record.result() < 0) {
    const bool is_known = call.errors.contains(record.result()) || call.errors.size() < kErrorsMax;
    ++call.errors[is_known ? record.result() : 0];
    if (!record.reason().empty()) AddReason(record);
  }
  if (!threads_.contains(record.tid()) && threads_.size() == kThreadsMax) {
    ++threadless_;
    return;
  }
  OfThread& thread = threads_[record.tid()];
  thread.pid = record.pid();
  ++thread.count;
  thread.errors += record.result() < 0;
  thread.sum_ns += ns;
}

std::string Stats::Text() const {
  const uint64_t span_ns = records_ == 0 ? 0 : last_ns_ - first_ns_;
  return fmt::format("{} records in {}.{:06} s\n\n", records_, span_ns / 1'000'000'000,
                     span_ns / 1000 % 1'000'000) +
         CallsText() + ReasonsText() + "\n" + ThreadsText();
}

void Stats::AddReason(const TraceRecord& record) {
  const Reason reason{NameOf(record), record.result(), WithoutNumbers(Printable(record.reason()))};
  if (reasons_.size() < kReasonsMax || reasons_.contains(reason)) ++reasons_[reason];
}

// Those that were given most often first.
std::string Stats::ReasonsText() const {
  if (reasons_.empty()) return "";
  std::vector<const std::pair<const Reason, uint64_t>*> order;
  for (const auto& reason : reasons_) order.push_back(&reason);
  std::ranges::stable_sort(order, std::greater<>(), [](const auto* reason) { return reason->second; });
  std::string text = fmt::format("\n{:>9}  {:<40}{:<12}{}\n", "count", "call", "error", "reason");
  for (const auto* reason : order)
    text += fmt::format("{:>9}  {:<40}{:<12}{}\n", reason->second, reason->first.call,
                        ErrorName(reason->first.result), reason->first.text);
  return text;
}

std::string Stats::CallsText() const {
  std::vector<const std::pair<const std::string, OfCall>*> order;
  for (const auto& call : calls_) order.push_back(&call);
  std::ranges::stable_sort(order, std::greater<>(),
                           [](const auto* call) { return call->second.durations.sum_ns(); });
  std::string text = fmt::format("{:<40}{:>9}{:>11}{:>11}{:>11}{:>8}  {}\n", "call", "count", "p50 us",
                                 "p99 us", "max us", "time %", "errors");
  for (const auto* call : order) {
    const Durations& durations = call->second.durations;
    std::string line = fmt::format("{:<40}{:>9}{:>11}{:>11}{:>11}{:>8.1f}  {}", call->first,
                                   durations.count(), Microseconds(durations.Percentile(50)),
                                   Microseconds(durations.Percentile(99)), Microseconds(durations.max_ns()),
                                   Share(durations.sum_ns(), sum_ns_), ErrorsText(call->second.errors));
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string Stats::ThreadsText() const {
  std::string text =
      fmt::format("{:<12}{:>10}{:>9}{:>9}{:>8}\n", "thread", "process", "calls", "errors", "time %");
  for (const auto& [tid, thread] : threads_) {
    text += fmt::format("{:<12}{:>10}{:>9}{:>9}{:>8.1f}\n", tid, thread.pid, thread.count, thread.errors,
                        Share(thread.sum_ns, sum_ns_));
  }
  if (threadless_ != 0) text += fmt::format("and {} calls of more threads\n", threadless_);
  return text;
}

}  // namespace dxg::trace
