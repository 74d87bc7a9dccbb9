#pragma once

#include <stddef.h>
#include <stdint.h>

#include "cuse-dxg/preload/node_ring.h"
#include "cuse-dxg/preload/spin.h"

// A thread's end of a page that it has in common with the device process (node_ring.h).

namespace dxg::preload::node {

// Plain memory of a thread: all zeros is none.
struct ThreadRing {
  RingPage* page;
  int bell;
  uint32_t called;
  // The mapping of the thread's stack. Memory there is known to be there: a call with its struct anywhere
  // else goes by the socket, where the kernel says EFAULT.
  uintptr_t stack_begin, stack_end;
  Spin spin;
};

// Finds the stack that the caller is on. False: it cannot be found.
bool FindStack(ThreadRing* ring);
// Maps the page. False: it cannot be mapped.
bool MapRing(ThreadRing* ring, int memory, int bell);
void UnmapRing(ThreadRing* ring);

// Puts a call there. `in_bytes` are read at `memory`, and `room` bytes will be written there. False: it has
// to go by the socket. `rings`: RingBell comes next.
bool PutCall(ThreadRing* ring, const Said& said, const void* memory, size_t in_bytes, size_t room,
             bool* rings);
void RingBell(const ThreadRing& ring);
// Whether the device process looks by itself.
bool IsAwake(const ThreadRing& ring);
// Waits a moment for its answer, or not at all. False: what comes of it is at the socket.
bool AwaitAnswer(ThreadRing* ring, Told* told, void* memory, size_t room);

}  // namespace dxg::preload::node
