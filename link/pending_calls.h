#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <optional>
#include <unordered_map>

#include "base/mutex.h"
#include "link/backend.h"

namespace dxg {

// A command that has been sent, and whose answer has not come.
struct PendingCall {
  HostCall call;
  uint32_t interface_version;  // that its answer is written in
  Completion completion;
};

// Those of one connection or channel, by the number that the answer repeats. Whoever takes a call out of here
// completes it, so that each completes once, whatever ends it.
class PendingCalls {
 public:
  // Before it is sent: the answer may be here before sending returns. False: they are closed.
  bool Enter(uint64_t number, const PendingCall& call) DXG_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (!closed_) calls_.emplace(number, call);
    return !closed_;
  }
  // None: nobody waits for that number.
  std::optional<PendingCall> Take(uint64_t number) DXG_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    const auto found = calls_.find(number);
    if (found == calls_.end()) return std::nullopt;
    PendingCall taken = found->second;
    calls_.erase(found);
    return taken;
  }
  // From now on nothing is entered. What is left is to be taken, and completed.
  void Close() DXG_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    closed_ = true;
  }
  // Of closed ones the next, in the order of their numbers. One by one: whoever completes one may be gone for
  // long in its client's memory, and somebody else takes the others.
  std::optional<PendingCall> TakeLeft() DXG_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (left_.empty() && !calls_.empty()) {
      for (const auto& each : calls_) left_.push_back(each.first);
      std::sort(left_.begin(), left_.end());
    }
    while (!left_.empty()) {
      const uint64_t next = left_.front();
      left_.pop_front();
      auto taken = calls_.extract(next);
      if (!taken.empty()) return taken.mapped();
    }
    return std::nullopt;
  }
  bool closed() DXG_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return closed_;
  }

 private:
  Mutex mutex_;
  bool closed_ DXG_GUARDED_BY(mutex_) = false;
  std::deque<uint64_t> left_ DXG_GUARDED_BY(
      mutex_);  // of closed ones, those that were there when it was asked
  std::unordered_map<uint64_t, PendingCall> calls_ DXG_GUARDED_BY(mutex_);
};

}  // namespace dxg
