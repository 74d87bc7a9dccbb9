#include "cuse-dxg/guest/event_table.h"

#include <utility>
#include <vector>

namespace dxg::guest {

uint64_t EventTable::Add(const Process& owner, std::shared_ptr<client::EventFile> signalled,
                         Lifetime lifetime) {
  MutexLock lock(mutex_);
  events_.emplace(++last_, Entry{std::move(signalled), &owner});
  if (lifetime == Lifetime::kUntilRemoved) lasting_.insert(last_);
  of_process_[&owner].events.push_back(last_);
  return last_;
}

// The caller drops what it gets after the lock: it may own anything.
std::shared_ptr<client::EventFile> EventTable::TakeLocked(uint64_t event) {
  auto entry = events_.extract(event);
  if (entry.empty()) return nullptr;
  lasting_.erase(event);
  const auto owner = of_process_.find(entry.mapped().owner);
  if (owner != of_process_.end()) {
    auto& [events, gone] = owner->second;
    if (++gone == events.size()) {
      of_process_.erase(owner);
    } else if (gone > events.size() / 2) {
      std::erase_if(events, [this](uint64_t each) DXG_REQUIRES(mutex_) { return !events_.contains(each); });
      gone = 0;
    }
  }
  return std::move(entry.mapped().signalled);
}

void EventTable::Remove(uint64_t event) {
  std::shared_ptr<client::EventFile> dropped;
  MutexLock lock(mutex_);
  dropped = TakeLocked(event);
}

namespace {

// Nobody signals it any more: where it is a call, that ends.
void LetGo(client::EventFile& signalled) {
  if (auto* parked = dynamic_cast<ParkedCall*>(&signalled)) parked->Abandon();
}

}  // namespace

void EventTable::RemoveAll(const Process& owner) {
  std::vector<std::shared_ptr<client::EventFile>> removed;
  {
    MutexLock lock(mutex_);
    const auto all = of_process_.extract(&owner);
    if (all.empty()) return;
    for (const uint64_t event : all.mapped().events) {
      if (auto signalled = TakeLocked(event)) removed.push_back(std::move(signalled));
    }
  }
  for (const auto& signalled : removed) LetGo(*signalled);
}

void EventTable::EndAll() {
  std::unordered_map<uint64_t, Entry> ended;
  {
    MutexLock lock(mutex_);
    ended.swap(events_);
    of_process_.clear();
    lasting_.clear();
  }
  for (const auto& [event, entry] : ended) LetGo(*entry.signalled);
}

void EventTable::AllHappen() {
  std::unordered_map<uint64_t, Entry> all;
  {
    MutexLock lock(mutex_);
    all.swap(events_);
    of_process_.clear();
    lasting_.clear();
  }
  for (const auto& [event, entry] : all) entry.signalled->Signal();
}

void EventTable::Happened(uint64_t event) {
  std::shared_ptr<client::EventFile> signalled;
  {
    MutexLock lock(mutex_);
    const auto found = events_.find(event);
    if (found == events_.end()) return;
    signalled = lasting_.contains(event) ? found->second.signalled : TakeLocked(event);
  }
  signalled->Signal();
}

size_t EventTable::size() {
  MutexLock lock(mutex_);
  return events_.size();
}

// False where it has ended already.
bool ParkedCall::Suspend(std::coroutine_handle<> waiter) {
  uintptr_t nothing = 0;
  // Safety: the address of a coroutine is neither 0 nor an End, and comes back as what it was.
  return state_.compare_exchange_strong(nothing, reinterpret_cast<uintptr_t>(waiter.address()),
                                        std::memory_order_acq_rel);
}

void ParkedCall::Finish(End end) {
  const auto ended = [](uintptr_t state) {
    return state != 0 && state <= static_cast<uintptr_t>(End::kGone);
  };
  uintptr_t state = state_.load(std::memory_order_acquire);
  do {
    if (ended(state)) return;
  } while (!state_.compare_exchange_weak(state, static_cast<uintptr_t>(end), std::memory_order_acq_rel));
  // Safety: Suspend put it there.
  if (state != 0) std::coroutine_handle<>::from_address(reinterpret_cast<void*>(state)).resume();
}

}  // namespace dxg::guest
