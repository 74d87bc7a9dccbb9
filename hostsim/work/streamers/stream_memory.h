#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>

#include "hostsim/memory/gpu_memory.h"
#include "hostsim/work/command_streamer.h"

namespace dxg::hostsim {

// GPU memory as the packets of one Run use it. A packet moves a few bytes, and asking the page tables costs
// more than that, so what they said about a page is kept for as long as the Run lasts, as a GPU's own
// translation buffer keeps it.
//
// Functions return false on a fault, which fault() describes; bytes before it may have been written.
class StreamMemory {
 public:
  StreamMemory(CommandEnvironment& environment, const std::atomic<bool>& cancelled)
      : environment_(environment), cancelled_(cancelled) {}

  bool Read(GpuAddress from, void* to, uint64_t bytes);
  bool Write(GpuAddress to, const void* from, uint64_t bytes);

  // Of numbers at multiples of their size. A CPU that looks at the same time sees all of a number or nothing.
  bool Load(GpuAddress from, uint32_t* value) { return Read(from, value, sizeof *value); }
  bool Load(GpuAddress from, uint64_t* value);
  bool Store(GpuAddress to, uint32_t value);
  bool Store(GpuAddress to, uint64_t value);

  // Changes a number of `bytes` (4 or 8) at a multiple of them in one step. The value before it is in `old`.
  using Change = std::function<uint64_t(uint64_t)>;
  bool Update(GpuAddress at, uint64_t bytes, const Change& change, uint64_t* old = nullptr);

  // These look at whether they were cancelled, and stop then: cancelled() says so. Where the ranges of a copy
  // overlap, bytes are copied in blocks from the first to the last, or in reverse.
  bool Copy(GpuAddress to, GpuAddress from, uint64_t bytes, bool backwards = false);
  // With the first `pattern_bytes` (1, 2 or 4) of the pattern again and again.
  bool Fill(GpuAddress to, uint64_t bytes, uint32_t pattern, uint32_t pattern_bytes = 4);

  bool cancelled() const { return cancelled_; }
  const GpuFault& fault() const { return fault_; }
  CommandEnvironment& environment() { return environment_; }

 private:
  struct Page {
    uint64_t number = 0;
    std::optional<GpuWindow> window;
  };
  static constexpr size_t kPages = 8;  // of each kind

  GpuWindow& PageAt(std::array<Page, kPages>& pages, GpuAddress address, bool write);
  bool CopyInBlocks(GpuAddress to, GpuAddress from, uint64_t bytes, bool backwards);
  bool Fail(const GpuFault& fault) {
    fault_ = fault;
    return false;
  }

  CommandEnvironment& environment_;
  const std::atomic<bool>& cancelled_;
  std::array<Page, kPages> readable_, writable_;
  GpuFault fault_;
};

// A number that names the program at an address, which ends where `ends` says so of its last `unit` bytes; 0:
// it cannot be read.
uint64_t HashProgram(StreamMemory& memory, GpuAddress program, bool (*ends)(uint64_t), uint32_t unit);

}  // namespace dxg::hostsim
