#include "cuse-dxg/trace/decode.h"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "cuse-dxg/trace/events.h"
#include "cuse-dxg/trace/line.h"
#include "proto/contract/text.h"

namespace dxg::trace {
namespace {

std::string JsonOf(const contract::Message* message) {
  if (message == nullptr) return "null";
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(*message, &text, options).ok()) return "null";
  return text;
}

// Bytes of a client's, of which not all need be text.
std::string Quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

std::string Hex(const std::string& bytes) {
  std::string hex;
  for (const unsigned char byte : bytes) hex += fmt::format("{:02x}", byte);
  return hex;
}

std::string EventJson(const TraceRecord& record, uint32_t interface_version) {
  if (record.has_host_command()) {
    const TraceHostCommand& command = record.host_command();
    const HostCommandText text = DecodeHostCommand(command, interface_version);
    return fmt::format(
        R"(,"command":{},"name":"{}","process":{},"channel":{},"to_guest":{},"request":{},"reply":{})",
        command.command(), text.name, command.process(), command.channel(), command.to_guest(),
        JsonOf(text.request.get()), JsonOf(text.reply.get()));
  }
  if (record.has_event()) {
    const TraceEvent& event = record.event();
    return fmt::format(R"(,"kind":"{}","process":{},"object":{},"value":{},"node":{})",
                       TraceEvent::Kind_Name(event.kind()), event.process(), event.object(), event.value(),
                       event.node());
  }
  if (record.has_moved()) {
    const TraceMove& move = record.moved();
    return fmt::format(R"(,"change":"{}","file":{},"fd":{},"from_fd":{})",
                       TraceMove::Change_Name(move.change()), move.file(), move.fd(), move.from_fd());
  }
  const TraceProcess& process = record.process();
  return fmt::format(R"(,"change":"{}","child":{},"program":{},"status":{})",
                     TraceProcess::Change_Name(process.change()), process.child(), Quoted(process.program()),
                     process.status());
}

}  // namespace

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
  if (row == nullptr) return Status::Ok();
  auto& [request, reply] = messages_[call.code()];
  if (request == nullptr) {
    request.reset(row->request->New());
    reply.reset(row->reply->New());
  }
  if (call.has_request()) {
    if (!request->ParseFromString(call.request()))
      return Status::Refuse(EINVAL, "the request of {} cannot be read", row->name);
    call_.request = request.get();
  }
  if (call.has_reply()) {
    if (!reply->ParseFromString(call.reply()))
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

std::string LineOf(const TraceRecord& record, const Decoder& decoder, size_t limit) {
  if (record.has_call()) return ToLine(decoder.call(), limit);
  if (record.has_open() || record.has_close()) return ToLine(decoder.file());
  if (record.has_adapter()) return ToLine(decoder.adapter());
  return EventLine(record, decoder.interface_version(), limit);
}

std::string JsonOf(const TraceRecord& record, const Decoder& decoder) {
  std::string json =
      fmt::format(R"({{"call":"{}","pid":{},"tid":{},"begin_ns":{},"end_ns":{},"result":{})", NameOf(record),
                  record.pid(), record.tid(), record.begin_ns(), record.end_ns(), record.result());
  if (record.result() < 0 && record.result() >= -kErrnoMax)
    json += fmt::format(R"(,"errno":"{}")", contract::ErrnoName(-record.result()));
  if (!record.reason().empty()) json += fmt::format(R"(,"reason":{})", Quoted(record.reason()));
  if (record.has_call()) {
    json += fmt::format(R"(,"code":{},"request":{},"reply":{})", record.call().code(),
                        JsonOf(decoder.call().request), JsonOf(decoder.call().reply));
    if (record.call().inherited()) json += R"(,"inherited":true)";
    if (record.call().argument() != 0) json += fmt::format(R"(,"argument":{})", record.call().argument());
    if (!record.call().raw().empty()) json += fmt::format(R"(,"raw":"{}")", Hex(record.call().raw()));
  } else if (record.has_adapter()) {
    json += fmt::format(R"(,"luid":{},"change":"{}")", record.adapter().luid(),
                        TraceAdapter::Change_Name(record.adapter().change()));
  } else if (record.has_open()) {
    json += fmt::format(R"(,"file":{},"name":{},"shared":{})", record.open().file(),
                        Quoted(record.open().name()), record.open().shared());
  } else if (record.has_close()) {
    json += fmt::format(R"(,"file":{})", record.close().file());
  } else {
    json += EventJson(record, decoder.interface_version());
  }
  return json + "}\n";
}

}  // namespace dxg::trace
