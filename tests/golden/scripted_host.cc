#include "tests/golden/scripted_host.h"

#include <fmt/format.h>

#include <algorithm>

#include "cuse-dxg/backend/vmbus/message.h"
#include "proto/contract/wire.h"

namespace dxg::golden {
namespace {

constexpr uint64_t kWindow = 0x10000000, kWindowBytes = 0x80000000;

// A memory list's number comes first; long lists are given by their beginning.
uint32_t ListNumber(const Json& data) {
  const Bytes bytes = FromHex((data.is_object() ? data["head"] : data).get<std::string>().substr(0, 8));
  return static_cast<uint32_t>(contract::wire::Get<4>(bytes.data()));
}

}  // namespace

void ScriptedHost::Expect(const Json& record) {
  anything_ = false;
  expected_.clear();
  pointers_left_out_ = false;
  trouble_.clear();
  lists_.clear();
  lists_removed_ = lists_to_remove_ = 0;
  const auto& events = record["events"];
  for (size_t i = 0; i < events.size(); ++i) {
    const Json& event = events[i];
    if (event["t"] == "gpadl") lists_.push_back(ListNumber(event["data"]));
    if (event["t"] == "gpadl_teardown") ++lists_to_remove_;
    if (event["t"] != "pkt" || contract::FindHostCommand(event["cmd"].get<uint32_t>()) == nullptr) continue;
    Packet packet;
    packet.name = event["name"];
    packet.data = event["data"];
    packet.ignore = Volatile(record, fmt::format("events[{}].data", i));
    // The driver's own addresses, which it uses as cookies.
    for (const auto& address : event.value("addrs", Json::array())) {
      const size_t at = address[0];
      if (address[1] == "kernel") packet.ignore.push_back({at, at + 8});
      if (address[1] == "buf" || address[1] == "user") packet.pointers.push_back(at);
    }
    const size_t command = version_ >= vmbus::kExtHeaderSince ? vmbus::kExtHeaderBytes : 0;
    // Bad addresses are not told from numbers in the records.
    if (packet.name == "QUERYALLOCATIONRESIDENCY") packet.pointers = {command + 32, command + 48};
    // Which frames a client's pages are in was that machine's affair.
    if (packet.name == "SETEXISTINGSYSMEMPAGES") packet.ignore.push_back({command + 40, SIZE_MAX});
    if (event["resp"].is_string()) packet.answer = FromHex(event["resp"].get<std::string>());
    expected_.push_back(std::move(packet));
  }
}

std::string ScriptedHost::Verdict() {
  if (trouble_.empty() && !lists_.empty()) return "a memory list was never established";
  if (trouble_.empty() && expected_.empty() && lists_removed_ != lists_to_remove_) {
    return fmt::format("{} memory lists were taken down instead of {}", lists_removed_, lists_to_remove_);
  }
  if (trouble_.empty() && !expected_.empty()) return fmt::format("{} was never sent to the host", expected_.front().name);
  return trouble_;
}

// Everything below the end of the recorded machine's window, and nothing at 0.
std::optional<HostRegion> ScriptedHost::FindRegion(uint64_t window_address) {
  if (window_address < kWindow || window_address >= kWindow + kWindowBytes) return std::nullopt;
  HostRegion region;
  region.window_address = kWindow;
  region.size = kWindowBytes;
  return region;
}

Result<uint32_t> ScriptedHost::AddClientPages(std::shared_ptr<ClientPages>) {
  if (lists_.empty()) return Status::Refuse(ENOMEM, "not in the script");
  const uint32_t number = lists_.front();
  lists_.pop_front();
  return number;
}

void ScriptedHost::Submit(const HostCall& call, Completion completion) { completion.run(completion.context, Play(call)); }

Status ScriptedHost::Play(const HostCall& call) {
  if (anything_) return Status::Ok();
  if (global_lost_ && call.command->channel == GLOBAL) return Status::Refuse(ENODEV, "the global channel is gone");
  const auto message = vmbus::EncodeRequest(*call.command, {call.process, call.command->channel == GLOBAL ? 0 : vgpu_luid_, version_, call.asynchronous}, *call.request);
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
    Bytes expected = FromHex(packet.data.get<std::string>());
    for (const size_t at : packet.pointers) {
      if (at + 8 > message.size() || contract::wire::Get<8>(message.data() + at) != 0) continue;
      std::fill_n(expected.begin() + static_cast<ptrdiff_t>(at), 8, std::byte{0});
      pointers_left_out_ = true;
    }
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
  } else {
    const Bytes head = FromHex(packet.data["head"].get<std::string>());
    difference = Difference(head, std::span(message).first(std::min(head.size(), message.size())), packet.ignore);
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
