#include "hostsim/memory/video_memory.h"

#include <algorithm>

namespace dxg::hostsim {
namespace {

constexpr uint32_t kLingers = 3;  // after the three priorities of an offer
constexpr uint32_t kListed = 4;

constexpr uint32_t kHighPriority = 0xA0000000;  // D3DDDI_ALLOCATIONPRIORITY_HIGH

uint32_t RankOfOffer(const Placement& at) {
  switch (at.offer_priority) {
    case OfferPriority::kLow:
      return 0;
    case OfferPriority::kNormal:
      return 1;
    case OfferPriority::kHigh:
      return 2;
    case OfferPriority::kAuto:
      break;
  }
  return at.priority < kNormalPriority ? 0 : at.priority < kHighPriority ? 1 : 2;
}

}  // namespace

VideoMemory::VideoMemory(std::vector<Segment> segments, MemoryBudget& budget,
                         const AdapterProfile::Trouble& trouble)
    : segments_(std::move(segments)),
      budget_(budget),
      states_(segments_.size()),
      always_discard_(trouble.discard_offered()),
      never_discard_(trouble.keep_offered()) {
  for (size_t i = 0; i < segments_.size(); ++i) {
    const uint64_t lost = segments_[i].aperture ? 0 : trouble.lose_video_bytes();
    states_[i].use.limit = segments_[i].size_bytes - std::min(lost, segments_[i].size_bytes);
  }
}

uint32_t VideoMemory::ApertureSegments() const {
  uint32_t set = 0;
  for (size_t i = 0; i < segments_.size(); ++i) set |= segments_[i].aperture ? 1u << i : 0;
  return set;
}

// -- Sums and lists. Whatever changes a placement takes it out of them before and puts it back after.

VideoMemory::Order VideoMemory::OrderOf(const Placement& at) {
  const uint32_t rank = at.listed() ? kListed : at.offered ? RankOfOffer(at) : kLingers;
  return {rank, at.priority, at.age};
}

void VideoMemory::Count(Storage& storage, bool in) {
  const Placement& at = storage.placement_;
  SegmentState& state = StateOf(at);
  const uint64_t bytes = in ? storage.bytes() : 0 - storage.bytes();  // modulo 2^64
  const uint32_t one = in ? 1 : 0 - 1u;
  state.use.placed_bytes += bytes;
  state.use.placed += one;
  if (!at.listed()) return;
  state.use.listed_bytes += bytes;
  state.use.listed += one;
  for (const Placement::Holder& holder : at.holders) {
    holder.process->usage[segments_[static_cast<uint32_t>(at.segment)].group] += bytes;
    state.usage += bytes;
  }
}

void VideoMemory::Detach(Storage& storage) {
  const Placement& at = storage.placement_;
  if (at.demoted) displaced_.erase({OrderOf(at), &storage});
  if (!at.placed()) return;
  Count(storage, false);
  (at.listed() ? StateOf(at).listed : StateOf(at).lingering).erase(OrderOf(at));
}

void VideoMemory::Attach(Storage& storage) {
  Placement& at = storage.placement_;
  at.demoted = at.demoted && at.listed();
  if (at.demoted) displaced_.insert({OrderOf(at), &storage});
  if (!at.placed()) return;
  Count(storage, true);
  (at.listed() ? StateOf(at).listed : StateOf(at).lingering).emplace(OrderOf(at), &storage);
}

void VideoMemory::MoveTo(Placement& at, int segment) {
  at.segment = segment;
  at.arrived = false;
}

void VideoMemory::Add(Storage& storage) {
  MutexLock lock(mutex_);
  storage.placement_.age = ++clock_;
}

void VideoMemory::Remove(Storage& storage) {
  MutexLock lock(mutex_);
  Detach(storage);
  Settle();
}

void VideoMemory::SetSegments(Storage& storage, uint32_t supported, uint32_t preferred) {
  MutexLock lock(mutex_);
  storage.placement_.supported = supported;
  storage.placement_.preferred = preferred;
}

// -- Making room.

bool VideoMemory::Fits(uint32_t segment, uint64_t bytes) {
  const SegmentState& state = states_[segment];
  return state.usage <= state.use.limit && bytes <= state.use.limit - state.usage;
}

int VideoMemory::TargetWithRoom(const Placement& at, uint64_t bytes, const std::vector<uint64_t>& taken) {
  if (Fits(at.preferred, taken[at.preferred] + bytes)) return static_cast<int>(at.preferred);
  for (uint32_t i = 0; i < segments_.size(); ++i) {
    if ((at.supported >> i & 1) != 0 && Fits(i, taken[i] + bytes)) return static_cast<int>(i);
  }
  return Placement::kNowhere;
}

void VideoMemory::Discard(Storage& storage) {
  Placement& at = storage.placement_;
  if (never_discard_ || at.discarded) return;
  at.discarded = true;
  at.decommitted = at.allow_decommit;
  storage.Discard();
}

void VideoMemory::TakeOut(Storage& storage) {
  Placement& at = storage.placement_;
  Detach(storage);
  if (at.placed()) StateOf(at).use.evicted_bytes += storage.bytes();
  if (at.offered) Discard(storage);
  MoveTo(at, Placement::kNowhere);
  Attach(storage);
}

// A segment has lost memory that it had given out.
void VideoMemory::Demote(Storage& storage) {
  Placement& at = storage.placement_;
  Detach(storage);
  const uint64_t bytes = storage.bytes() * at.holders.size();
  const bool was_there = at.arrived;
  int to = Placement::kNowhere;
  for (uint32_t i = 0; i < segments_.size(); ++i) {
    const bool other = (at.supported >> i & 1) != 0 && static_cast<int>(i) != at.segment;
    if (other && Fits(i, bytes)) to = static_cast<int>(i);
  }
  StateOf(at).use.evicted_bytes += storage.bytes();
  MoveTo(at, to);
  at.arrived = was_there && at.placed();
  at.demoted = true;
  Attach(storage);
}

void VideoMemory::MakeRoom(uint32_t segment) {
  SegmentState& state = states_[segment];
  while (state.use.placed_bytes > state.use.limit && !state.lingering.empty()) {
    TakeOut(*state.lingering.begin()->second);
  }
  while (std::max(state.use.placed_bytes, state.usage) > state.use.limit && !state.listed.empty()) {
    Demote(*state.listed.begin()->second);
  }
}

void VideoMemory::BringBack() {
  const auto waiting = displaced_;
  for (auto it = waiting.rbegin(); it != waiting.rend(); ++it) {
    Storage& storage = *it->second;
    Placement& at = storage.placement_;
    const bool preferred = Fits(at.preferred, storage.bytes() * at.holders.size());
    int to = at.segment;
    if (preferred) to = static_cast<int>(at.preferred);
    if (to == Placement::kNowhere) {
      to = TargetWithRoom(at, storage.bytes() * at.holders.size(), std::vector<uint64_t>(segments_.size()));
    }
    if (to == at.segment && !preferred) continue;
    Detach(storage);
    at.segment = to;
    at.arrived = true;
    at.demoted = !preferred;
    Attach(storage);
  }
}

// Demoting can fill another segment, and so can bringing back.
void VideoMemory::Settle() {
  for (int pass = 0; pass < 2; ++pass) {
    for (uint32_t i = 0; i < segments_.size(); ++i) MakeRoom(i);
    if (!displaced_.empty()) BringBack();
  }
}

// -- Residency.

std::vector<Storage*> VideoMemory::Once(std::span<Storage* const> storages) {
  std::vector<Storage*> once;
  const uint64_t mark = ++clock_;
  for (Storage* storage : storages) {
    if (storage->placement_.mark == mark) continue;
    storage->placement_.mark = mark;
    once.push_back(storage);
  }
  return once;
}

uint64_t VideoMemory::Missing(const ProcessMemory& process, const std::vector<uint64_t>& wanted,
                              uint32_t flags, uint64_t budget_max) {
  uint64_t missing = 0;
  for (uint32_t i = 0; i < segments_.size(); ++i) {
    if (wanted[i] == 0) continue;
    auto above = [&](uint64_t used, uint64_t limit) {
      return used + wanted[i] > limit ? used + wanted[i] - limit : 0;
    };
    uint64_t most = above(states_[i].usage, states_[i].use.limit);
    if ((flags & kCantTrimFurther) == 0) {
      const MemoryInfo info = budget_.Info(segments_[i].group, process);
      most = std::max(most, above(info.usage, std::min(info.budget, budget_max)));
    }
    missing += most;
  }
  return missing;
}

uint64_t VideoMemory::MakeResident(ProcessMemory& process, std::span<Storage* const> storages, uint32_t flags,
                                   uint64_t budget_max) {
  MutexLock lock(mutex_);
  auto holder = [&process](Placement& at) {
    return std::find_if(at.holders.begin(), at.holders.end(),
                        [&process](const auto& held) { return held.process == &process; });
  };
  std::vector<uint64_t> wanted(segments_.size());
  for (Storage* storage : Once(storages)) {
    Placement& at = storage->placement_;
    if (at.offered || at.decommitted || holder(at) != at.holders.end()) continue;
    wanted[at.placed() ? static_cast<uint32_t>(at.segment) : at.preferred] += storage->bytes();
  }
  if (const uint64_t missing = Missing(process, wanted, flags, budget_max); missing != 0) return missing;
  for (Storage* storage : storages) {
    Placement& at = storage->placement_;
    Detach(*storage);
    if (const auto held = holder(at); held != at.holders.end()) {
      ++held->handles;
    } else {
      at.holders.push_back({&process, 1});
    }
    at.age = ++clock_;
    if (at.listed() && !at.placed()) MoveTo(at, static_cast<int>(at.preferred));
    Attach(*storage);
  }
  Settle();
  return 0;
}

uint64_t VideoMemory::BytesToMove(std::span<Storage* const> storages) {
  MutexLock lock(mutex_);
  uint64_t bytes = 0;
  for (const Storage* storage : Once(storages)) {
    const Placement& at = storage->placement_;
    if (at.listed() && at.placed() && !at.arrived) bytes += storage->bytes();
  }
  return bytes;
}

uint64_t VideoMemory::Evict(ProcessMemory& process, std::span<Storage* const> storages,
                            bool only_if_necessary) {
  {
    MutexLock lock(mutex_);
    for (Storage* storage : storages) {
      Placement& at = storage->placement_;
      Detach(*storage);
      std::erase_if(at.holders,
                    [&process](auto& held) { return held.process == &process && --held.handles == 0; });
      at.age = ++clock_;
      if (at.holders.empty() && !only_if_necessary && at.placed()) {
        StateOf(at).use.evicted_bytes += storage->bytes();
        MoveTo(at, Placement::kNowhere);
      }
      Attach(*storage);
    }
    Settle();
  }
  return BytesOverBudget(process);
}

uint64_t VideoMemory::BytesOverBudget(const ProcessMemory& process) {
  uint64_t over = 0;
  for (uint32_t group = 0; group < kSegmentGroups; ++group) {
    const MemoryInfo info = budget_.Info(static_cast<SegmentGroup>(group), process);
    if (info.usage > info.budget) over += info.usage - info.budget;
  }
  return over;
}

void VideoMemory::Arrive(std::span<const std::weak_ptr<Storage>> storages) {
  for (const auto& weak : storages) {
    // Let go of without the lock: it may be the last one.
    const std::shared_ptr<Storage> storage = weak.lock();
    if (!storage) continue;
    MutexLock lock(mutex_);
    storage->placement_.arrived = storage->placement_.placed();
  }
}

Residency VideoMemory::Where(const Storage& storage) {
  MutexLock lock(mutex_);
  const Placement& at = storage.placement_;
  if (!at.placed() || !at.arrived) return Residency::kNotResident;
  return segments_[static_cast<uint32_t>(at.segment)].aperture ? Residency::kInSystemMemory
                                                               : Residency::kInGpuMemory;
}

bool VideoMemory::Ready(const Storage& storage) {
  MutexLock lock(mutex_);
  return storage.placement_.listed() && storage.placement_.arrived;
}

// -- Properties.

void VideoMemory::SetPriority(Storage& storage, uint32_t priority) {
  MutexLock lock(mutex_);
  Detach(storage);
  storage.placement_.priority = priority;
  Attach(storage);
}

uint32_t VideoMemory::Priority(const Storage& storage) {
  MutexLock lock(mutex_);
  return storage.placement_.priority;
}

bool VideoMemory::ChangeSegments(Storage& storage, uint32_t supported, uint32_t preferred,
                                 uint64_t* bytes_to_move) {
  MutexLock lock(mutex_);
  Placement& at = storage.placement_;
  *bytes_to_move = 0;
  const bool leaves = at.placed() && (supported >> at.segment & 1) == 0;
  if (leaves && at.listed() && !Fits(preferred, storage.bytes() * at.holders.size())) return false;
  Detach(storage);
  at.supported = supported;
  at.preferred = preferred;
  if (leaves) {
    at.segment = at.listed() ? static_cast<int>(preferred) : Placement::kNowhere;
    at.arrived = at.arrived && at.listed();
    *bytes_to_move = at.listed() ? storage.bytes() : 0;
  }
  Attach(storage);
  Settle();
  return true;
}

uint32_t VideoMemory::Supported(const Storage& storage) {
  MutexLock lock(mutex_);
  return storage.placement_.supported;
}

uint32_t VideoMemory::Preferred(const Storage& storage) {
  MutexLock lock(mutex_);
  return storage.placement_.preferred;
}

// -- Offers.

void VideoMemory::Offer(Storage& storage, OfferPriority priority, bool allow_decommit, bool discard,
                        bool in_use) {
  MutexLock lock(mutex_);
  Placement& at = storage.placement_;
  Detach(storage);
  at.offered = true;
  at.offer_priority = priority;
  at.allow_decommit = allow_decommit;
  at.age = ++clock_;
  at.discard_early = discard;
  if (in_use) ++at.users;
  DiscardEarly(storage);
  Attach(storage);
  Settle();
}

void VideoMemory::Unused(Storage& storage) {
  MutexLock lock(mutex_);
  Detach(storage);
  --storage.placement_.users;
  DiscardEarly(storage);
  Attach(storage);
  Settle();
}

void VideoMemory::DiscardEarly(Storage& storage) {
  Placement& at = storage.placement_;
  if (!at.offered || at.users != 0 || !(always_discard_ || at.discard_early)) return;
  Discard(storage);
  MoveTo(at, Placement::kNowhere);
}

bool VideoMemory::Offered(const Storage& storage) {
  MutexLock lock(mutex_);
  return storage.placement_.offered;
}

bool VideoMemory::Decommitted(const Storage& storage) {
  MutexLock lock(mutex_);
  return storage.placement_.decommitted;
}

bool VideoMemory::Reclaim(std::span<Storage* const> storages, std::vector<ReclaimResult>* results,
                          uint64_t* bytes_to_move) {
  {
    MutexLock lock(mutex_);
    std::vector<uint64_t> taken(segments_.size());
    const std::vector<Storage*> once = Once(storages);
    std::vector<int> targets;
    for (const Storage* storage : once) {
      const Placement& at = storage->placement_;
      const bool back = at.offered && !at.listed() && !at.decommitted && !at.holders.empty();
      const uint64_t bytes = storage->bytes() * at.holders.size();
      const int to = back ? TargetWithRoom(at, bytes, taken) : at.segment;
      if (back && to == Placement::kNowhere) return false;
      if (back) taken[static_cast<uint32_t>(to)] += bytes;
      targets.push_back(to);
    }
    // By storage, because one that is in the list twice has one result.
    std::map<const Storage*, ReclaimResult> result_of;
    for (size_t i = 0; i < once.size(); ++i) {
      Placement& at = once[i]->placement_;
      Detach(*once[i]);
      result_of[once[i]] = at.decommitted ? ReclaimResult::kNotCommitted
                           : at.discarded ? ReclaimResult::kDiscarded
                                          : ReclaimResult::kOk;
      at.offered = at.discarded = false;
      if (at.segment != targets[i]) MoveTo(at, targets[i]);
      Attach(*once[i]);
    }
    results->clear();
    for (const Storage* storage : storages) results->push_back(result_of[storage]);
    Settle();
  }
  *bytes_to_move = BytesToMove(storages);
  return true;
}

// -- Trouble, and what there is to see.

void VideoMemory::SetLimit(uint32_t segment, uint64_t bytes) {
  bytes = std::min(bytes, segments_[segment].size_bytes);
  budget_.Resize(segments_[segment].group, bytes);
  MutexLock lock(mutex_);
  states_[segment].use.limit = bytes;
  Settle();
}

void VideoMemory::SetDiscard(bool always, bool never) {
  MutexLock lock(mutex_);
  always_discard_ = always;
  never_discard_ = never;
}

void VideoMemory::Purge() {
  MutexLock lock(mutex_);
  for (uint32_t i = 0; i < segments_.size(); ++i) {
    if (segments_[i].aperture) continue;
    for (const auto& [order, storage] : states_[i].listed) storage->Discard();
    for (const auto& [order, storage] : states_[i].lingering) storage->Discard();
  }
}

void VideoMemory::Trim() {
  MutexLock lock(mutex_);
  for (SegmentState& state : states_) {
    while (!state.lingering.empty()) TakeOut(*state.lingering.begin()->second);
  }
}

SegmentUse VideoMemory::Use(uint32_t segment) {
  MutexLock lock(mutex_);
  return states_[segment].use;
}

}  // namespace dxg::hostsim
