#include "cuse-dxg/trace/timeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/printable.h"
#include "cuse-dxg/trace/fields.h"
#include "cuse-dxg/trace/line.h"
#include "proto/contract/names.h"
#include "proto/contract/text.h"

namespace dxg::trace {
namespace {

using Event = PerfettoWriter::Event;
using Unit = PerfettoWriter::Unit;

Event Named(std::string name) {
  Event event;
  event.set_name(std::move(name));
  return event;
}

void Annotate(const char* name, std::string text, Event* event) {
  perfetto::DebugAnnotation* const annotation = event->add_debug_annotations();
  annotation->set_name(name);
  annotation->set_string_value(std::move(text));
}

// The handles of the queues that a call is about; of a list that has a fixed length those that are there.
std::vector<uint64_t> QueuesOf(const contract::Message* request) {
  std::vector<uint64_t> queues;
  for (const char* const field : {"hwqueue", "hwqueues", "context", "contexts", "broadcast_context"}) {
    for (const uint64_t handle : NumbersOf(request, field)) {
      if (handle != 0) queues.push_back(handle);
    }
  }
  return queues;
}

// Fences and the values that a call gives them or waits for.
std::vector<std::pair<uint64_t, uint64_t>> FencesOf(const contract::Message* request) {
  std::vector<uint64_t> objects = NumbersOf(request, "objects"), values = NumbersOf(request, "fence_values");
  if (objects.empty()) objects = NumbersOf(request, "object_array");
  objects.resize(std::min<size_t>(objects.size(), NumberOf(request, "object_count")));
  std::vector<std::pair<uint64_t, uint64_t>> fences;
  for (size_t i = 0; i < objects.size(); ++i)
    fences.emplace_back(objects[i], i < values.size() ? values[i] : NumberOf(request, "fence_value"));
  return fences;
}

const char* StateName(uint64_t state) {
  for (const contract::ValueNameRow& row : contract::ValuesOf("d3dkmt_deviceexecution_state")) {
    if (row.value == state) return row.name;
  }
  return "unknown state";
}

}  // namespace

void Timeline::Add(const TraceRecord& record, const Decoder& decoder, uint64_t number) {
  last_ns_ = record.end_ns();
  if (record.has_call()) return AddCall(record, decoder.call(), number);
  if (record.has_open()) return AddOpen(record);
  if (record.has_close()) return AddClose(record);
  if (record.has_adapter()) return AddAdapter(decoder.adapter());
  if (record.has_event()) return AddEvent(record);
}

void Timeline::AddLost(uint64_t records) {
  writer_.Instant(writer_.Track("lost", 0, "lost records"), last_ns_,
                  Named(fmt::format("{} records are lost here", records)));
}

void Timeline::AddCall(const TraceRecord& record, const guest::CallReport& call, uint64_t number) {
  ProcessTrack(record.pid());
  const uint64_t thread = writer_.Thread(record.pid(), record.tid());
  Event slice = Named(NameOf(record));
  slice.add_categories(call.status->ok() ? "call" : "refused");
  perfetto::DebugAnnotation* const at = slice.add_debug_annotations();
  at->set_name("record");
  at->set_uint_value(number);
  Annotate("result", contract::ResultText(record.result()), &slice);
  if (!record.reason().empty()) Annotate("reason", Printable(record.reason()), &slice);
  if (call.request != nullptr) Annotate("request", contract::ToText(*call.request), &slice);
  const bool answered =
      call.row != nullptr && call.request != nullptr && call.reply != nullptr && call.status->ok();
  if (answered) {
    const contract::DecodedField decoded = answers_.OfReply(*call.row, *call.request, *call.reply);
    std::string text;
    contract::AppendText(*call.reply, kElementsShown, decoded, &text);
    Annotate("reply", std::move(text), &slice);
    if (decoded.message != nullptr) Statistics(call, record.end_ns(), *decoded.message);
    NewQueue(call);
    Submit(call, record.end_ns(), &slice);
    Signal(call, &slice);
    GpuWait(call, &slice);
    Paging(call, record.end_ns(), &slice);
    Memory(call, record.end_ns());
  }
  writer_.Begin(thread, record.begin_ns(), std::move(slice));
  if (answered) CpuWait(call, record.end_ns(), thread);
  writer_.End(thread, record.end_ns());
}

// A context, a hardware queue or a paging queue.
void Timeline::NewQueue(const guest::CallReport& call) {
  const auto pid = static_cast<uint32_t>(call.pid);
  for (const char* const field : {"context", "queue", "paging_queue"}) {
    const uint64_t handle = NumberOf(call.reply, field);
    if (handle == 0 || NumberOf(call.request, field) == handle) continue;
    uint32_t node = static_cast<uint32_t>(NumberOf(call.request, "node_ordinal"));
    if (const Queue* context = FindQueue(pid, NumberOf(call.request, "context"))) node = context->node;
    const std::string name =
        fmt::format("{} {:#x}", std::string_view(field) == "queue" ? "hardware queue" : field, handle);
    Queue queue{.track = writer_.Track(fmt::format("queue {} {:#x} {}", pid, handle, call.begin_ns),
                                       ProcessTrack(pid), name),
                .node = node};
    queue.fence =
        NumberOf(call.reply, std::string_view(field) == "queue" ? "queue_progress_fence" : "sync_object");
    queues_[{pid, handle}] = queue;
  }
  // Which adapter a handle is.
  if (const uint64_t luid = NumberOf(call.request, "adapter_luid"); luid != 0)
    luids_[{pid, NumberOf(call.reply, "adapter_handle")}] = luid;
}

Timeline::Queue* Timeline::FindQueue(uint32_t pid, uint64_t handle) {
  const auto found = queues_.find({pid, handle});
  return found == queues_.end() ? nullptr : &found->second;
}

void Timeline::Submit(const guest::CallReport& call, uint64_t end_ns, Event* slice) {
  if (!std::string_view(call.row->name).starts_with("SubmitCommand")) return;
  const auto pid = static_cast<uint32_t>(call.pid);
  for (const uint64_t handle : QueuesOf(call.request)) {
    Queue* const queue = FindQueue(pid, handle);
    if (queue == nullptr) continue;
    const uint64_t value = NumberOf(call.request, "hwqueue_progress_fence_id");
    // The work may have begun before the call was answered, and then has its flow already.
    queue->flow = value != 0 ? FlowTo(pid, queue->fence, value) : FlowTo(pid, handle, ++queue->submissions);
    slice->add_flow_ids(queue->flow);
    Event submitted = Named("submitted");
    submitted.add_flow_ids(queue->flow);
    writer_.Instant(queue->track, end_ns, std::move(submitted));
  }
}

void Timeline::Signal(const guest::CallReport& call, Event* slice) {
  const std::string_view name = call.row->name;
  if (name.find("Signal") == std::string_view::npos) return;
  const auto pid = static_cast<uint32_t>(call.pid);
  for (const uint64_t handle : QueuesOf(call.request)) {
    if (const Queue* queue = FindQueue(pid, handle); queue != nullptr && queue->flow != 0)
      slice->add_flow_ids(queue->flow);
  }
  for (const auto& [fence, value] : FencesOf(call.request)) slice->add_flow_ids(FlowTo(pid, fence, value));
}

void Timeline::GpuWait(const guest::CallReport& call, Event* slice) {
  const std::string_view name = call.row->name;
  if (name.find("Wait") == std::string_view::npos || name.ends_with("FromCpu")) return;
  for (const auto& [fence, value] : FencesOf(call.request))
    slice->add_flow_ids(FlowTo(static_cast<uint32_t>(call.pid), fence, value));
}

// Where it ended, and not where it began: a signal may come between the two.
void Timeline::CpuWait(const guest::CallReport& call, uint64_t end_ns, uint64_t thread) {
  if (!std::string_view(call.row->name).starts_with("WaitForSynchronizationObjectFromCpu")) return;
  if (NumberOf(call.request, "async_event") != 0) return;
  const auto pid = static_cast<uint32_t>(call.pid);
  Event ended = Named("wait ended");
  for (const auto& [fence, value] : FencesOf(call.request)) {
    for (const uint64_t flow : FlowsUpTo(pid, fence, value)) ended.add_terminating_flow_ids(flow);
    const auto paging = paging_.find({pid, fence});
    if (paging == paging_.end()) continue;
    paging->second.second = std::max(paging->second.second, value);
    const uint64_t pending = paging->second.first - std::min(paging->second.first, paging->second.second);
    writer_.Count(writer_.Counter(fmt::format("pending {} {:#x}", pid, fence), ProcessTrack(pid),
                                  "pending paging", Unit::UNIT_COUNT),
                  end_ns, pending);
  }
  writer_.Instant(thread, end_ns, std::move(ended));
}

void Timeline::Paging(const guest::CallReport& call, uint64_t end_ns, Event* slice) {
  const auto pid = static_cast<uint32_t>(call.pid);
  const uint64_t value = NumberOf(call.reply, "paging_fence_value");
  const Queue* const queue = FindQueue(pid, NumberOf(call.request, "paging_queue"));
  if (value == 0 || queue == nullptr || call.status->value() == 0) return;  // it was done at once
  slice->add_flow_ids(FlowTo(pid, queue->fence, value));
  auto& [asked, done] = paging_[{pid, queue->fence}];
  if (asked == 0) done = value - 1;
  asked = std::max(asked, value);
  writer_.Count(writer_.Counter(fmt::format("pending {} {:#x}", pid, queue->fence), ProcessTrack(pid),
                                "pending paging", Unit::UNIT_COUNT),
                end_ns, asked - std::min(asked, done));
}

void Timeline::Memory(const guest::CallReport& call, uint64_t end_ns) {
  if (std::string_view(call.row->name) != "QueryVideoMemoryInfo") return;
  const auto pid = static_cast<uint32_t>(call.pid);
  const uint64_t adapter = NumberOf(call.request, "adapter");
  const auto luid = luids_.find({pid, adapter});
  const char* const group = contract::ValueName(call.row->name, "memory_segment_group",
                                                NumberOf(call.request, "memory_segment_group"));
  const std::string of = fmt::format("{} of adapter {:#x}", group != nullptr ? group : "memory",
                                     luid != luids_.end() ? luid->second : adapter);
  for (const auto& [field, what] :
       {std::pair{"budget", "budget"}, {"current_usage", "used"}, {"current_reservation", "reserved"}}) {
    const std::string name = fmt::format("{} {}", of, what);
    writer_.Count(writer_.Counter(fmt::format("memory {} {}", pid, name), ProcessTrack(pid), name,
                                  Unit::UNIT_SIZE_BYTES),
                  end_ns, NumberOf(call.reply, field));
  }
}

void Timeline::Statistics(const guest::CallReport& call, uint64_t end_ns, const contract::Message& decoded) {
  const std::string& answer = decoded.GetDescriptor()->name();
  const auto pid = static_cast<uint32_t>(call.pid);
  if (answer == "ExecutionState")
    return DeviceState(pid, NumberOf(call.request, "device"), NumberOf(&decoded, "execution_state"), end_ns);
  if (answer == "PageFaultState" && NumberOf(&decoded, "faulted_virtual_address") != 0) {
    Event fault = Named(fmt::format("page fault at {:#x}", NumberOf(&decoded, "faulted_virtual_address")));
    Annotate("state", contract::ToText(decoded), &fault);
    return writer_.Instant(writer_.Track(fmt::format("faults {}", pid), ProcessTrack(pid), "faults"), end_ns,
                           std::move(fault));
  }
  const uint64_t selector = NumberOf(call.request, "selector") & 0xffffffff;
  const uint64_t luid = NumberOf(call.request, "adapter_luid");
  const auto count = [&](const char* field, const std::string& name, uint64_t parent) {
    writer_.Count(writer_.Counter(fmt::format("statistics {} {:#x} {}", parent, luid, name), parent, name,
                                  Unit::UNIT_SIZE_BYTES),
                  end_ns, NumberOf(&decoded, field));
  };
  if (answer == "SegmentStatistics") {
    count("bytes_resident", fmt::format("segment {} of adapter {:#x} resident", selector, luid), 0);
    count("bytes_committed", fmt::format("segment {} of adapter {:#x} committed", selector, luid), 0);
  } else if (answer == "ProcessSegmentGroupStatistics") {
    count("usage", fmt::format("segment group {} of adapter {:#x} used", selector, luid), ProcessTrack(pid));
    count("budget", fmt::format("segment group {} of adapter {:#x} budget", selector, luid),
          ProcessTrack(pid));
  }
}

// A device that still works is no news.
void Timeline::DeviceState(uint32_t pid, uint64_t device, uint64_t state, uint64_t at_ns) {
  constexpr uint64_t kActive = 1;
  uint64_t& known = states_.try_emplace({pid, device}, kActive).first->second;
  if (known == state) return;
  known = state;
  writer_.Instant(writer_.Track(fmt::format("faults {}", pid), ProcessTrack(pid), "faults"), at_ns,
                  Named(fmt::format("device {:#x}: {}", device, StateName(state))));
}

void Timeline::AddOpen(const TraceRecord& record) {
  if (record.open().shared() || record.result() != 0) return;
  names_[record.pid()] = Printable(record.open().name());
  ProcessTrack(record.pid());
  ++open_[record.pid()];
  file_of_[record.open().file()] = record.pid();
  CountProcesses(record.begin_ns());
}

// Its objects are gone with its last descriptor: a number means another one from then on.
void Timeline::AddClose(const TraceRecord& record) {
  const auto found = file_of_.find(record.close().file());
  if (found == file_of_.end()) return;
  const uint32_t pid = found->second;
  file_of_.erase(found);
  if (--open_[pid] == 0) {
    open_.erase(pid);
    const auto forget = [pid](auto* map) {
      std::erase_if(*map, [pid](const auto& each) { return each.first.first == pid; });
    };
    forget(&queues_), forget(&fences_), forget(&paging_), forget(&states_), forget(&luids_);
  }
  CountProcesses(record.begin_ns());
}

void Timeline::CountProcesses(uint64_t at_ns) {
  writer_.Count(writer_.Counter("processes", 0, "processes", Unit::UNIT_COUNT), at_ns, open_.size());
}

void Timeline::AddAdapter(const guest::AdapterReport& report) {
  constexpr const char* kWhat[] = {"arrived", "stopped", "removed"};
  writer_.Instant(
      writer_.Track("adapters", 0, "adapters"), report.at_ns,
      Named(fmt::format("adapter {:#x} {}", report.luid, kWhat[static_cast<size_t>(report.what)])));
}

void Timeline::AddEvent(const TraceRecord& record) {
  const TraceEvent& event = record.event();
  const uint32_t pid = record.pid() != 0 ? record.pid() : static_cast<uint32_t>(event.process());
  const uint64_t at_ns = record.begin_ns();
  switch (event.kind()) {
    case TraceEvent::DEVICE_STATE:
      return DeviceState(pid, event.object(), event.value(), at_ns);
    case TraceEvent::FENCE: {
      Event reached = Named(fmt::format("fence {:#x} has {}", event.object(), event.value()));
      reached.add_flow_ids(FlowTo(pid, event.object(), event.value()));
      return writer_.Instant(writer_.Track(fmt::format("fences {}", pid), ProcessTrack(pid), "fences"), at_ns,
                             std::move(reached));
    }
    case TraceEvent::WORK_BEGAN:
    case TraceEvent::WORK_ENDED:
      break;
    default:
      return writer_.Instant(writer_.Track(fmt::format("events {}", pid), ProcessTrack(pid), "events"), at_ns,
                             Named(TraceEvent::Kind_Name(event.kind())));
  }
  const auto found = queues_.try_emplace({pid, event.object()}, Queue{.track = 0}).first;
  Queue& queue = found->second;
  if (queue.track == 0)
    queue.track = writer_.Track(fmt::format("queue {} {:#x}", pid, event.object()), ProcessTrack(pid),
                                fmt::format("queue {:#x}", event.object()));
  const uint64_t engine =
      writer_.Track(fmt::format("engine {}", event.node()), writer_.Track("engines", 0, "GPU engines"),
                    fmt::format("node {}", event.node()));
  if (event.kind() == TraceEvent::WORK_ENDED) {
    if (!queue.working) return;  // it began before the recording
    queue.working = false;
    writer_.End(queue.track, at_ns);
    return writer_.End(engine, at_ns);
  }
  if (queue.working) return;
  queue.working = true;
  Event work = Named(fmt::format("work of {:#x}", event.object()));
  work.add_flow_ids(FlowTo(pid, queue.fence != 0 ? queue.fence : event.object(), event.value()));
  writer_.Begin(queue.track, at_ns, work);
  writer_.Begin(engine, at_ns, std::move(work));
}

uint64_t Timeline::FlowTo(uint32_t pid, uint64_t fence, uint64_t value) {
  auto& values = fences_[{pid, fence}];
  if (values.size() >= kValuesMax) values.erase(values.begin());
  uint64_t& flow = values[value];
  if (flow == 0) flow = ++flows_;
  return flow;
}

std::vector<uint64_t> Timeline::FlowsUpTo(uint32_t pid, uint64_t fence, uint64_t value) {
  std::vector<uint64_t> flows;
  const auto found = fences_.find({pid, fence});
  if (found == fences_.end()) return flows;
  // The wait is over with the first value that is not below its own. That stays: another wait may end by it,
  // and the event that the fence has it may be recorded after the wait that it let go.
  const auto reached = found->second.lower_bound(value);
  if (reached != found->second.end()) flows.push_back(reached->second);
  found->second.erase(found->second.begin(), reached);
  return flows;
}

}  // namespace dxg::trace
