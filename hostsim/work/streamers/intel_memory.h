#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>

#include "hostsim/memory/gpu_memory.h"
#include "hostsim/work/command_streamer.h"

// What commands of Intel's streamers do to memory.

namespace dxg::hostsim::intel {

// Memory as small commands use it: mostly the same few pages. It asks the page tables once for each page that
// it comes to, and keeps the page of commands that it is in. Functions return false, or nothing, on a fault.
class PageMemory {
 public:
  explicit PageMemory(CommandEnvironment& environment) : environment_(environment) {}

  // The commands from `address` on, a multiple of 4, that lie together: `*dwords`, at least one. Null on a
  // fault. They are good until the next call of this class.
  const uint32_t* Commands(uint64_t address, uint64_t* dwords);

  bool Read(uint64_t address, void* to, uint64_t bytes);
  std::optional<uint32_t> Load32(uint64_t address);  // at a multiple of 4
  bool Store32(uint64_t address, uint32_t value);    // at a multiple of 4
  bool Store64(uint64_t address, uint64_t value);    // at a multiple of 8
  std::optional<uint64_t> Change64(uint64_t address, const std::function<uint64_t(uint64_t)>& change);
  // What was kept may have been written.
  void Forget() { commands_start_ = commands_end_ = 0; }

  const GpuFault& fault() const { return fault_; }

 private:
  struct Kept {
    uint64_t page = ~0ull;
    std::optional<GpuWindow> window;
  };
  GpuWindow& Page(Kept& kept, uint64_t address, bool write);
  GpuWindow& PageToWrite(uint64_t address);
  bool Result(bool done, const Kept& kept) {
    if (!done) fault_ = kept.window->fault();
    return done;
  }

  CommandEnvironment& environment_;
  Kept read_, written_, of_commands_;
  uint64_t commands_start_ = 0;  // addresses of what commands_ has, in one page
  uint64_t commands_end_ = 0;
  std::array<uint32_t, 1024> commands_;
  GpuFault fault_;
};

// A copy or fill of a rectangle of bytes; strides are from row to row.
struct Blt {
  uint64_t to = 0;
  uint64_t from = 0;
  uint64_t to_stride = 0;
  uint64_t from_stride = 0;
  uint64_t row_bytes = 0;
  uint64_t rows = 0;
  bool fills = false;
  std::array<uint32_t, 4> color{};
  uint32_t color_bytes = 4;  // 1, 2, 4, 8 or 16

  uint64_t bytes() const { return row_bytes * rows; }  // at most 2^36
};

// False: it is another command, or asks for what is not done here: tiled surfaces, other raster operations
// than a copy, depths of 12 bytes, negative strides.
bool DecodeBlt(uint32_t opcode, const uint32_t* words, uint32_t count, Blt* blt);

enum class BltEnd { kDone, kFault, kCancelled };
BltEnd DoBlt(CommandEnvironment& environment, const std::atomic<bool>& cancelled, const Blt& rows,
             GpuFault* fault);

}  // namespace dxg::hostsim::intel
