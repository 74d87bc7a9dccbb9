#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"

// Rights of root that a process of ours gives up. They belong to a thread, so they go before there are
// several.

namespace dxg::confinement {

// A set of capabilities, as CapEff of /proc/PID/status shows it.
using Capabilities = uint64_t;

// Of `linux/capability.h`: CAP_SYS_PTRACE and its like.
constexpr Capabilities Only(int capability) { return uint64_t{1} << capability; }

// Gives up all others, for good: in this thread and in those that it makes, whatever they execute. A set that
// this process does not have is not given to it. `inherited` are those that a program keeps which it
// executes; without any, not even root's programs have one. Refused where the kernel refuses; a user without
// rights has nothing to give up, and is not refused.
Status KeepCapabilities(Capabilities kept, Capabilities inherited = 0);

// What this thread has now.
Capabilities OwnCapabilities();

// "CAP_KILL CAP_SYS_PTRACE", or "none".
std::string NamesOf(Capabilities capabilities);

// That no program which this process executes can have more rights than it, for example by being set-user-ID.
Status ForbidNewPrivileges();

}  // namespace dxg::confinement
