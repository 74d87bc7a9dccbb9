#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "base/status.h"
#include "link/vmbus/channel.h"
#include "link/vmbus/signal.h"

namespace dxg::vmbus {

// A channel over two rings (ring.h), each in its own memory; the peer has the same with the rings exchanged.
// `keep` holds the memory and lives as long as the channel. -EINVAL: one is no ring, or too short for a
// message of kMessageBytesMax.
//
// Of what Channel leaves open:
// - Send from several threads: they take turns, by a lock that nobody holds while it waits for anything. A
//   payload longer than the ring ever takes ends the channel: who waits for the answer would never hear of
//   it.
// - kFull: the caller asks again after a while (a millisecond or two in the guest driver); nothing tells it
//   when.
// - Run, by one thread at a time, ends with -EPROTO where the peer has broken a ring, and with -ENODEV where
//   the channel is revoked, after what was in the ring by then.
Result<std::unique_ptr<Channel>> MakeRingChannel(std::span<std::byte> outgoing, std::span<std::byte> incoming,
                                                 std::unique_ptr<Signal> signal,
                                                 std::shared_ptr<const void> keep);

}  // namespace dxg::vmbus
