#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

#include "cuse-dxg/client/access.h"

namespace dxg::client {

// Where a client's thread waits for us: in an ioctl, as its registers show.
struct Waiting {
  pid_t tid = 0;
  uint32_t code = 0;      // the low half of the ioctl's second argument
  uint64_t argument = 0;  // the third
};

// Such a thread, told apart from one that has its number later: the number of a killed client may be that of
// anybody's thread soon. A struct of the injector's protocol.
struct WaitingThread {
  Waiting at;
  pid_t tgid = 0;
  uint64_t start_time = 0;  // clock ticks since boot
};

// The thread, now; to be called while its call is not answered. None where it has ended by now.
std::optional<WaitingThread> FindWaiting(const Waiting& at, const Identity& process);
// Both ask whether it is still that thread, and in which call it is. The answer is of this moment: who does
// something to the thread asks again afterwards, or holds it. Where the kernel does not tell the call
// (/proc/<pid>/syscall, which User Mode Linux has not), the start time alone decides.
//
// Whether it is in that call, or runs: then it may be on its way into it. Its registers tell later.
bool MayWait(const WaitingThread& thread);
// Whether it sleeps in that call. It has then been there since FindWaiting, so its process has executed no
// other program meanwhile. Waits for a thread that runs, 0.2 seconds at most.
bool IsAsleepInCall(const WaitingThread& thread);

// Whether its call came by the way of 32-bit programs; false where the kernel does not tell. Waits for a
// thread that runs, 0.02 seconds at most.
bool IsOf32BitProgram(const WaitingThread& thread);

// When a thread started, in clock ticks since boot; 0: that group has no such thread.
uint64_t StartTimeOf(pid_t tgid, pid_t tid);

}  // namespace dxg::client
