#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "base/status.h"
#include "proto/abi/interface.h"

// A VMBus channel as whoever speaks through it sees it: packets in both directions, in order, whatever
// carries them (rings of a real channel, rings in shared memory, a socket). Guest and host see the same.

namespace dxg::vmbus {

using dxg::kMessageBytesMax;

enum PacketType : uint16_t {
  kInBand = 6,       // a message
  kCompletion = 11,  // the answer to one, by its transaction id
  // Of no wire: a message with that transaction did not get to the host. The payload is an errno, 4 bytes.
  kSendFailed = 0xffff
};

inline constexpr uint16_t kCompletionRequested = 1;  // Packet::flags of a message

struct Packet {
  uint16_t type = kInBand;
  uint16_t flags = 0;
  uint64_t transaction = 0;  // never 0 where a completion is requested
  // Received, its size is a multiple of 8: the true length is not on the wire.
  std::span<const std::byte> payload;
};

class Channel {
 public:
  enum class Sent {
    kYes,
    kFull,  // there is no room now
    kLost   // nobody is there any more
  };

  virtual ~Channel() = default;
  // Any thread. All of the packet or nothing of it; does not wait.
  virtual Sent Send(const Packet& packet) = 0;
  // Handles each packet that arrives, in order, on the calling thread, until the channel is lost or closed;
  // the payload is the handler's until it returns, and no longer in memory that the peer can change. Says why
  // it ended, OK after Close. Where `handle` has lost the calling thread's Relay, another thread is in Run by
  // then, and this one leaves without a look at the channel.
  virtual Status Run(const std::function<void(const Packet&)>& handle) = 0;
  // Ends Run, now or when it begins, and from then on Send is lost. Any thread, also from inside of `handle`.
  virtual void Close() = 0;
};

}  // namespace dxg::vmbus
