#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

// A list of the system calls that a process may make from then on (seccomp). Everything else ends it.

namespace dxg::confinement {

// What happens to a call that is not in the list.
enum class Forbidden {
  kKill,   // the kernel ends the process with SIGSYS
  kLog,    // it is made, and the kernel's log has a line: to find out what a list lacks
  kAllow,  // there is no list
};
// "kill", "log", "off", in that order.
const std::vector<std::string>& ForbiddenNames();
Forbidden ForbiddenOf(const std::string& name);

// What a program of ours needs beyond the calls that every one of them needs: memory, threads, what it has
// open, Unix sockets, files that exist.
struct SystemCalls {
  bool other_processes = false;  // memory, descriptors and pids of others; none is traced
  bool real_vmbus = false;       // events of the kernel's devices
  pid_t signalled = 0;           // the only other process that may be signalled; 0: none
  std::vector<uint32_t> ioctls;  // beside the harmless ones
};

// From here on, for all threads that there are and all that come; it sets no-new-privs too. Refused with the
// reason where this kernel or this build has no filters; everything is as before then.
Status AllowOnly(const SystemCalls& calls, Forbidden forbidden);

}  // namespace dxg::confinement
