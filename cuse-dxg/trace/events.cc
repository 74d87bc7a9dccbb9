#include "cuse-dxg/trace/events.h"

#include <fmt/format.h>

#include <cerrno>

#include "base/printable.h"
#include "proto/contract/text.h"

namespace dxg::trace {
namespace {

std::span<const std::byte> BytesOf(const std::string& text) { return std::as_bytes(std::span(text)); }

std::string ProcessLine(const TraceRecord& record) {
  const TraceProcess& process = record.process();
  switch (process.change()) {
    case TraceProcess::FORKED:
      return fmt::format("--- process {} forked {}\n", record.pid(), process.child());
    case TraceProcess::THREAD:
      return fmt::format("--- process {} began thread {}\n", record.pid(), process.child());
    case TraceProcess::EXECUTED:
      return fmt::format("--- process {} executes \"{}\"\n", record.pid(), Printable(process.program()));
    default:
      return fmt::format("--- process {} ended with status {:#x}\n", record.pid(),
                         static_cast<uint32_t>(process.status()));
  }
}

std::string MoveLine(const TraceRecord& record) {
  const TraceMove& move = record.moved();
  constexpr const char* kWhat[] = {"duplicated into", "sent", "received", "closed", "took"};
  std::string line = fmt::format("--- process {} {} descriptor {} of file {}", record.pid(),
                                 kWhat[static_cast<size_t>(move.change())], move.fd(), move.file());
  if (move.change() == TraceMove::DUPLICATED) line += fmt::format(", from {}", move.from_fd());
  return line + "\n";
}

std::string EventText(const TraceEvent& event) {
  std::string text =
      fmt::format("--- event {} {{process={}, object={:#x}, value={}", TraceEvent::Kind_Name(event.kind()),
                  event.process(), event.object(), event.value());
  if (event.kind() == TraceEvent::WORK_BEGAN || event.kind() == TraceEvent::WORK_ENDED)
    text += fmt::format(", node={}", event.node());
  if (event.kind() == TraceEvent::EVENTFD) text += fmt::format(", fd={}", event.fd());
  if (event.adapter() != 0)
    text += fmt::format(", adapter={:08x}-{:08x}", event.adapter() >> 32, event.adapter() & 0xffffffff);
  return text + "}\n";
}

std::string HostCommandLine(const TraceHostCommand& command, uint32_t version, size_t limit) {
  const HostCommandText text = DecodeHostCommand(command, version);
  std::string line =
      fmt::format("--- {} {}(", command.to_guest() ? "host message" : "host command", text.name);
  line += text.request != nullptr ? contract::ToText(*text.request, limit)
                                  : fmt::format("{} bytes", command.packet().size());
  line += ")";
  if (text.reply != nullptr) {
    line += " = " + contract::ToText(*text.reply, limit);
  } else if (!command.answer().empty()) {
    line += fmt::format(" = {} bytes", command.answer().size());
  }
  return line + "\n";
}

}  // namespace

TraceRecord RecordOf(const guest::SignalReport& report) {
  TraceRecord record;
  record.set_pid(static_cast<uint32_t>(report.pid));
  record.set_begin_ns(report.at_ns);
  record.set_end_ns(report.at_ns);
  TraceEvent& event = *record.mutable_event();
  event.set_kind(TraceEvent::EVENTFD);
  event.set_process(report.process);
  event.set_object(report.object);
  event.set_value(report.value);
  event.set_fd(report.fd);
  return record;
}

HostCommandText DecodeHostCommand(const TraceHostCommand& command, uint32_t interface_version) {
  HostCommandText text{.name = fmt::format("{:#x}", command.command()), .request = {}, .reply = {}};
  if (command.to_guest()) {
    const contract::GuestMessage* const row = contract::FindGuestMessage(command.command());
    if (row == nullptr) return text;
    text.name = row->name;
    text.request.reset(row->message->New());
    if (!row->decode(BytesOf(command.packet()), text.request.get())) text.request.reset();
    return text;
  }
  const contract::CommandRow* const row = contract::FindHostCommand(command.command());
  if (row == nullptr) return text;
  text.name = row->name;
  text.request.reset(row->request->New());
  if (!row->decode_request(BytesOf(command.packet()), text.request.get())) text.request.reset();
  if (text.request == nullptr || command.answer().empty()) return text;
  text.reply.reset(row->reply->New());
  if (!row->decode_reply(BytesOf(command.answer()), *text.request, interface_version, text.reply.get()))
    text.reply.reset();
  return text;
}

Status CheckEvent(const TraceRecord& record) {
  bool known = true;
  if (record.has_process()) known = TraceProcess::Change_IsValid(record.process().change());
  if (record.has_moved()) known = TraceMove::Change_IsValid(record.moved().change());
  if (record.has_event()) known = TraceEvent::Kind_IsValid(record.event().kind());
  if (record.has_adapter()) known = TraceAdapter::Change_IsValid(record.adapter().change());
  if (known) return Status::Ok();
  return Status::Refuse(EINVAL, "a record of a change that this version does not know");
}

std::string EventLine(const TraceRecord& record, uint32_t interface_version, size_t limit) {
  if (record.has_process()) return ProcessLine(record);
  if (record.has_moved()) return MoveLine(record);
  if (record.has_event()) return EventText(record.event());
  return HostCommandLine(record.host_command(), interface_version, limit);
}

}  // namespace dxg::trace
