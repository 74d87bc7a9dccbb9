#include "cuse-dxg/guest/long_calls.h"

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

namespace dxg::guest {

struct LongCalls::Slot {
  Slot();
  ~Slot();

  Mutex mutex;
  Who who DXG_GUARDED_BY(mutex) = {};
  Caller* call DXG_GUARDED_BY(mutex) = nullptr;
  LongCalls* owner DXG_GUARDED_BY(mutex) = nullptr;  // of the request that the thread serves
  bool is_long DXG_GUARDED_BY(mutex) = false;        // the request
  bool watched DXG_GUARDED_BY(mutex) = false;        // the call
};

namespace {

// Of all threads that have ever served a call. Never destroyed: threads may end after the program's main.
struct Threads {
  Mutex mutex;
  std::vector<void*> slots DXG_GUARDED_BY(mutex);
};

Threads& AllThreads() {
  static auto* threads = new Threads;
  return *threads;
}

}  // namespace

LongCalls::Slot::Slot() {
  Threads& all = AllThreads();
  MutexLock lock(all.mutex);
  all.slots.push_back(this);
}

LongCalls::Slot::~Slot() {
  Threads& all = AllThreads();
  MutexLock lock(all.mutex);
  std::erase(all.slots, this);
}

LongCalls::Slot& LongCalls::ThisThread() {
  thread_local Slot slot;
  return slot;
}

LongCalls::~LongCalls() {
  std::list<Kept> kept;
  {
    MutexLock lock(mutex_);
    kept.swap(kept_);
  }
  for (Kept& each : kept) each.request->Answer(-ENODEV, {});
}

void LongCalls::Enter(Caller& caller) {
  Slot& slot = ThisThread();
  {
    MutexLock lock(slot.mutex);
    slot.call = &caller;
    slot.watched = slot.is_long;
    if (!slot.watched) return;
    caller.AddShare();
  }
  // One that was kept: its process has shown that it takes long.
  Caller::WatchForDeath(Caller::Share(&caller, {1}));
}

bool LongCalls::Leave() {
  Slot& slot = ThisThread();
  MutexLock lock(slot.mutex);
  slot.call = nullptr;
  return slot.watched;
}

void LongCalls::LookAtAll() {
  std::vector<Caller::Share> found;
  Threads& all = AllThreads();
  MutexLock lock(all.mutex);
  try {
    found.reserve(all.slots.size());
  } catch (const std::bad_alloc&) {
    return;  // the next look finds them
  }
  for (void* each : all.slots) {
    Slot& slot = *static_cast<Slot*>(each);
    MutexLock slot_lock(slot.mutex);
    if (slot.call == nullptr || slot.owner != this) continue;
    if (!slot.is_long) {
      MutexLock counting(mutex_);
      if (!Count(slot.who, 1)) continue;
      slot.is_long = true;
    }
    if (std::exchange(slot.watched, true)) continue;
    slot.call->AddShare();
    found.emplace_back(slot.call, Caller::Release{1});
  }
  lock.Unlock();
  for (Caller::Share& each : found) Caller::WatchForDeath(std::move(each));
}

bool LongCalls::Begin(Who who) {
  Slot& slot = ThisThread();
  MutexLock lock(slot.mutex);
  if (slot.owner != nullptr) return false;
  slot.who = who;
  slot.owner = this;
  return true;
}

void LongCalls::End(Who who) {
  Slot& slot = ThisThread();
  for (;;) {
    {
      MutexLock lock(slot.mutex);
      slot.owner = nullptr;
      if (!std::exchange(slot.is_long, false)) return;
    }
    Kept next;
    if (!TakeNext(who, &next)) return;
    who = next.who;
    {
      MutexLock lock(slot.mutex);
      slot.who = who;
      slot.owner = this;
      slot.is_long = true;
    }
    try {
      next.serve(next.request);
    } catch (const std::bad_alloc&) {
      next.request->Answer(-ENOMEM, {});
    }
  }
}

bool LongCalls::MayBegin(Who who) const {
  const auto of_process = of_process_.find(who.tgid);
  if (of_process != of_process_.end() && of_process->second >= kOfProcessMax) return false;
  const auto of_user = of_user_.find(who.uid);
  return of_user == of_user_.end() || of_user->second < kOfUserMax;
}

bool LongCalls::Count(Who who, int by) {
  try {
    of_process_[who.tgid] += 0;
    of_user_[who.uid] += by;
  } catch (const std::bad_alloc&) {
    if (const auto found = of_process_.find(who.tgid); found != of_process_.end() && found->second == 0)
      of_process_.erase(found);
    return false;
  }
  count_ += by;
  if ((of_process_[who.tgid] += by) == 0) of_process_.erase(who.tgid);
  if (of_user_[who.uid] == 0) of_user_.erase(who.uid);
  return true;
}

bool LongCalls::Keep(Who who, std::unique_ptr<attach::IoctlRequest>& request, Serve serve) {
  MutexLock lock(mutex_);
  if (MayBegin(who)) return false;
  const uint64_t number = ++last_number_;
  attach::IoctlRequest& kept = *request;
  kept_.push_back({number, who, nullptr, std::move(serve)});
  kept_.back().request = std::move(request);  // what needs memory came before
  // With the lock held, so that nobody serves it before that.
  kept.OnInterrupt([this, number] { Interrupted(number); });
  return true;
}

// Nothing was done for it yet, so the kernel may make the call anew.
void LongCalls::Interrupted(uint64_t number) {
  std::list<Kept> taken;
  {
    MutexLock lock(mutex_);
    const auto found = std::find_if(kept_.begin(), kept_.end(),
                                    [number](const Kept& each) { return each.number == number; });
    if (found == kept_.end()) return;
    taken.splice(taken.begin(), kept_, found);
  }
  taken.front().request->Answer(attach::IoctlRequest::kRestart, {});
}

bool LongCalls::TakeNext(Who ended, Kept* next) {
  std::list<Kept> refused;
  bool taken = false;
  {
    MutexLock lock(mutex_);
    Count(ended, -1);
    for (auto each = kept_.begin(); each != kept_.end() && !taken;) {
      const auto looked_at = each++;
      if (!MayBegin(looked_at->who)) continue;
      taken = Count(looked_at->who, 1);
      if (taken) {
        *next = std::move(*looked_at);
        kept_.erase(looked_at);
      } else {
        refused.splice(refused.end(), kept_, looked_at);
      }
    }
  }
  for (const Kept& each : refused) each.request->Answer(-ENOMEM, {});
  return taken;
}

}  // namespace dxg::guest
