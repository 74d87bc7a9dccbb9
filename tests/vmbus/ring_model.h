#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "link/vmbus/channel.h"
#include "link/vmbus/ring.h"

// The model of a ring: packets that one side sends arrive at the other side, all of them, once, in order and
// whole. Both sides derive the packets from a seed.

namespace dxg::vmbus::model {

// Endless packets of random sizes, most of them short.
class Traffic {
 public:
  Traffic(uint64_t seed, size_t payload_bytes_max) : state_(seed), payload_bytes_max_(payload_bytes_max) {}
  // Valid until the next call.
  Packet Next();
  uint64_t Random();

 private:
  uint64_t state_;
  const size_t payload_bytes_max_;
  std::vector<uint64_t> words_;
};

// Compares the packets that arrive with those that must arrive.
class Expectation {
 public:
  explicit Expectation(const Traffic& traffic) : traffic_(traffic) {}
  // False: it is another packet; `error()` says how.
  bool Came(const Packet& packet);
  uint64_t count() const { return count_; }
  const std::string& error() const { return error_; }

 private:
  Traffic traffic_;
  uint64_t count_ = 0;
  std::string error_;
};

// Called repeatedly while the ring is full or empty. Returns false to give up.
using Idle = std::function<bool()>;

// Writes so many packets, several at once as the seed says. Empty: it worked, or `idle` gave up.
std::string Produce(OutgoingRing& ring, Traffic traffic, uint64_t packets, const Idle& idle);
// Takes so many, and gives room back as the seed says.
std::string Consume(IncomingRing& ring, const Traffic& traffic, uint64_t packets, const Idle& idle);

// One side of a channel: sends so many packets on a thread of its own while as many of other traffic arrive,
// then closes it. `sent` is called on that thread after each packet, and with true where there was no room
// for one. Empty: it worked, or the channel was lost after all that came was as expected.
std::string Talk(Channel& channel, Traffic traffic, const Traffic& other, uint64_t packets,
                 const std::function<void(bool full)>& sent);

}  // namespace dxg::vmbus::model
