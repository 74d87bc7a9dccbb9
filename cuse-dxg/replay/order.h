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
// began have ended, so whatever one needed of another is there, and what ran at once may run at once. Opens
// and closes are waited for as calls are: what a process had is gone when it closed the node. It is in memory
// that forked processes share.
class Order {
 public:
  // ENOMEM: no memory for it.
  static Result<std::unique_ptr<Order>> Create(const Recording& recording);
  ~Order();
  Order(const Order&) = delete;
  Order& operator=(const Order&) = delete;

  // What has a place in the order: a call by its number, and the first open and the last close of a process.
  size_t OpenOf(uint32_t process) const { return calls_ + size_t{2} * process; }
  size_t CloseOf(uint32_t process) const { return OpenOf(process) + 1; }

  // Sleeps until what has to be before it is over; false: it is stopped.
  bool WaitFor(size_t event) { return WaitUntilOver(needs_[event]); }
  // Sleeps until the waits that were under way when the call began are under way, or over: it may be what
  // ends them, as by destroying what they wait for. Not for long, because nothing
  // shows it for certain. False: they were not.
  bool WaitForWaits(size_t call) const;
  bool IsTimeFor(size_t event) const { return over() >= needs_[event]; }
  uint32_t NeedsOf(size_t event) const { return needs_[event]; }  // how many have to be over before
  // Until all is over that had ended before that time of the recording.
  bool WaitForTime(uint64_t ns) { return WaitUntilOver(EndedBefore(ns)); }
  // It is over.
  void Done(size_t event);
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
  // The thread that is in the system call of a call; 0: it does not, or not any more.
  std::atomic<int32_t>& PlayerOf(size_t call) { return players_[call]; }
  // The process that plays a recorded one; 0: not yet, or no more.
  std::atomic<int32_t>& PidOf(uint32_t process) { return pids_[process]; }

 private:
  struct Shared {
    std::atomic<uint32_t> over{
        0};  // so many events, in the order of their ends, are over; threads sleep on it
    std::atomic<uint32_t> stopped{0};
  };

  Order(const Recording& recording, void* memory, size_t bytes);
  uint32_t EndedBefore(uint64_t ns) const;
  bool HasBegun(size_t call) const;
  bool WaitUntilOver(uint32_t calls);

  const size_t calls_;
  std::vector<uint64_t> ends_;   // ascending
  std::vector<uint32_t> ranks_;  // of events, in that order
  std::vector<uint32_t> needs_;  // by event: how many are over before it begins
  std::vector<std::vector<uint32_t>>
      waits_;  // by call: those that wait without limit, and are under way then
  void* const memory_;
  const size_t bytes_;
  Shared* shared_;
  std::atomic<uint8_t>* done_;  // by rank
  Place* places_;
  std::atomic<int32_t>* pids_;
  std::atomic<int32_t>* players_;  // by call
};

}  // namespace dxg::replay
