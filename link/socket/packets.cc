#include "link/socket/packets.h"

#include <bit>
#include <cstring>
#include <vector>

namespace dxg::socket {
namespace {

static_assert(std::endian::native == std::endian::little, "the heads are written as they lie in memory");

struct CallHead {
  uint32_t command, process;
  uint64_t adapter;
  uint32_t bytes, zero;
};
struct AnswerHead {
  uint32_t bytes, zero;
};
static_assert(sizeof(CallHead) == 24 && sizeof(AnswerHead) == 8);

template <class Head>
std::span<const std::byte> Compose(Head head, const google::protobuf::MessageLite& body) {
  static thread_local std::vector<std::byte> bytes;
  head.bytes = static_cast<uint32_t>(body.ByteSizeLong());
  bytes.resize(sizeof(Head) + head.bytes);
  std::memcpy(bytes.data(), &head, sizeof(Head));
  body.SerializeWithCachedSizesToArray(
      reinterpret_cast<uint8_t*>(bytes.data() + sizeof(Head)));  // Safety: bytes
  return bytes;
}

template <class Head>
std::optional<std::span<const std::byte>> BodyOf(std::span<const std::byte> payload, Head* head) {
  if (payload.size() < sizeof(Head)) return std::nullopt;
  std::memcpy(head, payload.data(), sizeof(Head));
  if (head->bytes > payload.size() - sizeof(Head)) return std::nullopt;
  return payload.subspan(sizeof(Head), head->bytes);
}

}  // namespace

vmbus::Packet MakeCall(const CallPacket& call, const google::protobuf::MessageLite& request) {
  const auto payload = Compose(CallHead{call.command, call.process, call.adapter, 0, 0}, request);
  return {vmbus::kInBand, vmbus::kCompletionRequested, call.number, payload};
}

vmbus::Packet MakeAnswer(uint64_t number, const google::protobuf::MessageLite& reply) {
  return {vmbus::kCompletion, 0, number, Compose(AnswerHead{}, reply)};
}

std::optional<CallPacket> ReadCall(const vmbus::Packet& packet) {
  CallHead head;
  const auto request = BodyOf(packet.payload, &head);
  if (!request) return std::nullopt;
  return CallPacket{packet.transaction, head.command, head.process, head.adapter, *request};
}

std::optional<AnswerPacket> ReadAnswer(const vmbus::Packet& packet) {
  AnswerHead head;
  const auto reply = BodyOf(packet.payload, &head);
  if (!reply) return std::nullopt;
  return AnswerPacket{packet.transaction, *reply};
}

}  // namespace dxg::socket
