#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

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
  // From now on nothing is entered. All that there are, in the order of their numbers.
  std::vector<PendingCall> Close() DXG_EXCLUDES(mutex_) {
    std::vector<std::pair<uint64_t, PendingCall>> left;
    {
      MutexLock lock(mutex_);
      closed_ = true;
      left.assign(calls_.begin(), calls_.end());
      calls_.clear();
    }
    std::sort(left.begin(), left.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<PendingCall> calls;
    calls.reserve(left.size());
    for (const auto& each : left) calls.push_back(each.second);
    return calls;
  }
  bool closed() DXG_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return closed_;
  }

 private:
  Mutex mutex_;
  bool closed_ DXG_GUARDED_BY(mutex_) = false;
  std::unordered_map<uint64_t, PendingCall> calls_ DXG_GUARDED_BY(mutex_);
};

}  // namespace dxg
