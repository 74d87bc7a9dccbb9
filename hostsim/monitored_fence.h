#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>

#include "hostsim/aftermath.h"
#include "hostsim/io_space.h"
#include "hostsim/mutex.h"
#include "hostsim/object.h"

namespace dxg::hostsim {

// A 64-bit number that GPU and CPU raise and wait for. The guest's CPU reads it in a page of its own; the
// host keeps the true one, because a client may write into its mapping whatever it likes.
//
// Several processes may share one, and engines wait for it, so it has a lock of its own, which is a leaf:
// whoever is released is called later, from the aftermath.
class MonitoredFence {
 public:
  // What a fence is raised to when nobody can raise it any more, so that every wait ends.
  static constexpr uint64_t kLost = ~0ull;

  // Null where there is no page for it.
  static std::shared_ptr<MonitoredFence> Create(RegionSet& regions, uint64_t initial,
                                                std::atomic<uint64_t>& count);
  MonitoredFence(Extent page, uint64_t initial, std::atomic<uint64_t>& count);

  uint64_t value() const { return value_.load(std::memory_order_acquire); }
  bool reached(uint64_t value) const { return this->value() >= value; }
  uint64_t window_address() const { return page_.window_address(); }

  // Sets the value and takes out every waiter that it satisfies. A value below the present one is set as
  // well: whether that may be is its user's rule.
  void Signal(uint64_t value, Aftermath* aftermath);
  // As Signal, but never downwards: values of paging operations may end out of turn only by an error.
  void Raise(uint64_t value, Aftermath* aftermath);

  // 0, and nothing noted, where the value is reached already. Otherwise `released` is called once when it is;
  // the number takes the waiter back.
  uint64_t Wait(uint64_t value, std::function<void()> released);
  void StopWaiting(uint64_t waiter);
  // Releases everybody, whatever they wait for.
  void ReleaseAll(Aftermath* aftermath);

 private:
  void SetValue(uint64_t value, Aftermath* aftermath) HOSTSIM_REQUIRES(mutex_);

  Extent page_;
  std::atomic<uint64_t>* const shared_;  // in page_
  Mutex mutex_;
  std::atomic<uint64_t> value_;  // written under mutex_
  uint64_t waiters_ever_ HOSTSIM_GUARDED_BY(mutex_) = 0;
  std::multimap<uint64_t, std::pair<uint64_t, std::function<void()>>> waiters_
      HOSTSIM_GUARDED_BY(mutex_);  // by value; with their number
  Counted counted_;
};

class Device;

// A process's handle on a fence. That of a paging queue is only for waiting: the queue raises and ends it.
class FenceHandle : public Object {
 public:
  static constexpr ObjectKind kKind = ObjectKind::kFence;

  FenceHandle(Device& device, std::shared_ptr<MonitoredFence> fence, bool of_paging_queue)
      : Object(kKind), device(device), fence(std::move(fence)), of_paging_queue(of_paging_queue) {}

  Device& device;  // outlives its fences
  const std::shared_ptr<MonitoredFence> fence;
  const bool of_paging_queue;
};

}  // namespace dxg::hostsim
