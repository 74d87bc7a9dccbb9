#include "link/vmbus/ring.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

namespace dxg::vmbus {
namespace {

constexpr uint32_t kDescriptorBytes = 16;
constexpr uint32_t kTrailerBytes = 8;
constexpr uint32_t kPacketTakesMin = kDescriptorBytes + kTrailerBytes;
constexpr uint32_t kSendSizeUsed = 1;  // of feature_bits: the producer uses pending_send_sz

constexpr uint32_t RoundUp8(size_t bytes) { return static_cast<uint32_t>((bytes + 7) / 8 * 8); }

// The first word of a descriptor.
struct Descriptor {
  uint16_t type, offset8, length8, flags;

  static Descriptor Of(uint64_t word) {
    return {static_cast<uint16_t>(word), static_cast<uint16_t>(word >> 16), static_cast<uint16_t>(word >> 32),
            static_cast<uint16_t>(word >> 48)};
  }
  uint64_t word() const {
    return uint64_t{type} | uint64_t{offset8} << 16 | uint64_t{length8} << 32 | uint64_t{flags} << 48;
  }
};

Status BadIndex(const char* name, uint32_t index, uint32_t size) {
  return Status::Refuse(
      EPROTO,
      "the peer's {} is {}, expected a multiple of 8 below {}: the ring is corrupt, open the channel anew",
      name, index, size);
}

// Where our own index begins: opening a channel makes it 0.
Result<uint32_t> FirstIndex(const RingMemory& ring, RingMemory::Field field) {
  const uint32_t index = ring.Load(field);
  if (ring.Valid(index)) return index;
  return Status::Refuse(
      EINVAL, "the ring begins at index {}, expected a multiple of 8 below {}; is the channel open?", index,
      ring.size());
}

}  // namespace

// -- RingMemory -----------------------------------------------------------------------------------

Result<RingMemory> RingMemory::Of(std::span<std::byte> memory) {
  const auto address = reinterpret_cast<uintptr_t>(memory.data());  // Safety: only looked at
  if (memory.size() < kRingBytesMin || memory.size() > kRingBytesMax ||
      memory.size() % kRingControlBytes != 0) {
    return Status::Refuse(EINVAL,
                          "a ring of {} bytes: expected whole pages of {} bytes, {} to {} bytes in all",
                          memory.size(), kRingControlBytes, kRingBytesMin, kRingBytesMax);
  }
  if (address % kRingControlBytes != 0) {
    return Status::Refuse(EINVAL, "a ring at {:#x}: expected the beginning of a page of {} bytes", address,
                          kRingControlBytes);
  }
  RingMemory ring;
  ring.control_ = memory.data();
  ring.data_ = memory.data() + kRingControlBytes;
  ring.size_ = static_cast<uint32_t>(memory.size() - kRingControlBytes);
  return ring;
}

// Sequentially consistent, not fences: the sanitizer for threads knows nothing of those.
uint32_t RingMemory::Load(Field field) const {
  // Safety: within the control page, which begins at a page's boundary.
  return std::atomic_ref(*reinterpret_cast<uint32_t*>(control_ + field)).load(std::memory_order_seq_cst);
}

void RingMemory::Store(Field field, uint32_t value) const {
  // Safety: as in Load.
  std::atomic_ref(*reinterpret_cast<uint32_t*>(control_ + field)).store(value, std::memory_order_seq_cst);
}

uint64_t RingMemory::LoadWord(uint32_t index) const {
  // Safety: a valid index is a multiple of 8, as D is, and below it. Atomic, so that the compiler reads it
  // once.
  return std::atomic_ref(*reinterpret_cast<uint64_t*>(data_ + index)).load(std::memory_order_relaxed);
}

void RingMemory::StoreWord(uint32_t index, uint64_t value) const {
  // Safety: as in LoadWord.
  std::atomic_ref(*reinterpret_cast<uint64_t*>(data_ + index)).store(value, std::memory_order_relaxed);
}

void RingMemory::CopyIn(uint32_t index, std::span<const std::byte> bytes) const {
  const size_t first = std::min<size_t>(bytes.size(), size_ - index);
  if (first != 0) std::memcpy(data_ + index, bytes.data(), first);
  if (first != bytes.size()) std::memcpy(data_, bytes.data() + first, bytes.size() - first);
}

void RingMemory::CopyOut(uint32_t index, std::span<std::byte> bytes) const {
  const size_t first = std::min<size_t>(bytes.size(), size_ - index);
  if (first != 0) std::memcpy(bytes.data(), data_ + index, first);
  if (first != bytes.size()) std::memcpy(bytes.data() + first, data_, bytes.size() - first);
}

// -- OutgoingRing ---------------------------------------------------------------------------------

Result<OutgoingRing> OutgoingRing::Create(std::span<std::byte> memory) {
  DXG_ASSIGN(const RingMemory ring, RingMemory::Of(memory));
  DXG_ASSIGN(const uint32_t write, FirstIndex(ring, RingMemory::kWriteIndex));
  DXG_ASSIGN(const uint32_t read, FirstIndex(ring, RingMemory::kReadIndex));
  OutgoingRing outgoing(ring, write);
  outgoing.read_ = read;
  return outgoing;
}

size_t OutgoingRing::payload_bytes_max() const {
  const size_t room = ring_.size() - 8;  // a full ring would look empty
  return std::min<size_t>(room - kTrailerBytes, kPacketBytesMax) - kDescriptorBytes;
}

// Asks the peer how far it has read. It can only have come nearer to what was published.
bool OutgoingRing::LookForRoom() {
  const uint32_t read = ring_.Load(RingMemory::kReadIndex);
  if (!ring_.Valid(read)) {
    corruption_ = BadIndex("read index", read, ring_.size());
  } else if (ring_.Distance(read_, read) > ring_.Distance(read_, published_)) {
    corruption_ = Status::Refuse(
        EPROTO, "the peer has read up to {}, expected {} to {}: the ring is corrupt, open the channel anew",
        read, read_, published_);
  } else {
    read_ = read;
  }
  return corruption_.ok();
}

OutgoingRing::Put OutgoingRing::Add(const Packet& packet) {
  if (packet.payload.size() > payload_bytes_max()) return Put::kTooLong;
  if (!corruption_.ok()) return Put::kCorrupt;
  const uint32_t length = RoundUp8(kDescriptorBytes + packet.payload.size());
  if (Free() <= length + kTrailerBytes) {
    if (!LookForRoom()) return Put::kCorrupt;
    if (Free() <= length + kTrailerBytes) return Put::kFull;
  }
  const Descriptor descriptor{packet.type, kDescriptorBytes / 8, static_cast<uint16_t>(length / 8),
                              packet.flags};
  ring_.StoreWord(write_, descriptor.word());
  ring_.StoreWord(ring_.Advance(write_, 8), packet.transaction);
  // The last word first: where the payload ends within it, the rest stays zero.
  if (packet.payload.size() % 8 != 0) ring_.StoreWord(ring_.Advance(write_, length - 8), 0);
  ring_.CopyIn(ring_.Advance(write_, kDescriptorBytes), packet.payload);
  ring_.StoreWord(ring_.Advance(write_, length), uint64_t{write_} << 32);
  write_ = ring_.Advance(write_, length + kTrailerBytes);
  return Put::kYes;
}

bool OutgoingRing::Publish() {
  if (write_ == published_) return false;
  const uint32_t before = published_;
  published_ = write_;
  ring_.Store(RingMemory::kWriteIndex, write_);
  // In this order, and the consumer in the opposite one: it sees the packets, or we see that it has to be
  // told.
  return ring_.Load(RingMemory::kInterruptMask) == 0 && ring_.Load(RingMemory::kReadIndex) == before;
}

// -- IncomingRing ---------------------------------------------------------------------------------

IncomingRing::IncomingRing(RingMemory ring, uint32_t read)
    : ring_(ring),
      read_(read),
      returned_(read),
      payload_(std::make_unique_for_overwrite<std::byte[]>(std::min<size_t>(ring.size(), kPacketBytesMax))) {}

Result<IncomingRing> IncomingRing::Create(std::span<std::byte> memory) {
  DXG_ASSIGN(const RingMemory ring, RingMemory::Of(memory));
  DXG_ASSIGN(const uint32_t read, FirstIndex(ring, RingMemory::kReadIndex));
  return IncomingRing(ring, read);
}

IncomingRing::Got IncomingRing::Corrupt(Status why) {
  corruption_ = std::move(why);
  return Got::kCorrupt;
}

bool IncomingRing::HasNext() const { return known_ != 0 || ring_.Load(RingMemory::kWriteIndex) != read_; }

// How much there is to read.
bool IncomingRing::Look() {
  const uint32_t write = ring_.Load(RingMemory::kWriteIndex);
  if (!ring_.Valid(write)) {
    corruption_ = BadIndex("write index", write, ring_.size());
    return false;
  }
  // Room that we have not given back cannot hold new packets.
  const uint32_t known = ring_.Distance(read_, write);
  if (known + ring_.Distance(returned_, read_) >= ring_.size()) {
    corruption_ = Status::Refuse(
        EPROTO,
        "the peer has written up to {} over what was not given back from {} on: the ring is corrupt, "
        "open the channel anew",
        write, returned_);
    return false;
  }
  known_ = known;
  return true;
}

IncomingRing::Got IncomingRing::Next(Packet* packet) {
  if (!corruption_.ok()) return Got::kCorrupt;
  if (known_ == 0 && !Look()) return Got::kCorrupt;
  if (known_ == 0) return Got::kNothing;
  if (known_ < kPacketTakesMin) {
    return Corrupt(Status::Refuse(
        EPROTO,
        "{} bytes are left in the ring, expected a packet of at least {}: the ring is corrupt, "
        "open the channel anew",
        known_, kPacketTakesMin));
  }
  const auto descriptor = Descriptor::Of(ring_.LoadWord(read_));
  const uint32_t offset = descriptor.offset8 * 8u, length = descriptor.length8 * 8u;
  if (offset < kDescriptorBytes || length < offset || length + kTrailerBytes > known_) {
    return Corrupt(Status::Refuse(
        EPROTO,
        "a packet of {} bytes with its payload at {}, expected {} <= offset <= length <= {}: the ring "
        "is corrupt, open the channel anew",
        length, offset, kDescriptorBytes, known_ - kTrailerBytes));
  }
  packet->type = descriptor.type;
  packet->flags = descriptor.flags;
  packet->transaction = ring_.LoadWord(ring_.Advance(read_, 8));
  const std::span<std::byte> payload(payload_.get(), length - offset);
  ring_.CopyOut(ring_.Advance(read_, offset), payload);
  packet->payload = payload;
  read_ = ring_.Advance(read_, length + kTrailerBytes);
  known_ -= length + kTrailerBytes;
  return Got::kPacket;
}

bool IncomingRing::Return() {
  const uint32_t returned = ring_.Distance(returned_, read_);
  if (returned == 0) return false;
  returned_ = read_;
  ring_.Store(RingMemory::kReadIndex, read_);
  if ((ring_.Load(RingMemory::kFeatureBits) & kSendSizeUsed) == 0) return false;
  const uint32_t wanted = ring_.Load(RingMemory::kPendingSendSize);
  if (wanted == 0) return false;
  const uint32_t write = ring_.Load(RingMemory::kWriteIndex);
  if (!ring_.Valid(write)) return false;  // Next will say so
  const uint32_t free = ring_.size() - ring_.Distance(read_, write);
  return free > wanted && free - std::min(free, returned) <= wanted;  // it was not enough before
}

}  // namespace dxg::vmbus
