#pragma once

#include <linux/futex.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <thread>

// What the rig of the fault proof (host_faults.cc) and its client processes tell each other, in memory that
// all of them map.

namespace dxg::faults {

inline constexpr size_t kClients = 8;
inline constexpr int64_t kNsPerMs = 1'000'000;

inline constexpr int64_t kNsPerSecond = 1000 * kNsPerMs;

inline int64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * kNsPerSecond + now.tv_nsec;
}
inline timespec ToTimespec(int64_t ns) { return {ns / kNsPerSecond, ns % kNsPerSecond}; }

// Whether `condition` comes true by then. Looks every millisecond: for what changes without an event that we
// could wait for, as a fence's value in memory that a device maps, or what another process has open.
inline bool UntilSeen(int64_t deadline_ns, const std::function<bool()>& condition) {
  while (!condition()) {
    if (NowNs() > deadline_ns) return condition();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

// Says that something has changed, to any number who wait for that, in all processes that map it.
class News {
 public:
  void Tell() {
    ++told_;
    syscall(SYS_futex, &told_, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
  }
  // Whether `condition` comes true by then. Whatever it looks at is told after each change.
  bool Await(int64_t deadline_ns, const std::function<bool()>& condition) {
    const timespec deadline = ToTimespec(deadline_ns);
    for (;;) {
      const uint32_t seen = told_;
      if (condition()) return true;
      if (NowNs() > deadline_ns) return false;
      syscall(SYS_futex, &told_, FUTEX_WAIT_BITSET, seen, &deadline, nullptr, FUTEX_BITSET_MATCH_ANY);
    }
  }

 private:
  std::atomic<uint32_t> told_{0};  // how often
};

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
  // To the clients: struck, back, back_ns or end has changed.
  News news;
  // To the rig, an eventfd: a client has opened, closed, or made its first step.
  int told = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  void TellRig() {
    const uint64_t one = 1;
    (void)!write(told, &one, sizeof(one));
  }
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
