// Random structs and buffers of a client through the codecs of the calls, and back.
//
// Input: 4 bytes of code (one that is no call chooses a call all the same), then the fixed struct, then what
// the buffers of the request, and of the reply, hold.
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

constexpr uint32_t kElementsMax = 1000;  // the limits of the contract would need larger inputs

// Takes bytes off the front of the input; short input is filled up with zeroes.
std::vector<std::byte> Take(std::span<const uint8_t>* input, size_t size) {
  std::vector<std::byte> bytes(size);
  const size_t there = std::min(size, input->size());
  if (there != 0) std::memcpy(bytes.data(), input->data(), there);
  *input = input->subspan(there);
  return bytes;
}

// Fills the message's field as the copy from the client does, and takes its bytes out as the copy to the
// client does.
void CopyBuffer(const Buffer& buffer, const std::byte* args, std::span<const uint8_t>* input,
                Message* message) {
  if (!buffer.present(args)) return;
  const uint64_t announced = buffer.count(args);
  const uint64_t there = input->size() / buffer.element_size + 1;
  const auto count =
      static_cast<uint32_t>(std::min({announced, uint64_t{buffer.max}, there, uint64_t{kElementsMax}}));
  if (count == 0) return;
  const std::vector<std::byte> content = Take(input, size_t{count} * buffer.element_size);
  std::vector<std::byte> back(content.size());
  if (buffer.resize != nullptr) {
    std::memcpy(buffer.resize(message, count), content.data(), content.size());
    std::memcpy(back.data(), buffer.data(*message), back.size());
    FUZZ_CHECK(back == content);
  } else {
    buffer.read(content.data(), count, message);
    buffer.write(*message, back.data());
  }
  FUZZ_CHECK(buffer.size(*message) == count);
}

void FuzzCall(const CallRow& call, std::span<const uint8_t> input) {
  const std::vector<std::byte> args = Take(&input, call.args_size);
  const std::unique_ptr<Message> request(call.request->New()), reply(call.reply->New());
  call.read_request(args.data(), request.get());
  call.read_reply(args.data(), reply.get());

  // What the messages carry comes back; what they do not is zero, so the second time nothing may change.
  std::vector<std::byte> once(args.size()), twice(args.size());
  call.write_request(*request, once.data());
  call.write_reply(*reply, once.data());
  const std::unique_ptr<Message> same_request(call.request->New()), same_reply(call.reply->New());
  call.read_request(once.data(), same_request.get());
  call.read_reply(once.data(), same_reply.get());
  FUZZ_CHECK(same_request->SerializeAsString() == request->SerializeAsString());
  FUZZ_CHECK(same_reply->SerializeAsString() == reply->SerializeAsString());
  call.write_request(*same_request, twice.data());
  call.write_reply(*same_reply, twice.data());
  FUZZ_CHECK(once == twice);

  for (const Buffer& buffer : call.in) CopyBuffer(buffer, args.data(), &input, request.get());
  for (const Buffer& buffer : call.out) CopyBuffer(buffer, args.data(), &input, reply.get());
  FUZZ_CHECK(!ToText(*request).empty());
  FUZZ_CHECK(!ToText(*reply).empty());

  // As both look on the other side of a process border.
  FUZZ_CHECK(same_request->ParseFromString(request->SerializeAsString()));
  FUZZ_CHECK(same_reply->ParseFromString(reply->SerializeAsString()));
}

}  // namespace
}  // namespace dxg::contract

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dxg::contract;
  uint32_t code = 0;
  if (size < sizeof(code)) return 0;
  std::memcpy(&code, data, sizeof(code));
  const CallRow* call = FindCall(code);
  FUZZ_CHECK(call == nullptr || call->code == code);
  if (call == nullptr) call = &Calls()[code % Calls().size()];
  FuzzCall(*call, std::span(data, size).subspan(sizeof(code)));
  return 0;
}
