#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/mutex.h"
#include "base/status.h"
#include "proto/contract/contract.h"
#include "proto/dxg/control.pb.h"

namespace dxg::guest {

// The latest refusals, each call of a process with each error once: with how often, and the reason of the
// last time. A process that is refused the same thing without end has one place, so that others are still
// seen.
//
// It is a table of sets, chosen by what the refusal is of. Where its set is full, the oldest of the set goes.
// Each set has a lock of its own, so that refusals of different things do not meet.
class Refusals {
 public:
  static constexpr size_t kWhyBytesMax = 200;  // of a reason, the rest is cut
  static constexpr size_t kPlaces = 128;
  // Of a reply, which the two halves' lists share: a client says what is in its name, and a byte of it may
  // become four.
  static constexpr size_t kSeenBytesMax = 24 * 1024;

  struct Refused {
    const contract::CallRow* row;  // null where the code is of no call
    uint32_t code;
    pid_t process, thread;
    std::string_view name;  // of the process
    const Status& status;
  };
  void Note(const Refused& refused, uint64_t now_ns);

  // The newest first, at most so many and kSeenBytesMax bytes.
  void AddTo(ControlReply::Live* live, int most) const;

 private:
  static constexpr size_t kWays = 4;
  static constexpr size_t kSets = kPlaces / kWays;
  static constexpr size_t kNameBytesMax = 16;  // of a task name

  struct Place {
    uint64_t count = 0;  // 0: it is free
    uint64_t last_ns = 0;
    const contract::CallRow* row = nullptr;
    uint32_t code = 0;
    int32_t value = 0;
    pid_t process = 0, thread = 0;
    uint8_t name_bytes = 0, why_bytes = 0;
    std::array<char, kNameBytesMax> name;
    std::array<char, kWhyBytesMax> why;
  };
  struct alignas(64) Set {
    mutable Mutex mutex;
    std::array<Place, kWays> places DXG_GUARDED_BY(mutex);
  };

  std::array<Set, kSets> sets_;
};

}  // namespace dxg::guest
