#pragma once

#include <stddef.h>
#include <stdint.h>

#include "cuse-dxg/preload/node_protocol.h"

// A page that a thread of the library and the device process have in common, for calls that need no system
// call on their way: a ring of one place, as a thread has one call at a time. The device process makes it
// when the thread asks (say::kRing), and sends the page and the bell with its answer. What does not fit in
// here goes by the socket as before: descriptors, questions to the thread, its death, large structs.
//
//     library                                      device process
//     said, in, state = kSpins or kSleeps
//     called + 1 ---------------------------------> looks at it where `awake` is set, else hears the bell
//                                                   copies said and in, once
//         <---------------------------------------- told, out; state from kSpins to kAnswered
//     or, from kSpins to kSleeps, when it has waited for long: the answer comes by the socket
//         <---------------------------------------- or: kSocket, there is something to read there
//
// Every word may be anything at any time: the device process takes nothing from here but the call itself,
// which it judges as one that came by the socket, and what it writes here concerns this thread alone.

namespace dxg::preload::node {

namespace ring {
enum State : uint32_t {
  kIdle,
  kSpins,     // the thread looks at this word
  kSleeps,    // it reads the socket
  kAnswered,  // the answer is here
  kSocket,    // there is a message at the socket
};
inline constexpr uint32_t kBytes = 4096;
inline constexpr uint32_t kStructMax = 1536;
}  // namespace ring

struct RingPage {
  uint32_t called;  // how many calls there were
  alignas(64) uint32_t state;
  alignas(64) uint32_t awake;  // of the device process: it looks here by itself
  alignas(64) Said said;
  alignas(64) unsigned char in[ring::kStructMax];
  alignas(64) Told told;
  uint32_t out_bytes;
  alignas(64) unsigned char out[ring::kStructMax];
};
static_assert(sizeof(RingPage) <= ring::kBytes);

}  // namespace dxg::preload::node
