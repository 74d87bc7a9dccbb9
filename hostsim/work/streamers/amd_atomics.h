#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>

namespace dxg::hostsim {

// An atomic operation of AMD's second-level cache, as ATOMIC_MEM and SDMA's ATOMIC name it: TC_OP_ATOMIC_* in
// the Linux driver's register headers (vega10_enum.h, MIT).
//
//   number = base + operation      base: 0 and 64: 32 bits; 32 and 96: 64 bits. The first of each returns the
//                                  value before it, which goes nowhere here.
struct AmdAtomic {
  uint64_t bytes = 0;  // of the number: 4 or 8
  std::function<uint64_t(uint64_t)> change;
};

// Nothing: there is no such operation, or it is one of floating point.
inline std::optional<AmdAtomic> AmdAtomicOf(uint32_t number, uint64_t source, uint64_t compared) {
  constexpr uint32_t kOperations = 32;
  AmdAtomic atomic;
  atomic.bytes = number / kOperations % 2 == 0 ? 4 : 8;
  const uint64_t mask = atomic.bytes == 8 ? ~0ull : 0xFFFFFFFFull;
  const unsigned unused = atomic.bytes == 8 ? 0 : 32;
  source &= mask;
  compared &= mask;
  auto wide = [unused](uint64_t value) { return static_cast<int64_t>(value << unused) >> unused; };
  switch (number % kOperations) {
    case 0x07:
      atomic.change = [=](uint64_t) { return source; };
      break;
    case 0x08:
      atomic.change = [=](uint64_t value) { return value == compared ? source : value; };
      break;
    case 0x0F:
      atomic.change = [=](uint64_t value) { return (value + source) & mask; };
      break;
    case 0x10:
      atomic.change = [=](uint64_t value) { return (value - source) & mask; };
      break;
    case 0x11:
      atomic.change = [=](uint64_t value) { return wide(value) < wide(source) ? value : source; };
      break;
    case 0x12:
      atomic.change = [=](uint64_t value) { return std::min(value, source); };
      break;
    case 0x13:
      atomic.change = [=](uint64_t value) { return wide(value) > wide(source) ? value : source; };
      break;
    case 0x14:
      atomic.change = [=](uint64_t value) { return std::max(value, source); };
      break;
    case 0x15:
      atomic.change = [=](uint64_t value) { return value & source; };
      break;
    case 0x16:
      atomic.change = [=](uint64_t value) { return value | source; };
      break;
    case 0x17:
      atomic.change = [=](uint64_t value) { return value ^ source; };
      break;
    case 0x18:  // up to the source, and then again from 0
      atomic.change = [=](uint64_t value) { return value >= source ? 0 : value + 1; };
      break;
    case 0x19:  // down to 0, and then again from the source
      atomic.change = [=](uint64_t value) { return value == 0 || value > source ? source : value - 1; };
      break;
    default:
      return std::nullopt;
  }
  return atomic;
}

}  // namespace dxg::hostsim
