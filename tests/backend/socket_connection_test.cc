#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/printable.h"
#include "link/socket/connection.h"
#include "proto/dxg/protocol.pb.h"
#include "tests/backend/raw_peer.h"

namespace dxg::socket {
namespace {

using protocol::FromHost;

std::string Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void Feed(FrameReader* reader, std::string_view bytes) {
  while (!bytes.empty()) {
    const std::span<std::byte> room = reader->Room();
    const size_t part = std::min(room.size(), bytes.size());
    std::memcpy(room.data(), bytes.data(), part);
    reader->Came(part);
    bytes.remove_prefix(part);
  }
}

std::vector<std::string> AllOf(FrameReader* reader) {
  std::vector<std::string> frames;
  while (const auto frame = reader->Next()) frames.push_back(Text(*frame));
  return frames;
}

using Frames = std::vector<std::string>;

// -- FrameReader ----------------------------------------------------------------------------------

TEST(FrameReader, RefusesAFrameThatIsTooLongBeforeItHasCome) {
  FrameReader reader;
  Feed(&reader, Framed("ok") + LengthOf(kFrameBytesMax + 1));
  EXPECT_EQ(AllOf(&reader), Frames{"ok"});
  EXPECT_TRUE(reader.broken());
  Feed(&reader, Framed("more"));
  EXPECT_EQ(AllOf(&reader), Frames{}) << "nobody knows where the next one begins";
  EXPECT_TRUE(reader.broken());
}

TEST(FrameReader, TakesTheLongestFrame) {
  FrameReader reader;
  const std::string longest(kFrameBytesMax, 'x');
  Feed(&reader, Framed(longest) + Framed("next"));
  EXPECT_EQ(AllOf(&reader), (Frames{longest, "next"}));
  EXPECT_FALSE(reader.broken());
}

TEST(FrameReader, FindsFramesThatComeByteByByte) {
  FrameReader reader;
  Frames frames;
  for (const char byte : Framed("first") + Framed("") + Framed("second")) {
    Feed(&reader, std::string_view(&byte, 1));
    for (std::string& frame : AllOf(&reader)) frames.push_back(std::move(frame));
  }
  EXPECT_EQ(frames, (Frames{"first", "", "second"}));
}

TEST(FrameReader, FindsFramesThatComeTogether) {
  FrameReader reader;
  Feed(&reader, Framed("") + Framed("a") + Framed("") + Framed("bc") + LengthOf(4) + "ha");
  EXPECT_EQ(AllOf(&reader), (Frames{"", "a", "", "bc"}));
  Feed(&reader, "lf");
  EXPECT_EQ(AllOf(&reader), Frames{"half"});
}

TEST(FrameReader, StaysSmallHoweverMuchComes) {
  FrameReader reader;
  const std::string frame = Framed(std::string(3000, 'x'));
  size_t largest = 0;
  for (int i = 0; i < 2000; ++i) {
    Feed(&reader, frame.substr(0, 1000));
    Feed(&reader, frame.substr(1000));
    largest = std::max(largest, reader.Room().size());
    EXPECT_EQ(AllOf(&reader).size(), 1u);
  }
  EXPECT_LE(largest, 256u * 1024);
}

// -- Connection --------------------------------------------------------------------------------------

// Through the socket alone, and with rings.
class ConnectionTest : public testing::TestWithParam<bool> {
 protected:
  ConnectionTest() {
    auto [one, other] = SocketPair();
    channel = std::make_unique<Connection>(std::move(one));
    peer = std::make_unique<Connection>(std::move(other));
    if (!GetParam()) return;
    auto rings = Rings::Make();
    auto theirs = Rings::Take(Copies(**rings));
    EXPECT_TRUE(theirs.ok()) << theirs.status().why();
    channel->UseRings(*std::move(rings));
    peer->UseRings(*std::move(theirs));
  }
  static std::vector<UniqueFd> Copies(const Rings& rings) {
    std::vector<UniqueFd> copies;
    for (const int descriptor : rings.descriptors())
      copies.emplace_back(fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
    return copies;
  }
  static FromHost Message(uint64_t number, size_t bytes = 0, uint32_t descriptors = 0) {
    FromHost message;
    message.mutable_answer()->set_number(number);
    message.mutable_answer()->set_reply(std::string(bytes, 'x'));
    message.set_descriptors(descriptors);
    return message;
  }
  // What `Send` does not have to wait for is kept. How many messages were sent when the first one was.
  int SendUntilKept(size_t bytes) {
    for (int sent = 1;; ++sent) {
      EXPECT_TRUE(channel->Send(Message(sent, bytes)));
      if (channel->keeps()) return sent;
    }
  }
  static bool Look(Connection& at, std::string* why) {
    const auto woken = at.Wait(0);
    if (!woken.ok()) *why = woken.status().why();
    return woken.ok();
  }
  // Sends at the one what it keeps, and receives at the other until so many frames are there; the numbers of
  // their messages.
  std::vector<uint64_t> Pump(size_t frames) {
    std::vector<uint64_t> numbers;
    std::string why;
    while (numbers.size() < frames && Look(*channel, &why) && Look(*peer, &why)) {
      while (const auto frame = peer->Next()) {
        FromHost message;
        EXPECT_TRUE(message.ParseFromArray(frame->message.data(), static_cast<int>(frame->message.size())));
        numbers.push_back(message.answer().number());
        for (uint32_t i = 0; i < message.descriptors(); ++i) files.push_back(InodeOf(peer->TakeDescriptor()));
      }
    }
    EXPECT_EQ(why, "");
    return numbers;
  }
  static ino_t InodeOf(const UniqueFd& file) {
    struct stat about = {};
    EXPECT_TRUE(file.valid());
    EXPECT_EQ(fstat(file.get(), &about), 0);
    return about.st_ino;
  }

  std::unique_ptr<Connection> channel, peer;
  std::vector<ino_t> files;  // that came, by their number
};

TEST_P(ConnectionTest, RefusesAMessageThatIsTooLongAndEnds) {
  EXPECT_FALSE(channel->Send(Message(1, kFrameBytesMax)));
  EXPECT_FALSE(channel->Send(Message(2))) << "whoever waits for an answer to the first one has to hear of it";
  std::string why;
  EXPECT_FALSE(Look(*peer, &why));
  EXPECT_NE(why, "");
}

TEST_P(ConnectionTest, RefusesMoreDescriptorsThanAFrameHas) {
  const UniqueFd file = MemoryFile(4096);
  const std::vector<int> many(kDescriptorsMax + 1, file.get());
  EXPECT_FALSE(channel->Send(Message(1), many));
}

TEST_P(ConnectionTest, RefusesToReceiveMoreDescriptorsThanAFrameHas) {
  auto [raw, socket] = SocketPair();
  Connection receiver(std::move(socket));
  const UniqueFd file = MemoryFile(4096);
  const std::vector<int> many(kDescriptorsMax + 1, file.get());
  SendRaw(raw, Framed("x"), many);
  std::string why;
  EXPECT_FALSE(Look(receiver, &why));
  EXPECT_EQ(why, "too many descriptors came");
}

TEST_P(ConnectionTest, RefusesDescriptorsThatNobodyTakes) {
  auto [raw, socket] = SocketPair();
  Connection receiver(std::move(socket));
  const UniqueFd file = MemoryFile(4096);
  const int descriptors[] = {file.get()};
  std::string why;
  int frames = 0;
  for (bool there = true; there && frames < 1000; ++frames) {
    SendRaw(raw, Framed(""), descriptors);
    there = Look(receiver, &why);
    while (receiver.Next()) {
    }
  }
  EXPECT_LT(frames, 100);
  EXPECT_EQ(why, "too many descriptors came");
}

TEST_P(ConnectionTest, DescriptorsArriveWithTheirFrame) {
  const UniqueFd first = MemoryFile(1), second = MemoryFile(2), third = MemoryFile(3);
  const int one[] = {first.get()}, two[] = {second.get(), third.get()};
  ASSERT_TRUE(channel->Send(Message(1)));
  ASSERT_TRUE(channel->Send(Message(2, 0, 1), one));
  ASSERT_TRUE(channel->Send(Message(3, 0, 2), two));
  ASSERT_TRUE(channel->Send(Message(4)));
  auto numbers = Pump(4);
  // Through rings, those with descriptors are in order, and those without, and not the ones with the others.
  if (GetParam())
    std::stable_partition(numbers.begin(), numbers.end(),
                          [](uint64_t number) { return number == 2 || number == 3; });
  EXPECT_EQ(numbers, GetParam() ? (std::vector<uint64_t>{2, 3, 1, 4}) : (std::vector<uint64_t>{1, 2, 3, 4}));
  EXPECT_EQ(files, (std::vector<ino_t>{InodeOf(first), InodeOf(second), InodeOf(third)}));
  EXPECT_FALSE(peer->TakeDescriptor().valid());
}

TEST_P(ConnectionTest, DescriptorsArriveWithTheirFrameWhenFramesWereKept) {
  const int before = SendUntilKept(10'000);
  std::vector<ino_t> expected;
  for (int i = 1; i <= 5; ++i) {
    const UniqueFd file = MemoryFile(i);  // the sender's own goes before its frame does
    expected.push_back(InodeOf(file));
    const int descriptors[] = {file.get()};
    ASSERT_TRUE(channel->Send(Message(before + i, 100'000, 1), descriptors));
  }
  std::vector<uint64_t> numbers;
  for (int i = 1; i <= before + 5; ++i) numbers.push_back(i);
  EXPECT_EQ(Pump(numbers.size()), numbers);
  EXPECT_EQ(files, expected);
  EXPECT_FALSE(channel->keeps());
  ASSERT_TRUE(channel->Send(Message(1))) << "and it goes on";
  EXPECT_EQ(Pump(1), std::vector<uint64_t>{1});
}

TEST_P(ConnectionTest, KeepsSoManyBytesAndThenEnds) {
  const size_t bytes = kFrameBytesMax / 2;
  size_t sent = 0;
  while (sent < 2 * Connection::kKeptBytesMax && channel->Send(Message(1, bytes))) sent += bytes;
  EXPECT_GE(sent, Connection::kKeptBytesMax - bytes);
  EXPECT_LE(sent, Connection::kKeptBytesMax + (8u << 20)) << "more than a socket takes besides";
  std::string why;
  EXPECT_FALSE(Look(*channel, &why));
  EXPECT_FALSE(channel->Send(Message(2)));
  why.clear();
  while (Look(*peer, &why)) {
    while (peer->Next()) {
    }
  }
  EXPECT_NE(why, "");
}

TEST_P(ConnectionTest, KeepsSoManyDescriptorsAndThenEnds) {
  SendUntilKept(10'000);
  const UniqueFd file = MemoryFile(1);
  const int descriptors[] = {file.get()};
  size_t sent = 0;
  while (sent <= Connection::kKeptDescriptorsMax && channel->Send(Message(1, 0, 1), descriptors)) ++sent;
  EXPECT_EQ(sent, Connection::kKeptDescriptorsMax);
}

TEST_P(ConnectionTest, SomebodyWhoCloses) {
  const auto ends = [](Connection& which) {
    for (;;) {
      if (const auto woken = which.Wait(-1); !woken.ok()) return woken.status().why();
    }
  };
  std::string here, there;
  std::thread receiver([&] { here = ends(*channel); }), other([&] { there = ends(*peer); });
  channel->Close();
  receiver.join();
  other.join();
  EXPECT_NE(here, "") << "Close wakes the receiver of its own side";
  EXPECT_NE(there, "") << "and the other side";
  EXPECT_FALSE(channel->Send(Message(1)));
  std::string why;
  EXPECT_FALSE(Look(*channel, &why));
}

INSTANTIATE_TEST_SUITE_P(Ways, ConnectionTest, testing::Values(false, true),
                         [](const auto& info) { return info.param ? "Rings" : "Socket"; });

// -- Rings ----------------------------------------------------------------------------------------

class ConnectionRingsTest : public ConnectionTest {};
INSTANTIATE_TEST_SUITE_P(Rings, ConnectionRingsTest, testing::Values(true));

TEST_P(ConnectionRingsTest, WhatTheRingHasNoRoomForIsKeptAndComesInOrder) {
  const int sent = SendUntilKept(100'000) + 3;
  for (int i = sent - 2; i <= sent; ++i) ASSERT_TRUE(channel->Send(Message(i, 100'000)));
  std::vector<uint64_t> numbers;
  for (int i = 1; i <= sent; ++i) numbers.push_back(i);
  EXPECT_EQ(Pump(numbers.size()), numbers);
}

TEST_P(ConnectionRingsTest, AFrameThatIsLongerThanTheRingGoesThroughTheSocket) {
  ASSERT_TRUE(channel->Send(Message(1, kFrameBytesMax - 100)));
  ASSERT_TRUE(channel->Send(Message(2)));
  auto numbers = Pump(2);
  std::sort(numbers.begin(), numbers.end());
  EXPECT_EQ(numbers, (std::vector<uint64_t>{1, 2}));
}

// Only where it can go at once and in order: what is kept are frames.
TEST_P(ConnectionTest, APacketGoesByTheRingAndBehindNothingThatIsKept) {
  const std::vector<std::byte> payload(8, std::byte{1});
  const vmbus::Packet packet{vmbus::kCompletion, 0, 7, payload};
  ASSERT_EQ(channel->SendPacket(packet), GetParam());
  const auto came = peer->Next();
  ASSERT_EQ(came.has_value(), GetParam());
  if (came) {
    ASSERT_NE(came->packet, nullptr);
    EXPECT_EQ(came->packet->transaction, 7u);
    EXPECT_EQ(Text(came->packet->payload), Text(payload));
  }
  const int sent = SendUntilKept(100'000);
  EXPECT_FALSE(channel->SendPacket(packet));
  EXPECT_EQ(Pump(static_cast<size_t>(sent)).size(), static_cast<size_t>(sent));
  EXPECT_EQ(channel->SendPacket(packet), GetParam()) << "and it goes on";
  channel->Close();
  EXPECT_FALSE(channel->SendPacket(packet));
}

TEST_P(ConnectionRingsTest, AWaitEndsWithWhatComesIntoTheRing) {
  std::thread sender([&] { EXPECT_TRUE(channel->Send(Message(7))); });
  for (bool heard = false; !heard;) {
    auto woken = peer->Wait(-1);
    ASSERT_TRUE(woken.ok());
    heard = woken->heard;
  }
  EXPECT_TRUE(peer->Next());
  sender.join();
}

// What the other end writes into the ring is not believed.
TEST_P(ConnectionRingsTest, NonsenseInTheRingEndsTheConnection) {
  auto rings = Rings::Make();
  auto enemy = Rings::Take(Copies(**rings));
  ASSERT_TRUE(enemy.ok());
  peer->UseRings(*std::move(rings));
  const std::vector<std::byte> bytes(16, std::byte{0xff});  // a frame of 4 GiB
  ASSERT_EQ((*enemy)->outgoing.Add({vmbus::kInBand, 0, 0, bytes}), vmbus::OutgoingRing::Put::kYes);
  (*enemy)->outgoing.Publish();
  EXPECT_TRUE(peer->Check().ok());
  EXPECT_FALSE(peer->Next());
  EXPECT_FALSE(peer->Check().ok());
  EXPECT_FALSE(peer->Next());
}

TEST_P(ConnectionRingsTest, RefusesDescriptorsThatAreNoRings) {
  auto rings = Rings::Make();
  EXPECT_FALSE(Rings::Take({}).ok());
  auto wrong = Copies(**rings);
  std::swap(wrong[0], wrong[1]);
  EXPECT_FALSE(Rings::Take(std::move(wrong)).ok()) << "a bell is no memory";
  auto shrinkable = Copies(**rings);
  shrinkable[0] = MemoryFile(2 * Rings::kRingBytes);
  EXPECT_FALSE(Rings::Take(std::move(shrinkable)).ok()) << "memory that could be taken away";
  for (const size_t bell : {1, 2}) {
    auto mute = Copies(**rings);
    mute[bell] = SocketPair().first;
    EXPECT_FALSE(Rings::Take(std::move(mute)).ok()) << "to write into it may end us";
  }
}

// -- Texts ----------------------------------------------------------------------------------------

TEST(SocketPrintable, ShowsWhatWouldDoMoreThanBeShown) {
  EXPECT_EQ(Printable(""), "");
  EXPECT_EQ(Printable(" plain ~"), " plain ~");
  EXPECT_EQ(Printable("a\n\x1b[2J\x7f\\"), "a\\x0a\\x1b[2J\\x7f\\x5c");
  EXPECT_EQ(Printable("\xC2\x9B"), "\\xc2\\x9b");  // a control character beyond ASCII
  const std::string most(kPrintableBytesMax, 'x');
  EXPECT_EQ(Printable(most), most);
  EXPECT_EQ(Printable(most + "y"), most + "...");
}

// -- Addresses ------------------------------------------------------------------------------------

TEST(SocketAddress, RefusesWhatIsNoPathOfASocket) {
  for (const std::string& path : {std::string(), std::string(108, 'x')}) {
    EXPECT_EQ(Listen(path, "--listen").status().value(), -ENAMETOOLONG);
    EXPECT_EQ(Connect(path, "--backend").status().value(), -ENAMETOOLONG);
  }
}

TEST(SocketAddress, TakesThePlaceOfADeadHostAndOfNobodyElse) {
  TestDirectory directory;
  const std::string path = directory.path() + "/host", file = directory.path() + "/file";
  EXPECT_EQ(Connect(path, "--backend").status().value(), -ENOENT);
  {
    const auto first = Listen(path, "--listen");
    ASSERT_TRUE(first.ok()) << first.status().why();
    EXPECT_EQ(Listen(path, "--listen").status().value(), -EADDRINUSE);
    EXPECT_TRUE(Connect(path, "--backend").ok());
    struct stat about = {};
    ASSERT_EQ(stat(path.c_str(), &about), 0);
    EXPECT_EQ(about.st_mode & 0777, 0600u);
  }
  EXPECT_EQ(Connect(path, "--backend").status().value(), -ECONNREFUSED);
  EXPECT_TRUE(Listen(path, "--listen").ok());
  close(open(file.c_str(), O_CREAT | O_WRONLY, 0600));
  EXPECT_EQ(Listen(file, "--listen").status().value(), -EEXIST);
}

}  // namespace
}  // namespace dxg::socket
