#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <thread>
#include <utility>

#include "base/mutex.h"
#include "base/status.h"
#include "cuse-dxg/guest/event_table.h"

namespace dxg::replay {

// Parked calls that wait for a time of CLOCK_MONOTONIC, with no thread of anybody's: one thread of its own
// signals them.
class Deadlines {
 public:
  ~Deadlines() { Stop(); }
  // EAGAIN: no thread can be had.
  Status Start();
  // All go on now, and nobody waits from here on.
  void Stop() DXG_EXCLUDES(mutex_);

  using Place = std::pair<uint64_t, uint64_t>;  // a time, and a number of its own
  // Signals the call at that time. False: it is that late already, or was stopped.
  bool Add(uint64_t at_ns, std::shared_ptr<guest::ParkedCall> call, Place* place) DXG_EXCLUDES(mutex_);
  // Of a call that something else has ended.
  void Remove(const Place& place) DXG_EXCLUDES(mutex_);

  static uint64_t NowNs();

 private:
  void Run() DXG_EXCLUDES(mutex_);

  Mutex mutex_;
  ConditionVariable changed_;
  std::map<Place, std::shared_ptr<guest::ParkedCall>> waiting_ DXG_GUARDED_BY(mutex_);
  uint64_t last_ DXG_GUARDED_BY(mutex_) = 0;
  bool stopping_ DXG_GUARDED_BY(mutex_) = true;
  std::thread thread_;
};

}  // namespace dxg::replay
