#pragma once

#include <sys/ioctl.h>

#include <cstdint>

// The smallest device: it uses everything that an attach mode has to carry, and nothing of dxg. The program
// attach-echo has it behind the product's own command line; other tests use it directly.

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

// Answers with the value + 1, the file of the descriptor, and the caller.
constexpr uint32_t kEcho = _IOWR('E', 1, Small);
// Returns every byte, inverted.
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
// How many files are open. Shows a release that is processed late.
constexpr uint32_t kOpenFiles = _IO('E', 10);
// The pid of the process that serves.
constexpr uint32_t kServerPid = _IO('E', 11);
// How many calls of kWait the thread named by the argument has waiting (0: all threads).
constexpr uint32_t kWaiting = _IO('E', 12);

// Like kWait, but a signal restarts the call (kRestart) or ends it with EINTR, depending on its handler.
constexpr uint32_t kWaitRestart = _IOWR('E', 13, Small);
// Makes this file ready for the events in the argument (POLLIN and so on), and wakes those who sleep on it.
constexpr uint32_t kReady = _IO('E', 14);
// How often poll asked about this file.
constexpr uint32_t kPolls = _IO('E', 15);

}  // namespace dxg::attach::echo
