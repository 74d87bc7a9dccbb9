#include "hostsim/backend/in_process.h"

namespace dxg::hostsim {
namespace {

TraceEvent::Kind KindOf(WorkEvent::Kind kind) {
  switch (kind) {
    case WorkEvent::Kind::kBegan:
      return TraceEvent::WORK_BEGAN;
    case WorkEvent::Kind::kEnded:
      return TraceEvent::WORK_ENDED;
    case WorkEvent::Kind::kFence:
      return TraceEvent::FENCE;
    case WorkEvent::Kind::kWaitEnded:
      return TraceEvent::WAIT_ENDED;
    case WorkEvent::Kind::kDeviceState:
      break;
  }
  return TraceEvent::DEVICE_STATE;
}

}  // namespace

TraceRecord RecordOf(const WorkEvent& event) {
  TraceRecord record;
  record.set_pid(static_cast<uint32_t>(event.of.process_id));
  record.set_begin_ns(event.at_ns);
  record.set_end_ns(event.at_ns);
  TraceEvent& recorded = *record.mutable_event();
  recorded.set_kind(KindOf(event.kind));
  recorded.set_process(event.of.process);
  recorded.set_object(event.of.object);
  recorded.set_value(event.value);
  recorded.set_node(event.node);
  recorded.set_adapter(event.adapter);
  return record;
}

}  // namespace dxg::hostsim
