#include "tests/golden/scripted_host.h"

#include <fmt/format.h>

#include <algorithm>

#include "link/vmbus/message.h"
#include "proto/abi/d3dkmthk.h"
#include "proto/abi/flags.h"
#include "proto/contract/wire.h"
#include "proto/dxg/options.pb.h"

namespace dxg::golden {
namespace {

// The recorded machine's, without its last page: the driver takes that for outside.
constexpr uint64_t kWindow = 0x10000000, kWindowBytes = 0x33fff000 - kWindow;

// Where the number of an event is in a command, from the command header on; 0: nowhere.
size_t EventOffset(const std::string& command, std::span<const std::byte> bytes) {
  constexpr uint32_t kEnqueueCpuEvent = DXG_SIGNAL_ENQUEUE_CPU_EVENT,
                     kCpuNotification = _D3DDDI_CPU_NOTIFICATION;
  if (command == "WAITFORSYNCOBJECTFROMCPU") return 40;
  if (command == "SIGNALSYNCOBJECT" && (contract::wire::Get<4>(bytes.data() + 28) & kEnqueueCpuEvent) != 0)
    return 48;
  if (command == "CREATESYNCOBJECT" && contract::wire::Get<4>(bytes.data() + 32) == kCpuNotification)
    return 40;
  return 0;
}

// The request without what has no place on the VMBus: that is for hosts of our own.
std::string OnTheWire(const contract::Message& request) {
  std::unique_ptr<contract::Message> sent(request.New());
  sent->CopyFrom(request);
  const auto* descriptor = sent->GetDescriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const auto* field = descriptor->field(i);
    if (!field->options().HasExtension(dxg::wire)) sent->GetReflection()->ClearField(sent.get(), field);
  }
  return sent->SerializeAsString();
}

// Where a command has addresses of the client that the records do not tell from numbers, because they are bad
// ones.
std::vector<size_t> PointerOffsets(const std::string& command, std::span<const std::byte> bytes) {
  constexpr uint32_t kMonitoredFence = _D3DDDI_MONITORED_FENCE,
                     kPeriodicMonitoredFence = _D3DDDI_PERIODIC_MONITORED_FENCE;
  if (command == "QUERYALLOCATIONRESIDENCY") return {32, 48};
  if (command == "SUBMITCOMMAND") return {312, 400};
  if (command == "SUBMITCOMMANDTOHWQUEUE") return {56, 72};
  if (command != "CREATESYNCOBJECT") return {};
  const uint64_t type = contract::wire::Get<4>(bytes.data() + 32);
  if (type == kMonitoredFence) return {48};
  if (type == kPeriodicMonitoredFence) return {56};
  return {};
}

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
  signals_.clear();
  lists_removed_ = lists_to_remove_ = 0;
  const auto& events = record["events"];
  for (size_t i = 0; i < events.size(); ++i) {
    const Json& event = events[i];
    if (event["t"] == "gpadl") lists_.push_back(ListNumber(event["data"]));
    if (event["t"] == "gpadl_teardown") ++lists_to_remove_;
    if (event["t"] == "host_to_guest") NoteSignal(event);
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
    {
      const Bytes data =
          FromHex((packet.data.is_string() ? packet.data : packet.data["head"]).get<std::string>());
      const auto bytes = std::span(data).subspan(command);
      const auto pointers = PointerOffsets(packet.name, bytes);
      if (!pointers.empty()) packet.pointers.clear();
      for (const size_t at : pointers) packet.pointers.push_back(command + at);
      if (const size_t at = EventOffset(packet.name, bytes)) {
        packet.event = command + at;
        packet.ignore.push_back({packet.event, packet.event + 8});
      }
    }
    // Which frames a client's pages are in was that machine's affair.
    if (packet.name == "SETEXISTINGSYSMEMPAGES") packet.ignore.push_back({command + 40, SIZE_MAX});
    if (event["resp"].is_string()) packet.answer = FromHex(event["resp"].get<std::string>());
    expected_.push_back(std::move(packet));
  }
}

void ScriptedHost::NoteSignal(const Json& event) {
  constexpr size_t kEvent = 24;
  const Bytes data = FromHex(event["data"].get<std::string>());
  if (global_lost_) return;  // nobody hears it
  if (data.size() >= kEvent + 8) signals_.push_back(contract::wire::Get<8>(data.data() + kEvent));
}

// Which number an event gets depends on what took one before, which is not all in the records.
void ScriptedHost::NoteEvent(const Packet& packet, const Bytes& recorded, const Bytes& message) {
  if (packet.event == 0 || packet.event + 8 > message.size()) return;
  last_event_ = contract::wire::Get<8>(message.data() + packet.event);
  events_[contract::wire::Get<8>(recorded.data() + packet.event)] = last_event_;
}

std::vector<uint64_t> ScriptedHost::TakeSignals() {
  std::vector<uint64_t> ours;
  for (const uint64_t recorded : std::exchange(signals_, {})) {
    if (const auto found = events_.find(recorded); found != events_.end()) ours.push_back(found->second);
  }
  return ours;
}

std::string ScriptedHost::Verdict() {
  if (trouble_.empty() && !lists_.empty()) return "a memory list was never established";
  if (trouble_.empty() && expected_.empty() && lists_removed_ != lists_to_remove_) {
    return fmt::format("{} memory lists were taken down instead of {}", lists_removed_, lists_to_remove_);
  }
  if (trouble_.empty() && !expected_.empty())
    return fmt::format("{} was never sent to the host", expected_.front().name);
  return trouble_;
}

// Everything below the end of the recorded machine's window, and nothing at 0.
std::optional<HostRegion> ScriptedHost::FindRegion(WindowAddress address) {
  if (address.value < kWindow || address.value >= kWindow + kWindowBytes) return std::nullopt;
  HostRegion region;
  region.window_address = WindowAddress(kWindow);
  region.size = kWindowBytes;
  return region;
}

void ScriptedHost::RemoveClientPages(uint32_t list) {
  if (frames_of_.erase(list) == 0) ++lists_removed_;
}

bool ScriptedHost::ClientFrames(uint32_t list, uint64_t page, std::span<uint64_t> frames) {
  const auto found = frames_of_.find(list);
  return found != frames_of_.end() && found->second->Frames(page, frames);
}

Result<uint32_t> ScriptedHost::AddClientPages(std::shared_ptr<ClientPages> pages) {
  if (takes_frames_) {
    frames_of_[++last_list_] = std::move(pages);
    return last_list_;
  }
  if (lists_.empty()) return Status::Refuse(ENOMEM, "not in the script");
  const uint32_t number = lists_.front();
  lists_.pop_front();
  return number;
}

void ScriptedHost::Submit(const HostCall& call, Completion completion) {
  completion.run(completion.context, Play(call));
}

void ScriptedHost::LeaveOutPointers(const Packet& packet, const Bytes& message, Bytes* expected) {
  for (const size_t at : packet.pointers) {
    if (at + 8 > message.size() || at + 8 > expected->size()) continue;
    if (contract::wire::Get<8>(message.data() + at) != 0 ||
        contract::wire::Get<8>(expected->data() + at) == 0)
      continue;
    std::fill_n(expected->begin() + static_cast<ptrdiff_t>(at), 8, std::byte{0});
    pointers_left_out_ = true;
  }
}

Status ScriptedHost::Play(const HostCall& call) {
  if (anything_) return Status::Ok();
  if (global_lost_ && call.command->channel == GLOBAL)
    return Status::Refuse(ENODEV, "the global channel is gone");
  const auto message = vmbus::EncodeRequest(
      *call.command,
      {call.process, call.command->channel == GLOBAL ? 0 : vgpu_luid_, version_, call.asynchronous},
      *call.request);
  if (expected_.empty()) {
    if (trouble_.empty())
      trouble_ = fmt::format("{} was sent to the host, which the driver did not", call.command->name);
    return Status::Refuse(ENODEV, "not in the script");
  }
  const Packet packet = std::move(expected_.front());
  expected_.pop_front();
  std::string difference;
  if (packet.name != call.command->name) {
    difference = fmt::format("{} was sent instead of {}", call.command->name, packet.name);
  } else if (packet.data.is_string()) {
    Bytes expected = FromHex(packet.data.get<std::string>());
    LeaveOutPointers(packet, message, &expected);
    NoteEvent(packet, expected, message);
    difference = Difference(expected, message, packet.ignore);
    // The codec's other direction: what was sent decodes into what encodes to the same bytes.
    if (difference.empty()) {
      std::unique_ptr<contract::Message> copy(call.command->request->New());
      const uint32_t ext = version_ >= vmbus::kExtHeaderSince ? vmbus::kExtHeaderBytes : 0;
      if (!call.command->decode_request(std::span(message).subspan(ext), copy.get()) ||
          copy->SerializeAsString() != OnTheWire(*call.request)) {
        difference = "the packet does not decode into the request it was made from";
      }
    }
  } else if (packet.data["len"] != message.size()) {
    difference = fmt::format("{} bytes instead of {}", message.size(), packet.data["len"].get<size_t>());
  } else {
    Bytes head = FromHex(packet.data["head"].get<std::string>());
    LeaveOutPointers(packet, message, &head);
    difference =
        Difference(head, std::span(message).first(std::min(head.size(), message.size())), packet.ignore);
  }
  if (!difference.empty() && trouble_.empty())
    trouble_ = fmt::format("packet {}: {}", packet.name, difference);

  if (call.asynchronous) return Status::Ok();

  // The ring carries multiples of 8 bytes; the true length of an answer is lost.
  Bytes answer = packet.answer;
  answer.resize((answer.size() + 7) / 8 * 8);
  if (!call.command->decode_reply(answer, *call.request, version_, call.reply)) {
    return Status::Refuse(EOVERFLOW, "the host's answer to {} has {} bytes; expected {}", call.command->name,
                          answer.size(), call.command->reply_size(*call.request, version_));
  }
  return Status::Ok();
}

}  // namespace dxg::golden
