#pragma once

#include <cstdint>
#include <vector>

#include "cuse-dxg/guest/arena.h"
#include "cuse-dxg/guest/call.h"

// The host's memory in the client: from an address of the host's window to one that the client can follow.

namespace dxg::guest {

// Makes that range of the window visible in the caller's process, or finds that it is, and says where. The
// arena holds the mapping for the caller, who gives it back by Arena::Release. Needs a visit the first time
// only. ENOMEM where the host has no memory there or the client no room; else the reasons of Delivery::Enter.
TaskOf<ClientAddress> BringIn(Call& call, WindowAddress address, uint64_t size);

// Brings in the region where most of the process's memory is going to be, so that locks need no visit: later
// one may be impossible, because a debugger or a sandbox came. Where it fails now, the first lock tries again
// and tells.
Task BringHome(Call& call);

// Whether the caller sees memory of the host somewhere in that range of its addresses.
bool SeesHostMemory(Call& call, uint64_t address, uint64_t size);

// Unmaps what is no longer needed. What fails is left: the memory behind it is the client's own.
Task TakeOut(Call& call, std::vector<Arena::Mapping> mappings);

}  // namespace dxg::guest
