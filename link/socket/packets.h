#pragma once

#include <google/protobuf/message_lite.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "link/vmbus/channel.h"

// What most of the traffic consists of has packets of its own in a ring: a call that somebody waits for, and
// its answer. They save the frame, whose messages lie in each other and are each made and read for
// themselves. Numbers are little-endian.
//
//   call      in-band, a completion is requested, the transaction is the call's number
//             0 command u32   4 process u32   8 adapter u64   16 bytes of the request u32   20 0 u32   24 the
//             request
//   answer    a completion, the transaction is the call's number; without an error: those are said in a frame
//             0 bytes of the reply u32   4 0 u32   8 the reply

namespace dxg::socket {

struct CallPacket {
  uint64_t number = 0;  // 0: asynchronous
  uint32_t command = 0;
  uint32_t process = 0;
  uint64_t adapter = 0;
  std::span<const std::byte> request;  // of those that are read
};

struct AnswerPacket {
  uint64_t number = 0;
  std::span<const std::byte> reply;
};

// Their payloads stay until the next one that the same thread makes.
vmbus::Packet MakeCall(const CallPacket& call, const google::protobuf::MessageLite& request);
vmbus::Packet MakeAnswer(uint64_t number, const google::protobuf::MessageLite& reply);

// Whether it is one by its type; nothing: it is shorter than it says.
inline bool IsCall(const vmbus::Packet& packet) {
  return packet.type == vmbus::kInBand && packet.flags == vmbus::kCompletionRequested;
}
inline bool IsAnswer(const vmbus::Packet& packet) { return packet.type == vmbus::kCompletion; }
std::optional<CallPacket> ReadCall(const vmbus::Packet& packet);
std::optional<AnswerPacket> ReadAnswer(const vmbus::Packet& packet);

}  // namespace dxg::socket
