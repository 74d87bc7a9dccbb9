#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>

#include "hostsim/work/command_streamer.h"

namespace dxg::hostsim {

// What commands wrote to the registers of their queue's engine. Nothing else changes them: a register that
// nobody wrote reads zero. Numbers are of registers of 32 bits; those beyond the last one begin again.
class RegisterFile final : public StreamerState {
 public:
  // That of a queue, which gets one if it has none.
  static RegisterFile& Of(std::unique_ptr<StreamerState>* state) {
    if (!*state) *state = std::make_unique<RegisterFile>();
    return static_cast<RegisterFile&>(**state);  // a queue's streamers have all the same format
  }

  void Write(uint32_t first, const uint32_t* values, uint32_t count) {
    while (count != 0) {
      const uint32_t number = first % kRegisters;
      std::unique_ptr<Block>& block = blocks_[number / kBlock];
      if (!block) block = std::make_unique<Block>();
      const uint32_t part = std::min(count, kBlock - number % kBlock);
      std::copy_n(values, part, block->begin() + number % kBlock);
      first += part;
      values += part;
      count -= part;
    }
  }
  void Write(uint32_t number, uint32_t value) { Write(number, &value, 1); }
  uint32_t Read(uint32_t number) const {
    const std::unique_ptr<Block>& block = blocks_[number % kRegisters / kBlock];
    return block ? (*block)[number % kBlock] : 0;
  }
  uint64_t Read64(uint32_t number) const { return uint64_t{Read(number + 1)} << 32 | Read(number); }

 private:
  static constexpr uint32_t kRegisters = 1u << 18;
  static constexpr uint32_t kBlock = 1024;
  using Block = std::array<uint32_t, kBlock>;
  std::array<std::unique_ptr<Block>, kRegisters / kBlock> blocks_;
};

}  // namespace dxg::hostsim
