#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/status.h"
#include "link/vmbus/channel.h"

// The two ends of a VMBus ring buffer in memory that is shared with somebody who is not trusted: one side
// writes packets, the other takes them, and neither waits for the other or holds a lock.
//
//   page 0   0 write_index u32   4 read_index u32   8 interrupt_mask u32   12 pending_send_sz u32   64
//   feature_bits u32 then     D bytes of packets; an index counts bytes from here, is a multiple of 8 and
//   less than D; equal means empty
//
//   packet   descriptor, 16 bytes:  type u16, offset of the payload / 8 u16, length / 8 u16, flags u16,
//   transaction u64
//            payload, zeros up to a multiple of 8
//            trailer, 8 bytes, not in the length:  0 u32, the packet's own offset in the ring u32
//
// The other side may change any byte at any time. So each of its words is read once and then looked at, a
// payload is copied before anybody sees it, and our own index is kept here and only shown there. Where it
// breaks the rules, the ring is corrupt from then on and says so; it never leads out of the ring.
//
// Each object belongs to one thread at a time.

namespace dxg::vmbus {

// A ring is at least two pages and at most as long as an index can count.
inline constexpr size_t kRingControlBytes = 4096;
inline constexpr size_t kRingBytesMin = 2 * kRingControlBytes;
inline constexpr size_t kRingBytesMax = size_t{1} << 30;
// Of a packet without its trailer: what its length field can say.
inline constexpr size_t kPacketBytesMax = size_t{0xFFFF} * 8;

// What a packet with so long a payload takes in a ring; a ring has room for one that takes less than D.
constexpr size_t RingBytesOf(size_t payload_bytes) { return (16 + payload_bytes + 7) / 8 * 8 + 8; }

// The memory of a ring, from its control page on.
class RingMemory {
 public:
  enum Field : size_t {
    kWriteIndex = 0,
    kReadIndex = 4,
    kInterruptMask = 8,
    kPendingSendSize = 12,
    kFeatureBits = 64
  };

  // Whole pages, on a page's boundary; -EINVAL otherwise.
  static Result<RingMemory> Of(std::span<std::byte> memory);

  // All loads and stores of one order that both sides agree on: what the rules for signals need, and a
  // barrier on every CPU.
  uint32_t Load(Field field) const;
  void Store(Field field, uint32_t value) const;

  uint32_t size() const { return size_; }  // D
  bool Valid(uint32_t index) const { return index < size_ && index % 8 == 0; }
  uint32_t Advance(uint32_t index, uint32_t bytes) const {  // by at most D
    const uint64_t next = uint64_t{index} + bytes;
    return static_cast<uint32_t>(next >= size_ ? next - size_ : next);
  }
  // From one index forward to another; the bytes to read are those from the read to the write index.
  uint32_t Distance(uint32_t from, uint32_t to) const { return to >= from ? to - from : size_ - from + to; }

  // 8 bytes at a valid index, read or written as one.
  uint64_t LoadWord(uint32_t index) const;
  void StoreWord(uint32_t index, uint64_t value) const;
  // At a valid index and over the end of the ring; at most D bytes.
  void CopyIn(uint32_t index, std::span<const std::byte> bytes) const;
  void CopyOut(uint32_t index, std::span<std::byte> bytes) const;

 private:
  std::byte* control_ = nullptr;
  std::byte* data_ = nullptr;
  uint32_t size_ = 0;
};

// The end that writes. It never asks to be told of room (pending_send_sz): who finds the ring full asks again
// after a while, as the guest driver does.
class OutgoingRing {
 public:
  enum class Put {
    kYes,
    kFull,     // not enough room now
    kTooLong,  // and never will be
    kCorrupt   // the peer has broken the ring: corruption()
  };

  // Begins where the control page says; -EINVAL: it is no ring.
  static Result<OutgoingRing> Create(std::span<std::byte> memory);

  // All of the packet or nothing of it. The peer sees none before Publish.
  Put Add(const Packet& packet);
  // Shows the peer all that was added. True: it found the ring empty and has to be signalled.
  bool Publish();

  // The longest payload that an empty ring takes.
  size_t payload_bytes_max() const;
  const Status& corruption() const { return corruption_; }

 private:
  explicit OutgoingRing(RingMemory ring, uint32_t write) : ring_(ring), write_(write), published_(write) {}
  uint32_t Free() const { return ring_.size() - ring_.Distance(read_, write_); }
  bool LookForRoom();

  RingMemory ring_;
  uint32_t write_;      // up to here packets are written,
  uint32_t published_;  // and up to here the peer was told
  uint32_t read_ = 0;   // up to here the peer has said that it has read
  Status corruption_;
};

// The end that takes.
class IncomingRing {
 public:
  enum class Got {
    kPacket,
    kNothing,  // no more now
    kCorrupt   // the peer has broken the ring: corruption()
  };

  // Begins where the control page says; -EINVAL: it is no ring.
  static Result<IncomingRing> Create(std::span<std::byte> memory);

  // Takes the next packet. Its payload is a copy, whose length is a multiple of 8, and stays until the next
  // call.
  Got Next(Packet* packet);
  // There is a packet, or something that Next will call corrupt.
  bool HasNext() const;
  // The bytes of packets that were taken and whose room the peer does not have back.
  size_t held_bytes() const { return ring_.Distance(returned_, read_); }
  // Gives the room back. True: the peer waits for that much and has to be signalled.
  bool Return();

  // While masked, the peer need not signal. After Unmask it does so for the first packet that comes into the
  // empty ring; what came before is to be looked for (HasNext).
  void Mask() { ring_.Store(RingMemory::kInterruptMask, 1); }
  void Unmask() { ring_.Store(RingMemory::kInterruptMask, 0); }

  const Status& corruption() const { return corruption_; }

 private:
  explicit IncomingRing(RingMemory ring, uint32_t read);
  bool Look();
  Got Corrupt(Status why);

  RingMemory ring_;
  uint32_t read_;       // up to here packets were taken,
  uint32_t returned_;   // and up to here the peer was told
  uint32_t known_ = 0;  // bytes from read_ on that the peer has published, as far as we looked
  std::unique_ptr<std::byte[]> payload_;
  Status corruption_;
};

}  // namespace dxg::vmbus
