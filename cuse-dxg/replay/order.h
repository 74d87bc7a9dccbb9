#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/status.h"
#include "cuse-dxg/replay/recording.h"

namespace dxg::replay {

// The order of a recording among processes that play it: a call begins when all that had ended before it
// began have ended, so whatever one needed of another is there, and what ran at once may run at once. It is
// in memory that forked processes share.
class Order {
 public:
  // ENOMEM: no memory for it.
  static Result<std::unique_ptr<Order>> Create(const Recording& recording);
  ~Order();
  Order(const Order&) = delete;
  Order& operator=(const Order&) = delete;

  // Sleeps until what has to be before that call is over; false: it is stopped.
  bool WaitFor(size_t call) { return WaitUntilOver(needs_[call]); }
  // Until all is over that had ended before that time of the recording.
  bool WaitForTime(uint64_t ns) { return WaitUntilOver(EndedBefore(ns)); }
  bool IsTime(uint64_t ns) const { return over() >= EndedBefore(ns); }
  // That call is over.
  void Done(size_t call);
  // Nobody waits any more.
  void Stop();

  uint32_t over() const { return shared_->over.load(std::memory_order_acquire); }
  // Whether it began and is not over, as far as others can tell.
  bool IsUnderWay(size_t call) const;

  // An object's descriptor, for those who got it from another process.
  struct Place {
    std::atomic<int32_t> pid{0}, descriptor{0};
  };
  Place& PlaceOf(uint32_t object) { return places_[object]; }
  // The process that plays a recorded one; 0: not yet, or no more.
  std::atomic<int32_t>& PidOf(uint32_t process) { return pids_[process]; }

 private:
  struct Shared {
    std::atomic<uint32_t> over{
        0};  // so many calls, in the order of their ends, are over; threads sleep on it
    std::atomic<uint32_t> stopped{0};
  };

  Order(const Recording& recording, void* memory, size_t bytes);
  uint32_t EndedBefore(uint64_t ns) const;
  bool WaitUntilOver(uint32_t calls);

  std::vector<uint64_t> ends_;   // ascending
  std::vector<uint32_t> ranks_;  // of calls, in that order
  std::vector<uint32_t> needs_;  // by call: how many are over before it begins
  void* const memory_;
  const size_t bytes_;
  Shared* shared_;
  std::atomic<uint8_t>* done_;  // by rank
  Place* places_;
  std::atomic<int32_t>* pids_;
};

}  // namespace dxg::replay
