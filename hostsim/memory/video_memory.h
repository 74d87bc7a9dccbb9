#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "hostsim/memory/memory_budget.h"
#include "hostsim/memory/storage.h"

namespace dxg::hostsim {

// A memory segment as statistics number them: in the order of the list.
struct Segment {
  SegmentGroup group;
  uint64_t size_bytes;
  bool aperture;  // system memory that the GPU reaches
};

struct SegmentUse {
  uint64_t limit = 0;
  uint64_t placed_bytes = 0;   // everything that is there
  uint64_t listed_bytes = 0;   // of it, what somebody has made resident
  uint64_t evicted_bytes = 0;  // ever
  uint32_t placed = 0;
  uint32_t listed = 0;
};

// D3DKMT_ALLOCATIONRESIDENCYSTATUS
enum class Residency : uint32_t { kInGpuMemory = 1, kInSystemMemory = 2, kNotResident = 3 };

// D3DDDI_RECLAIM_RESULT
enum class ReclaimResult : uint32_t { kOk = 0, kDiscarded = 1, kNotCommitted = 2 };

// Which storages of an adapter lie in which of its segments.
//
// A storage that some process has made resident is *listed*: it counts as that process's usage and stays.
// What is placed without being listed only lingers and goes, the least missed first, when room is needed:
// what is offered, by the priority of the offer, and then what was left behind by an evict that was in no
// hurry. If a segment shrinks below what is listed, listed storages move to system memory, and back when
// there is room.
//
// Contents stay where they are in all of this; only offered memory loses them. One lock guards every storage
// of the adapter. It is taken inside a process's lock, and no process's lock is taken inside it.
class VideoMemory {
 public:
  VideoMemory(std::vector<Segment> segments, MemoryBudget& budget, const AdapterProfile::Trouble& trouble);

  const std::vector<Segment>& segments() const { return segments_; }
  uint32_t AllSegments() const { return (1u << segments_.size()) - 1; }
  uint32_t ApertureSegments() const;

  // -- A storage's life, called by itself; and what it may be before anybody else sees it.
  void Add(Storage& storage);
  void Remove(Storage& storage);
  void SetSegments(Storage& storage, uint32_t supported, uint32_t preferred);

  // -- Residency. A storage comes once for each allocation of the process whose count becomes 1 or 0.
  static constexpr uint32_t kCantTrimFurther = 1u << 0;
  static constexpr uint32_t kMustSucceed = 1u << 1;
  static constexpr uint64_t kBudgetAsItIs = ~0ull;
  // How many bytes are too many: the process's budget is exceeded, or the segments are full. 0: they are
  // listed now. All or nothing. `budget_max`: above it no budget of the process counts.
  uint64_t MakeResident(ProcessMemory& process, std::span<Storage* const> storages, uint32_t flags,
                        uint64_t budget_max = kBudgetAsItIs);
  // Of listed ones, the bytes that are still on their way.
  uint64_t BytesToMove(std::span<Storage* const> storages);
  // What the process is still above its budget.
  uint64_t Evict(ProcessMemory& process, std::span<Storage* const> storages, bool only_if_necessary);
  uint64_t BytesOverBudget(const ProcessMemory& process);
  // Their bytes have been moved to where they are.
  void Arrive(std::span<const std::weak_ptr<Storage>> storages);
  Residency Where(const Storage& storage);
  // Whether an engine finds its bytes now.
  bool Ready(const Storage& storage);

  // -- Properties.
  void SetPriority(Storage& storage, uint32_t priority);
  uint32_t Priority(const Storage& storage);
  // False: there is no room where it would have to go.
  bool ChangeSegments(Storage& storage, uint32_t supported, uint32_t preferred, uint64_t* bytes_to_move);
  uint32_t Supported(const Storage& storage);
  uint32_t Preferred(const Storage& storage);

  // -- Offers.
  // `discard`: it loses its content at once. `in_use`: commands still use it, and it stays as it is until
  // Unused is called, once for each such offer.
  void Offer(Storage& storage, OfferPriority priority, bool allow_decommit, bool discard = false,
             bool in_use = false);
  void Unused(Storage& storage);
  bool Offered(const Storage& storage);
  bool Decommitted(const Storage& storage);
  // All or nothing: false where there is no room for those that are listed.
  bool Reclaim(std::span<Storage* const> storages, std::vector<ReclaimResult>* results,
               uint64_t* bytes_to_move);

  // -- Trouble, and what there is to see.
  void SetLimit(uint32_t segment, uint64_t bytes);  // of a segment, at most its size
  void SetDiscard(bool always, bool never);
  void Purge();  // of the adapter's own segments, all content
  void Trim();   // takes out all that only lingers
  SegmentUse Use(uint32_t segment);

 private:
  struct Order {  // who goes first
    uint32_t rank;
    uint32_t priority;
    uint64_t age;
    bool operator<(const Order& other) const {
      return std::tie(rank, priority, age) < std::tie(other.rank, other.priority, other.age);
    }
  };
  struct SegmentState {
    SegmentUse use;
    uint64_t usage = 0;  // of all processes together; a shared storage counts for each
    std::map<Order, Storage*> lingering;
    std::map<Order, Storage*> listed;
  };
  static Order OrderOf(const Placement& at);
  void Detach(Storage& storage) DXG_REQUIRES(mutex_);
  void Attach(Storage& storage) DXG_REQUIRES(mutex_);
  void Count(Storage& storage, bool in) DXG_REQUIRES(mutex_);
  int TargetWithRoom(const Placement& at, uint64_t bytes, const std::vector<uint64_t>& taken)
      DXG_REQUIRES(mutex_);
  bool Fits(uint32_t segment, uint64_t bytes) DXG_REQUIRES(mutex_);
  void MoveTo(Placement& at, int segment) DXG_REQUIRES(mutex_);
  void TakeOut(Storage& storage) DXG_REQUIRES(mutex_);
  void Discard(Storage& storage) DXG_REQUIRES(mutex_);
  void DiscardEarly(Storage& storage) DXG_REQUIRES(mutex_);
  void Settle() DXG_REQUIRES(mutex_);
  void MakeRoom(uint32_t segment) DXG_REQUIRES(mutex_);
  void BringBack() DXG_REQUIRES(mutex_);
  void Demote(Storage& storage) DXG_REQUIRES(mutex_);
  uint64_t Missing(const ProcessMemory& process, const std::vector<uint64_t>& wanted, uint32_t flags,
                   uint64_t budget_max) DXG_REQUIRES(mutex_);
  std::vector<Storage*> Once(std::span<Storage* const> storages) DXG_REQUIRES(mutex_);
  SegmentState& StateOf(const Placement& at) DXG_REQUIRES(mutex_) {
    return states_[static_cast<uint32_t>(at.segment)];
  }

  const std::vector<Segment> segments_;
  MemoryBudget& budget_;
  Mutex mutex_;
  std::vector<SegmentState> states_ DXG_GUARDED_BY(mutex_);
  // Listed, but not where they prefer to be: the one of highest priority comes last.
  std::set<std::pair<Order, Storage*>> displaced_ DXG_GUARDED_BY(mutex_);
  uint64_t clock_ DXG_GUARDED_BY(mutex_) = 0;
  bool always_discard_ DXG_GUARDED_BY(mutex_);
  bool never_discard_ DXG_GUARDED_BY(mutex_);
};

}  // namespace dxg::hostsim
