#pragma once

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/mutex.h"
#include "cuse-dxg/client/event_file.h"
#include "cuse-dxg/guest/account.h"
#include "cuse-dxg/guest/interrupted_waits.h"

namespace dxg::guest {

class Process;

// What the guest asked its host to tell: by a number that the guest chose and sends along with a command. The
// numbers are the VM's, from 2 on, and never used again, so that late host events are ignored.
//
// A hundred thousand waits may be pending, so an entry is small: a number, an eventfd that all waits with it
// share, a process.
class EventTable {
 public:
  enum class Lifetime : uint8_t { kOnce, kUntilRemoved };

  // Enters an event, before the command with its number is sent: it may happen before that is answered.
  // `owner` is whom it ends with, and `charge` is held until then.
  uint64_t Add(const Process& owner, std::shared_ptr<client::EventFile> signalled, Lifetime lifetime,
               Charge charge = {}) DXG_EXCLUDES(mutex_);
  // Held from now on until it has happened; nothing where it has, or where it has a charge.
  void SetCharge(uint64_t event, Charge charge) DXG_EXCLUDES(mutex_);
  // It is not to happen any more; nothing where it has happened, or is 0.
  void Remove(uint64_t event) DXG_EXCLUDES(mutex_);
  // What it is of, for who observes it: a handle of its process, and a value. Nothing where it has happened.
  void SetName(uint64_t event, uint32_t object, uint64_t value) DXG_EXCLUDES(mutex_);
  // Whom it signals from now on. False: it has happened, or is not to happen any more.
  bool Redirect(uint64_t event, std::shared_ptr<client::EventFile> signalled) DXG_EXCLUDES(mutex_);
  // What a process has, at its end: a number of them that holds up nobody else. False: that was the rest.
  bool RemoveSome(const Process& owner) DXG_EXCLUDES(mutex_);
  // All of them happen now, once: whoever waits has nobody left to wait for.
  void AllHappen() DXG_EXCLUDES(mutex_);
  // Nothing is going to happen any more: eventfds are let go, parked calls end.
  void EndAll() DXG_EXCLUDES(mutex_);
  // The host says so. From any thread, under no lock; unknown numbers are ignored.
  void Happened(uint64_t event) DXG_EXCLUDES(mutex_);

  size_t size() DXG_EXCLUDES(mutex_);

 private:
  // `previous` and `next` are the owner's, by their numbers; 0: none.
  struct Entry {
    std::shared_ptr<client::EventFile> signalled;
    const Process* owner;  // a name, never followed
    uint64_t previous, next;
  };

  std::shared_ptr<client::EventFile> TakeLocked(uint64_t event) DXG_REQUIRES(mutex_);

  Mutex mutex_;
  std::unordered_map<uint64_t, Entry> events_ DXG_GUARDED_BY(mutex_);
  // Those of them that are kUntilRemoved; they are few.
  std::unordered_set<uint64_t> lasting_ DXG_GUARDED_BY(mutex_);
  // Of those that have one.
  std::unordered_map<uint64_t, Charge> charges_ DXG_GUARDED_BY(mutex_);
  // The newest of each process that has any.
  std::unordered_map<const Process*, uint64_t> newest_ DXG_GUARDED_BY(mutex_);
  uint64_t last_ DXG_GUARDED_BY(mutex_) = 1;
};

// A call that waits without limit, in the place of an eventfd. Whoever comes first ends it, from any thread;
// the others find nothing to do. It holds no thread meanwhile.
class ParkedCall final : public client::EventFile {
 public:
  enum class End : uintptr_t { kEvent = 1, kInterrupt = 2, kGone = 3 };

  void Signal() override { Finish(End::kEvent); }
  void Interrupt() { Finish(End::kInterrupt); }
  // Nobody is left who could signal it.
  void Abandon() { Finish(End::kGone); }

  // `co_await parked->Ended()` waits, and gives what ended it. Whoever waits keeps the call.
  struct Awaiter {
    ParkedCall* parked;
    bool await_ready() const { return false; }
    bool await_suspend(std::coroutine_handle<> waiter) const { return parked->Suspend(waiter); }
    End await_resume() const { return static_cast<End>(parked->state_.load(std::memory_order_acquire)); }
  };
  Awaiter Ended() { return {this}; }

  // Of the wait, to know it again. It is here because there is room: a frame that waits would grow by it.
  WaitDigest digest{};

 private:
  bool Suspend(std::coroutine_handle<> waiter);
  void Finish(End end);

  std::atomic<uintptr_t> state_{0};  // 0, the End, or the address of the coroutine that waits
};

}  // namespace dxg::guest
