#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "hostsim/work/command_streamer.h"

namespace dxg::hostsim {

// What commands wrote to the registers of their queue's engine. Nothing else changes them: a register that
// nobody wrote reads zero. Numbers are of registers of 32 bits; those beyond the last one begin again.
//
// A queue keeps a few blocks of registers, as far as its process and user have room for them. What is written
// to others is lost.
class RegisterFile : public StreamerState {
 public:
  static constexpr uint32_t kBlock = 256;     // registers
  static constexpr uint32_t kBlocksMax = 64;  // of a queue

  // That of a queue, which gets one if it has none.
  static RegisterFile& Of(std::unique_ptr<StreamerState>* state) {
    if (!*state) *state = std::make_unique<RegisterFile>();
    return static_cast<RegisterFile&>(**state);  // a queue's streamers have all the same format
  }

  void Write(uint32_t first, const uint32_t* values, uint32_t count) {
    while (count != 0) {
      const uint32_t number = first % kRegisters;
      const uint32_t part = std::min(count, kBlock - number % kBlock);
      if (Block* block = ToWrite(number / kBlock)) {
        std::copy_n(values, part, block->begin() + number % kBlock);
      } else {
        lost_ = true;
      }
      first += part;
      values += part;
      count -= part;
    }
  }
  void Write(uint32_t number, uint32_t value) { Write(number, &value, 1); }
  uint32_t Read(uint32_t number) const {
    const auto block = blocks_.find(number % kRegisters / kBlock);
    return block == blocks_.end() ? 0 : block->second[number % kBlock];
  }
  uint64_t Read64(uint32_t number) const { return uint64_t{Read(number + 1)} << 32 | Read(number); }

  // Whether a write was lost since the last call.
  bool TakeLost() { return std::exchange(lost_, false); }

 private:
  static constexpr uint32_t kRegisters = 1u << 21;
  using Block = std::array<uint32_t, kBlock>;
  static constexpr uint64_t kBlockCost = sizeof(Block) + 64;

  // Null: there is no room for it.
  Block* ToWrite(uint32_t index) {
    if (const auto found = blocks_.find(index); found != blocks_.end()) return &found->second;
    if (blocks_.size() >= kBlocksMax || !Take(kBlockCost)) return nullptr;
    return &blocks_[index];
  }

  std::map<uint32_t, Block> blocks_;
  bool lost_ = false;
};

}  // namespace dxg::hostsim
