#include "cuse-dxg/trace/decode.h"

#include <cerrno>

#include "cuse-dxg/trace/events.h"
#include "cuse-dxg/trace/json.h"
#include "link/trace/bounds.h"

namespace dxg::trace {

Status Decoder::Decode(const TraceRecord& record) {
  record_ = &record;
  if (record.has_call()) return DecodeCall(record);
  if (record.what_case() == TraceRecord::WHAT_NOT_SET)
    return Status::Refuse(EINVAL, "a record of nothing that this version knows");
  if (record.has_adapter() && record.adapter().interface_version() != 0)
    interface_version_ = record.adapter().interface_version();
  return CheckEvent(record);
}

Status Decoder::DecodeCall(const TraceRecord& record) {
  const TraceCall& call = record.call();
  const contract::CallRow* const row = contract::FindCall(call.code());
  call_ = {};
  call_.row = row;
  call_.code = call.code();
  call_.tid = static_cast<pid_t>(record.tid());
  call_.pid = static_cast<pid_t>(record.pid());
  call_.begin_ns = record.begin_ns();
  call_.duration_ns = record.end_ns() - record.begin_ns();
  call_.inherited = call.inherited();
  status_ = record.reason().empty() ? Status(record.result())
                                    : Status::Raw(record.result(), record.reason().c_str());
  call_.status = &status_;
  call_.argument = call.argument();
  call_.raw = std::as_bytes(std::span(call.raw()));
  call_.addresses = {call.addresses().data(), static_cast<size_t>(call.addresses_size())};
  if (row == nullptr) return Status::Ok();
  // What a large call needed is not kept for each of the others.
  if (large_ != 0) messages_.erase(large_);
  large_ = call.request().size() + call.reply().size() > kLargeBytes ? call.code() : 0;
  auto& [request, reply] = messages_[call.code()];
  if (request == nullptr) {
    request.reset(row->request->New());
    reply.reset(row->reply->New());
  }
  if (call.has_request()) {
    if (!IsBounded(*request, call.request()) || !request->ParseFromString(call.request()))
      return Status::Refuse(EINVAL, "the request of {} cannot be read", row->name);
    call_.request = request.get();
  }
  if (call.has_reply()) {
    if (!IsBounded(*reply, call.reply()) || !reply->ParseFromString(call.reply()))
      return Status::Refuse(EINVAL, "the reply of {} cannot be read", row->name);
    call_.reply = reply.get();
  }
  return Status::Ok();
}

guest::FileReport Decoder::file() const {
  using What = guest::FileReport::What;
  const TraceRecord& record = *record_;
  guest::FileReport report{.what = What::kClose,
                           .file = record.close().file(),
                           .tid = static_cast<pid_t>(record.tid()),
                           .pid = static_cast<pid_t>(record.pid()),
                           .why = record.reason(),
                           .at_ns = record.begin_ns()};
  if (!record.has_open()) return report;
  report.what = record.open().shared() ? What::kOpenShared : What::kOpen;
  report.file = record.open().file();
  report.name = record.open().name();
  if (record.result() < 0 && record.result() >= -kErrnoMax) report.error = -record.result();
  return report;
}

guest::AdapterReport Decoder::adapter() const {
  const TraceAdapter& adapter = record_->adapter();
  return {.what = static_cast<guest::AdapterReport::What>(adapter.change()),
          .luid = adapter.luid(),
          .compute_only = adapter.compute_only(),
          .interface_version = adapter.interface_version(),
          .at_ns = record_->begin_ns()};
}

const char* NameOf(const TraceRecord& record) {
  switch (record.what_case()) {
    case TraceRecord::kOpen:
      return "open";
    case TraceRecord::kClose:
      return "close";
    case TraceRecord::kAdapter:
      return "adapter";
    case TraceRecord::kProcess:
      return "process";
    case TraceRecord::kMoved:
      return "descriptor";
    case TraceRecord::kEvent:
      return "event";
    case TraceRecord::kHostCommand:
      return "host";
    default:
      break;
  }
  const contract::CallRow* const row = contract::FindCall(record.call().code());
  return row != nullptr ? row->name : "ioctl";
}

void AppendLineOf(const TraceRecord& record, const Decoder& decoder, const LineOptions& options,
                  std::string* out) {
  if (record.has_call()) return AppendLine(decoder.call(), options, out);
  if (record.has_open() || record.has_close()) return AppendLine(decoder.file(), options, out);
  if (record.has_adapter()) return AppendLine(decoder.adapter(), options, out);
  AppendTime(record.begin_ns(), options, out);
  *out += EventLine(record, decoder.interface_version(), options.elements);
}

std::string LineOf(const TraceRecord& record, const Decoder& decoder, const LineOptions& options) {
  std::string line;
  AppendLineOf(record, decoder, options, &line);
  return line;
}

void AppendJsonOf(const TraceRecord& record, const Decoder& decoder, std::string* out) {
  if (record.has_call()) return AppendJson(decoder.call(), out);
  if (record.has_open() || record.has_close()) return AppendJson(decoder.file(), out);
  if (record.has_adapter()) return AppendJson(decoder.adapter(), out);
  AppendEventJson(record, decoder.interface_version(), out);
}

std::string JsonOf(const TraceRecord& record, const Decoder& decoder) {
  std::string json;
  AppendJsonOf(record, decoder, &json);
  return json;
}

}  // namespace dxg::trace
