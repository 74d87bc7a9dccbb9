// Random bytes as commands to the host, and as its answers.
//
// Input: 1 byte chooses the command, 2 bytes say where the command ends and the answer begins.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "proto/contract/contract.h"
#include "proto/contract/text.h"
#include "tests/fuzz/fuzz_check.h"

namespace dxg::contract {
namespace {

constexpr uint32_t kReplyBytesMax = 1 << 20;

// Memory that ends where the bytes end, so that reading on is seen.
std::vector<std::byte> Copy(std::span<const uint8_t> input) {
  std::vector<std::byte> bytes(input.size());
  if (!input.empty()) std::memcpy(bytes.data(), input.data(), input.size());
  return bytes;
}

// What was decoded must be the same after it was encoded and decoded once more.
void FuzzReply(const CommandRow& command, const Message& request, uint32_t version,
               std::span<const std::byte> answer) {
  const std::unique_ptr<Message> reply(command.reply->New()), same(command.reply->New());
  const uint32_t size = command.reply_size(request, version);
  if (size > kReplyBytesMax) return;  // no message is that long; a guest refuses it before it asks
  const bool decoded = command.decode_reply(answer, request, version, reply.get());
  FUZZ_CHECK(decoded == (answer.size() >= size));
  if (!decoded) return;
  std::vector<std::byte> bytes(size);
  command.encode_reply(request, *reply, version, bytes.data());
  FUZZ_CHECK(command.decode_reply(bytes, request, version, same.get()));
  FUZZ_CHECK(same->SerializeAsString() == reply->SerializeAsString());
  FUZZ_CHECK(!ToText(*reply).empty());
}

void FuzzCommand(const CommandRow& command, std::span<const uint8_t> packet,
                 std::span<const uint8_t> answer) {
  const std::unique_ptr<Message> request(command.request->New()), same(command.request->New());
  if (!command.decode_request(Copy(packet), request.get())) return;
  const size_t least =
      command.request_size(*command.request);  // a padded request may come without its padding
  FUZZ_CHECK(command.request_size(*request) <= std::max(packet.size(), least));
  std::vector<std::byte> bytes(command.request_size(*request));
  command.encode_request(*request, bytes.data());
  FUZZ_CHECK(command.decode_request(bytes, same.get()));
  FUZZ_CHECK(same->SerializeAsString() == request->SerializeAsString());
  FUZZ_CHECK(!ToText(*request).empty());
  for (uint32_t version : {27u, 40u}) FuzzReply(command, *request, version, Copy(answer));
}

}  // namespace
}  // namespace dxg::contract

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dxg::contract;
  if (size < 3) return 0;
  const CommandRow& command = HostCommands()[data[0] % HostCommands().size()];
  const auto input = std::span(data, size).subspan(3);
  const size_t packet_size = std::min<size_t>(data[1] | data[2] << 8, input.size());
  FuzzCommand(command, input.first(packet_size), input.subspan(packet_size));
  return 0;
}
