#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "base/mutex.h"
#include "base/page.h"
#include "base/unique_fd.h"
#include "hostsim/machine/world.h"
#include "link/backend.h"

namespace dxg::hostsim::serve {

// A guest's physical memory, as far as it has shown us: ranges of it that are bytes of files. Any thread.
class GuestRam final : public GuestMemory {
 public:
  static constexpr size_t kRangesMax = 4096;  // each holds a descriptor

  // Whole pages. False: it makes no sense, something is there, or there are too many.
  bool Show(uint64_t address, uint64_t bytes, UniqueFd file, uint64_t file_offset);
  bool Forget(uint64_t address);
  // False where some of it is not there.
  bool ReadAt(uint64_t address, std::span<std::byte> to);
  bool WriteAt(uint64_t address, std::span<const std::byte> from);
  // Pages that are one run of one file, which cannot become shorter, in our memory; null: they are not.
  std::shared_ptr<std::byte> Map(std::span<const uint64_t> frames);

  // GuestMemory: by frames alone.
  bool knows_frames() const override { return true; }
  bool ReadFrame(uint64_t frame, uint64_t offset, Bytes bytes) override {
    return ReadAt(frame * kPageBytes + offset, std::as_writable_bytes(bytes));
  }
  bool WriteFrame(uint64_t frame, uint64_t offset, ConstBytes bytes) override {
    return WriteAt(frame * kPageBytes + offset, std::as_bytes(bytes));
  }
  bool Read(uint32_t, uint64_t, Bytes) override { return false; }
  bool Write(uint32_t, uint64_t, ConstBytes) override { return false; }
  uint64_t Size(uint32_t) override { return 0; }

 private:
  struct Range {
    uint64_t bytes;
    std::shared_ptr<const UniqueFd> file;
    uint64_t file_offset;
  };
  // The part of the range from that address on, as a range of its own; of 0 bytes: nothing is there.
  Range At(uint64_t address);

  SharedMutex mutex_;
  std::map<uint64_t, Range> ranges_ DXG_GUARDED_BY(mutex_);  // by address
};

// A list of pages of it (a GPADL), as the host works with it.
class GpadlPages final : public ClientPages {
 public:
  GpadlPages(std::shared_ptr<GuestRam> ram, std::vector<uint64_t> frames)
      : ram_(std::move(ram)), frames_(std::move(frames)) {}
  uint64_t size() const override { return frames_.size() * kPageBytes; }
  bool Read(uint64_t offset, std::span<std::byte> to) override;
  bool Write(uint64_t offset, std::span<const std::byte> from) override;
  bool Frames(uint64_t, std::span<uint64_t>) override { return false; }

 private:
  template <class Access>
  bool InRuns(uint64_t offset, uint64_t bytes, Access access);

  const std::shared_ptr<GuestRam> ram_;
  const std::vector<uint64_t> frames_;
};

}  // namespace dxg::hostsim::serve
