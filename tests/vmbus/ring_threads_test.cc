// The model of ring_model.h between threads, where the sanitizer for threads sees both sides.
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <thread>

#include "link/vmbus/eventfd_signal.h"
#include "link/vmbus/ring_channel.h"
#include "tests/vmbus/guarded_ring.h"
#include "tests/vmbus/ring_model.h"

namespace dxg::vmbus {
namespace {

bool Yield() { return sched_yield() == 0; }

TEST(RingThreads, WhatOneWritesTheOtherReads) {
  for (const size_t pages : {2, 3, 5, 17, 64}) {
    SCOPED_TRACE(pages);
    constexpr uint64_t kPackets = 10'000;
    const GuardedRing ring(pages * kRingControlBytes);
    auto outgoing = OutgoingRing::Create(ring.memory());
    auto incoming = IncomingRing::Create(ring.memory());
    ASSERT_TRUE(outgoing.ok() && incoming.ok());
    const model::Traffic traffic(pages, outgoing->payload_bytes_max());
    std::string wrong;
    std::thread producer([&] { wrong = model::Produce(*outgoing, traffic, kPackets, Yield); });
    EXPECT_EQ(model::Consume(*incoming, traffic, kPackets, Yield), "");
    producer.join();
    EXPECT_EQ(wrong, "");
  }
}

TEST(RingThreads, BothSidesOfAChannelTalkAtOnce) {
  constexpr uint64_t kPackets = 20'000;
  const GuardedRing one(40 * kRingControlBytes), two(50 * kRingControlBytes);
  auto here_file = MakeSignalFile(), there_file = MakeSignalFile();
  const auto copy = [](const UniqueFd& fd) { return UniqueFd(dup(fd.get())); };
  auto here = MakeRingChannel(one.memory(), two.memory(),
                              std::make_unique<EventfdSignal>(copy(*here_file), copy(*there_file)), nullptr);
  auto there = MakeRingChannel(two.memory(), one.memory(),
                               std::make_unique<EventfdSignal>(copy(*there_file), copy(*here_file)), nullptr);
  ASSERT_TRUE(here.ok() && there.ok());
  const model::Traffic from_here(1, kMessageBytesMax), from_there(2, 4096);
  const auto nothing = [](bool) {};
  std::string wrong;
  std::thread peer([&] { wrong = model::Talk(**there, from_there, from_here, kPackets, nothing); });
  EXPECT_EQ(model::Talk(**here, from_here, from_there, kPackets, nothing), "");
  peer.join();
  EXPECT_EQ(wrong, "");
}

}  // namespace
}  // namespace dxg::vmbus
