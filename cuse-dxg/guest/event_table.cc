#include "cuse-dxg/guest/event_table.h"

#include <array>
#include <new>
#include <utility>

#include "cuse-dxg/guest/client_event.h"

namespace dxg::guest {

uint64_t EventTable::Add(const Process& owner, std::shared_ptr<client::EventFile> signalled,
                         Lifetime lifetime, Charge charge) {
  MutexLock lock(mutex_);
  const uint64_t event = ++last_;
  const auto newest = newest_.try_emplace(&owner, 0).first;
  const uint64_t previous = newest->second;
  try {
    if (lifetime == Lifetime::kUntilRemoved) lasting_.insert(event);
    events_.emplace(event, Entry{std::move(signalled), &owner, previous, 0});
    if (charge) charges_.emplace(event, std::move(charge));
  } catch (const std::bad_alloc&) {
    lasting_.erase(event);
    events_.erase(event);
    if (previous == 0) newest_.erase(newest);
    throw;
  }
  newest->second = event;
  if (previous != 0) events_.find(previous)->second.next = event;
  return event;
}

// The caller drops what it gets after the lock: it may own anything.
std::shared_ptr<client::EventFile> EventTable::TakeLocked(uint64_t event) {
  auto entry = events_.extract(event);
  if (entry.empty()) return nullptr;
  lasting_.erase(event);
  charges_.erase(event);
  const auto& [signalled, owner, previous, next] = entry.mapped();
  if (previous != 0) events_.find(previous)->second.next = next;
  if (next != 0) {
    events_.find(next)->second.previous = previous;
  } else if (previous != 0) {
    newest_[owner] = previous;
  } else {
    newest_.erase(owner);
  }
  return std::move(entry.mapped().signalled);
}

void EventTable::SetCharge(uint64_t event, Charge charge) {
  MutexLock lock(mutex_);
  if (charge && events_.contains(event)) charges_.try_emplace(event, std::move(charge));
}

void EventTable::Remove(uint64_t event) {
  std::shared_ptr<client::EventFile> dropped;
  MutexLock lock(mutex_);
  dropped = TakeLocked(event);
}

void EventTable::SetName(uint64_t event, uint32_t object, uint64_t value) {
  MutexLock lock(mutex_);
  const auto found = events_.find(event);
  if (found == events_.end()) return;
  if (auto* const observed = dynamic_cast<ObservedEvent*>(found->second.signalled.get()))
    observed->SetName(object, value);
}

bool EventTable::Redirect(uint64_t event, std::shared_ptr<client::EventFile> signalled) {
  MutexLock lock(mutex_);  // given back before what was signalled so far is dropped, as a parameter is
  const auto found = events_.find(event);
  if (found == events_.end()) return false;
  found->second.signalled.swap(signalled);
  return true;
}

namespace {

// Nobody signals it any more: where it is a call, that ends.
void LetGo(client::EventFile& signalled) {
  if (auto* parked = dynamic_cast<ParkedCall*>(&signalled)) parked->Abandon();
}

}  // namespace

bool EventTable::RemoveSome(const Process& owner) {
  constexpr size_t kAtOnce = 64;
  std::array<std::shared_ptr<client::EventFile>, kAtOnce> removed;
  bool more = false;
  {
    MutexLock lock(mutex_);
    for (auto& signalled : removed) {
      const auto newest = newest_.find(&owner);
      if (newest == newest_.end()) break;
      signalled = TakeLocked(newest->second);
    }
    more = newest_.contains(&owner);
  }
  for (const auto& signalled : removed) {
    if (signalled != nullptr) LetGo(*signalled);
  }
  return more;
}

void EventTable::EndAll() {
  std::unordered_map<uint64_t, Entry> ended;
  {
    MutexLock lock(mutex_);
    ended.swap(events_);
    newest_.clear();
    charges_.clear();
    lasting_.clear();
  }
  for (const auto& [event, entry] : ended) LetGo(*entry.signalled);
}

void EventTable::AllHappen() {
  std::unordered_map<uint64_t, Entry> all;
  {
    MutexLock lock(mutex_);
    all.swap(events_);
    newest_.clear();
    charges_.clear();
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
