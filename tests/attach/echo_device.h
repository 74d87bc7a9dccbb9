#pragma once

#include <sys/ioctl.h>

#include <cstdint>

// The smallest device: what every attach mode has to carry, and nothing of dxg. It stands behind the
// product's own command line (the program attach-echo), and beside it in tests that speak to it.

namespace dxg::attach::echo {

struct Small {
  uint64_t value;
  uint64_t file;
  int32_t tid;
  uint32_t uid;
};
struct Large {
  unsigned char bytes[4096];
};

// Each answers with the value + 1, the file of the descriptor, and who called.
constexpr uint32_t kEcho = _IOWR('E', 1, Small);
// Gives every byte back, inverted.
constexpr uint32_t kEchoLarge = _IOWR('E', 2, Large);
// No data at all; the result is the argument's low byte.
constexpr uint32_t kNoData = _IO('E', 3);
// -EPERM, with the struct filled as kEcho does.
constexpr uint32_t kFail = _IOWR('E', 4, Small);
// The raw NTSTATUS 0xc000000d.
constexpr uint32_t kRawStatus = _IOWR('E', 5, Small);
// Waits until a signal (-EINTR) or kWake (0) comes.
constexpr uint32_t kWait = _IOWR('E', 6, Small);
// Wakes every waiter; the result is how many there were.
constexpr uint32_t kWake = _IO('E', 7);
// Only reads, only writes.
constexpr uint32_t kOnlyOut = _IOR('E', 8, Small);
constexpr uint32_t kOnlyIn = _IOW('E', 9, Small);
// How many files are open. A release that is seen late shows here.
constexpr uint32_t kOpenFiles = _IO('E', 10);
// The pid of the process that serves.
constexpr uint32_t kServerPid = _IO('E', 11);
// How many calls of kWait the thread named by the argument has waiting (0: all threads).
constexpr uint32_t kWaiting = _IO('E', 12);

// As kWait, but a signal restarts it (kRestart) or ends it with EINTR, as its handler was installed.
constexpr uint32_t kWaitRestart = _IOWR('E', 13, Small);
// From now on this file is ready for what the argument says (POLLIN and so on), and who sleeps on it is told.
constexpr uint32_t kReady = _IO('E', 14);
// How often poll asked about this file.
constexpr uint32_t kPolls = _IO('E', 15);

}  // namespace dxg::attach::echo
