#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "hostsim/work/eu/instruction.h"

namespace dxg::hostsim::eu {

struct Step;  // step.h: an instruction made ready for execution
enum class Handlers : uint8_t;

// A program of the EU, decoded once. It is found by following the flow from its first instruction to its
// ends, because what lies behind a kernel is not instructions. What cannot be decoded or executed is kept as
// a refusal, and ends a thread that reaches it: dead code may have anything.
class Kernel {
 public:
  // Reads bytes of the kernel from `offset` on, counted from its first instruction; returns how many could be
  // read, from the first on. Offsets may wrap below 0 (a branch backwards over the entry).
  using Fetch = std::function<size_t(int64_t offset, std::span<std::byte> to)>;

  // Instructions of one kernel; what is reached beyond that is refused.
  static constexpr size_t kInstructionsMax = 1 << 16;

  static std::shared_ptr<const Kernel> Load(const Fetch& fetch);
  // For tests: with handlers that are not the best of this processor.
  static std::shared_ptr<const Kernel> Load(const Fetch& fetch, Handlers handlers);

  ~Kernel();
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;

  // Of all reached instructions and their places: what a cache and a report know it by.
  uint64_t hash() const { return hash_; }
  // Whether the same instructions are there still. Reads all of them.
  bool IsStill(const Fetch& fetch) const;
  size_t instructions() const { return offsets_.size(); }
  // Host memory, for whoever limits a cache.
  size_t memory_bytes() const;

  // -- For the interpreter.

  static constexpr uint32_t kNowhere = ~0u;
  // The step at an offset; kNowhere: no instruction begins there.
  uint32_t StepAt(int32_t offset) const;
  const Step* steps() const;
  const Instruction& instruction(uint32_t step) const { return instructions_[step]; }
  // Of a refused one that could not be decoded: its words.
  std::string TextOf(uint32_t step) const;
  const std::string& why(uint32_t step) const { return whys_[step]; }

 private:
  struct Block {
    int64_t offset;
    std::vector<std::byte> bytes;
  };

  struct Found;

  Kernel();
  void Fill(std::map<int32_t, Found>&& found);
  void Resolve(Step* step);
  void MarkWaking(uint32_t step);

  std::vector<Step> steps_;                // by offset
  std::vector<Instruction> instructions_;  // of the same indices
  std::vector<std::string> whys_;          // of refused steps
  std::vector<int32_t> offsets_;           // of the same indices, rising
  std::vector<Block> blocks_;              // the bytes that were decoded
  uint64_t hash_ = 0;
};

}  // namespace dxg::hostsim::eu
