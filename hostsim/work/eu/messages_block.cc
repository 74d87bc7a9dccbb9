#include <fmt/core.h>

#include <array>
#include <cstring>

#include "hostsim/work/eu/messages.h"

// Messages with one address for all lanes: blocks of owords (16 bytes), and of registers in scratch memory.

namespace dxg::hostsim::eu {
namespace {

constexpr uint32_t kOwordBytes = 16;
constexpr uint32_t kBlockRegistersMax = 8;

// Of descriptor bits 10:8; 0: nobody knows.
uint32_t BlockBytes(uint32_t code) {
  constexpr uint32_t kOwords[] = {1, 1, 2, 4, 8, 16};
  return code < std::size(kOwords) ? kOwords[code] * kOwordBytes : 0;
}

}  // namespace

// The lanes do not count, but with none of them the message is not sent. Each unit of so many bytes may lie
// in the surface or not.
MessageResult Messages::Move(const Message& message, Thread& thread, const Target& target, uint64_t offset,
                             uint32_t bytes, uint32_t unit, bool write) {
  const Payload payload(message, thread);
  const uint32_t registers = (bytes + kRegisterBytes - 1) / kRegisterBytes;
  if (registers > kBlockRegistersMax || (write && payload.registers() < 1 + registers) ||
      (!write && (message.destination_is_null || message.destination_registers != registers))) {
    return Refuse(fmt::format("a block message of {} registers with an answer of {}; its block has {}",
                              payload.registers(), message.destination_registers, registers));
  }
  if (message.lane_mask == 0) return {};
  const bool high_half = bytes == kOwordBytes && Field(message.descriptor, 8, 10) == 1;
  std::array<uint8_t, kBlockRegistersMax * kRegisterBytes> block;
  if (write) {
    for (uint32_t i = 0; i < registers; ++i)
      std::memcpy(&block[i * kRegisterBytes], payload.At(1 + i), kRegisterBytes);
  }
  const bool all_inside = offset < target.bytes && bytes <= target.bytes - offset;
  const uint32_t part = all_inside ? kOwordBytes : unit;
  for (uint32_t at = 0; at < bytes; at += part) {
    uint8_t* const from = &block[at + (high_half ? kOwordBytes : 0)];
    if (!(write ? Store(target, offset + at, from, part) : Load(target, offset + at, from, part)))
      return Fault();
  }
  const uint32_t first = high_half ? kOwordBytes : 0;
  if (!write) std::memcpy(payload.Answer() + first, &block[first], bytes);
  return {};
}

MessageResult Messages::Block(const Message& message, Thread& thread, bool write) {
  const uint32_t bytes = BlockBytes(Field(message.descriptor, 8, 10));
  if (!message.header || bytes == 0 || message.src0_registers == 0)
    return Refuse(fmt::format("block message {:#x}", message.descriptor));
  const auto in_header = Payload(message, thread).Get<uint32_t>(0, 2);
  const bool in_bytes = Field(message.descriptor, 14, 17) == 1;
  const uint64_t offset = in_bytes ? in_header & ~3ull : uint64_t{in_header} * kOwordBytes;
  MessageResult result;
  const auto target = FindTarget(Field(message.descriptor, 0, 7), &result);
  // The compiler reads 16 bytes where a buffer has fewer left, and uses those that are there.
  const uint32_t unit = in_bytes ? sizeof(uint32_t) : kOwordBytes;
  return target ? Move(message, thread, *target, offset, bytes, unit, write) : result;
}

MessageResult Messages::BlockByAddress(const Message& message, Thread& thread, bool write) {
  enum { kAligned = 0, kUnaligned = 1 };
  const uint32_t bytes = BlockBytes(Field(message.descriptor, 8, 10));
  const uint32_t kind = Field(message.descriptor, 11, 12);
  if (!message.header || bytes == 0 || kind > kUnaligned || message.src0_registers == 0)
    return Refuse(fmt::format("block message {:#x} by address", message.descriptor));
  const auto address = Payload(message, thread).Get<uint64_t>(0, 0);
  const uint64_t align = kind == kAligned ? kOwordBytes : sizeof(uint32_t);
  return Move(message, thread, {Target::kMemory, 0, ~0ull}, address & ~(align - 1), bytes, kOwordBytes,
              write);
}

MessageResult Messages::ScratchBlock(const Message& message, Thread& thread) {
  if (!message.header || message.src0_registers == 0)
    return Refuse(fmt::format("scratch message {:#x}", message.descriptor));
  const uint32_t registers = 1u << Field(message.descriptor, 12, 13);
  const uint64_t offset = (Payload(message, thread).Get<uint32_t>(0, 5) & ~0x3FFu) +
                          uint64_t{Field(message.descriptor, 0, 11)} * kRegisterBytes;
  return Move(message, thread, {Target::kMemory, bases_.general, 1ull << 32}, offset,
              registers * kRegisterBytes, kOwordBytes, Field(message.descriptor, 17, 17) != 0);
}

}  // namespace dxg::hostsim::eu
