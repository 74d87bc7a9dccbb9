// Any bytes as a VMBus ring, read until there is no more or it is corrupt; and a ring that is written to
// while the peer says anything of how far it has read. Nothing is touched beside the ring, which lies between
// pages that are not mapped, what is read is what is there, and nothing runs for ever.
//
// Input: 5 numbers of 4 bytes: where the ring begins, write_index, interrupt_mask, pending_send_sz,
// feature_bits; then the ring's bytes, from where it begins on. For the ring that is written to, they are how
// much is sent and what the peer says then, 4 bytes each. The corpus has packets of
// tests/golden/vmbus-golden.json.
#include <algorithm>
#include <cstring>
#include <vector>

#include "tests/fuzz/fuzz_check.h"
#include "tests/vmbus/guarded_ring.h"

namespace {

using namespace dxg::vmbus;

constexpr uint32_t kDataBytes = 4096;

struct Head {
  uint32_t begin, write_index, interrupt_mask, pending_send_size, feature_bits;
};

void Read(const GuardedRing& ring, const Head& head, std::span<const uint8_t> content) {
  const uint32_t begin = head.begin % kDataBytes / 8 * 8;
  std::memset(ring.data(), 0, kDataBytes);
  for (size_t i = 0; i < std::min<size_t>(content.size(), kDataBytes); ++i)
    ring.data()[(begin + i) % kDataBytes] = std::byte{content[i]};
  ring.BeginAt(begin);
  ring.Set(RingMemory::kInterruptMask, head.interrupt_mask);
  ring.Set(RingMemory::kPendingSendSize, head.pending_send_size);
  ring.Set(RingMemory::kFeatureBits, head.feature_bits);
  auto incoming = IncomingRing::Create(ring.memory());
  FUZZ_CHECK(incoming.ok());
  ring.Set(RingMemory::kWriteIndex, head.write_index);
  Packet packet;
  uint32_t at = begin;
  size_t bytes = 0;
  IncomingRing::Got got;
  while ((got = incoming->Next(&packet)) == IncomingRing::Got::kPacket) {
    const std::vector<std::byte> descriptor = ring.Bytes(at, 16);
    uint16_t fields[4];
    std::memcpy(fields, descriptor.data(), sizeof(fields));
    FUZZ_CHECK(packet.type == fields[0] && packet.flags == fields[3]);
    FUZZ_CHECK(packet.payload.size() == (fields[2] - fields[1]) * size_t{8});
    const std::vector<std::byte> payload =
        ring.Bytes((at + fields[1] * 8) % kDataBytes, packet.payload.size());
    FUZZ_CHECK(std::equal(payload.begin(), payload.end(), packet.payload.begin(), packet.payload.end()));
    at = (at + fields[2] * 8 + 8) % kDataBytes;
    bytes += fields[2] * 8 + 8;
    FUZZ_CHECK(bytes < kDataBytes && incoming->held_bytes() < kDataBytes);
    if (packet.transaction % 2 == 0) (void)incoming->Return();
  }
  FUZZ_CHECK((got == IncomingRing::Got::kCorrupt) == !incoming->corruption().ok());
  FUZZ_CHECK(got == IncomingRing::Got::kCorrupt || at == head.write_index);
  (void)incoming->Return();
}

void Write(const GuardedRing& ring, const Head& head, std::span<const uint8_t> input) {
  ring.BeginAt(head.begin % kDataBytes / 8 * 8);
  ring.Set(RingMemory::kInterruptMask, head.interrupt_mask);
  auto outgoing = OutgoingRing::Create(ring.memory());
  FUZZ_CHECK(outgoing.ok());
  const std::vector<std::byte> payload(2 * kDataBytes, std::byte{0x77});
  for (; input.size() >= 8; input = input.subspan(8)) {
    uint32_t bytes, read_index;
    std::memcpy(&bytes, input.data(), sizeof(bytes));
    std::memcpy(&read_index, input.data() + 4, sizeof(read_index));
    const auto put = outgoing->Add({kInBand, 0, 1, std::span(payload).first(bytes % payload.size())});
    FUZZ_CHECK((put == OutgoingRing::Put::kTooLong) ==
               (bytes % payload.size() > outgoing->payload_bytes_max()));
    (void)outgoing->Publish();
    FUZZ_CHECK(ring.Get(RingMemory::kWriteIndex) < kDataBytes && ring.Get(RingMemory::kWriteIndex) % 8 == 0);
    if (read_index % 4 != 1)
      ring.Set(RingMemory::kReadIndex, read_index % 4 == 2 ? ring.Get(RingMemory::kWriteIndex) : read_index);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const GuardedRing ring(kRingControlBytes + kDataBytes);
  Head head;
  if (size < sizeof(head)) return 0;
  std::memcpy(&head, data, sizeof(head));
  const auto content = std::span(data, size).subspan(sizeof(head));
  Read(ring, head, content);
  Write(ring, head, content);
  return 0;
}
