#include "cuse-dxg/backend/vmbus/guest_messages.h"

#include <spdlog/spdlog.h>

#include <memory>

#include "link/vmbus/message.h"
#include "proto/contract/host_commands.gen.h"

namespace dxg::vmbus {
namespace {

// SETGUESTDATA's bits 1 to 4; 0: a 32-bit number.
constexpr uint32_t kGuestDataType = 0x1e;

}  // namespace

void DeliverGuestMessage(std::span<const std::byte> message, BackendEvents& events) {
  const auto head = DecodeHead(message, false);
  if (!head || head->channel_type != kChannelTypeGuest) {
    spdlog::error("a message of {} bytes from the host, which is none for a guest, is dropped",
                  message.size());
    return;
  }
  const contract::GuestMessage* row = contract::FindGuestMessage(head->command);
  if (!row) return spdlog::debug("message {} of the host is nothing to us", head->command);
  const std::unique_ptr<contract::Message> decoded(row->message->New());
  if (!row->decode(message, decoded.get()))
    return spdlog::warn("{} with {} bytes from the host is dropped; expected {}", row->name, message.size(),
                        row->size);
  if (const auto* signal = google::protobuf::DynamicCastToGenerated<host::SignalGuestEvent>(decoded.get())) {
    if (signal->event() != 0) events.GuestEvent(signal->event());
  } else if (const auto* passive =
                 google::protobuf::DynamicCastToGenerated<host::SignalGuestEventPassive>(decoded.get())) {
    if (passive->event() != 0) events.GuestEvent(passive->event());
  } else if (const auto* data = google::protobuf::DynamicCastToGenerated<host::SetGuestData>(decoded.get())) {
    if ((data->bits() & kGuestDataType) == 0 && static_cast<uint32_t>(data->data()) != 0)
      events.DeviceStateChanged(data->guest_pointer());
  }
}

}  // namespace dxg::vmbus
