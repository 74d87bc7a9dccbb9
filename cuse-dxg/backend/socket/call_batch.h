#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#include "link/backend.h"
#include "proto/dxg/protocol.pb.h"

namespace dxg {

// Calls that travel in one message. Asynchronous ones wait here for each other; the message keeps its memory
// from one batch to the next.
class CallBatch {
 public:
  static constexpr int kCallsMax = 64;
  static constexpr size_t kBytesMax = 256 * 1024;

  // The list is there from the beginning: a message that finds no memory for it says that it has one.
  CallBatch() { message_.mutable_calls(); }

  // Throws std::bad_alloc where there is no memory for it; then it is not in here.
  void Add(const HostCall& call, uint64_t number) {
    auto& calls = *message_.mutable_calls()->mutable_calls();
    calls.Reserve(calls.size() + 1);  // or Add, without memory for the list, loses what it has made
    protocol::Call& added = *calls.Add();
    try {
      added.set_number(number);
      added.set_command(call.command->id);
      added.set_process(call.process);
      added.set_adapter(call.adapter);
      call.request->SerializeToString(added.mutable_request());
    } catch (const std::bad_alloc&) {
      calls.RemoveLast();
      throw;
    }
    bytes_ += added.request().size();
  }
  void RemoveLast() {
    auto& calls = *message_.mutable_calls()->mutable_calls();
    bytes_ -= calls.rbegin()->request().size();
    calls.RemoveLast();
  }
  int size() const { return message_.calls().calls_size(); }
  bool empty() const { return size() == 0; }
  bool full() const { return size() >= kCallsMax || bytes_ >= kBytesMax; }
  const protocol::ToHost& message() const { return message_; }
  void Clear() {
    message_.mutable_calls()->clear_calls();
    bytes_ = 0;
  }

 private:
  protocol::ToHost message_;
  size_t bytes_ = 0;
};

}  // namespace dxg
