#include "cuse-dxg/replay/shadow.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <new>

#include "base/start_thread.h"
#include "proto/contract/text.h"

namespace dxg::replay {
namespace {

constexpr size_t kShadowHistoryMax = 12;

std::unique_ptr<Message> CopyOf(const Message& message) {
  std::unique_ptr<Message> copy(message.New());
  copy->CopyFrom(message);
  return copy;
}

}  // namespace

Result<std::unique_ptr<Shadow>> Shadow::Create(std::unique_ptr<Recording> recording, bool strict) {
  std::unique_ptr<Shadow> shadow(new Shadow(std::move(recording), strict));
  if (!StartThread(&shadow->thread_, [made = shadow.get()] { made->Run(); }))
    return Status::Refuse(EAGAIN, "--shadow: no thread can be had to compare with");
  return shadow;
}

Shadow::Shadow(std::unique_ptr<Recording> recording, bool strict) : answers_(std::move(recording), strict) {}

Shadow::~Shadow() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  if (!thread_.joinable()) return;
  thread_.join();
  const std::string found = first();
  if (!found.empty()) spdlog::warn("shadow: the first answer that differs:\n{}", found);
  const std::string text = Text();
  spdlog::log(found.empty() ? spdlog::level::info : spdlog::level::warn, "shadow: {}",
              std::string_view(text).substr(0, text.size() - 1));
}

void Shadow::OnCall(const guest::CallReport& report) {
  if (report.row == nullptr || report.request == nullptr || report.reply == nullptr || report.inherited ||
      report.pid == 0)
    return;
  const int32_t result = report.status->value();
  if (result == -kErestartsys || result == -EINTR) return;
  try {
    Item item{.row = report.row,
              .pid = report.pid,
              .tid = report.tid,
              .result = result,
              .request = CopyOf(*report.request),
              .reply = CopyOf(*report.reply)};
    item.bytes = item.request->SpaceUsedLong() + item.reply->SpaceUsedLong();
    Add(std::move(item));
  } catch (const std::bad_alloc&) {
    MutexLock lock(mutex_);
    ++lost_;
  }
}

void Shadow::OnFile(const guest::FileReport& report) {
  using What = guest::FileReport::What;
  if (report.pid == 0 || report.error != 0 || report.what == What::kOpenShared) return;
  Add({.row = nullptr,
       .pid = report.pid,
       .opened = report.what == What::kOpen,
       .name = std::string(report.name)});
}

// Opens and closes are few, and what comes of processes would be wrong without them.
void Shadow::Add(Item item) {
  MutexLock lock(mutex_);
  if (item.row != nullptr && (queue_.size() >= kCallsMax || queued_bytes_ + item.bytes > kBytesMax)) {
    ++lost_;
    return;
  }
  queued_bytes_ += item.bytes;
  queue_.push_back(std::move(item));
  changed_.NotifyAll();
}

void Shadow::Run() {
  MutexLock lock(mutex_);
  for (;;) {
    while (queue_.empty() && !stopping_) changed_.Wait(mutex_);
    if (queue_.empty()) return;
    const Item item = std::move(queue_.front());
    queue_.pop_front();
    queued_bytes_ -= item.bytes;
    busy_ = true;
    lock.Unlock();
    if (item.row != nullptr) {
      Compare(item);
    } else {
      Open(item);
    }
    lock.Lock();
    busy_ = false;
    changed_.NotifyAll();
  }
}

void Shadow::Drain() {
  MutexLock lock(mutex_);
  while (!queue_.empty() || busy_) changed_.Wait(mutex_);
}

void Shadow::Open(const Item& item) {
  const auto known = processes_.find(item.pid);
  if (item.opened) {
    if (known != processes_.end()) {
      ++known->second.files;
    } else {
      processes_[item.pid] = {answers_.Begin(item.name), 1};
    }
  } else if (known != processes_.end() && --known->second.files == 0) {
    answers_.End(known->second.number);
    processes_.erase(known);
    std::erase_if(descriptors_, [&](const auto& each) { return each.first.first == item.pid; });
  }
}

void Shadow::Compare(const Item& item) {
  const auto process = processes_.find(item.pid);
  if (process == processes_.end()) return;
  const auto found = answers_.Find({.process = process->second.number,
                                    .thread = static_cast<uint32_t>(item.tid),
                                    .pid = static_cast<uint32_t>(item.pid),
                                    .row = *item.row,
                                    .request = *item.request,
                                    .descriptor = [&](uint64_t name) -> uint32_t {
                                      const auto own = descriptors_.find({item.pid, name});
                                      if (own != descriptors_.end() || item.result < 0)
                                        return own == descriptors_.end() ? 0 : own->second;
                                      const auto any = last_of_number_.find(name);
                                      return any == last_of_number_.end() ? last_descriptor_ : any->second;
                                    },
                                    .live_reply = item.reply.get()});
  if (!found.ok()) {
    Differs("  " + found.status().why() + "\n");
    MutexLock lock(mutex_);
    ++never_asked_;
    return;
  }
  const RecordedCall& recorded = *Result<Answers::Found>(found)->call;
  const std::unique_ptr<Message> reply = recorded.Reply();
  size_t at = 0;
  std::vector<uint64_t> live;
  ForEachValue(*item.reply, *item.request, [&](const Value& value) {
    if (value.kind == Kind::kDescriptor) live.push_back(value.number);
  });
  for (const Made& made : recorded.descriptors) {
    if (at >= live.size()) break;
    descriptors_[{item.pid, live[at]}] = last_of_number_[live[at]] = last_descriptor_ = made.object;
    ++at;
  }
  const Verdict verdict =
      comparison_.Compare(process->second.number, recorded, *item.request, item.result, *item.reply);
  {
    MutexLock lock(mutex_);
    counts_.Add(recorded, item.result, verdict);
    if (verdict.same || !first_.empty()) return;
  }
  std::string text = fmt::format("record {}: {}({})\n{}  other:    {}\n", recorded.record, recorded.row->name,
                                 Brief(*item.request), DifferenceText(recorded, item.result, *item.reply),
                                 fmt::join(verdict.fields, ", "));
  for (const RecordedCall* each : HistoryOf(answers_.recording(), recorded, kShadowHistoryMax))
    text += fmt::format("    {}\n", LineOf(*each));
  Differs(text);
}

void Shadow::Differs(const std::string& text) {
  MutexLock lock(mutex_);
  if (first_.empty()) first_ = text;
}

std::string Shadow::first() {
  MutexLock lock(mutex_);
  return first_;
}

std::string Shadow::Text() {
  MutexLock lock(mutex_);
  std::string text = counts_.Text();
  if (never_asked_ != 0) text += fmt::format("{:>8}  calls that the recording does not have\n", never_asked_);
  if (lost_ != 0)
    text += fmt::format(
        "{:>8}  calls were not compared: more came than could be; others may differ because of them\n",
        lost_);
  return text;
}

}  // namespace dxg::replay
