#include "cuse-dxg/replay/answers.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/printable.h"

namespace dxg::replay {
namespace {

constexpr size_t kNearestLooksMax = 1024;  // of the recorded calls of that name

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
void NameHandles(const RecordedCall& call, const Answers::Question& question, Objects* handles) {
  if (question.live_reply == nullptr) {
    for (const Made& made : call.handles) handles->Name(made);
    return;
  }
  std::vector<uint64_t> names;
  ForEachValue(*question.live_reply, question.request,
               [&](const Value& value) { names.push_back(NameOf(value.kind, value.number)); });
  size_t at = 0;
  ForEachValue(*call.Reply(), question.request, [&](const Value& value) {
    const size_t here = at++;
    for (const Made& made : call.handles) {
      if (IsHandle(value.kind) && made.name == NameOf(value.kind, value.number) && here < names.size())
        handles->Name({names[here], made.object});
    }
  });
}

}  // namespace

Answers::Answers(std::unique_ptr<Recording> recording, bool strict)
    : recording_(std::move(recording)),
      strict_(strict),
      by_question_(recording_->processes().size()),
      by_thread_(recording_->processes().size()),
      used_(recording_->processes().size()) {
  for (size_t i = 0; i < recording_->calls().size(); ++i) {
    const RecordedCall& call = recording_->calls()[i];
    by_question_[call.process][call.question].push_back(i);
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

Result<Answers::Found> Answers::Find(const Question& question) {
  const std::unique_ptr<Message> without = WithoutBuffers(question.row, question.request);
  MutexLock lock(mutex_);
  const auto found = live_.find(question.process);
  if (found == live_.end()) return Status::Refuse(ENODATA, "a process that is not there asks");
  Live& live = found->second;
  if (!live.recorded)
    return Status::Refuse(ENODATA, "{} has no process left for one named \"{}\": {} of them live or lived",
                          recording_->name(), Printable(live.name), recording_->processes().size());
  const std::string full =
      QuestionOf(question.row, question.request, live.handles, question.pid, question.descriptor);
  const std::string brief =
      QuestionOf(question.row, *without, live.handles, question.pid, question.descriptor);
  DXG_ASSIGN(const Found answer,
             strict_ ? FindNext(live, question, full, brief) : FindAny(live, question, full, brief));
  NameHandles(*answer.call, question, &live.handles);
  return answer;
}

Result<Answers::Found> Answers::FindNext(Live& live, const Question& question, const std::string& full,
                                         const std::string& brief) {
  const auto& threads = by_thread_[*live.recorded];
  const auto [thread, is_new] =
      live.threads.try_emplace(question.thread, static_cast<uint32_t>(live.threads.size()), 0);
  auto& [recorded, next] = thread->second;
  if (recorded >= threads.size())
    return Status::Refuse(ENODATA, "thread {} of the process calls {}; the recorded one has {} threads",
                          recorded + 1, question.row.name, threads.size());
  if (next >= threads[recorded].size())
    return Status::Refuse(ENODATA, "{}({}): the recorded thread asked nothing more after its {} calls",
                          question.row.name, Brief(question.request), next);
  const RecordedCall& expected = recording_->calls()[threads[recorded][next]];
  if (expected.question != full && expected.question != brief)
    return Status::Refuse(ENODATA, "{}({}): the recorded thread asked {}({}) next (record {})",
                          question.row.name, Brief(question.request), expected.row->name,
                          Brief(*expected.Request()), expected.record);
  ++next;
  return Found{&expected, false};
}

Result<Answers::Found> Answers::FindAny(Live& live, const Question& question, const std::string& full,
                                        const std::string& brief) {
  const auto& questions = by_question_[*live.recorded];
  auto found = questions.find(full);
  if (found == questions.end()) found = questions.find(brief);
  if (found == questions.end()) return NeverAsked(live, question);
  const std::vector<size_t>& calls = found->second;
  size_t& asked = live.asked[found->first];
  const RecordedCall& call = recording_->calls()[calls[std::min(asked, calls.size() - 1)]];
  if (asked >= calls.size() && (!call.handles.empty() || !call.descriptors.empty())) {
    return Status::Refuse(ENODATA,
                          "{}({}): asked for the {}. time; {} has {} answers to it, and what the last one "
                          "made exists already",
                          question.row.name, Brief(question.request), asked + 1, recording_->name(),
                          calls.size());
  }
  const bool again = asked >= calls.size();
  ++asked;
  return Found{&call, again};
}

Status Answers::NeverAsked(const Live& live, const Question& question) const {
  const RecordedProcess& process = recording_->processes()[*live.recorded];
  const RecordedCall* nearest = nullptr;
  std::vector<std::string> differences;
  size_t looks = 0;
  for (const size_t i : process.calls) {
    const RecordedCall& call = recording_->calls()[i];
    if (call.row != &question.row) continue;
    if (++looks > kNearestLooksMax) break;
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
