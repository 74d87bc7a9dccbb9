#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "hostsim/work/eu/message_port.h"
#include "hostsim/work/eu/page_cache.h"
#include "hostsim/work/eu/thread.h"
#include "hostsim/work/eu/thread_group.h"
#include "hostsim/work/streamers/packet_words.h"

namespace dxg::hostsim::eu {

// Where messages find what they name by a number instead of an address.
struct MessageBases {
  uint64_t general = 0;        // of stateless messages
  uint64_t surface = 0;        // of surface states
  uint64_t binding_table = 0;  // of the kernel
};

// The shared functions of Gen12LP as compute kernels use them: memory by several kinds of messages, barriers,
// the end. What is not here (images, samplers, ...) is refused by its name.
//
// Sources: the message descriptors of Mesa (brw_eu.h, brw_eu_defines.h) and of Intel's assembler
// (MessageDecoderHDC.cpp), both under the MIT license, for facts.
//
// Memory is reached through `pages`. One object serves the threads of a dispatch, one after another.
class Messages final : public MessagePort {
 public:
  explicit Messages(const MessageBases& bases) : bases_(bases) {}

  // Whose messages come next, and through which translations. Neither may go before the next Enter.
  void Enter(ThreadGroup* group, PageCache* pages) {
    group_ = group;
    pages_ = pages;
  }
  MessageResult Send(const Message& message, Thread& thread) override;

 private:
  // What a message reads or writes: bytes from `base` on.
  struct Target {
    enum Kind { kMemory, kLocal, kNothing } kind = kNothing;
    uint64_t base = 0;
    uint64_t bytes = 0;
    uint64_t offset_mask = ~0ull;  // of offsets, what counts
  };
  // What a message brings and where its answer goes, register by register.
  class Payload {
   public:
    Payload(const Message& message, Thread& thread) : message_(message), thread_(thread) {}
    uint32_t registers() const { return uint32_t{message_.src0_registers} + message_.src1_registers; }
    // One that the message brings; those of both sources are counted on.
    uint8_t* At(uint32_t index) const {
      const uint32_t reg = index < message_.src0_registers
                               ? message_.src0 + index
                               : message_.src1 + (index - message_.src0_registers);
      return thread_.grf + reg * kRegisterBytes;
    }
    uint8_t* Answer() const { return thread_.grf + message_.destination * kRegisterBytes; }
    // Number `index` of some that begin with the register `first`.
    template <class Word>
    Word Get(uint32_t first, uint32_t index) const {
      constexpr uint32_t kEach = kRegisterBytes / sizeof(Word);
      Word value;
      std::memcpy(&value, At(first + index / kEach) + index % kEach * sizeof value, sizeof value);
      return value;
    }

   private:
    const Message& message_;
    Thread& thread_;
  };
  // A message with an address for each lane.
  struct Scattered {
    uint32_t lanes = 8;
    bool wide_addresses = false;  // of 64 bits
    uint32_t element_bytes = 4;   // in memory, of one component
    uint32_t slot_bytes = 4;      // in registers
    uint32_t step_bytes = 4;      // in memory, from a component to the next
    uint32_t components = 1;
    uint32_t skipped = 0;  // bit n: component n of memory is none of them
    uint32_t align_bytes = 1;
  };

  static MessageResult Refuse(std::string why) {
    MessageResult result;
    result.kind = MessageResult::kRefused;
    result.why = std::move(why);
    return result;
  }
  MessageResult Fault() const {
    MessageResult result;
    result.kind = MessageResult::kFault;
    result.fault = pages_->fault();
    return result;
  }

  // What the message names in descriptor bits 7:0. Nothing: `result` says why not.
  std::optional<Target> FindTarget(uint32_t index, MessageResult* result);
  // Of surface states, as they are read from memory once.
  struct Surface {
    bool known = false;
    Target target;
    std::string refused;
  };
  bool ReadSurface(uint32_t index, Surface* surface);

  // What lies outside reads zero and takes nothing. False: a page fault.
  bool Load(const Target& target, uint64_t offset, void* to, uint32_t bytes);
  bool Store(const Target& target, uint64_t offset, const void* from, uint32_t bytes);

  MessageResult DataCache0(const Message& message, Thread& thread);
  MessageResult DataCache1(const Message& message, Thread& thread);
  MessageResult Gateway(const Message& message, Thread& thread);

  // messages_scattered.cc
  MessageResult ByteScattered(const Message& message, Thread& thread, bool write);
  MessageResult Untyped(const Message& message, Thread& thread, bool write, bool wide_addresses);
  MessageResult ScatteredByAddress(const Message& message, Thread& thread, bool write);
  static std::optional<uint64_t> RowOf(const Payload& payload, uint32_t header, const Scattered& how,
                                       uint32_t active);
  MessageResult Transfer(const Message& message, Thread& thread, const Target& target, const Scattered& how,
                         bool write);
  // messages_block.cc
  MessageResult Block(const Message& message, Thread& thread, bool write);
  MessageResult BlockByAddress(const Message& message, Thread& thread, bool write);
  MessageResult ScratchBlock(const Message& message, Thread& thread);
  MessageResult Move(const Message& message, Thread& thread, const Target& target, uint64_t offset,
                     uint32_t bytes, uint32_t unit, bool write);
  // messages_atomic.cc
  MessageResult Atomic(const Message& message, Thread& thread, bool wide_addresses, bool of_floats);

  const MessageBases bases_;
  ThreadGroup* group_ = nullptr;
  PageCache* pages_ = nullptr;
  std::array<Surface, 240> surfaces_;  // by their index in the binding table
};

}  // namespace dxg::hostsim::eu
