#include "cuse-dxg/replay/answers.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/printable.h"

namespace dxg::replay {
namespace {

// Of the recorded calls of that name those that the nearest one is looked for in.
constexpr size_t kNearestLooksMax = 1024, kNearestBytesMax = 16 << 20;

// The request without the lists that it leads to: a driver that refused it before had not read them.
std::unique_ptr<Message> WithoutBuffers(const contract::CallRow& row, const Message& request) {
  std::unique_ptr<Message> brief(request.New());
  brief->CopyFrom(request);
  for (const contract::Buffer& buffer : row.in) {
    if (const FieldDescriptor* field = brief->GetDescriptor()->FindFieldByName(buffer.name))
      brief->GetReflection()->ClearField(brief.get(), field);
  }
  return brief;
}

// What is made from here on: as recorded, or as somebody else named it.
std::vector<Made> NamesOf(const RecordedCall& call, const Answers::Question& question) {
  if (question.live_reply == nullptr) return call.handles;
  std::vector<Made> live;
  std::vector<uint64_t> names;
  ForEachValue(*question.live_reply, question.request,
               [&](const Value& value) { names.push_back(NameOf(value.kind, value.number)); });
  size_t at = 0;
  ForEachValue(*call.Reply(), question.request, [&](const Value& value) {
    const size_t here = at++;
    for (const Made& made : call.handles) {
      if (IsHandle(value.kind) && made.name == NameOf(value.kind, value.number) && here < names.size())
        live.push_back({names[here], made.object});
    }
  });
  return live;
}

// The names that Objects::Of is asked for, of a request.
std::vector<uint64_t> HandlesIn(const Message& request) {
  std::vector<uint64_t> names;
  ForEachValue(request, request, [&](const Value& value) {
    if (!IsHandle(value.kind) || value.number == 0) return;
    names.push_back(NameOf(value.kind, value.number));
    if (value.kind == Kind::kAdapter) names.push_back(value.number);
  });
  return names;
}

}  // namespace

Answers::Answers(std::unique_ptr<Recording> recording, bool strict)
    : recording_(std::move(recording)),
      strict_(strict),
      by_question_(recording_->processes().size()),
      by_row_(recording_->processes().size()),
      by_thread_(recording_->processes().size()),
      used_(recording_->processes().size()) {
  for (size_t i = 0; i < recording_->calls().size(); ++i) {
    const RecordedCall& call = recording_->calls()[i];
    by_question_[call.process][call.question].push_back(i);
    auto& of_row = by_row_[call.process][call.row];
    if (of_row.size() < kNearestLooksMax) of_row.push_back(i);
    auto& threads = by_thread_[call.process];
    if (threads.size() <= call.thread) threads.resize(call.thread + 1);
    threads[call.thread].push_back(i);
  }
}

uint64_t Answers::Begin(const std::string& name) {
  MutexLock lock(mutex_);
  Live live;
  live.name = name;
  for (const bool same_name : {true, false}) {
    if (live.recorded) break;
    for (uint32_t i = 0; i < used_.size(); ++i) {
      if (same_name && recording_->processes()[i].name != name) continue;
      if (strict_ && used_[i] != 0) continue;
      if (!live.recorded || used_[i] < used_[*live.recorded]) live.recorded = i;
    }
  }
  if (live.recorded) ++used_[*live.recorded];
  live_[++last_] = std::move(live);
  return last_;
}

void Answers::End(uint64_t process) {
  MutexLock lock(mutex_);
  live_.erase(process);
}

uint32_t Answers::ObjectOf(uint64_t process, uint64_t handle) {
  MutexLock lock(mutex_);
  const auto found = live_.find(process);
  return found == live_.end() ? 0 : found->second.handles.Of(handle);
}

// A client decides how large its questions are, so everything that depends on that is done beside the lock.
Result<Answers::Found> Answers::Find(const Question& question) {
  const std::vector<uint64_t> named = HandlesIn(question.request);
  Objects handles;
  uint32_t process = 0;
  {
    MutexLock lock(mutex_);
    const auto found = live_.find(question.process);
    if (found == live_.end()) return ItIsNotThere();
    const Live& live = found->second;
    if (!live.recorded)
      return Status::Refuse(ENODATA, "{} has no process left for one named \"{}\": {} of them live or lived",
                            recording_->name(), Printable(live.name), recording_->processes().size());
    process = *live.recorded;
    for (const uint64_t name : named) {
      if (const uint32_t object = live.handles.Of(name); object != 0) handles.Name({name, object});
    }
  }
  const auto look = [&](const Message& request) -> const Asked* {
    const auto& questions = by_question_[process];
    const auto found =
        questions.find(QuestionOf(question.row, request, handles, question.pid, question.descriptor));
    return found == questions.end() ? nullptr : &found->second;
  };
  const Asked* const full = look(question.request);
  const Asked* const brief =
      full == nullptr || strict_ ? look(*WithoutBuffers(question.row, question.request)) : nullptr;
  if (full == nullptr && brief == nullptr && !strict_) return NeverAsked(process, question);
  DXG_ASSIGN(const Found answer,
             strict_ ? FindNext(question, full, brief) : FindAny(question, full != nullptr ? *full : *brief));
  const std::vector<Made> made = NamesOf(*answer.call, question);
  MutexLock lock(mutex_);
  const auto found = live_.find(question.process);
  if (found == live_.end()) return ItIsNotThere();
  for (const Made& each : made) found->second.handles.Name(each);
  return answer;
}

Status Answers::ItIsNotThere() { return Status::Refuse(ENODATA, "a process that is not there asks"); }

Result<Answers::Found> Answers::FindNext(const Question& question, const Asked* full, const Asked* brief) {
  const auto has = [](const Asked* asked, size_t call) {
    return asked != nullptr && std::ranges::binary_search(*asked, call);
  };
  const RecordedCall* expected = nullptr;
  {
    MutexLock lock(mutex_);
    const auto found = live_.find(question.process);
    if (found == live_.end()) return ItIsNotThere();
    Live& live = found->second;
    const auto& threads = by_thread_[*live.recorded];
    auto thread = live.threads.find(question.thread);
    if (thread == live.threads.end() && live.threads.size() >= threads.size())
      return Status::Refuse(ENODATA, "thread {} of the process calls {}; the recorded one has {} threads",
                            live.threads.size() + 1, question.row.name, threads.size());
    if (thread == live.threads.end())
      thread = live.threads.try_emplace(question.thread, live.threads.size(), 0).first;
    auto& [recorded, next] = thread->second;
    if (next >= threads[recorded].size())
      return Status::Refuse(ENODATA, "{}: the recorded thread asked nothing more after its {} calls",
                            question.row.name, next);
    const size_t call = threads[recorded][next];
    expected = &recording_->calls()[call];
    if (has(full, call) || has(brief, call)) {
      ++next;
      return Found{expected, false};
    }
  }
  return Status::Refuse(ENODATA, "{}({}): the recorded thread asked {}({}) next (record {})",
                        question.row.name, Brief(question.request), expected->row->name,
                        Brief(*expected->Request()), expected->record);
}

Result<Answers::Found> Answers::FindAny(const Question& question, const Asked& calls) {
  size_t times = 0;
  {
    MutexLock lock(mutex_);
    const auto found = live_.find(question.process);
    if (found == live_.end()) return ItIsNotThere();
    size_t& asked = found->second.asked[&calls];
    times = asked + 1;
    const RecordedCall& call = recording_->calls()[calls[std::min(asked, calls.size() - 1)]];
    const bool again = asked >= calls.size();
    if (!again || (call.handles.empty() && call.descriptors.empty())) {
      ++asked;
      return Found{&call, again};
    }
  }
  return Status::Refuse(ENODATA,
                        "{}({}): asked for the {}. time; {} has {} answers to it, and what the last one "
                        "made exists already",
                        question.row.name, Brief(question.request), times, recording_->name(), calls.size());
}

Status Answers::NeverAsked(uint32_t of, const Question& question) const {
  const RecordedProcess& process = recording_->processes()[of];
  const RecordedCall* nearest = nullptr;
  std::vector<std::string> differences;
  const auto same_row = by_row_[of].find(&question.row);
  const size_t own_bytes = question.request.ByteSizeLong();
  size_t bytes = 0;
  for (size_t i = 0; same_row != by_row_[of].end() && i < same_row->second.size(); ++i) {
    const RecordedCall& call = recording_->calls()[same_row->second[i]];
    if (nearest != nullptr && bytes > kNearestBytesMax) break;
    bytes += own_bytes + call.request.size();
    std::vector<std::string> fields = DifferentFields(question.request, *call.Request());
    // Ones that are equal to the eye have objects of the same name that are others.
    if (nearest != nullptr && fields.size() >= differences.size()) continue;
    nearest = &call;
    differences = std::move(fields);
  }
  if (nearest == nullptr)
    return Status::Refuse(ENODATA, "{}({}): {} has no {} of process \"{}\"", question.row.name,
                          Brief(question.request), recording_->name(), question.row.name,
                          Printable(process.name));
  return Status::Refuse(ENODATA,
                        "{}({}) was never asked; the nearest question of {} is record {}: {}({}); {}",
                        question.row.name, Brief(question.request), recording_->name(), nearest->record,
                        question.row.name, Brief(*nearest->Request()),
                        differences.empty() ? std::string("its objects are others")
                                            : fmt::format("other: {}", fmt::join(differences, ", ")));
}

}  // namespace dxg::replay
