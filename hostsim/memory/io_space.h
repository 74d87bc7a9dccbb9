#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/mutex.h"
#include "base/page.h"
#include "hostsim/machine/bytes.h"
#include "hostsim/machine/object.h"
#include "hostsim/memory/freeing_thread.h"
#include "hostsim/memory/range_tree.h"

// The bytes of GPU memory, where the guest's CPU can see them. All knowledge of how they are kept (files
// without a name, which the back-end hands to clients) is in io_space.cc.

namespace dxg::hostsim {

inline constexpr uint64_t RoundToPages(uint64_t bytes) {
  return (bytes + kPageBytes - 1) & ~(kPageBytes - 1);
}

// A file descriptor that closes itself; one with much memory behind it, on the freeing thread.
class FileDescriptor {
 public:
  explicit FileDescriptor(int number, std::weak_ptr<FreeingThread> freeing = {})
      : number_(number), freeing_(std::move(freeing)) {}
  ~FileDescriptor();
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int number() const { return number_; }

 private:
  const int number_;
  const std::weak_ptr<FreeingThread> freeing_;
};

// What the back-end needs to show a part of the window to a client.
struct RegionInfo {
  std::shared_ptr<const FileDescriptor> file;  // memory that cannot change its size
  uint64_t window_start = 0;
  uint64_t bytes = 0;
  uint64_t cookie = 0;  // begins page 0 of a process's region; 0: a region of its own, without such a page
  bool operator==(const RegionInfo&) const = default;
};

// A file that is all of the window, for a guest that chooses where among its physical addresses it finds it.
struct WindowFile {
  std::shared_ptr<const FileDescriptor>
      file;            // can be mapped, if not read; where it holds something, that is lost
  uint64_t bytes = 0;  // whole pages; 0: there is no such file, every region is one of its own
};

class IoSpace;

// A sparse file of memory and the part of the window at which the guest finds it. Bytes that nobody wrote are
// zero and cost nothing.
class Region {
 public:
  // Null where the machine has no more to give.
  static std::shared_ptr<Region> Create(std::shared_ptr<IoSpace> space, uint64_t bytes, uint64_t cookie);
  // All of a window that is one file.
  static std::shared_ptr<Region> OfWindow(std::shared_ptr<IoSpace> space, WindowFile window, uint64_t start);
  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  const RegionInfo& info() const { return info_; }
  uint64_t machine_bytes() const;  // what it costs the machine now

  // -- Bytes. The range lies in the region. Any number of threads.
  void Read(uint64_t offset, Bytes bytes) const;
  void Write(uint64_t offset, ConstBytes bytes);
  void Discard(uint64_t offset, uint64_t bytes);  // gives them back to the machine; they read zero
  // Eight aligned bytes as a word that the guest reads at any time; null: the host has no address space left.
  std::atomic<uint64_t>* Word(uint64_t offset);
  // Where the host has it, and how much lies together from there on, at most `*bytes`; null as above.
  uint8_t* Memory(uint64_t offset, uint64_t* bytes);

  // -- Ranges of pages, for a region that several allocations share.
  std::optional<uint64_t> Take(uint64_t bytes);
  void Return(uint64_t offset);

 private:
  struct Taken {};

  Region(std::shared_ptr<IoSpace> space, RegionInfo info);
  uint8_t* Chunk(uint64_t offset) const;
  void ReadMapped(uint64_t offset, Bytes bytes) const;

  const std::shared_ptr<IoSpace> space_;
  const RegionInfo info_;
  mutable Mutex map_mutex_;  // so that one thread maps a chunk; a mapped one is read without it
  mutable std::vector<std::atomic<uint8_t*>> chunks_;  // the host's own view; made when the host writes
  Mutex mutex_;
  RangeTree<Taken> taken_ DXG_GUARDED_BY(mutex_);
};

// The window through which the guest sees memory of the host, as a range of its physical addresses that holds
// nothing else. Regions have parts of it, and a part comes back when its region ends.
class IoSpace : public std::enable_shared_from_this<IoSpace> {
 public:
  static constexpr uint64_t kStart = 0xF000'0000'0000;
  static constexpr uint64_t kEnd = 1ull << 52;  // x86 has no physical address above

  // `frees_beside`: much memory is given back on a thread of its own.
  explicit IoSpace(uint64_t seed, bool is_one_file = false, bool frees_beside = false)
      : is_one_file(is_one_file),
        freeing(frees_beside ? std::make_shared<FreeingThread>() : nullptr),
        cookies_(seed) {}

  // Then the window has only one region, once the guest has said where that is.
  const bool is_one_file;
  std::shared_ptr<Region> window();

  const std::shared_ptr<FreeingThread> freeing;  // null: all is freed at once
  // Until all memory that was let go is given back.
  void WaitUntilFreed() {
    if (freeing) freeing->Wait();
  }

  // Whether the guest can see what has that address.
  bool Shows(uint64_t window_address);

  // The region that shows there; nothing: none does.
  std::optional<RegionInfo> Find(uint64_t window_address);

  uint64_t regions() const;
  uint64_t machine_bytes() const;
  uint64_t NewCookie();

  std::atomic<uint64_t> extent_bytes{0};  // all that is given out
  // The host ends, and its files with it. From here on nothing in them is cleared: who still maps one, a
  // client of a guest that has lost us, reads on what is there, and the guest may have raised the fences in
  // it for good.
  std::atomic<bool> ending{false};

 private:
  friend class Region;
  std::optional<uint64_t> Register(uint64_t bytes);
  void Publish(uint64_t start, const Region* region);
  void Unregister(uint64_t start);
  bool BeWindow(uint64_t start, const std::shared_ptr<Region>& region);

  mutable Mutex mutex_;
  // A region's pointer is good while it is in here: its end takes it out first.
  mutable RangeTree<const Region*> parts_ DXG_GUARDED_BY(mutex_){2ull << 20};
  uint64_t cookies_ DXG_GUARDED_BY(mutex_);
  std::weak_ptr<Region> window_ DXG_GUARDED_BY(mutex_);
};

// A run of bytes in a region, given back when it ends. One of no bytes is false.
class Extent {
 public:
  Extent() = default;
  Extent(std::shared_ptr<IoSpace> space, std::shared_ptr<Region> region, uint64_t offset, uint64_t bytes,
         bool whole_region);
  Extent(Extent&& other) noexcept;
  Extent& operator=(Extent&& other) noexcept;
  ~Extent();

  explicit operator bool() const { return region_ != nullptr; }
  uint64_t bytes() const { return bytes_; }
  uint64_t window_address() const { return region_->info().window_start + offset_; }
  const Region& region() const { return *region_; }
  bool in_sight() const { return space_->Shows(window_address()); }
  bool whole_region() const { return whole_region_; }

  // Ranges lie in it.
  void Read(uint64_t offset, Bytes bytes) const;
  void Write(uint64_t offset, ConstBytes bytes);
  void Discard();  // all of it reads zero
  std::atomic<uint64_t>* Word(uint64_t offset);
  uint8_t* Memory(uint64_t offset, uint64_t* bytes) { return region_->Memory(offset_ + offset, bytes); }
  // The guest's CPU may write from now on.
  void Touch() {
    if (!touched()) touched_.store(true, std::memory_order_relaxed);
  }
  bool touched() const { return touched_.load(std::memory_order_relaxed); }

 private:
  static void GiveBack(const std::shared_ptr<IoSpace>& space, const std::shared_ptr<Region>& region,
                       uint64_t offset, uint64_t bytes, bool touched);

  std::shared_ptr<IoSpace> space_;
  std::shared_ptr<Region> region_;
  uint64_t offset_ = 0;
  uint64_t bytes_ = 0;
  bool whole_region_ = false;
  std::atomic<bool> touched_{false};  // may hold something else than zeros
};

// One process's regions: its allocations share them, so that a million small ones are few files. Another
// process never gets to see them.
class RegionSet {
 public:
  static constexpr uint64_t kRegionBytes = 64ull << 30;

  explicit RegionSet(std::shared_ptr<IoSpace> space) : space_(std::move(space)) {}

  // Zeros, in a region that has room or in a new one; false where there is none to be had. Where a window of
  // one file is full they are out of the guest's sight.
  Extent Allocate(uint64_t bytes);
  // Only where the guest sees them.
  Extent AllocateInSight(uint64_t bytes);
  // A file of its own, which other processes may open; in a window that is one file, a part of that.
  Extent AllocateAlone(uint64_t bytes);
  // The first region, made if need be: where most of the process's memory is going to be; none where all
  // processes have one.
  std::optional<RegionInfo> Home();

 private:
  const std::shared_ptr<IoSpace> space_;
  Mutex mutex_;
  std::vector<std::shared_ptr<Region>> regions_ DXG_GUARDED_BY(mutex_);
};

}  // namespace dxg::hostsim
