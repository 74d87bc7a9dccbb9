#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "hostsim/machine/bytes.h"
#include "hostsim/machine/object.h"
#include "hostsim/machine/world.h"
#include "hostsim/memory/io_space.h"
#include "hostsim/memory/memory_budget.h"

namespace dxg::hostsim {

class VideoMemory;

// D3DDDI_OFFER_PRIORITY
enum class OfferPriority : uint32_t { kLow = 1, kNormal = 2, kHigh = 3, kAuto = 4 };

// D3DDDI_ALLOCATIONPRIORITY_NORMAL
inline constexpr uint32_t kNormalPriority = 0x78000000;

// What an allocation is, fixed at its creation.
struct StorageTraits {
  uint64_t bytes = 0;  // whole pages
  bool cpu_visible = true;
  bool cached = false;       // the CPU may cache it
  bool system_only = false;  // never in the adapter's own memory
  bool read_only = false;
  bool of_guest = false;     // its bytes are pages of a client
  uint32_t creator = 0;      // process
  std::string private_data;  // of the driver, as it left it
};

// Where a storage is, and who wants it there. Only VideoMemory reads and changes it, under its lock; clang
// cannot check that, because to it the lock that a storage would name is not the one that VideoMemory holds.
struct Placement {
  static constexpr int kNowhere = -1;

  struct Holder {
    ProcessMemory* process;
    uint32_t handles;  // of its allocations, those with a residency count
  };

  uint32_t supported = 0;  // bit n: segment n of the adapter
  uint32_t preferred = 0;
  uint32_t priority = kNormalPriority;
  std::vector<Holder> holders;
  int segment = kNowhere;
  bool arrived = false;  // its bytes have been moved there
  bool demoted = false;  // from where it prefers to be, until there is room again
  bool offered = false;
  bool discard_early = false;  // once nobody uses it
  uint32_t users = 0;          // offers that wait for commands
  bool allow_decommit = false;
  bool discarded = false;  // while it was offered
  bool decommitted = false;
  OfferPriority offer_priority = OfferPriority::kNormal;
  uint64_t age = 0;   // larger: later
  uint64_t mark = 0;  // of the last list that it was seen in

  bool placed() const { return segment != kNowhere; }
  bool listed() const { return !holders.empty() && (!offered || users != 0) && !decommitted; }
};

// The memory of an allocation: its bytes, which live as long as any process has a handle on them or on their
// resource.
class Storage {
 public:
  // In a page range of a process's region or a file of its own.
  Storage(std::shared_ptr<VideoMemory> memory, StorageTraits traits, Extent extent,
          std::atomic<uint64_t>& count);
  // In pages of the guest, which are told later.
  Storage(std::shared_ptr<VideoMemory> memory, StorageTraits traits, GuestMemory* guest,
          std::atomic<uint64_t>& lost_accesses, std::atomic<uint64_t>& count);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  const StorageTraits traits;
  uint64_t bytes() const { return traits.bytes; }

  // -- Bytes; the range lies in it. Pages of the guest that are gone read as zeros and take nothing.
  void Read(uint64_t offset, Bytes bytes) const;
  void Write(uint64_t offset, ConstBytes bytes);
  void Discard();

  // -- As an engine uses them, without a copy. The bytes that lie together from there on, at most `*bytes`,
  // which becomes their number; null: there are none at an address of ours, and Read and Write do.
  uint8_t* MemoryForReading(uint64_t offset, uint64_t* bytes);
  uint8_t* MemoryForWriting(uint64_t offset, uint64_t* bytes);
  // Eight aligned bytes as CPUs see them; null as above.
  std::atomic<uint64_t>* Word(uint64_t offset);
  // Taken for what is one step to GPUs, where there is no such word.
  Mutex& slow_word() { return slow_word_; }
  // All zeros, because nobody ever wrote.
  bool Blank() const { return !traits.of_guest && !extent_.touched(); }

  // For the guest's CPU, which may write from now on; nothing where the window is full. Only of one that is
  // not of the guest.
  std::optional<uint64_t> ShowInWindow();
  // As ShowInWindow, of one in a file of its own; nothing for others.
  std::optional<RegionInfo> OwnRegion();

  // False: it is not of the guest, or that memory is not there or too small.
  bool BindGpadl(uint32_t gpadl);
  bool BindFrames(uint64_t first_page, std::vector<uint64_t> frames);

 private:
  friend class VideoMemory;
  struct GuestPlace {
    std::optional<uint32_t> gpadl;
    uint64_t frame;
  };
  GuestPlace FindGuest(uint64_t offset) const;
  bool ReadGuest(uint64_t offset, Bytes bytes) const;
  bool WriteGuest(uint64_t offset, ConstBytes bytes);

  const std::shared_ptr<VideoMemory> memory_;
  Extent extent_;
  GuestMemory* const guest_ = nullptr;
  std::atomic<uint64_t>* const lost_accesses_ = nullptr;
  Mutex slow_word_;
  mutable Mutex guest_mutex_;
  uint32_t gpadl_ DXG_GUARDED_BY(guest_mutex_) = 0;
  bool has_gpadl_ DXG_GUARDED_BY(guest_mutex_) = false;
  std::vector<uint64_t> frames_ DXG_GUARDED_BY(guest_mutex_);  // by page; kNoFrame: not told
  Placement placement_;                                        // guarded by VideoMemory's lock
  Counted counted_;
};

}  // namespace dxg::hostsim
