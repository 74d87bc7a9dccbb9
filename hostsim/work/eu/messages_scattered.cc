#include <fmt/core.h>

#include <array>
#include <bit>
#include <cstring>
#include <optional>

#include "hostsim/work/eu/messages.h"

// Messages with an address for each lane.

namespace dxg::hostsim::eu {
namespace {

// An answer has at most so many registers: 4 components of 16 qwords.
constexpr uint32_t kAnswerRegistersMax = 16;

constexpr uint32_t RegistersOf(uint32_t bytes) { return (bytes + kRegisterBytes - 1) / kRegisterBytes; }

}  // namespace

// Where it begins, if all lanes take dwords that lie side by side in memory as in registers: most messages
// do.
std::optional<uint64_t> Messages::RowOf(const Payload& payload, uint32_t header, const Scattered& how,
                                        uint32_t active) {
  if (how.components != 1 || how.skipped % 2 != 0 || how.element_bytes != 4 || how.slot_bytes != 4 ||
      active != (1u << how.lanes) - 1)
    return std::nullopt;
  const auto offset_of = [&](uint32_t lane) -> uint64_t {
    return how.wide_addresses ? payload.Get<uint64_t>(header, lane) : payload.Get<uint32_t>(header, lane);
  };
  const uint64_t first = offset_of(0);
  if (first % how.align_bytes != 0) return std::nullopt;
  for (uint32_t lane = 1; lane < how.lanes; ++lane)
    if (offset_of(lane) != first + lane * sizeof(uint32_t)) return std::nullopt;
  return first;
}

MessageResult Messages::Transfer(const Message& message, Thread& thread, const Target& target,
                                 const Scattered& how, bool write) {
  const Payload payload(message, thread);
  const uint32_t header = message.header ? 1 : 0;
  const uint32_t of_addresses = RegistersOf(how.lanes * (how.wide_addresses ? 8 : 4));
  const uint32_t of_component = RegistersOf(how.lanes * how.slot_bytes);
  const uint32_t of_data = how.components * of_component;
  const uint32_t brought = header + of_addresses + (write ? of_data : 0);
  if (payload.registers() < brought || of_data > kAnswerRegistersMax ||
      (!write && (message.destination_is_null || message.destination_registers != of_data))) {
    return Refuse(fmt::format("a message of {} registers with an answer of {}; expected {} and {}",
                              payload.registers(), message.destination_registers, brought,
                              write ? 0 : of_data));
  }
  const uint32_t active = message.lane_mask & (how.lanes >= 32 ? ~0u : (1u << how.lanes) - 1);
  const uint32_t data = header + of_addresses;
  // The registers of one source lie together.
  const bool in_one = message.src0_registers <= data || message.src0_registers >= data + of_component;
  const std::optional<uint64_t> row = write && !in_one ? std::nullopt : RowOf(payload, header, how, active);
  const uint64_t row_offset = row.value_or(0) & target.offset_mask;
  if (row && row_offset < target.bytes && how.lanes * 4 <= target.bytes - row_offset) {
    const uint32_t bytes = how.lanes * how.element_bytes;
    std::array<uint8_t, 2 * kRegisterBytes> read;
    if (!(write ? Store(target, row_offset, payload.At(data), bytes)
                : Load(target, row_offset, read.data(), bytes)))
      return Fault();
    if (!write) std::memcpy(payload.Answer(), read.data(), bytes);
    return {};
  }
  // What no lane wrote stays as it was.
  std::array<uint8_t, kAnswerRegistersMax * kRegisterBytes> answer;
  if (!write) std::memcpy(answer.data(), payload.Answer(), of_data * kRegisterBytes);
  for (uint32_t left = active; left != 0; left &= left - 1) {
    const auto lane = static_cast<uint32_t>(std::countr_zero(left));
    uint64_t offset =
        how.wide_addresses ? payload.Get<uint64_t>(header, lane) : payload.Get<uint32_t>(header, lane);
    offset &= ~uint64_t{how.align_bytes - 1};
    uint32_t in_answer = 0;
    for (uint32_t component = 0; in_answer < how.components; ++component) {
      if ((how.skipped >> component & 1) != 0) continue;
      const uint64_t at = offset + component * how.step_bytes;
      const uint32_t slot = in_answer * of_component * kRegisterBytes + lane * how.slot_bytes;
      ++in_answer;
      if (write) {
        const uint8_t* const from = payload.At(data + slot / kRegisterBytes) + slot % kRegisterBytes;
        if (!Store(target, at, from, how.element_bytes)) return Fault();
      } else {
        if (how.element_bytes < how.slot_bytes) std::memset(&answer[slot], 0, how.slot_bytes);
        if (!Load(target, at, &answer[slot], how.element_bytes)) return Fault();
      }
    }
  }
  if (!write) std::memcpy(payload.Answer(), answer.data(), of_data * kRegisterBytes);
  return {};
}

MessageResult Messages::ByteScattered(const Message& message, Thread& thread, bool write) {
  Scattered how;
  how.lanes = Field(message.descriptor, 8, 8) != 0 ? 16 : 8;
  const uint32_t size = Field(message.descriptor, 10, 11);
  if (size > 2) return Refuse(fmt::format("byte scattered message {:#x}", message.descriptor));
  how.element_bytes = 1u << size;
  MessageResult result;
  const auto target = FindTarget(Field(message.descriptor, 0, 7), &result);
  return target ? Transfer(message, thread, *target, how, write) : result;
}

MessageResult Messages::Untyped(const Message& message, Thread& thread, bool write, bool wide_addresses) {
  constexpr uint32_t kSimd16 = 1, kSimd8 = 2;
  const uint32_t mode = Field(message.descriptor, 12, 13);
  Scattered how;
  how.skipped = Field(message.descriptor, 8, 11);
  if ((mode != kSimd16 && mode != kSimd8) || how.skipped == 15)
    return Refuse(fmt::format("untyped message {:#x}", message.descriptor));
  how.lanes = mode == kSimd16 ? 16 : 8;
  how.wide_addresses = wide_addresses;
  how.components = 4 - static_cast<uint32_t>(std::popcount(how.skipped));
  how.align_bytes = sizeof(uint32_t);
  if (wide_addresses) return Transfer(message, thread, {Target::kMemory, 0, ~0ull}, how, write);
  MessageResult result;
  const auto target = FindTarget(Field(message.descriptor, 0, 7), &result);
  return target ? Transfer(message, thread, *target, how, write) : result;
}

MessageResult Messages::ScatteredByAddress(const Message& message, Thread& thread, bool write) {
  enum { kByte = 0, kDword = 1, kQword = 2 };
  const uint32_t element = Field(message.descriptor, 8, 9);
  const uint32_t count = 1u << Field(message.descriptor, 10, 11);
  Scattered how;
  how.lanes = Field(message.descriptor, 12, 12) != 0 ? 16 : 8;
  how.wide_addresses = true;
  switch (element) {
    case kByte:  // so many bytes together
      how.element_bytes = count;
      how.slot_bytes = count <= sizeof(uint32_t) ? sizeof(uint32_t) : sizeof(uint64_t);
      break;
    case kDword:
    case kQword:
      how.element_bytes = how.slot_bytes = how.step_bytes = element == kDword ? 4 : 8;
      how.components = count;
      how.align_bytes = how.element_bytes;
      break;
    default:
      return Refuse(fmt::format("scattered message {:#x}", message.descriptor));
  }
  return Transfer(message, thread, {Target::kMemory, 0, ~0ull}, how, write);
}

}  // namespace dxg::hostsim::eu
