#include "tests/vmbus/ring_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>

namespace dxg::vmbus::model {

uint64_t Traffic::Random() {  // splitmix64
  uint64_t x = state_ += 0x9E3779B97F4A7C15;
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;
  x = (x ^ x >> 27) * 0x94D049BB133111EB;
  return x ^ x >> 31;
}

Packet Traffic::Next() {
  const uint64_t random = Random();
  const size_t limit = payload_bytes_max_ >> (random & 15);
  const size_t bytes = (random >> 8) % (std::max<size_t>(limit, 48) + 1);
  words_.resize(bytes / 8 + 1);
  for (uint64_t& word : words_) word = Random();
  return {random >> 4 & 1 ? kInBand : kCompletion, static_cast<uint16_t>(random >> 5 & 1), Random(),
          std::as_bytes(std::span(words_)).first(std::min(bytes, payload_bytes_max_))};
}

bool Expectation::Came(const Packet& packet) {
  const Packet expected = traffic_.Next();
  ++count_;
  const size_t bytes = expected.payload.size();
  const bool same = packet.type == expected.type && packet.flags == expected.flags &&
                    packet.transaction == expected.transaction &&
                    packet.payload.size() == (bytes + 7) / 8 * 8 &&
                    (bytes == 0 || std::memcmp(packet.payload.data(), expected.payload.data(), bytes) == 0) &&
                    std::all_of(packet.payload.begin() + bytes, packet.payload.end(),
                                [](std::byte pad) { return pad == std::byte{0}; });
  if (!same && error_.empty()) {
    error_ = fmt::format(
        "packet {} is type {}, flags {}, transaction {:#x}, {} bytes; expected type {}, flags {}, "
        "transaction {:#x}, "
        "{} bytes, and the same content",
        count_, packet.type, packet.flags, packet.transaction, packet.payload.size(), expected.type,
        expected.flags, expected.transaction, bytes);
  }
  return same;
}

std::string Produce(OutgoingRing& ring, Traffic traffic, uint64_t packets, const Idle& idle) {
  for (uint64_t sent = 0; sent < packets; ++sent) {
    const Packet packet = traffic.Next();
    OutgoingRing::Put put;
    while ((put = ring.Add(packet)) == OutgoingRing::Put::kFull) {
      ring.Publish();
      if (!idle()) return "";
    }
    if (put != OutgoingRing::Put::kYes) return fmt::format("packet {}: {}", sent, ring.corruption().why());
    if (packet.transaction % 4 != 0) ring.Publish();
  }
  ring.Publish();
  return "";
}

std::string Consume(IncomingRing& ring, const Traffic& traffic, uint64_t packets, const Idle& idle) {
  Expectation expected(traffic);
  while (expected.count() < packets) {
    Packet packet;
    const IncomingRing::Got got = ring.Next(&packet);
    if (got == IncomingRing::Got::kCorrupt)
      return fmt::format("after {} packets: {}", expected.count(), ring.corruption().why());
    if (got == IncomingRing::Got::kNothing) {
      ring.Return();
      if (!idle()) return "";
      continue;
    }
    if (!expected.Came(packet)) return expected.error();
    if (packet.transaction % 3 != 0) ring.Return();
  }
  Packet packet;
  return ring.Next(&packet) == IncomingRing::Got::kNothing ? "" : "more came than was sent";
}

std::string Talk(Channel& channel, Traffic traffic, const Traffic& other, uint64_t packets,
                 const std::function<void(bool full)>& sent) {
  std::atomic<int> halves_done = 0;  // of two: all sent, all come
  const auto half_done = [&] {
    if (++halves_done == 2) channel.Close();
  };
  std::thread sender([&] {
    Channel::Sent result = Channel::Sent::kYes;
    for (uint64_t i = 0; i < packets && result != Channel::Sent::kLost; ++i) {
      const Packet packet = traffic.Next();
      while ((result = channel.Send(packet)) == Channel::Sent::kFull) {
        sent(true);
        std::this_thread::yield();
      }
      sent(false);
    }
    half_done();
  });
  Expectation expected(other);
  const Status ended = channel.Run([&](const Packet& packet) {
    if (!expected.Came(packet)) channel.Close();
    if (expected.count() == packets) half_done();
  });
  channel.Close();
  sender.join();
  if (!expected.error().empty()) return expected.error();
  if (expected.count() > packets) return "more came than was sent";
  if (!ended.ok() && ended.value() != -ENODEV) return ended.why();
  if (ended.ok() && expected.count() != packets)
    return fmt::format("{} of {} packets came", expected.count(), packets);
  return "";
}

}  // namespace dxg::vmbus::model
