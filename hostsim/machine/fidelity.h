#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "base/mutex.h"

namespace dxg::hostsim {

// In what way the simulator differs from the real thing where a program has used it.
enum class FidelityKind {
  kApproximated,  // done, but not as the real one does it
  kUnread,        // passed through, and nobody looked at it
  kNotExecuted,   // recognized, and left out
  kUnknown,       // not recognized
};

// Counts what programs asked for that the simulator did not do as the real thing would. Any thread may use
// it. Its lock is a leaf.
class Fidelity {
 public:
  struct Noted {
    uint64_t count = 0;
    uint64_t first_ns = 0;  // when it was noted first, by the host's clock
  };
  using All = std::map<std::pair<FidelityKind, std::string>, Noted>;

  // Things that are kept apart; what comes later is only counted, in lost().
  static constexpr size_t kThingsMax = 4096;

  void Note(FidelityKind kind, std::string_view what, uint64_t now_ns);
  All Read() const;
  uint64_t lost() const;

 private:
  mutable Mutex mutex_;
  All all_ DXG_GUARDED_BY(mutex_);
  uint64_t lost_ DXG_GUARDED_BY(mutex_) = 0;
};

}  // namespace dxg::hostsim
