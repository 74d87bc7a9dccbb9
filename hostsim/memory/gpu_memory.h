#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "hostsim/work/command_streamer.h"

namespace dxg::hostsim {

// How many bytes a large op handles between two looks at whether it was cancelled.
inline constexpr uint64_t kGpuChunkBytes = 4ull << 20;

// The least range that is written past the cache. Of a shorter one its reader finds much there.
inline constexpr uint64_t kStreamedBytes = 4ull << 20;

// A range of GPU virtual addresses as an op reads or writes it, in any order. It translates a large part at a
// time; if that part has holes, it translates exactly what is accessed. No lock is held while bytes move.
//
// Positions are bytes from the start of the range, and what is accessed lies in it. Functions return false
// (or nothing) on a fault, which fault() describes; bytes before it may have been written.
class GpuWindow {
 public:
  GpuWindow(CommandEnvironment& environment, GpuAddress address, uint64_t bytes, bool write)
      : environment_(&environment), address_(address), bytes_(bytes), write_(write) {}

  // Where these bytes lie together at an address here, until the next call; null: they do not, or there is a
  // fault, and Read or Write tell.
  uint8_t* At(uint64_t at, uint64_t bytes);
  // Whether what is written goes past the cache, because the range does not fit one.
  bool streams() const { return write_ && bytes_ >= kStreamedBytes; }

  bool Read(uint64_t at, void* to, uint64_t bytes);
  bool Write(uint64_t at, const void* from, uint64_t bytes);
  bool Fill(uint64_t at, uint64_t bytes, uint32_t pattern);  // at and bytes are multiples of 4
  // From a position of the source, or from the same one. They do not overlap.
  bool CopyFrom(uint64_t at, GpuWindow& source, uint64_t source_at, uint64_t bytes);
  bool CopyFrom(uint64_t at, GpuWindow& source, uint64_t bytes) { return CopyFrom(at, source, at, bytes); }

  // Of a range at a multiple of 8, 8 bytes of it at a multiple of 8 (Store32: 4 at one of 4): in one step, as
  // CPUs see it. Change64 returns what `change` was given last.
  std::optional<uint64_t> Load64(uint64_t at = 0);
  bool Store64(uint64_t value, uint64_t at = 0);
  bool Store32(uint32_t value, uint64_t at);
  bool Add64(uint64_t value);
  std::optional<uint64_t> Change64(uint64_t at, const std::function<uint64_t(uint64_t)>& change);

  bool failed() const { return failed_; }
  const GpuFault& fault() const { return fault_; }

 private:
  // Some bytes that lie together: at `memory`, or where that is null as the span has them, from `offset` of
  // it on.
  struct Run {
    uint8_t* memory = nullptr;
    const GpuSpan* span = nullptr;
    uint64_t offset = 0;
    uint64_t bytes = 0;

    // So many bytes behind the first `skipped` ones.
    GpuSpan Part(uint64_t skipped, uint64_t part) const {
      return {span->storage, span->offset + offset + skipped, part, span->fence};
    }
  };

  bool Cover(uint64_t at, uint64_t bytes);
  Run RunAt(uint64_t at);
  static std::atomic<uint64_t>* Word(const Run& run);
  void Put(const Run& run, uint64_t skipped, const uint8_t* from, uint64_t bytes);
  template <class Visit>
  bool ForEachRun(uint64_t at, uint64_t bytes, Visit visit);

  CommandEnvironment* environment_;
  GpuAddress address_;
  uint64_t bytes_;
  bool write_;
  // What the page tables said about [start_, end_): spans, and where each begins if there are several.
  uint64_t start_ = 0;
  uint64_t end_ = 0;
  std::vector<GpuSpan> spans_;
  std::vector<uint64_t> starts_;
  size_t last_ = 0;  // the span that was used last
  bool failed_ = false;
  GpuFault fault_;
};

}  // namespace dxg::hostsim
