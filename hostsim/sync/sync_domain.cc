#include "hostsim/sync/sync_domain.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "base/memory_reserve.h"
#include "base/page.h"
#include "proto/abi/interface.h"

namespace dxg::hostsim {

SyncObject::SyncObject(SyncDomain& domain, const SyncTraits& traits, std::atomic<uint64_t>& count)
    : traits(traits), domain_(domain), value_(traits.initial), counted_(count) {}

// -- Pages.

std::shared_ptr<SyncPage> SyncPage::Create(RegionSet& regions, std::shared_ptr<SyncObject> object) {
  Extent extent = regions.AllocateInSight(kPageBytes);
  std::atomic<uint64_t>* const word = extent ? extent.Word(0) : nullptr;
  if (!word) return nullptr;
  SyncObject& shown = *object;
  auto page = std::make_shared<SyncPage>(std::move(extent), std::move(object));
  return shown.domain().ShowIn(shown, word) ? page : nullptr;
}

SyncPage::~SyncPage() { object_->domain().HideIn(*object_, extent_.Word(0)); }

bool SyncDomain::ShowIn(SyncObject& object, std::atomic<uint64_t>* word) {
  MutexLock lock(mutex_);
  if (object.pages_.size() >= SyncPage::kPagesMax) return false;
  word->store(object.value(), std::memory_order_release);
  object.pages_.push_back(word);
  return true;
}

void SyncDomain::HideIn(SyncObject& object, const std::atomic<uint64_t>* word) {
  MutexLock lock(mutex_);
  const auto found = std::find(object.pages_.begin(), object.pages_.end(), word);
  if (found == object.pages_.end()) return;
  *found = object.pages_.back();
  object.pages_.pop_back();
}

namespace {

// A guest that has lost its host writes kFenceLost into its fences, so that nobody waits for them any more.
// The host that was lost may live on for a moment and finish what was queued: that must not take them back.
void Show(std::atomic<uint64_t>& page, uint64_t before, uint64_t value) {
  uint64_t shown = page.load(std::memory_order_relaxed);
  while ((shown != kFenceLost || before == kFenceLost) &&
         !page.compare_exchange_weak(shown, value, std::memory_order_release, std::memory_order_relaxed)) {
  }
}

}  // namespace

void SyncDomain::SetValue(SyncObject& object, uint64_t value) {
  const uint64_t before = object.value_.exchange(value, std::memory_order_acq_rel);
  for (std::atomic<uint64_t>* page : object.pages_) Show(*page, before, value);
}

// -- Taking.

bool SyncDomain::Available(const SyncObject& object) {
  if (object.traits.type == SyncType::kMutex) return object.value() == 0;
  return object.traits.type == SyncType::kSemaphore && object.value() != 0;
}

bool SyncDomain::Met(const SyncPoint& point) {
  const SyncObject& object = *point.object;
  if (object.ended_) return true;
  return object.traits.fence() ? object.reached(point.value) : Available(object);
}

void SyncDomain::TakeOne(SyncObject& object, uint64_t queue) {
  if (object.ended_) return;
  if (object.traits.type == SyncType::kMutex) {
    if (queue != 0) owned_.emplace(queue, &object);
    SetValue(object, 1);
    object.owner_ = queue;
  } else if (object.traits.type == SyncType::kSemaphore) {
    SetValue(object, object.value() - 1);
  }
}

// The other way round: also what a signal does.
void SyncDomain::GiveBack(SyncObject& object) {
  if (object.ended_) return;
  if (object.traits.type == SyncType::kMutex) {
    const auto [begin, end] = owned_.equal_range(object.owner_);
    const auto owned =
        std::find_if(begin, end, [&object](const auto& entry) { return entry.second == &object; });
    if (owned != end) owned_.erase(owned);
    object.owner_ = 0;
    SetValue(object, 0);
  } else if (object.traits.type == SyncType::kSemaphore && object.value() < object.traits.count_max) {
    SetValue(object, object.value() + 1);
  }
}

// Null: taken. Otherwise nothing is, and the point is one that is in the way. What stands in the list twice
// is taken twice.
const SyncPoint* SyncDomain::Take(std::span<const SyncPoint> points, bool any, uint64_t queue) {
  if (any) {
    const auto met = std::find_if(points.begin(), points.end(), Met);
    if (met == points.end()) return points.empty() ? nullptr : &points.front();
    TakeOne(*met->object, queue);
    return nullptr;
  }
  for (size_t taken = 0; taken < points.size(); ++taken) {
    if (Met(points[taken])) {
      TakeOne(*points[taken].object, queue);
      continue;
    }
    for (const SyncPoint& point : points.first(taken)) GiveBack(*point.object);
    return &points[taken];
  }
  return nullptr;
}

// -- Waiters.

void SyncDomain::Watch(Waiter& waiter) {
  auto watch = [&waiter](const SyncPoint& point) {
    const uint64_t value = point.object->traits.fence() ? point.value : 0;
    point.object->watches_.insert({value, waiter.number});
  };
  if (!waiter.several || waiter.any()) {
    for (const SyncPoint& point : waiter.points()) watch(point);
    return;
  }
  watch(waiter.point);
  for (const SyncPoint& point : waiter.points()) {
    if (point.object != waiter.point.object) point.object->others_.insert(waiter.number);
  }
}

void SyncDomain::Unwatch(Waiter& waiter) {
  auto unwatch = [&waiter](const SyncPoint& point) {
    const uint64_t value = point.object->traits.fence() ? point.value : 0;
    point.object->watches_.erase({value, waiter.number});
  };
  if (!waiter.several || waiter.any()) {
    for (const SyncPoint& point : waiter.points()) unwatch(point);
    return;
  }
  unwatch(waiter.point);
  for (const SyncPoint& point : waiter.points()) point.object->others_.erase(waiter.number);
}

// Where memory runs out (std::bad_alloc) nothing is registered.
SyncDomain::Waiter& SyncDomain::Register(std::span<const SyncPoint> points, bool any, const SyncPoint* unmet,
                                         Waiter::Who who) {
  const uint64_t number = ++numbers_;
  std::unique_ptr<const Waiter::Several> several;
  if (points.size() > 1) several.reset(new Waiter::Several{{points.begin(), points.end()}, any});
  Waiter& waiter =
      waiters_.emplace(number, Waiter{number, std::move(who), *unmet, std::move(several)}).first->second;
  try {
    Watch(waiter);
  } catch (const std::bad_alloc&) {
    Unwatch(waiter);
    waiters_.erase(number);
    throw;
  }
  ++waits_;
  return waiter;
}

// Its memory goes, and with it the last that may hold one of the objects.
void SyncDomain::Forget(Waiter& waiter) {
  Unwatch(waiter);
  if (const Waiter::Cpu* cpu = waiter.cpu()) {
    --cpu->list->budget_.pending;
    if (cpu->next) cpu->next->cpu()->previous = cpu->previous;
    (cpu->previous ? cpu->previous->cpu()->next : cpu->list->first_) = cpu->next;
  }
  --waits_;
  waiters_.erase(waiter.number);
}

void SyncDomain::Release(Waiter& waiter, Aftermath* aftermath) {
  if (const Waiter::Cpu* cpu = waiter.cpu()) {
    NoteWaitEnded(waiter.points(), waiter.any(), waiter.point, cpu->event, *cpu->list, aftermath);
    aftermath->events.push_back(cpu->event);
  } else {
    aftermath->Then(std::move(std::get<Waiter::Queue>(waiter.who).released));
  }
  Forget(waiter);
}

uint64_t SyncDomain::Wait(std::span<const SyncPoint> points, bool any, uint64_t queue,
                          std::function<void()> released) {
  MutexLock lock(mutex_);
  const SyncPoint* unmet = Take(points, any, queue);
  return unmet ? Register(points, any, unmet, Waiter::Queue{queue, std::move(released)}).number : 0;
}

bool SyncDomain::WaitOnCpu(std::span<const SyncPoint> points, bool any, const GuestEvent& event,
                           CpuWaits& waits, Aftermath* aftermath) {
  MutexLock lock(mutex_);
  const SyncPoint* unmet = Take(points, any, 0);
  if (!unmet) {
    const MemoryReserve::Use of_all;  // it is taken
    if (!points.empty()) NoteWaitEnded(points, any, points.back(), event, waits, aftermath);
    aftermath->events.push_back(event);
    return true;
  }
  if (waits.budget_.pending >= CpuWaitBudget::kMax) return false;
  Waiter& waiter = Register(points, any, unmet, Waiter::Cpu{event, &waits, waits.first_, nullptr});
  ++waits.budget_.pending;
  if (waits.first_) waits.first_->cpu()->previous = &waiter;
  waits.first_ = &waiter;
  return true;
}

void SyncDomain::StopWaiting(uint64_t number) {
  MutexLock lock(mutex_);
  if (const auto found = waiters_.find(number); found != waiters_.end()) Forget(found->second);
}

// The oldest is at the end of the list.
void SyncDomain::EndCpuWaits(CpuWaits& waits, Aftermath* aftermath) {
  const MemoryReserve::Use of_all;
  MutexLock lock(mutex_);
  std::vector<Waiter*> list;
  for (Waiter* waiter = waits.first_; waiter; waiter = waiter->cpu()->next) list.push_back(waiter);
  for (auto waiter = list.rbegin(); waiter != list.rend(); ++waiter) Release(**waiter, aftermath);
}

void SyncDomain::ReleaseWaits(SyncObject& object, bool only_cpu, Aftermath* aftermath) {
  std::vector<uint64_t> numbers(object.others_.begin(), object.others_.end());
  for (const SyncObject::Watch& watch : object.watches_) numbers.push_back(watch.number);
  std::sort(numbers.begin(), numbers.end());
  for (const uint64_t number : numbers) {
    const auto found = waiters_.find(number);  // one that watches the object at two values is gone by now
    if (found != waiters_.end() && (found->second.cpu() || !only_cpu)) Release(found->second, aftermath);
  }
}

// -- Changes.

void SyncDomain::SignalOne(const SyncPoint& point, bool rewind, Aftermath* aftermath) {
  SyncObject& object = *point.object;
  if (object.ended_) return;
  if (object.traits.type == SyncType::kCpuNotification) {
    aftermath->events.push_back(object.traits.event);
  } else if (!object.traits.fence()) {
    GiveBack(object);
  } else if (rewind || point.value > object.value()) {
    SetFence(object, point.value, aftermath);
  } else if (point.value < object.value()) {
    ++ignored_rewinds;
  }
}

// A waiter whose turn it is is either satisfied, or watches what is in its way now.
void SyncDomain::Judge(uint64_t number, Aftermath* aftermath) {
  const auto found = waiters_.find(number);
  if (found == waiters_.end()) return;
  Waiter& waiter = found->second;
  const SyncPoint* unmet = Take(waiter.points(), waiter.any(), waiter.queue());
  if (!unmet) return Release(waiter, aftermath);
  Unwatch(waiter);
  waiter.point = *unmet;
  Watch(waiter);
}

// Who watches a fence is known from its value. Mutexes and semaphores are looked at again for each waiter,
// because the one before may have taken them.
void SyncDomain::Settle(std::span<SyncObject* const> changed, Aftermath* aftermath) {
  constexpr uint64_t kNobody = ~0ull;
  std::vector<uint64_t> ready;
  for (const SyncObject* object : changed) {
    if (!object->traits.fence()) continue;
    for (const SyncObject::Watch& watch : object->watches_) {
      if (watch.value > object->value()) break;
      ready.push_back(watch.number);
    }
  }
  std::sort(ready.begin(), ready.end());
  uint64_t judged = 0;
  while (true) {
    const auto after = std::upper_bound(ready.begin(), ready.end(), judged);
    uint64_t number = after != ready.end() ? *after : kNobody;
    for (const SyncObject* object : changed) {
      if (object->traits.fence() || !Available(*object)) continue;
      const auto watch = object->watches_.upper_bound({0, judged});
      if (watch != object->watches_.end()) number = std::min(number, watch->number);
    }
    if (number == kNobody) return;
    Judge(number, aftermath);
    judged = number;
  }
}

void SyncDomain::Signal(std::span<const SyncPoint> points, bool rewind, Aftermath* aftermath) {
  const MemoryReserve::Use of_all;
  MutexLock lock(mutex_);
  SignalAll(points, rewind, aftermath);
}

bool SyncDomain::SignalFromCpu(std::span<const SyncPoint> points, bool rewind, Aftermath* aftermath) {
  const MemoryReserve::Use of_all;
  MutexLock lock(mutex_);
  const auto lowers = [](const SyncPoint& point) {
    return !point.object->ended_ && point.value < point.object->value();
  };
  if (!rewind && std::any_of(points.begin(), points.end(), lowers)) return false;
  SignalAll(points, rewind, aftermath);
  return true;
}

void SyncDomain::SignalAll(std::span<const SyncPoint> points, bool rewind, Aftermath* aftermath) {
  std::vector<SyncObject*> changed;
  for (const SyncPoint& point : points) {
    SignalOne(point, rewind, aftermath);
    changed.push_back(point.object.get());
  }
  Settle(changed, aftermath);
}

bool SyncDomain::Raise(SyncObject& fence, uint64_t value, Aftermath* aftermath) {
  const MemoryReserve::Use of_all;
  MutexLock lock(mutex_);
  if (fence.ended_) return false;
  if (value <= fence.value()) return true;
  SetFence(fence, value, aftermath);
  SyncObject* const changed[] = {&fence};
  Settle(changed, aftermath);
  return true;
}

void SyncDomain::Store(SyncObject& fence, uint64_t value, Aftermath* aftermath) {
  const MemoryReserve::Use of_all;
  MutexLock lock(mutex_);
  if (fence.ended_) return;
  SetFence(fence, value, aftermath);
  SyncObject* const changed[] = {&fence};
  Settle(changed, aftermath);
}

void SyncDomain::ReadMemory(const SyncObject& fence, uint64_t offset, Bytes bytes) const {
  const uint64_t value = fence.value();
  std::fill(bytes.begin(), bytes.end(), uint8_t{0});
  if (offset >= sizeof value || bytes.empty()) return;
  std::memcpy(bytes.data(), reinterpret_cast<const uint8_t*>(&value) + offset,
              std::min<size_t>(bytes.size(), sizeof value - offset));
}

void SyncDomain::WriteMemory(SyncObject& fence, uint64_t offset, ConstBytes bytes, Aftermath* aftermath) {
  uint64_t value = 0;
  if (offset >= sizeof value || bytes.empty()) return;
  const MemoryReserve::Use of_all;
  MutexLock lock(mutex_);
  if (fence.ended_) return;
  value = fence.value();
  std::memcpy(reinterpret_cast<uint8_t*>(&value) + offset, bytes.data(),
              std::min<size_t>(bytes.size(), sizeof value - offset));
  SetFence(fence, value, aftermath);
  SyncObject* const changed[] = {&fence};
  Settle(changed, aftermath);
}

void SyncDomain::ReleaseOwner(uint64_t queue, Aftermath* aftermath) {
  const MemoryReserve::Use of_all;
  MutexLock lock(mutex_);
  std::vector<SyncObject*> changed;
  const auto [begin, end] = owned_.equal_range(queue);
  for (auto it = begin; it != end; ++it) changed.push_back(it->second);
  for (SyncObject* object : changed) GiveBack(*object);
  Settle(changed, aftermath);
}

// -- Names.

bool SyncDomain::Retain(SyncObject& object) {
  MutexLock lock(mutex_);
  if (object.ended_) return false;
  ++object.references_;
  return true;
}

bool SyncDomain::Drop(SyncObject& object, bool local, Aftermath* aftermath) {
  const MemoryReserve::Use of_all;
  MutexLock lock(mutex_);
  if (--object.references_ == 0) {
    if (object.traits.type == SyncType::kMutex) GiveBack(object);
    object.ended_ = true;
    ReleaseWaits(object, false, aftermath);
    return true;
  }
  if (local && (object.traits.flags & kSyncUnwaitCpuWaitersOnlyOnDestroy) == 0) {
    ReleaseWaits(object, true, aftermath);
  }
  return false;
}

}  // namespace dxg::hostsim
