#include "cuse-dxg/trace/recorder.h"

#include <memory>
#include <utility>

#include "cuse-dxg/trace/redact.h"

namespace dxg::trace {
namespace {

constexpr size_t kStringKept = 64u << 10;  // of a large call, in each thread

void Serialize(const contract::Message& message, bool redacted, std::string* to) {
  if (!redacted) {
    message.SerializeToString(to);
    return;
  }
  const std::unique_ptr<contract::Message> copy(message.New());
  copy->CopyFrom(message);
  Redact(copy.get());
  copy->SerializeToString(to);
}

}  // namespace

// The record of a call, in an item that is used again: each of its fields is set.
void Recorder::Fill(const guest::CallReport& report, TraceItem* item) {
  TraceRecord& record = *item->mutable_record();
  record.set_pid(static_cast<uint32_t>(report.pid));
  record.set_tid(static_cast<uint32_t>(report.tid));
  record.set_begin_ns(report.begin_ns);
  record.set_end_ns(report.begin_ns + report.duration_ns);
  record.set_result(report.status->value());
  record.set_reason(report.status->why());
  TraceCall& call = *record.mutable_call();
  call.set_code(report.code);
  call.clear_request();
  call.clear_reply();
  if (report.request != nullptr) Serialize(*report.request, redacted_, call.mutable_request());
  if (report.reply != nullptr) Serialize(*report.reply, redacted_, call.mutable_reply());
  call.set_argument(report.argument);
  call.set_raw(report.raw.data(), report.raw.size());
  if (redacted_) call.set_raw(Redacted(call.raw()));
  call.mutable_addresses()->Assign(report.addresses.begin(), report.addresses.end());
  call.set_inherited(report.inherited);
  call.clear_shared_object();
  if (report.shared_object) call.set_shared_object(*report.shared_object);
  call.clear_memory();
  if (memory_ != nullptr) memory_->AddTo(report, &call);
}

Result<std::unique_ptr<Recorder>> Recorder::Create(std::unique_ptr<Sink> sink, const TraceHeader& header,
                                                   ReadClient read_client) {
  DXG_ASSIGN(auto recording, Recording::Begin(std::move(sink), header));
  std::unique_ptr<ClientMemory> memory;
  if (header.memory() != TraceHeader::NONE && read_client != nullptr)
    memory = std::make_unique<ClientMemory>(header.memory(), std::move(read_client));
  return std::unique_ptr<Recorder>(new Recorder(std::move(recording), std::move(memory), header.redacted()));
}

void Recorder::OnCall(const guest::CallReport& report) {
  static thread_local TraceItem item;
  try {
    Fill(report, &item);
  } catch (const std::bad_alloc&) {
    return recording_->AddLost();
  }
  recording_->Add(item);
  TraceCall& call = *item.mutable_record()->mutable_call();
  if (call.request().capacity() + call.reply().capacity() > kStringKept || call.memory_size() != 0)
    item.Clear();
}

void Recorder::OnFile(const guest::FileReport& report) {
  using What = guest::FileReport::What;
  TraceItem item;
  TraceRecord& record = *item.mutable_record();
  record.set_pid(static_cast<uint32_t>(report.pid));
  record.set_tid(static_cast<uint32_t>(report.tid));
  record.set_begin_ns(report.at_ns);
  record.set_end_ns(report.at_ns);
  record.set_result(-report.error);
  record.set_reason(std::string(report.why));
  if (report.what == What::kClose) {
    record.mutable_close()->set_file(report.file);
  } else {
    record.mutable_open()->set_file(report.file);
    record.mutable_open()->set_name(redacted_ ? Redacted(std::string(report.name))
                                              : std::string(report.name));
    record.mutable_open()->set_shared(report.what == What::kOpenShared);
  }
  recording_->Add(item);
  if (memory_ == nullptr || report.error != 0) return;
  if (report.what == What::kOpen) memory_->ProcessOpened(report.pid);
  if (report.what == What::kClose) memory_->ProcessClosed(report.pid);
}

void Recorder::OnAdapter(const guest::AdapterReport& report) {
  using What = guest::AdapterReport::What;
  static_assert(static_cast<int>(What::kArrived) == TraceAdapter::ARRIVED &&
                static_cast<int>(What::kStopped) == TraceAdapter::STOPPED &&
                static_cast<int>(What::kRemoved) == TraceAdapter::REMOVED);
  TraceItem item;
  TraceRecord& record = *item.mutable_record();
  record.set_begin_ns(report.at_ns);
  record.set_end_ns(report.at_ns);
  TraceAdapter& adapter = *record.mutable_adapter();
  adapter.set_luid(report.luid);
  adapter.set_change(static_cast<TraceAdapter::Change>(report.what));
  adapter.set_compute_only(report.compute_only);
  adapter.set_interface_version(report.interface_version);
  recording_->Add(item);
}

void Recorder::OnEvent(const TraceRecord& record) {
  static thread_local TraceItem item;
  try {
    *item.mutable_record() = record;
  } catch (const std::bad_alloc&) {
    return recording_->AddLost();
  }
  recording_->Add(item);
}

}  // namespace dxg::trace
