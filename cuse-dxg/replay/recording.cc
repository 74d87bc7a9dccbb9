#include "cuse-dxg/replay/recording.h"

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <utility>

#include "cuse-dxg/replay/reasons.h"
#include "proto/contract/calls.gen.h"

namespace dxg::replay {
namespace {

constexpr uint64_t kOwnProcess = 1;  // the caller's own process id, in a question

bool Has(const std::vector<Made>& made, uint64_t name) {
  return std::ranges::any_of(made, [name](const Made& each) { return each.name == name; });
}

// Names that are in the reply and were not in the request: of what the call made.
std::vector<uint64_t> NewNames(const Message& request, const Message& reply, bool handles) {
  std::vector<uint64_t> asked, made;
  const auto is_meant = [handles](Kind kind) { return handles ? IsHandle(kind) : kind == Kind::kDescriptor; };
  ForEachValue(request, request, [&](const Value& value) {
    if (is_meant(value.kind)) asked.push_back(NameOf(value.kind, value.number));
  });
  ForEachValue(reply, request, [&](const Value& value) {
    if (!is_meant(value.kind) || (handles && value.number == 0)) return;
    const uint64_t name = NameOf(value.kind, value.number);
    if (std::ranges::find(asked, name) == asked.end()) made.push_back(name);
  });
  return made;
}

bool IsEndedBySignal(const TraceRecord& record) {
  return record.result() == -kErestartsys || record.result() == -EINTR ||
         (record.result() < 0 && std::ranges::any_of(reasons::kDead, [&](std::string_view words) {
            return record.reason().find(words) != std::string::npos;
          }));
}

}  // namespace

std::string QuestionOf(const contract::CallRow& row, const Message& request, const Objects& handles,
                       uint32_t pid, const std::function<uint32_t(uint64_t)>& descriptor) {
  const std::unique_ptr<Message> copy(request.New());
  copy->CopyFrom(request);
  Rewrite(copy.get(), request, [&](const Value& value) -> uint64_t {
    switch (value.kind) {
      case Kind::kHandle:
      case Kind::kAdapter: {
        const uint32_t object = value.number == 0 ? 0 : handles.Of(value.kind, value.number);
        return object == 0 ? value.number : kObjectMark | object;
      }
      case Kind::kDescriptor: {
        const uint32_t object = descriptor(value.number);
        return object == 0 ? value.number : kObjectMark << 32 | object;
      }
      case Kind::kEvent:
        return value.number != 0;
      case Kind::kProcess:
        return value.number == pid && pid != 0 ? kOwnProcess : value.number;
      case Kind::kRoom:
        return 0;
      default:
        return value.number;
    }
  });
  return std::string(1, static_cast<char>(row.nr)) + copy->SerializeAsString();
}

Result<std::unique_ptr<Recording>> Recording::Open(const std::string& path) {
  DXG_ASSIGN(const auto reader, trace::TraceReader::Open(path));
  return Read(*reader, path);
}

Result<std::unique_ptr<Recording>> Recording::Read(trace::TraceReader& reader, const std::string& name) {
  std::unique_ptr<Recording> recording(new Recording(name));
  recording->header_ = reader.header();
  if (reader.header().side() == TraceHeader::HOST)
    return Status::Refuse(
        EINVAL, "{}: a recording of host commands; expected one of calls, as of `cuse-dxg run --record`",
        name);
  if (reader.header().redacted())
    return Status::Refuse(
        EINVAL, "{}: private data and names were left out of it; record it without --redact to replay it",
        name);
  for (;;) {
    DXG_ASSIGN(const auto what, reader.Next());
    if (what == trace::TraceReader::What::kEnd) break;
    if (what == trace::TraceReader::What::kLost) continue;
    if (Status added = recording->Add(reader.record(), reader.records()); !added.ok())
      return Status::Refuse(-added.value(), "{}: record {}: {}", name, reader.records(), added.why());
  }
  recording->end_text_ = reader.EndText();
  recording->objects_ = recording->reading_.objects;
  recording->reading_ = {};
  return recording;
}

std::unique_ptr<Recording> Recording::Live(const TraceHeader& header, const std::string& name) {
  std::unique_ptr<Recording> recording(new Recording(name));
  recording->header_ = header;
  recording->reading_.live = true;
  return recording;
}

std::optional<RecordedCall> Recording::TakeCall() {
  reading_.bytes = 0;
  if (calls_.empty()) return std::nullopt;
  std::optional<RecordedCall> call = std::move(calls_.back());
  calls_.pop_back();
  processes_[call->process].calls.clear();
  return call;
}

void Recording::Forget(uint32_t process) {
  reading_.handles[process] = {};
  reading_.descriptors[process] = {};
}

Result<uint32_t> Recording::NewProcess(uint32_t pid, std::string name) {
  if (reading_.live_processes == kProcessesMax)
    return Status::Refuse(EFBIG, "more than {} processes at once; replay a shorter recording", kProcessesMax);
  ++reading_.live_processes;
  const auto number = static_cast<uint32_t>(processes_.size());
  processes_.push_back({.pid = pid, .name = std::move(name), .threads = {}, .calls = {}});
  reading_.handles.emplace_back();
  reading_.descriptors.emplace_back();
  reading_.thread_of_tid.emplace_back();
  reading_.paging.emplace_back();
  reading_.process_of_pid[pid] = number;
  return number;
}

Result<uint32_t> Recording::ProcessOf(uint32_t pid) {
  const auto found = reading_.process_of_pid.find(pid);
  if (found != reading_.process_of_pid.end()) return found->second;
  return NewProcess(pid, "");
}

Result<uint32_t> Recording::ThreadOf(uint32_t process, uint32_t tid) {
  std::vector<uint32_t>& threads = processes_[process].threads;
  auto& known = reading_.thread_of_tid[process];
  if (const auto found = known.find(tid); found != known.end()) return found->second;
  if (threads.size() == kThreadsMax)
    return Status::Refuse(EFBIG, "more than {} threads of process {}; replay a shorter recording",
                          kThreadsMax, processes_[process].pid);
  threads.push_back(tid);
  return known[tid] = static_cast<uint32_t>(threads.size() - 1);
}

Status Recording::Add(const TraceRecord& record, uint64_t number) {
  reading_.closed.reset();
  if (record.has_adapter()) {
    if (record.adapter().change() != TraceAdapter::ARRIVED) return Status::Ok();
    if (adapters_.size() == kAdaptersMax)
      return Status::Refuse(EFBIG, "more than {} adapters that arrive; replay a shorter recording",
                            kAdaptersMax);
    adapters_.push_back(record.adapter());
    return Keep(record.ByteSizeLong());
  }
  if (record.has_open() && !record.open().shared()) {
    if (record.result() < 0) {
      ++left_out_;
      return Status::Ok();
    }
    const auto known = reading_.process_of_pid.find(record.pid());
    // With no open file left a number is another process's, or this one's from the beginning on.
    const bool begins = known == reading_.process_of_pid.end() ||
                        (reading_.open_files[known->second] == 0 &&
                         (reading_.live || !processes_[known->second].calls.empty()));
    uint32_t process = begins ? 0 : known->second;
    if (begins) {
      DXG_ASSIGN(process, NewProcess(record.pid(), record.open().name()));
      DXG_TRY(Keep(record.ByteSizeLong()));
    }
    if (!begins && processes_[process].closed_ns != 0) ++reading_.live_processes;
    processes_[process].closed_ns = 0;
    if (processes_[process].name.empty()) processes_[process].name = record.open().name();
    if (++reading_.open_files[process] == 1 && processes_[process].opened_ns == 0)
      processes_[process].opened_ns = record.begin_ns();
    return Status::Ok();
  }
  if (record.has_close()) {
    const auto known = reading_.process_of_pid.find(record.pid());
    if (record.pid() != 0 && known != reading_.process_of_pid.end() &&
        reading_.open_files[known->second] != 0) {
      if (--reading_.open_files[known->second] == 0) {
        processes_[known->second].closed_ns = std::max<uint64_t>(record.begin_ns(), 1);
        --reading_.live_processes;
        reading_.closed = known->second;
      }
    }
    return Status::Ok();
  }
  if (record.has_event()) SeeEvent(record);
  if (!record.has_call()) return Status::Ok();
  const contract::CallRow* const row = contract::FindCall(record.call().code());
  const bool question = row != nullptr && record.call().has_request() && record.call().has_reply() &&
                        !record.call().inherited() && record.pid() != 0 && !IsEndedBySignal(record);
  if (question) return AddCall(record, number, *row);
  ++left_out_;
  return Status::Ok();
}

void Recording::Paging::Reach(uint64_t value, uint64_t at_ns) {
  constexpr size_t kMost = 4096;
  if (then.size() == kMost) then.erase(then.begin(), then.begin() + kMost / 2);
  then.emplace_back(at_ns, value);
}

uint64_t Recording::Paging::ValueAt(uint64_t ns) const {
  uint64_t value = 0;
  for (auto each = then.rbegin(); each != then.rend() && value == 0; ++each) {
    if (each->first < ns) value = each->second;
  }
  return value;
}

void Recording::SeeEvent(const TraceRecord& record) {
  if (record.event().kind() != TraceEvent::FENCE) return;
  reading_.has_fences = true;
  const auto process = reading_.process_of_pid.find(record.pid());
  if (process == reading_.process_of_pid.end()) return;
  auto& fences = reading_.paging[process->second];
  const auto found = fences.find(record.event().object());
  if (found == fences.end()) return;
  found->second.Reach(record.event().value(), record.begin_ns());
}

void Recording::SeePaging(const RecordedCall& call, const Message& request, const Message& reply) {
  constexpr size_t kQueuesMax = 16;  // of a process: each of its calls knows of each of them
  if (call.result < 0) return;
  auto& fences = reading_.paging[call.process];
  const auto queue = static_cast<uint32_t>(NumberIn(request, "paging_queue"));
  const auto device = static_cast<uint32_t>(NumberIn(request, "device"));
  if (call.row->code == calls::CreatePagingQueue::kCode && !call.handles.empty()) {
    if (fences.size() == kQueuesMax) fences.clear();
    fences[static_cast<uint32_t>(NumberIn(reply, "sync_object"))] = {
        device, static_cast<uint32_t>(NumberIn(reply, "paging_queue")), call.handles.front().object, {}};
  } else if (call.row->code == calls::DestroyPagingQueue::kCode) {
    std::erase_if(fences, [queue](const auto& each) { return each.second.queue == queue; });
  } else if (call.row->code == calls::DestroyDevice::kCode) {
    std::erase_if(fences, [device](const auto& each) { return each.second.device == device; });
  } else if (const uint64_t value = NumberIn(reply, "paging_fence_value");
             value != 0 && !reading_.has_fences) {
    for (auto& [fence, paging] : fences) {
      if (paging.queue == queue) paging.Reach(value, call.end_ns);
    }
  }
}

Status Recording::Keep(uint64_t bytes) {
  constexpr uint64_t kOverhead = 512;  // of a record in memory
  reading_.bytes += bytes + kOverhead;
  if (reading_.bytes <= kBytesMax) return Status::Ok();
  return Status::Refuse(
      EFBIG, "the records up to here need more than {} bytes of memory; replay a shorter recording",
      kBytesMax);
}

Status Recording::AddCall(const TraceRecord& record, uint64_t number, const contract::CallRow& row) {
  DXG_ASSIGN(const uint32_t of_process, ProcessOf(record.pid()));
  uint32_t thread = record.tid();
  if (!reading_.live) {
    DXG_ASSIGN(thread, ThreadOf(of_process, record.tid()));
  }
  RecordedCall call{.record = number,
                    .row = &row,
                    .process = of_process,
                    .thread = thread,
                    .result = record.result(),
                    .reason = record.reason(),
                    .begin_ns = record.begin_ns(),
                    .end_ns = record.end_ns(),
                    .request = record.call().request(),
                    .reply = record.call().reply(),
                    .question = {},
                    .handles = {},
                    .descriptors = {},
                    .addresses = {},
                    .memory = {},
                    .paging = {}};
  if (static_cast<size_t>(record.call().addresses_size()) == row.addresses.size())
    call.addresses.assign(record.call().addresses().begin(), record.call().addresses().end());
  const bool shared_known = record.call().has_shared_object();
  const std::unique_ptr<Message> request(row.request->New()), reply(row.reply->New());
  if (!request->ParseFromString(call.request) || !reply->ParseFromString(call.reply))
    return Status::Refuse(EINVAL, "the messages of {} cannot be read", row.name);
  RecordedProcess& process = processes_[call.process];

  Objects& handles = reading_.handles[call.process];
  Objects& descriptors = reading_.descriptors[call.process];
  call.question = QuestionOf(row, *request, handles, process.pid, [&](uint64_t name) -> uint32_t {
    if (shared_known) {
      // Its own descriptor of that number, if it is of the same; else the first, which was there before.
      const uint64_t number = record.call().shared_object();
      const uint32_t own = descriptors.Of(name);
      const auto of_own = reading_.shared_numbers.find(own);
      if (of_own != reading_.shared_numbers.end() && of_own->second == number) return call.borrowed = own;
      const auto known = reading_.shared_objects.find(number);
      call.names_none = known == reading_.shared_objects.end();
      return call.borrowed = call.names_none ? 0 : known->second;
    }
    const uint32_t own = descriptors.Of(name);
    if (own != 0 || call.result < 0) return call.borrowed = own;
    // It came from another process, by a way that is not looked at here: under the same number by fork(),
    // under any other in a message, where the last one that was given is the likeliest.
    const uint32_t same_number = reading_.any_descriptor.Of(name);
    return call.borrowed = same_number != 0 ? same_number : reading_.last_descriptor;
  });
  if (call.result >= 0) {
    for (const uint64_t name : NewNames(*request, *reply, true)) {
      if (Has(call.handles, name)) continue;
      call.handles.push_back({name, ++reading_.objects});
      handles.Name(call.handles.back());
    }
    for (const uint64_t name : NewNames(*request, *reply, false)) {
      call.descriptors.push_back({name, ++reading_.objects});
      descriptors.Name(call.descriptors.back());
      reading_.any_descriptor.Name(call.descriptors.back());
      reading_.last_descriptor = reading_.objects;
      if (shared_known) {
        reading_.shared_objects.try_emplace(record.call().shared_object(), reading_.objects);
        reading_.shared_numbers[reading_.objects] = record.call().shared_object();
      }
    }
  }
  for (const TraceMemory& memory : record.call().memory()) {
    call.memory.push_back({memory.address(), memory.bytes(), memory.contents()});
  }
  for (const auto& [fence, paging] : reading_.paging[call.process]) {
    const uint64_t value = paging.ValueAt(call.begin_ns);
    if (value != 0) call.paging.push_back({paging.object, value});
  }
  SeePaging(call, *request, *reply);
  DXG_TRY(Keep(record.ByteSizeLong() + call.question.size() + call.paging.size() * sizeof(RecordedPaging)));
  process.calls.push_back(calls_.size());
  calls_.push_back(std::move(call));
  return Status::Ok();
}

}  // namespace dxg::replay
