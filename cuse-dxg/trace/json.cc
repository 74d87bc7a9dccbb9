#include "cuse-dxg/trace/json.h"

#include <fmt/format.h>

#include <iterator>

#include "cuse-dxg/trace/decode.h"
#include "cuse-dxg/trace/events.h"
#include "proto/contract/answers.h"
#include "proto/contract/json.h"
#include "proto/contract/text.h"

namespace dxg::trace {
namespace {

template <typename... Args>
void Append(std::string* out, fmt::format_string<Args...> format, Args&&... args) {
  fmt::format_to(std::back_inserter(*out), format, std::forward<Args>(args)...);
}

void AppendMessage(const char* name, const contract::Message* message, std::string* out) {
  *out += ",\"";
  *out += name;
  *out += "\":";
  if (message != nullptr) {
    contract::AppendJson(*message, out);
  } else {
    *out += "null";
  }
}

void AppendText(const char* name, std::string_view text, std::string* out) {
  *out += ",\"";
  *out += name;
  *out += "\":";
  contract::AppendJsonString(text, out);
}

// What every record has.
void AppendHead(const char* name, pid_t pid, pid_t tid, uint64_t begin_ns, uint64_t end_ns, int32_t result,
                std::string_view reason, std::string* out) {
  Append(out, R"({{"call":"{}","pid":{},"tid":{},"begin_ns":{},"end_ns":{},"result":{})", name,
         static_cast<uint32_t>(pid), static_cast<uint32_t>(tid), begin_ns, end_ns, result);
  if (result < 0 && result >= -kErrnoMax) Append(out, R"(,"errno":"{}")", contract::ErrnoName(-result));
  if (!reason.empty()) AppendText("reason", reason, out);
}

void AppendAddressObject(const guest::CallReport& report, std::string* out) {
  if (report.addresses.empty() || report.row == nullptr) return;
  *out += ",\"addresses\":{";
  const char* separator = "";
  contract::ForEachAddress(*report.row, report.request, report.addresses,
                           [&](const std::string& name, uint64_t address) {
                             Append(out, R"({}"{}":"{:#x}")", separator, name, address);
                             separator = ",";
                           });
  *out += '}';
}

}  // namespace

void AppendJson(const guest::CallReport& report, std::string* out) {
  thread_local contract::AnswerDecoder answers;
  AppendHead(report.row != nullptr ? report.row->name : "ioctl", report.pid, report.tid, report.begin_ns,
             report.begin_ns + report.duration_ns, report.status->value(), report.status->why(), out);
  Append(out, R"(,"code":{})", report.code);
  AppendMessage("request", report.request, out);
  AppendMessage("reply", report.reply, out);
  if (report.row != nullptr && report.request != nullptr) {
    if (const auto asked = answers.OfRequest(*report.row, *report.request); asked.message != nullptr)
      AppendMessage("decoded_request", asked.message, out);
    if (report.reply != nullptr && report.status->ok()) {
      const auto answered = answers.OfReply(*report.row, *report.request, *report.reply);
      if (answered.message != nullptr) AppendMessage("decoded", answered.message, out);
    }
  }
  AppendAddressObject(report, out);
  if (report.inherited) *out += R"(,"inherited":true)";
  if (report.argument != 0) Append(out, R"(,"argument":{})", report.argument);
  if (!report.raw.empty()) {
    *out += ",\"raw\":";
    contract::AppendBase64(report.raw, out);
  }
  *out += "}\n";
}

void AppendJson(const guest::FileReport& report, std::string* out) {
  const bool opens = report.what != guest::FileReport::What::kClose;
  AppendHead(opens ? "open" : "close", report.pid, report.tid, report.at_ns, report.at_ns, -report.error,
             report.why, out);
  Append(out, R"(,"file":{})", report.file);
  if (opens) {
    AppendText("name", report.name, out);
    Append(out, R"(,"shared":{})", report.what == guest::FileReport::What::kOpenShared);
  }
  *out += "}\n";
}

void AppendJson(const guest::AdapterReport& report, std::string* out) {
  AppendHead("adapter", 0, 0, report.at_ns, report.at_ns, 0, {}, out);
  Append(out, R"(,"luid":{},"change":"{}","compute_only":{})", report.luid,
         TraceAdapter::Change_Name(static_cast<TraceAdapter::Change>(report.what)), report.compute_only);
  *out += "}\n";
}

void AppendEventJson(const TraceRecord& record, uint32_t interface_version, std::string* out) {
  AppendHead(NameOf(record), static_cast<pid_t>(record.pid()), static_cast<pid_t>(record.tid()),
             record.begin_ns(), record.end_ns(), record.result(), record.reason(), out);
  if (record.has_host_command()) {
    const TraceHostCommand& command = record.host_command();
    const HostCommandText text = DecodeHostCommand(command, interface_version);
    Append(out, R"(,"command":{},"name":"{}","process":{},"channel":{},"to_guest":{})", command.command(),
           text.name, command.process(), command.channel(), command.to_guest());
    AppendMessage("request", text.request.get(), out);
    AppendMessage("reply", text.reply.get(), out);
  } else if (record.has_event()) {
    const TraceEvent& event = record.event();
    Append(out, R"(,"kind":"{}","process":{},"object":{},"value":{},"node":{},"adapter":{},"fd":{})",
           TraceEvent::Kind_Name(event.kind()), event.process(), event.object(), event.value(), event.node(),
           event.adapter(), event.fd());
  } else if (record.has_moved()) {
    const TraceMove& move = record.moved();
    Append(out, R"(,"change":"{}","file":{},"fd":{},"from_fd":{})", TraceMove::Change_Name(move.change()),
           move.file(), move.fd(), move.from_fd());
  } else {
    const TraceProcess& process = record.process();
    Append(out, R"(,"change":"{}","child":{},"status":{})", TraceProcess::Change_Name(process.change()),
           process.child(), process.status());
    AppendText("program", process.program(), out);
  }
  *out += "}\n";
}

}  // namespace dxg::trace
