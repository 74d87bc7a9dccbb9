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

// Shared memory through which the rig of the fault proof (host_faults.cc) and its client processes talk.

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

// Whether `condition` becomes true before the deadline. Polls every millisecond. For changes without an
// event, such as a fence's value in mapped memory, or the open files of another process.
inline bool UntilSeen(int64_t deadline_ns, const std::function<bool()>& condition) {
  while (!condition()) {
    if (NowNs() > deadline_ns) return condition();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

// Tells any number of waiters, in all processes that map it, that something has changed.
class News {
 public:
  void Tell() {
    ++told_;
    syscall(SYS_futex, &told_, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
  }
  // Whether `condition` becomes true before the deadline. Tell must follow each change that it depends on.
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

// What a fault takes away from a client.
enum class Loss : uint32_t {
  kNothing,  // device and host keep running: everything is closed in order
  kHost,     // the host is lost, and the device reports it
  kDevice,   // the device process is lost, and the kernel reports it
};

// A thread that makes calls.
struct CallSlot {
  std::atomic<const char*> name{nullptr};  // null: in no call
  std::atomic<int64_t> began_ns{0};
};

struct ClientSlot {
  CallSlot calls, wait;  // of the main thread, and of the thread that waits in a call
  // The last round for which the client has closed everything, and for which it has opened everything again.
  std::atomic<uint32_t> closed{0}, opened{0};
  // The time from a fault to the end of the last call, and from the return of the device to the first
  // success.
  std::atomic<int64_t> worst_end_ns{0}, worst_open_ns{0};
  std::atomic<uint64_t> steps{0};
  char failure[512] = {};  // set before the client exits with a status other than 0
};

// Rounds count from 1. The rig announces a round's fault before it strikes: from then on calls may fail.
struct Board {
  // For the clients: struck, back, back_ns or end has changed.
  News news;
  // For the rig, an eventfd: a client has opened, closed, or made its first step.
  int told = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  void TellRig() {
    const uint64_t one = 1;
    (void)!write(told, &one, sizeof(one));
  }
  std::atomic<uint32_t> announced{0}, struck{0}, back{0};
  std::atomic<Loss> loss{Loss::kNothing};
  std::atomic<int64_t> struck_ns{0}, back_ns{0};
  // Counts the beginnings and ends of times in which the device process is stopped, and no call can return.
  std::atomic<uint32_t> freezes{0};
  std::atomic<bool> end{false};
  int64_t limit_ns = 0;       // the most time from a fault to the end of a call
  int64_t open_limit_ns = 0;  // the most time from the return of the device until it works
  ClientSlot clients[kClients];
};

inline void RaiseTo(std::atomic<int64_t>& worst, int64_t ns) {
  if (ns > worst.load()) worst = ns;  // one writer
}

}  // namespace dxg::faults
