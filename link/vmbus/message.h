#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "proto/abi/interface.h"
#include "proto/contract/contract.h"

// A command to the host as the bytes of a VMBus message, around the contract's codec:
//
//   [ ext header, 16 bytes, interface version 40 on ]  command_offset u32 = 16, reserved u32, vgpu_luid u64
//   command header, 24 bytes                           command_id u64 = 0, process u32, channel type u32,
//   command u32, 0 the command                                        by host.proto, offsets counted from the
//   command header

namespace dxg::vmbus {

inline constexpr uint32_t kExtHeaderBytes = kTransportHeaderBytes;
inline constexpr uint32_t kExtHeaderSince = kTransportHeaderSince;
inline constexpr uint32_t kCommandHeaderBytes = 24;

struct MessageAddress {
  uint32_t process = 0;    // the host's handle; 0: none
  uint64_t vgpu_luid = 0;  // of the adapter; 0 for global commands
  uint32_t interface_version = kInterfaceVersionNewest;
  bool asynchronous = false;  // the host is not to answer
};

std::vector<std::byte> EncodeRequest(const contract::CommandRow& command, const MessageAddress& address,
                                     const contract::Message& request);

inline constexpr uint32_t kChannelTypeAdapter = 0;
inline constexpr uint32_t kChannelTypeGlobal = 1;
inline constexpr uint32_t kChannelTypeGuest = 2;

// What the host sends unasked, with its command header; never with an ext header.
std::vector<std::byte> EncodeGuestMessage(const contract::GuestMessage& row, uint32_t process,
                                          const contract::Message& message);

// What a message says of itself; none where it is too short to say it.
struct MessageHead {
  uint32_t process;
  uint64_t vgpu_luid;
  uint32_t channel_type;
  bool asynchronous;
  uint32_t command;
  std::span<const std::byte> bytes;  // from the command header on
};
std::optional<MessageHead> DecodeHead(std::span<const std::byte> message, bool has_ext_header);

}  // namespace dxg::vmbus
