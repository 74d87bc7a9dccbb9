#include "link/vmbus/ring.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "tests/vmbus/guarded_ring.h"

namespace dxg::vmbus {
namespace {

using Put = OutgoingRing::Put;
using Got = IncomingRing::Got;
using Bytes = std::vector<std::byte>;

constexpr size_t kSmallRing = 2 * kRingControlBytes;  // D = 4096

Bytes FromHex(const std::string& text) {
  Bytes bytes(text.size() / 2);
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<std::byte>(std::stoi(text.substr(2 * i, 2), nullptr, 16));
  return bytes;
}

Bytes Pattern(size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  Bytes bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

Bytes Padded(Bytes bytes) {
  bytes.resize((bytes.size() + 7) / 8 * 8);
  return bytes;
}

// Both ends of a ring.
struct Ends {
  explicit Ends(size_t bytes, uint32_t index = 0) : ring(bytes) {
    ring.BeginAt(index);
    auto out = OutgoingRing::Create(ring.memory());
    auto in = IncomingRing::Create(ring.memory());
    if (!out.ok() || !in.ok()) std::abort();
    outgoing.emplace(*std::move(out));
    incoming.emplace(*std::move(in));
  }
  Put Add(const Bytes& payload, uint64_t transaction = 1) {
    return outgoing->Add({kInBand, kCompletionRequested, transaction, payload});
  }
  // Takes a packet that has to be this one.
  void Expect(const Bytes& payload, uint64_t transaction = 1) {
    Packet packet;
    ASSERT_EQ(incoming->Next(&packet), Got::kPacket) << incoming->corruption().why();
    EXPECT_EQ(packet.type, kInBand);
    EXPECT_EQ(packet.flags, kCompletionRequested);
    EXPECT_EQ(packet.transaction, transaction);
    EXPECT_EQ(Bytes(packet.payload.begin(), packet.payload.end()), Padded(payload));
  }

  GuardedRing ring;
  std::optional<OutgoingRing> outgoing;
  std::optional<IncomingRing> incoming;
};

// -- Refusals at creation -------------------------------------------------------------------------

TEST(RingMemory, RefusesWhatIsNoRing) {
  const GuardedRing ring(4 * kRingControlBytes);
  for (const size_t bytes : {size_t{0}, size_t{8}, kRingControlBytes, kRingBytesMin - 8, kRingBytesMin + 1,
                             kRingBytesMin + 8, kRingBytesMin + kRingControlBytes / 2}) {
    EXPECT_EQ(OutgoingRing::Create(ring.memory().first(bytes)).status().value(), -EINVAL) << bytes;
    EXPECT_EQ(IncomingRing::Create(ring.memory().first(bytes)).status().value(), -EINVAL) << bytes;
  }
  for (const size_t offset : {1, 8, 64}) {
    EXPECT_EQ(OutgoingRing::Create(ring.memory().subspan(offset, kRingBytesMin)).status().value(), -EINVAL)
        << offset;
  }
  const std::span<std::byte> too_long(ring.memory().data(),
                                      kRingBytesMax + kRingControlBytes);  // never touched
  EXPECT_EQ(OutgoingRing::Create(too_long).status().value(), -EINVAL);
  EXPECT_TRUE(OutgoingRing::Create(ring.memory().first(kRingBytesMin)).ok());
  EXPECT_TRUE(IncomingRing::Create(ring.memory()).ok());
}

TEST(RingMemory, RefusesToBeginAtABadIndex) {
  const GuardedRing ring(kSmallRing);
  for (const uint32_t index : {1u, 4u, 4095u, 4096u, 0xFFFFFFF8u}) {
    ring.BeginAt(0);
    ring.Set(RingMemory::kReadIndex, index);
    EXPECT_EQ(IncomingRing::Create(ring.memory()).status().value(), -EINVAL) << index;
    EXPECT_EQ(OutgoingRing::Create(ring.memory()).status().value(), -EINVAL) << index;
    ring.BeginAt(0);
    ring.Set(RingMemory::kWriteIndex, index);
    EXPECT_EQ(OutgoingRing::Create(ring.memory()).status().value(), -EINVAL) << index;
  }
}

// -- The bytes ------------------------------------------------------------------------------------

nlohmann::json Golden() {
  std::ifstream file(DXG_GOLDEN);
  return nlohmann::json::parse(file);
}

// `packet` is all of the ring after one packet was written to its beginning; it is also read back.
void CheckPacket(const Packet& packet, const Bytes& expected, const std::string& title) {
  SCOPED_TRACE(title);
  Ends ends(64 * kRingControlBytes);
  ASSERT_EQ(ends.outgoing->Add(packet), Put::kYes);
  EXPECT_TRUE(ends.outgoing->Publish());
  EXPECT_EQ(ends.ring.Get(RingMemory::kWriteIndex), expected.size());
  EXPECT_EQ(ends.ring.Bytes(0, expected.size()), expected);
  Packet read;
  ASSERT_EQ(ends.incoming->Next(&read), Got::kPacket);
  EXPECT_EQ(read.type, packet.type);
  EXPECT_EQ(read.flags, packet.flags);
  EXPECT_EQ(read.transaction, packet.transaction);
  EXPECT_EQ(Bytes(read.payload.begin(), read.payload.end()),
            Padded({packet.payload.begin(), packet.payload.end()}));
  EXPECT_EQ(ends.incoming->Next(&read), Got::kNothing);
}

TEST(Ring, PacketsAreTheGoldenBytes) {
  const auto examples = Golden();
  ASSERT_FALSE(examples.empty());
  for (const auto& example : examples) {
    const Bytes payload = FromHex(example["payload"]);
    CheckPacket({example["typ"], example["flags"], example["trans"], payload}, FromHex(example["packet"]),
                example["title"]);
    if (example["response_packet"].is_null()) continue;
    const Bytes response = FromHex(example["response"]);
    CheckPacket({kCompletion, 0, example["trans"], response}, FromHex(example["response_packet"]),
                example["title"]);
  }
}

// One with D = 2093056, as uio_hv_generic makes them.
TEST(Ring, GoesThroughTheWorkedStates) {
  const auto examples = Golden();
  const Bytes first = FromHex(examples[0]["payload"]), second = FromHex(examples[1]["payload"]);
  Ends ends(2 << 20);
  const auto expect_state = [&](uint32_t write, uint32_t read) {
    EXPECT_EQ(ends.ring.Get(RingMemory::kWriteIndex), write);
    EXPECT_EQ(ends.ring.Get(RingMemory::kReadIndex), read);
  };
  ASSERT_EQ(ends.ring.data_bytes(), 2093056u);
  ASSERT_EQ(ends.Add(first), Put::kYes);
  EXPECT_TRUE(ends.outgoing->Publish());
  expect_state(88, 0);
  ASSERT_EQ(ends.Add(second), Put::kYes);
  EXPECT_FALSE(ends.outgoing->Publish());
  expect_state(696, 0);
  ends.Expect(first);
  EXPECT_FALSE(ends.incoming->Return());
  expect_state(696, 88);
  ends.Expect(second);
  EXPECT_FALSE(ends.incoming->Return());
  expect_state(696, 696);
}

TEST(Ring, WrapsAsInTheWorkedExample) {
  const Bytes packet = FromHex(Golden()[0]["packet"]), payload = FromHex(Golden()[0]["payload"]);
  Ends ends(61440 + kRingControlBytes);
  ends.ring.Set(RingMemory::kWriteIndex, 61376);
  ends.ring.Set(RingMemory::kReadIndex, 4096);
  auto outgoing = OutgoingRing::Create(ends.ring.memory());
  ASSERT_TRUE(outgoing.ok());
  ASSERT_EQ(outgoing->Add({kInBand, kCompletionRequested, 1, payload}), Put::kYes);
  EXPECT_FALSE(outgoing->Publish());
  EXPECT_EQ(ends.ring.Get(RingMemory::kWriteIndex), 24u);
  EXPECT_EQ(ends.ring.Bytes(61376, 64), Bytes(packet.begin(), packet.begin() + 64));
  EXPECT_EQ(ends.ring.Bytes(0, 16), Bytes(packet.begin() + 64, packet.begin() + 80));
  EXPECT_EQ(ends.ring.Bytes(16, 8), FromHex("00000000c0ef0000"));
}

// At every index, so that each boundary of a packet comes to lie on the end of the ring: within the
// descriptor, the payload, between payload and trailer.
TEST(Ring, WrapsAnywhere) {
  for (uint32_t index = 0; index < 4096; index += 8) {
    SCOPED_TRACE(index);
    Ends ends(kSmallRing, index);
    for (const size_t bytes : {0, 1, 7, 8, 9, 64, 1000}) {
      const Bytes payload = Pattern(bytes, index + bytes);
      ASSERT_EQ(ends.Add(payload, index), Put::kYes);
      ends.outgoing->Publish();
      ends.Expect(payload, index);
      ends.incoming->Return();
    }
    EXPECT_EQ(ends.ring.Get(RingMemory::kReadIndex), ends.ring.Get(RingMemory::kWriteIndex));
  }
}

TEST(Ring, PadsWithZerosAndWritesNothingElse) {
  for (size_t bytes = 0; bytes < 24; ++bytes) {
    Ends ends(kSmallRing);
    std::memset(ends.ring.data(), 0xEE, ends.ring.data_bytes());
    const Bytes payload(bytes, std::byte{0x55});
    ASSERT_EQ(ends.Add(payload), Put::kYes);
    const Bytes whole = ends.ring.Bytes(0, RingBytesOf(bytes));
    for (size_t i = 16; i < whole.size(); ++i)
      EXPECT_EQ(whole[i], i < 16 + bytes ? std::byte{0x55} : std::byte{0}) << i;
    EXPECT_EQ(ends.ring.Bytes(static_cast<uint32_t>(whole.size()), 8), Bytes(8, std::byte{0xEE}));
    EXPECT_EQ(ends.ring.Get(RingMemory::kWriteIndex), 0u) << "not published yet";
  }
}

// -- Room -----------------------------------------------------------------------------------------

TEST(Ring, IsFullEightBytesEarlier) {
  for (const uint32_t index : {0u, 8u, 2048u, 4088u}) {
    Ends ends(kSmallRing, index);
    const Bytes longest = Pattern(ends.outgoing->payload_bytes_max(), index);
    EXPECT_EQ(RingBytesOf(longest.size()), 4096u - 8);
    EXPECT_EQ(ends.Add(Bytes(longest.size() + 1)), Put::kTooLong);
    ASSERT_EQ(ends.Add(longest), Put::kYes);
    EXPECT_EQ(ends.Add({}), Put::kFull);
    EXPECT_TRUE(ends.outgoing->Publish());
    ends.Expect(longest);
    EXPECT_EQ(ends.Add({}), Put::kFull) << "the room is not given back yet";
    ends.incoming->Return();
    EXPECT_EQ(ends.Add({}), Put::kYes);
  }
}

TEST(Ring, ATotalOfAllFreeBytesIsTooMuch) {
  Ends ends(kSmallRing);
  ASSERT_EQ(ends.Add(Bytes(4096 - 24 - 32)), Put::kYes);  // 32 bytes stay free
  EXPECT_EQ(ends.Add(Bytes(8)), Put::kFull) << "its 32 would make the ring look empty";
  EXPECT_EQ(ends.Add({}), Put::kYes) << "24 leave 8";
}

TEST(Ring, TakesTheLongestMessageAndTheLongestPacket) {
  Ends ends(1 << 20);
  const Bytes message = Pattern(kMessageBytesMax, 1), longest = Pattern(kPacketBytesMax - 16, 2);
  EXPECT_EQ(ends.outgoing->payload_bytes_max(), longest.size());
  EXPECT_EQ(ends.Add(Bytes(longest.size() + 1)), Put::kTooLong);
  ASSERT_EQ(ends.Add(message, 1), Put::kYes);
  ASSERT_EQ(ends.Add(longest, 2), Put::kYes);
  EXPECT_TRUE(ends.outgoing->Publish()) << "both at once";
  ends.Expect(message, 1);
  ends.Expect(longest, 2);
}

// -- Signals --------------------------------------------------------------------------------------

TEST(Ring, SignalsOnlyWhenItStopsBeingEmpty) {
  Ends ends(kSmallRing);
  int signals = 0;
  const auto send = [&](uint64_t transaction) {
    ASSERT_EQ(ends.Add(Bytes(8), transaction), Put::kYes);
    signals += ends.outgoing->Publish();
  };
  for (uint64_t i = 1; i <= 10; ++i) send(i);
  EXPECT_EQ(signals, 1);
  for (uint64_t i = 1; i <= 9; ++i) ends.Expect(Bytes(8), i);
  ends.incoming->Return();
  send(11);
  EXPECT_EQ(signals, 1) << "one was still there";
  ends.Expect(Bytes(8), 10);
  ends.Expect(Bytes(8), 11);
  send(12);
  EXPECT_EQ(signals, 1) << "it does not know yet that all were taken; who takes looks once more";
  ends.Expect(Bytes(8), 12);
  ends.incoming->Return();
  send(13);
  EXPECT_EQ(signals, 2);
  EXPECT_FALSE(ends.outgoing->Publish()) << "nothing new";
}

TEST(Ring, ABatchIsComparedWithWhatWasBeforeIt) {
  Ends ends(kSmallRing);
  for (uint64_t i = 1; i <= 5; ++i) ASSERT_EQ(ends.Add(Bytes(8), i), Put::kYes);
  EXPECT_FALSE(ends.incoming->HasNext());
  EXPECT_TRUE(ends.outgoing->Publish());
  EXPECT_TRUE(ends.incoming->HasNext());
  for (uint64_t i = 1; i <= 5; ++i) ends.Expect(Bytes(8), i);
  EXPECT_FALSE(ends.incoming->HasNext());
}

TEST(Ring, DoesNotSignalWhereItIsMasked) {
  Ends ends(kSmallRing);
  ends.incoming->Mask();
  EXPECT_EQ(ends.ring.Get(RingMemory::kInterruptMask), 1u);
  ASSERT_EQ(ends.Add(Bytes(8)), Put::kYes);
  EXPECT_FALSE(ends.outgoing->Publish());
  ends.incoming->Unmask();
  EXPECT_EQ(ends.ring.Get(RingMemory::kInterruptMask), 0u);
  EXPECT_TRUE(ends.incoming->HasNext()) << "what came while it was masked";
  ends.Expect(Bytes(8));
  ends.incoming->Return();
  ASSERT_EQ(ends.Add(Bytes(8)), Put::kYes);
  EXPECT_TRUE(ends.outgoing->Publish());
}

TEST(Ring, SignalsAProducerThatWaitsForRoomOnce) {
  Ends ends(kSmallRing);
  while (ends.Add(Bytes(40)) == Put::kYes) {  // 64 bytes each, 64 free at the end
  }
  ends.outgoing->Publish();
  const auto take = [&] {
    ends.Expect(Bytes(40));
    return ends.incoming->Return();
  };
  ends.ring.Set(RingMemory::kPendingSendSize, 100);
  EXPECT_FALSE(take()) << "a producer that does not say that it uses the field";
  ends.ring.Set(RingMemory::kFeatureBits, 1);
  ends.ring.Set(RingMemory::kPendingSendSize, 0);
  EXPECT_FALSE(take()) << "nobody waits";
  ends.ring.Set(RingMemory::kPendingSendSize, 320);  // 192 are free
  EXPECT_FALSE(take());
  EXPECT_FALSE(take()) << "320 free are not more than 320";
  EXPECT_TRUE(take());
  EXPECT_FALSE(take()) << "it was told";
  EXPECT_FALSE(ends.incoming->Return()) << "nothing was taken";
}

TEST(Ring, SignalsAsSoonAsAWordMoreThanWantedIsFree) {
  for (const uint32_t wanted : {248u, 312u, 376u}) {
    Ends ends(kSmallRing);
    ends.ring.Set(RingMemory::kFeatureBits, 1);
    while (ends.Add(Bytes(40)) == Put::kYes) {  // as above
    }
    ends.outgoing->Publish();
    ends.ring.Set(RingMemory::kPendingSendSize, wanted);
    for (uint32_t free = 128; free <= 512; free += 64) {
      ends.Expect(Bytes(40));
      EXPECT_EQ(ends.incoming->Return(), free == wanted + 8) << free << " for " << wanted;
    }
  }
}

TEST(Ring, SignalsForABatchThatCrossesWhatIsWanted) {
  Ends ends(kSmallRing);
  ends.ring.Set(RingMemory::kFeatureBits, 1);
  while (ends.Add(Bytes(40)) == Put::kYes) {
  }
  ends.outgoing->Publish();
  ends.ring.Set(RingMemory::kPendingSendSize, 1000);
  for (int i = 0; i < 20; ++i) ends.Expect(Bytes(40));
  EXPECT_EQ(ends.incoming->held_bytes(), 20u * 64);
  EXPECT_TRUE(ends.incoming->Return());
  EXPECT_EQ(ends.incoming->held_bytes(), 0u);
}

// -- A peer that breaks the rules -----------------------------------------------------------------

struct Bad {
  const char* what;
  uint16_t offset8, length8;
  uint32_t write;
};

TEST(HostileRing, PacketsThatMakeNoSenseEndIt) {
  const Bad all[] = {
      {"payload before the end of the descriptor", 1, 8, 72},
      {"payload at 0", 0, 8, 72},
      {"length less than the payload's offset", 4, 3, 72},
      {"length 0", 2, 0, 72},
      {"length 0 and offset 0", 0, 0, 72},
      {"one word longer than what was written", 2, 9, 72},
      {"the trailer is missing", 2, 9, 72},
      {"as long as can be said", 2, 0xFFFF, 72},
      {"payload as far as can be said", 0xFFFF, 0xFFFF, 72},
      {"8 bytes were written", 2, 2, 8},
      {"a descriptor without its trailer was written", 2, 2, 16},
      {"longer than the ring", 2, 4096 / 8, 4088},
  };
  for (const uint32_t index : {0u, 4080u, 4088u}) {
    for (const Bad& bad : all) {
      SCOPED_TRACE(bad.what);
      Ends ends(kSmallRing, index);
      ends.ring.SetDescriptor(index, kInBand, bad.offset8, bad.length8, 0, 1);
      ends.ring.Set(RingMemory::kWriteIndex, (index + bad.write) % 4096);
      Packet packet;
      EXPECT_EQ(ends.incoming->Next(&packet), Got::kCorrupt);
      EXPECT_EQ(ends.incoming->corruption().value(), -EPROTO);
      EXPECT_NE(ends.incoming->corruption().why(), "");
      ends.ring.Set(RingMemory::kWriteIndex, index);
      EXPECT_EQ(ends.incoming->Next(&packet), Got::kCorrupt) << "and for good";
    }
  }
}

TEST(HostileRing, APayloadMayBeginAfterMoreThanTheDescriptor) {
  Ends ends(kSmallRing);
  const Bytes rest = Pattern(16, 1);
  ends.ring.SetDescriptor(0, 9, 4, 6, 0, 7);
  std::memcpy(ends.ring.data() + 32, rest.data(), rest.size());
  ends.ring.Set(RingMemory::kWriteIndex, 56);
  Packet packet;
  ASSERT_EQ(ends.incoming->Next(&packet), Got::kPacket);
  EXPECT_EQ(packet.type, 9);
  EXPECT_EQ(Bytes(packet.payload.begin(), packet.payload.end()), rest);
}

TEST(HostileRing, ABadWriteIndexEndsIt) {
  for (const uint32_t index : {1u, 4u, 63u, 4095u, 4096u, 4104u, 0x80000000u, 0xFFFFFFF8u, 0xFFFFFFFFu}) {
    Ends ends(kSmallRing);
    ends.ring.SetDescriptor(0, kInBand, 2, 2, 0, 1);  // a packet that is fine
    ends.ring.Set(RingMemory::kWriteIndex, index);
    EXPECT_TRUE(ends.incoming->HasNext()) << "something for Next to judge";
    Packet packet;
    EXPECT_EQ(ends.incoming->Next(&packet), Got::kCorrupt) << index;
    EXPECT_EQ(ends.incoming->corruption().value(), -EPROTO);
  }
}

TEST(HostileRing, AWriteIndexInWhatWasNotGivenBackEndsIt) {
  for (const auto& [index, got] : {std::pair(4088u, Got::kPacket),  // up to it, but for a word
                                   std::pair(0u, Got::kCorrupt), std::pair(512u, Got::kCorrupt)}) {
    Ends ends(kSmallRing);
    ASSERT_EQ(ends.Add(Bytes(1000)), Put::kYes);
    ends.outgoing->Publish();
    ends.Expect(Bytes(1000));
    ends.ring.SetDescriptor(1024, kInBand, 2, 2, 0, 1);  // a packet that is fine
    ends.ring.Set(RingMemory::kWriteIndex, index);
    Packet packet;
    EXPECT_EQ(ends.incoming->Next(&packet), got) << index;
  }
}

TEST(HostileRing, ABadReadIndexEndsIt) {
  for (const uint32_t index :
       {1u, 4u, 4095u, 4096u, 0x80000000u, 0xFFFFFFF8u, 0xFFFFFFFFu,  // no index at all
        40u, 64u, 1032u, 4088u}) {                                    // read more than was written
    Ends ends(kSmallRing);
    ASSERT_EQ(ends.Add(Bytes(8)), Put::kYes);  // to 32
    ends.outgoing->Publish();
    ends.ring.Set(RingMemory::kReadIndex, index);
    EXPECT_EQ(ends.Add(Bytes(4056)), Put::kCorrupt) << index;
    EXPECT_EQ(ends.outgoing->corruption().value(), -EPROTO);
    ends.ring.Set(RingMemory::kReadIndex, 0);
    EXPECT_EQ(ends.Add({}), Put::kCorrupt) << "and for good";
  }
}

TEST(HostileRing, AReadIndexThatGoesBackEndsIt) {
  Ends ends(kSmallRing);
  ASSERT_EQ(ends.Add(Bytes(2000)), Put::kYes);
  ends.outgoing->Publish();
  ends.ring.Set(RingMemory::kReadIndex, 2024);
  ASSERT_EQ(ends.Add(Bytes(3000)), Put::kYes);
  ends.outgoing->Publish();
  ASSERT_EQ(ends.ring.Get(RingMemory::kWriteIndex), 952u);
  ends.ring.Set(RingMemory::kReadIndex, 1000);
  EXPECT_EQ(ends.Add(Bytes(3000)), Put::kCorrupt);
}

TEST(HostileRing, OurOwnIndicesAreNotTakenFromThere) {
  Ends ends(kSmallRing);
  const Bytes first = Pattern(100, 1), second = Pattern(200, 2);
  ASSERT_EQ(ends.Add(first, 1), Put::kYes);
  ends.outgoing->Publish();
  const auto scribble = [&](RingMemory::Field field) { ends.ring.Set(field, 0x12345678); };
  scribble(RingMemory::kWriteIndex);
  ASSERT_EQ(ends.Add(second, 2), Put::kYes);
  ends.outgoing->Publish();
  EXPECT_EQ(ends.ring.Get(RingMemory::kWriteIndex), RingBytesOf(100) + RingBytesOf(200));
  scribble(RingMemory::kReadIndex);
  ends.Expect(first, 1);
  scribble(RingMemory::kReadIndex);
  ends.Expect(second, 2);
  ends.incoming->Return();
  EXPECT_EQ(ends.ring.Get(RingMemory::kReadIndex), RingBytesOf(100) + RingBytesOf(200));
}

TEST(HostileRing, ANonsensicalPendingSizeOrWriteIndexIsNoTrouble) {
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    Ends ends(kSmallRing);
    ASSERT_EQ(ends.Add(Bytes(64)), Put::kYes);
    ends.outgoing->Publish();
    ends.Expect(Bytes(64));
    ends.ring.Set(RingMemory::kFeatureBits, random());
    ends.ring.Set(RingMemory::kPendingSendSize, random() >> (random() % 32));
    ends.ring.Set(RingMemory::kWriteIndex, random() >> (random() % 32));
    (void)ends.incoming->Return();
  }
}

// Another process writes anything anywhere while we read and write, as fast as it can. Whatever comes out of
// it, nothing is touched beside the ring (there is nothing mapped), and nothing runs for ever.
TEST(HostileRing, APeerThatWritesAllTheTime) {
  const GuardedRing ring(kSmallRing);
  const pid_t peer = fork();
  ASSERT_GE(peer, 0);
  if (peer == 0) {
    std::mt19937 random(7);
    for (;;) {
      const auto any_index = [&] { return random() % 8 != 0 ? random() % 512 * 8 : random(); };
      ring.Set(RingMemory::kWriteIndex, any_index());
      ring.Set(RingMemory::kReadIndex, any_index());
      ring.Set(RingMemory::kInterruptMask, random() % 2);
      ring.SetDescriptor(random() % 512 * 8, kInBand, 2 + random() % 3,
                         random() % 32 == 0 ? random() : 2 + random() % 60, 0, random());
    }
  }
  std::map<Got, int> got;
  std::map<Put, int> put;
  const Bytes payload = Pattern(600, 1);
  const auto saw_all = [&] {
    return got.size() == 3 && put.contains(Put::kYes) && put.contains(Put::kCorrupt);
  };
  for (int round = 0; round < 1'000'000 && (round < 20'000 || !saw_all()); ++round) {
    auto incoming = IncomingRing::Create(ring.memory());
    auto outgoing = OutgoingRing::Create(ring.memory());
    if (!incoming.ok() || !outgoing.ok()) sched_yield();  // it is to go on before anything else comes of it
    for (int i = 0; i < 20; ++i) {
      Packet packet;
      if (incoming.ok()) {
        const Got what = incoming->Next(&packet);
        ++got[what];
        if (what == Got::kPacket) {
          ASSERT_LT(packet.payload.size(), 4096u);
        }
        (void)incoming->Return();
      }
      if (!outgoing.ok()) continue;
      ++put[outgoing->Add({kInBand, 0, 1, std::span(payload).first(round % 600)})];
      (void)outgoing->Publish();
    }
  }
  kill(peer, SIGKILL);
  waitpid(peer, nullptr, 0);
  EXPECT_TRUE(saw_all());
}

}  // namespace
}  // namespace dxg::vmbus
