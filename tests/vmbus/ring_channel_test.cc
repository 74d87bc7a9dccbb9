#include "link/vmbus/ring_channel.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <future>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "link/vmbus/eventfd_signal.h"
#include "tests/vmbus/guarded_ring.h"

namespace dxg::vmbus {
namespace {

using Sent = Channel::Sent;

constexpr size_t kRingBytes = 36 * kRingControlBytes;

// Counts what is rung, and can be revoked as the kernel does it.
class TestSignal final : public Signal {
 public:
  void Ring() override {
    ++rings;
    if (rung) rung();
  }
  int fd() const override { return event.get(); }
  bool Take() override { return !revoked; }
  // What the peer's Ring does.
  void Wake() const {
    const uint64_t one = 1;
    ASSERT_EQ(write(event.get(), &one, sizeof(one)), 8);
  }

  const UniqueFd event{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::function<void()> rung;
  std::atomic<int> rings = 0;
  std::atomic<bool> revoked = false;
};

// A channel on one side, bare rings and a signal on the other.
class RingChannelTest : public testing::Test {
 protected:
  RingChannelTest() {
    auto its_signal = std::make_unique<TestSignal>();
    signal = its_signal.get();
    auto made = MakeRingChannel(to_peer.memory(), from_peer.memory(), std::move(its_signal), keep);
    if (!made.ok()) std::abort();
    channel = *std::move(made);
    peer_in.emplace(*IncomingRing::Create(to_peer.memory()));
    peer_out.emplace(*OutgoingRing::Create(from_peer.memory()));
  }
  void PeerSends(uint64_t transaction, size_t bytes = 8) {
    const std::vector<std::byte> payload(bytes);
    ASSERT_EQ(peer_out->Add({kCompletion, 0, transaction, payload}), OutgoingRing::Put::kYes);
    if (peer_out->Publish()) signal->Wake();
  }
  // Runs until the channel ends; what came, and why it ended.
  Status Run() {
    return channel->Run([this](const Packet& packet) {
      std::lock_guard lock(mutex);
      came.push_back(packet.transaction);
      changed.notify_all();
    });
  }
  void AwaitPackets(size_t count) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return came.size() >= count; });
  }

  GuardedRing to_peer{kRingBytes}, from_peer{kRingBytes};
  std::shared_ptr<int> keep = std::make_shared<int>(0);
  TestSignal* signal;
  std::unique_ptr<Channel> channel;
  std::optional<IncomingRing> peer_in;
  std::optional<OutgoingRing> peer_out;

  std::mutex mutex;  // guards came
  std::condition_variable changed;
  std::vector<uint64_t> came;
};

// -- Refusals -------------------------------------------------------------------------------------

TEST(MakeRingChannel, RefusesWhatIsNoRingOrTooShort) {
  const GuardedRing good(kRingBytes), shorter(33 * kRingControlBytes);
  const auto refused = [](std::span<std::byte> outgoing, std::span<std::byte> incoming) {
    return MakeRingChannel(outgoing, incoming, std::make_unique<TestSignal>(), nullptr).status().value();
  };
  EXPECT_EQ(refused(shorter.memory(), good.memory()), -EINVAL);
  EXPECT_EQ(refused(good.memory(), shorter.memory()), -EINVAL);
  EXPECT_EQ(refused({}, good.memory()), -EINVAL);
  EXPECT_EQ(refused(good.memory(), good.memory().first(100)), -EINVAL);
  EXPECT_EQ(refused(good.memory().subspan(8), good.memory()), -EINVAL);
  good.Set(RingMemory::kReadIndex, 3);
  EXPECT_EQ(refused(shorter.memory(), good.memory()), -EINVAL);
}

TEST_F(RingChannelTest, APayloadThatNeverFitsEndsIt) {
  const std::vector<std::byte> payload(kRingBytes);
  EXPECT_EQ(channel->Send({kInBand, 0, 1, payload}), Sent::kLost);
  EXPECT_EQ(channel->Send({kInBand, 0, 1, {}}), Sent::kLost);
  EXPECT_EQ(Run().value(), -EMSGSIZE);
}

// -- Sending --------------------------------------------------------------------------------------

TEST_F(RingChannelTest, TakesTheLongestMessageAndIsFullThen) {
  const std::vector<std::byte> payload(kMessageBytesMax, std::byte{7});
  EXPECT_EQ(channel->Send({kInBand, kCompletionRequested, 5, payload}), Sent::kYes);
  EXPECT_EQ(channel->Send({kInBand, kCompletionRequested, 6, payload}), Sent::kFull);
  EXPECT_EQ(to_peer.Get(RingMemory::kPendingSendSize), 0u) << "it asks again; no signal is wanted";
  Packet packet;
  ASSERT_EQ(peer_in->Next(&packet), IncomingRing::Got::kPacket);
  EXPECT_EQ(packet.transaction, 5u);
  EXPECT_TRUE(std::equal(packet.payload.begin(), packet.payload.end(), payload.begin(), payload.end()));
  EXPECT_EQ(peer_in->Next(&packet), IncomingRing::Got::kNothing) << "nothing of the other";
  peer_in->Return();
  EXPECT_EQ(channel->Send({kInBand, kCompletionRequested, 6, payload}), Sent::kYes);
}

TEST_F(RingChannelTest, RingsForTheFirstPacketOnly) {
  for (uint64_t i = 1; i <= 5; ++i) EXPECT_EQ(channel->Send({kInBand, 0, i, {}}), Sent::kYes);
  EXPECT_EQ(signal->rings, 1);
  Packet packet;
  while (peer_in->Next(&packet) == IncomingRing::Got::kPacket) {
  }
  peer_in->Return();
  peer_in->Mask();
  EXPECT_EQ(channel->Send({kInBand, 0, 6, {}}), Sent::kYes);
  EXPECT_EQ(signal->rings, 1);
}

// -- Receiving ------------------------------------------------------------------------------------

TEST_F(RingChannelTest, HandlesWhatWasThereBeforeAndWhatComesLater) {
  from_peer.Set(RingMemory::kInterruptMask, 1);  // as older kernels leave it
  PeerSends(1);
  auto run = std::async(std::launch::async, [this] { return Run(); });
  AwaitPackets(1);
  for (uint64_t i = 2; i <= 100; ++i) PeerSends(i);
  AwaitPackets(100);
  channel->Close();
  EXPECT_TRUE(run.get().ok());
  for (uint64_t i = 1; i <= 100; ++i) EXPECT_EQ(came[i - 1], i);
  EXPECT_EQ(from_peer.Get(RingMemory::kInterruptMask), 0u);
}

// The peer sends from inside of the handler, when the ring looks empty to the one and not to the other.
TEST_F(RingChannelTest, LooksOnceMoreBeforeItSleeps) {
  constexpr uint64_t kPackets = 10'000;
  PeerSends(1);
  const Status ended = channel->Run([this](const Packet& packet) {
    EXPECT_EQ(from_peer.Get(RingMemory::kInterruptMask), 1u);
    const std::vector<std::byte> payload(8);
    const bool sent =
        peer_out->Add({kCompletion, 0, packet.transaction + 1, payload}) == OutgoingRing::Put::kYes;
    EXPECT_TRUE(sent);
    EXPECT_FALSE(peer_out->Publish()) << "masked";
    if (!sent || packet.transaction == kPackets) channel->Close();
  });
  EXPECT_TRUE(ended.ok());
}

// It sends when room comes free, which is after the last look into the ring and before the unmasking.
TEST_F(RingChannelTest, LooksAgainAfterItHasUnmasked) {
  from_peer.Set(RingMemory::kFeatureBits, 1);
  from_peer.Set(RingMemory::kPendingSendSize, kRingBytes - kRingControlBytes - 8);
  signal->rung = [this] {
    signal->rung = nullptr;
    EXPECT_EQ(from_peer.Get(RingMemory::kInterruptMask), 1u) << "nobody is told of the next one";
    PeerSends(2);
  };
  const std::vector<std::byte> payload(8);
  ASSERT_EQ(peer_out->Add({kCompletion, 0, 1, payload}), OutgoingRing::Put::kYes);
  peer_out->Publish();  // and no signal, which would wake the channel later
  const Status ended = channel->Run([this](const Packet& packet) {
    if (packet.transaction == 2) channel->Close();
  });
  EXPECT_TRUE(ended.ok());
  EXPECT_EQ(signal->rings, 1);
}

TEST_F(RingChannelTest, GivesRoomBackBeforeAllIsHandled) {
  size_t sent = 0;
  const std::vector<std::byte> payload(1000);
  while (peer_out->Add({kInBand, 0, ++sent, payload}) == OutgoingRing::Put::kYes) {
  }
  peer_out->Publish();
  size_t handled = 0;
  bool room = false;
  (void)channel->Run([&](const Packet&) {
    if (++handled < sent / 2) return;
    room = peer_out->Add({kInBand, 0, 1, payload}) == OutgoingRing::Put::kYes;
    channel->Close();
  });
  EXPECT_TRUE(room);
}

TEST_F(RingChannelTest, SignalsAPeerThatWaitsForRoom) {
  from_peer.Set(RingMemory::kFeatureBits, 1);
  uint64_t sent = 0;
  const std::vector<std::byte> payload(1000);
  while (peer_out->Add({kInBand, 0, ++sent, payload}) == OutgoingRing::Put::kYes) {
  }
  peer_out->Publish();
  from_peer.Set(RingMemory::kPendingSendSize, static_cast<uint32_t>(RingBytesOf(kMessageBytesMax)));
  size_t handled = 0;
  (void)channel->Run([&](const Packet&) {
    if (++handled == sent - 1) channel->Close();  // before the last of the room goes back
  });
  EXPECT_EQ(signal->rings, 1);
}

// -- The end --------------------------------------------------------------------------------------

TEST_F(RingChannelTest, CloseEndsRunBeforeWhileAndInsideOfIt) {
  auto run = std::async(std::launch::async, [this] { return Run(); });
  PeerSends(1);
  AwaitPackets(1);
  channel->Close();
  EXPECT_TRUE(run.get().ok());
  EXPECT_EQ(channel->Send({kInBand, 0, 1, {}}), Sent::kLost);
  PeerSends(2);
  EXPECT_TRUE(Run().ok()) << "one that begins later";
  EXPECT_EQ(came.size(), 1u);
  channel->Close();
}

TEST_F(RingChannelTest, CloseFromInsideHandlesNoMore) {
  PeerSends(1);
  PeerSends(2);
  int handled = 0;
  EXPECT_TRUE(channel->Run([&](const Packet&) { ++handled, channel->Close(); }).ok());
  EXPECT_EQ(handled, 1);
}

TEST_F(RingChannelTest, IsRevokedAfterWhatWasThere) {
  auto run = std::async(std::launch::async, [this] { return Run(); });
  PeerSends(1);
  AwaitPackets(1);
  ASSERT_EQ(peer_out->Add({kCompletion, 0, 2, {}}), OutgoingRing::Put::kYes);
  peer_out->Publish();
  signal->revoked = true;
  signal->Wake();
  const Status ended = run.get();
  EXPECT_EQ(ended.value(), -ENODEV) << ended.why();
  EXPECT_EQ(came, (std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(channel->Send({kInBand, 0, 1, {}}), Sent::kLost);
  EXPECT_EQ(Run().value(), -ENODEV);
}

TEST_F(RingChannelTest, ACorruptIncomingRingEndsIt) {
  auto run = std::async(std::launch::async, [this] { return Run(); });
  PeerSends(1);
  AwaitPackets(1);
  from_peer.Set(RingMemory::kWriteIndex, 13);
  signal->Wake();
  const Status ended = run.get();
  EXPECT_EQ(ended.value(), -EPROTO);
  EXPECT_NE(ended.why().find("13"), std::string::npos) << ended.why();
  EXPECT_EQ(channel->Send({kInBand, 0, 1, {}}), Sent::kLost);
}

TEST_F(RingChannelTest, ACorruptOutgoingRingEndsRunAsWell) {
  auto run = std::async(std::launch::async, [this] { return Run(); });
  PeerSends(1);
  AwaitPackets(1);
  to_peer.Set(RingMemory::kReadIndex, 12);
  const std::vector<std::byte> payload(1000);
  Sent sent = Sent::kYes;
  while (sent == Sent::kYes) sent = channel->Send({kInBand, 0, 1, payload});
  EXPECT_EQ(sent, Sent::kLost);
  channel->Close();  // no other reason than the first
  EXPECT_EQ(run.get().value(), -EPROTO);
}

TEST_F(RingChannelTest, KeepsItsMemory) {
  EXPECT_EQ(keep.use_count(), 2);
  channel.reset();
  EXPECT_EQ(keep.use_count(), 1);
}

// -- Two of them ----------------------------------------------------------------------------------

struct Pair {
  Pair() {
    auto first = MakeSignalFile(), second = MakeSignalFile();
    const auto copy = [](const UniqueFd& fd) { return UniqueFd(dup(fd.get())); };
    auto here_made = MakeRingChannel(there_to_here.memory(), here_to_there.memory(),
                                     std::make_unique<EventfdSignal>(copy(*first), copy(*second)), nullptr);
    auto there_made = MakeRingChannel(here_to_there.memory(), there_to_here.memory(),
                                      std::make_unique<EventfdSignal>(copy(*second), copy(*first)), nullptr);
    if (!here_made.ok() || !there_made.ok()) std::abort();
    here = *std::move(here_made);
    there = *std::move(there_made);
  }
  GuardedRing here_to_there{kRingBytes}, there_to_here{kRingBytes};
  std::unique_ptr<Channel> here, there;
};

TEST(RingChannelPair, AnswersOneAfterTheOther) {
  constexpr uint64_t kCalls = 2000;
  Pair pair;
  std::thread answers([&] {
    EXPECT_TRUE(
        pair.there
            ->Run([&](const Packet& packet) {
              EXPECT_EQ(pair.there->Send({kCompletion, 0, packet.transaction, packet.payload}), Sent::kYes);
            })
            .ok());
  });
  uint64_t answered = 0;
  const auto ask = [&] {
    const uint64_t payload[] = {answered};
    EXPECT_EQ(
        pair.here->Send({kInBand, kCompletionRequested, answered + 1, std::as_bytes(std::span(payload))}),
        Sent::kYes);
  };
  ask();
  EXPECT_TRUE(pair.here
                  ->Run([&](const Packet& packet) {
                    EXPECT_EQ(packet.type, kCompletion);
                    EXPECT_EQ(packet.transaction, ++answered);
                    if (answered == kCalls) return pair.here->Close();
                    ask();
                  })
                  .ok());
  pair.there->Close();
  answers.join();
  EXPECT_EQ(answered, kCalls);
}

// Each thread's packets arrive once and in its order, whatever the others send.
TEST(RingChannelPair, ManyThreadsSend) {
  constexpr uint64_t kThreads = 4, kEach = 5000;
  Pair pair;
  std::vector<std::thread> threads;
  for (uint64_t id = 0; id < kThreads; ++id) {
    threads.emplace_back([&, id] {
      for (uint64_t i = 1; i <= kEach; ++i) {
        const std::vector<uint64_t> payload(1 + i % 300, id << 32 | i);
        while (pair.here->Send({kInBand, 0, id << 32 | i, std::as_bytes(std::span(payload))}) == Sent::kFull)
          std::this_thread::yield();
      }
    });
  }
  uint64_t last[kThreads] = {}, all = 0;
  EXPECT_TRUE(pair.there
                  ->Run([&](const Packet& packet) {
                    EXPECT_EQ(packet.transaction & 0xFFFFFFFF, ++last[packet.transaction >> 32]);
                    for (size_t at = 0; at < packet.payload.size(); at += 8) {
                      uint64_t word;
                      std::memcpy(&word, packet.payload.data() + at, sizeof(word));
                      ASSERT_EQ(word, packet.transaction);
                    }
                    if (++all == kThreads * kEach) pair.there->Close();
                  })
                  .ok());
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(all, kThreads * kEach);
}

}  // namespace
}  // namespace dxg::vmbus
