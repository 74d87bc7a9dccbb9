#include "tests/golden/scripted_host.h"

#include <fmt/format.h>

#include "cuse-dxg/backend/vmbus/message.h"

namespace dxg::golden {

void ScriptedHost::Expect(const Json& record) {
  anything_ = false;
  expected_.clear();
  trouble_.clear();
  const auto& events = record["events"];
  for (size_t i = 0; i < events.size(); ++i) {
    const Json& event = events[i];
    if (event["t"] != "pkt" || contract::FindHostCommand(event["cmd"].get<uint32_t>()) == nullptr) continue;
    Packet packet;
    packet.name = event["name"];
    packet.data = event["data"];
    packet.ignore = Volatile(record, fmt::format("events[{}].data", i));
    // The driver's own addresses, which it uses as cookies.
    for (const auto& address : event.value("addrs", Json::array())) {
      const size_t at = address[0];
      if (address[1] == "kernel") packet.ignore.push_back({at, at + 8});
    }
    if (event["resp"].is_string()) packet.answer = FromHex(event["resp"].get<std::string>());
    expected_.push_back(std::move(packet));
  }
}

std::string ScriptedHost::Verdict() {
  if (trouble_.empty() && !expected_.empty()) return fmt::format("{} was never sent to the host", expected_.front().name);
  return trouble_;
}

void ScriptedHost::Submit(const HostCall& call, Completion completion) { completion.run(completion.context, Play(call)); }

Status ScriptedHost::Play(const HostCall& call) {
  if (anything_) return Status::Ok();
  if (global_lost_ && call.command->channel == GLOBAL) return Status::Refuse(ENODEV, "the global channel is gone");
  const auto message = vmbus::EncodeRequest(*call.command, {call.process, call.command->channel == GLOBAL ? 0 : vgpu_luid_, version_}, *call.request);
  if (expected_.empty()) {
    if (trouble_.empty()) trouble_ = fmt::format("{} was sent to the host, which the driver did not", call.command->name);
    return Status::Refuse(ENODEV, "not in the script");
  }
  const Packet packet = std::move(expected_.front());
  expected_.pop_front();
  std::string difference;
  if (packet.name != call.command->name) {
    difference = fmt::format("{} was sent instead of {}", call.command->name, packet.name);
  } else if (packet.data.is_string()) {
    const Bytes expected = FromHex(packet.data.get<std::string>());
    difference = Difference(expected, message, packet.ignore);
    // The codec's other direction: what was sent decodes into what encodes to the same bytes.
    if (difference.empty()) {
      std::unique_ptr<contract::Message> copy(call.command->request->New());
      const uint32_t ext = version_ >= vmbus::kExtHeaderSince ? vmbus::kExtHeaderBytes : 0;
      if (!call.command->decode_request(std::span(message).subspan(ext), copy.get()) ||
          copy->SerializeAsString() != call.request->SerializeAsString()) {
        difference = "the packet does not decode into the request it was made from";
      }
    }
  } else if (packet.data["len"] != message.size()) {
    difference = fmt::format("{} bytes instead of {}", message.size(), packet.data["len"].get<size_t>());
  }
  if (!difference.empty() && trouble_.empty()) trouble_ = fmt::format("packet {}: {}", packet.name, difference);

  // The ring carries multiples of 8 bytes; the true length of an answer is lost.
  Bytes answer = packet.answer;
  answer.resize((answer.size() + 7) / 8 * 8);
  if (!call.command->decode_reply(answer, *call.request, version_, call.reply)) {
    return Status::Refuse(EOVERFLOW, "the host's answer to {} has {} bytes; expected {}", call.command->name, answer.size(),
                          call.command->reply_size(*call.request, version_));
  }
  return Status::Ok();
}

}  // namespace dxg::golden
