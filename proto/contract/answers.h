#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "proto/contract/contract.h"

// Bytes of a call whose layout depends on a type that the call names (proto/dxg/answers.proto), as a message.

namespace dxg::contract {

struct DecodedField {
  int number = 0;  // of the field with the bytes, in the Request or Reply; 0: none
  const Message* message = nullptr;
};

// The layout of answers to that type; null: it has none here.
const google::protobuf::Descriptor* AnswerLayout(std::string_view call, uint64_t type);

// Whether another run has other values in it: clocks, loads, counters of the machine.
bool IsMeasured(const Message& answer);
// The same of the answers to that type; false where it has no layout here.
bool IsMeasured(std::string_view call, uint64_t type);

// Makes messages of bytes, and keeps the last one. Used by one thread.
class AnswerDecoder {
 public:
  // What the Reply answers, and what the Request of an escape asks. A number of 0: there is nothing that is
  // known, or it is too short for its layout.
  DecodedField OfReply(const CallRow& row, const Message& request, const Message& reply);
  DecodedField OfRequest(const CallRow& row, const Message& request);

 private:
  const Message* Decode(std::string_view call, uint64_t type, const std::string& bytes,
                        std::unique_ptr<Message>* into);

  std::unique_ptr<Message> request_, reply_;
};

}  // namespace dxg::contract
