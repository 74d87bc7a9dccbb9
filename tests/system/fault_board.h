#pragma once

#include <time.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <thread>

// What the rig of the fault proof (host_faults.cc) and its client processes tell each other, in memory that all of them map.

namespace dxg::faults {

inline constexpr size_t kClients = 8;
inline constexpr int64_t kNsPerMs = 1'000'000;

inline int64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

// Whether `condition` comes true by then. Looks every millisecond.
inline bool Until(int64_t deadline_ns, const std::function<bool()>& condition) {
  while (!condition()) {
    if (NowNs() > deadline_ns) return condition();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

// What a fault leaves of what a client has open.
enum class Loss : uint32_t {
  kNothing,  // the device and the host are well: everything is closed in order
  kHost,     // the host is gone, the device says so
  kDevice,   // the device is gone, the kernel says so
};

// A thread that makes calls.
struct CallSlot {
  std::atomic<const char*> name{nullptr};  // null: in no call
  std::atomic<int64_t> began_ns{0};
};

struct ClientSlot {
  CallSlot calls, wait;  // of its main thread, and of the one that waits in a call
  // The last round for which it has closed all, and has opened all again.
  std::atomic<uint32_t> closed{0}, opened{0};
  // After a fault: until the last of its calls was over; after the device was there again: until it worked.
  std::atomic<int64_t> worst_end_ns{0}, worst_open_ns{0};
  std::atomic<uint64_t> steps{0};
  char failure[512] = {};  // before it ends with a status other than 0
};

// Rounds count from 1. The rig announces a round's fault before it strikes: from then on calls may fail.
struct Board {
  std::atomic<uint32_t> announced{0}, struck{0}, back{0};
  std::atomic<Loss> loss{Loss::kNothing};
  std::atomic<int64_t> struck_ns{0}, back_ns{0};
  // The device process stands still, which no call can do anything about; counts beginnings and ends.
  std::atomic<uint32_t> freezes{0};
  std::atomic<bool> end{false};
  int64_t limit_ns = 0;       // no call may take longer from a fault on
  int64_t open_limit_ns = 0;  // nor may it take longer until a device that is there again works
  ClientSlot clients[kClients];
};

inline void RaiseTo(std::atomic<int64_t>& worst, int64_t ns) {
  if (ns > worst.load()) worst = ns;  // one writer
}

}  // namespace dxg::faults
