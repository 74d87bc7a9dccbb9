#include "link/vmbus/message.h"

#include "proto/contract/wire.h"

namespace dxg::vmbus {
namespace {

using contract::wire::Get;
using contract::wire::Put;

constexpr uint32_t kAsynchronous = 1u << 8;

}  // namespace

std::vector<std::byte> EncodeRequest(const contract::CommandRow& command, const MessageAddress& address,
                                     const contract::Message& request) {
  const uint32_t ext = address.interface_version >= kExtHeaderSince ? kExtHeaderBytes : 0;
  std::vector<std::byte> message(ext + command.request_size(request));
  if (ext != 0) {
    Put<4>(message.data(), kExtHeaderBytes);
    Put<8>(message.data() + 8, address.vgpu_luid);
  }
  std::byte* header = message.data() + ext;
  Put<4>(header + 8, address.process);
  Put<4>(header + 12, command.channel == GLOBAL ? kChannelTypeGlobal
                      : address.asynchronous    ? kAsynchronous
                                                : 0);
  Put<4>(header + 16, command.id);
  command.encode_request(request, header);
  return message;
}

std::vector<std::byte> EncodeGuestMessage(const contract::GuestMessage& row, uint32_t process,
                                          const contract::Message& message) {
  std::vector<std::byte> bytes(row.size);
  Put<4>(bytes.data() + 8, process);
  Put<4>(bytes.data() + 12, kChannelTypeGuest);
  Put<4>(bytes.data() + 16, row.id);
  row.encode(message, bytes.data());
  return bytes;
}

std::optional<MessageHead> DecodeHead(std::span<const std::byte> message, bool has_ext_header) {
  MessageHead head{};
  if (has_ext_header) {
    if (message.size() < kExtHeaderBytes) return std::nullopt;
    head.vgpu_luid = Get<8>(message.data() + 8);
    message = message.subspan(kExtHeaderBytes);
  }
  if (message.size() < kCommandHeaderBytes) return std::nullopt;
  head.process = Get<4>(message.data() + 8);
  head.channel_type = Get<1>(message.data() + 12);
  head.asynchronous = (Get<4>(message.data() + 12) & kAsynchronous) != 0;
  head.command = Get<4>(message.data() + 16);
  head.bytes = message;
  return head;
}

}  // namespace dxg::vmbus
