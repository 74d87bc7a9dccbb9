// The small parts of the link and of the host's end of it: the codec, the guest's memory, the port, words of
// places.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>

#include "base/page.h"
#include "base/shared_memory.h"
#include "hostsim/serve/guest_ram.h"
#include "link/simulated_bus/packet_channel.h"
#include "link/vmbus/bus_address.h"
#include "link/vmbus/port.h"
#include "tests/vmbus_backend/fake_channel.h"

namespace dxg::vmbus {
namespace {

using hostsim::serve::GpadlPages;
using hostsim::serve::GuestRam;

UniqueFd File(uint64_t bytes, unsigned seals = F_SEAL_SHRINK) {
  UniqueFd file(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(ftruncate(file.get(), static_cast<off_t>(bytes)), 0);
  if (seals != 0) {
    EXPECT_EQ(fcntl(file.get(), F_ADD_SEALS, seals), 0);
  }
  return file;
}

std::pair<UniqueFd, UniqueFd> Pair() {
  int ends[2] = {-1, -1};
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// -- link/simulated_bus/protocol.h

TEST(LinkCodec, TakesItsOwnNumberAndEnoughBytes) {
  link::Rescind rescind;
  rescind.relid = 7;
  PacketBytes bytes(sizeof(rescind) + 3);
  std::memcpy(bytes.data(), &rescind, sizeof(rescind));
  std::span<const std::byte> rest;
  ASSERT_TRUE(link::Read<link::Rescind>(bytes, &rest));
  EXPECT_EQ(link::Read<link::Rescind>(bytes)->relid, 7u);
  EXPECT_EQ(rest.size(), 3u);
  EXPECT_FALSE(link::Read<link::Close>(bytes));
  EXPECT_FALSE(link::Read<link::Rescind>(std::span(bytes).first(sizeof(rescind) - 1)));
  EXPECT_EQ(link::NumberOf(bytes), link::kRescind);
  EXPECT_EQ(link::NumberOf(std::span(bytes).first(7)), 0u);
}

TEST(LinkSocket, CarriesMessagesWithDescriptors) {
  auto [ours, theirs] = Pair();
  link::Socket sender(std::move(ours)), receiver(std::move(theirs));
  const UniqueFd file = File(kPageBytes);
  const int descriptors[] = {file.get()};
  ASSERT_TRUE(sender.Tell(link::GuestMemory{.address = 4096}, descriptors));
  auto received = receiver.Receive();
  ASSERT_TRUE(received.ok());
  EXPECT_EQ(received->header.channel, link::kControlChannel);
  ASSERT_EQ(received->descriptors.size(), 1u);
  EXPECT_NE(fcntl(received->descriptors[0].get(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_EQ(link::Read<link::GuestMemory>(received->payload)->address, 4096u);
  sender.Close();
  EXPECT_EQ(receiver.Receive().status().value(), -ENODEV);
  EXPECT_FALSE(receiver.Tell(link::RequestOffers{}));
}

TEST(LinkSocket, RefusesWhatIsNoPacket) {
  for (size_t bytes : {size_t{1}, size_t{15}, link::kPacketBytesMax + 1}) {
    auto [ours, theirs] = Pair();
    link::Socket receiver(std::move(theirs));
    const std::vector<char> packet(bytes);
    ASSERT_EQ(send(ours.get(), packet.data(), packet.size(), 0), static_cast<ssize_t>(bytes));
    EXPECT_EQ(receiver.Receive().status().value(), -EPROTO) << bytes;
  }
}

TEST(LinkSocket, OneWhoDoesNotReadIsGivenUp) {
  auto [ours, theirs] = Pair();
  link::Socket sender(std::move(ours));
  const PacketBytes much(64 << 10);
  while (sender.Tell(link::Control{}, {}, much)) {
  }
  EXPECT_EQ(sender.Send({}, much), Channel::Sent::kFull);
}

TEST(PacketChannel, FillsPayloadsUpToEightBytes) {
  auto [ours, theirs] = Pair();
  PacketChannel channel(std::make_shared<link::Socket>(std::move(ours)), 7);
  link::Socket receiver(std::move(theirs));
  for (const size_t bytes : {0, 1, 7, 8, 9, 24}) {
    PacketBytes payload(bytes, std::byte{0x55});
    Packet packet{};
    packet.payload = payload;
    ASSERT_EQ(channel.Send(packet), Channel::Sent::kYes);
    auto received = receiver.Receive();
    ASSERT_TRUE(received.ok());
    EXPECT_EQ(received->header.channel, 7u);
    payload.resize((bytes + 7) / 8 * 8);
    EXPECT_EQ(PacketBytes(received->payload.begin(), received->payload.end()), payload) << bytes;
  }
}

TEST(PacketInbox, GivesWhatCameBeforeItsEnd) {
  PacketInbox inbox;
  link::Received received;
  for (uint64_t i = 1; i <= 3; ++i) {
    received.header.transaction = i;
    inbox.Put(received);
  }
  inbox.End(Status::Refuse(ENODEV, "the test"));
  inbox.End(Status::Ok());
  inbox.Put(received);
  std::vector<uint64_t> got;
  EXPECT_EQ(inbox.Run([&](const Packet& packet) { got.push_back(packet.transaction); }).value(), -ENODEV);
  EXPECT_EQ(got, (std::vector<uint64_t>{1, 2, 3}));
}

TEST(PacketInbox, HasALimitAlsoForPacketsWithoutBytes) {
  PacketInbox inbox;
  link::Received received;
  const size_t most = PacketInbox::kBytesMax / sizeof(link::LinkHeader) + 1;  // at the most
  for (size_t i = 0; i < most; ++i) inbox.Put(received);
  size_t got = 0;
  EXPECT_EQ(inbox.Run([&](const Packet&) { ++got; }).value(), -EPROTO);
  EXPECT_LT(got, most);
}

TEST(SharedMemory, OnlyWhatCannotBecomeShorter) {
  EXPECT_TRUE(MapSharedMemory(File(2 * kPageBytes).get(), 0, 2 * kPageBytes));
  EXPECT_TRUE(MapSharedMemory(File(2 * kPageBytes).get(), kPageBytes, kPageBytes));
  EXPECT_FALSE(MapSharedMemory(File(2 * kPageBytes, 0).get(), 0, 2 * kPageBytes)) << "not sealed";
  EXPECT_FALSE(MapSharedMemory(File(2 * kPageBytes).get(), 0, 3 * kPageBytes));
  EXPECT_FALSE(MapSharedMemory(File(2 * kPageBytes).get(), kPageBytes, 2 * kPageBytes));
  EXPECT_FALSE(MapSharedMemory(File(2 * kPageBytes).get(), 3 * kPageBytes, kPageBytes));
  EXPECT_FALSE(MapSharedMemory(File(2 * kPageBytes).get(), ~0ull - kPageBytes + 1, kPageBytes));
  EXPECT_FALSE(MapSharedMemory(File(2 * kPageBytes).get(), 1, kPageBytes));
  EXPECT_FALSE(MapSharedMemory(File(2 * kPageBytes).get(), 0, 0));
  EXPECT_FALSE(MapSharedMemory(0, 0, kPageBytes)) << "no memory file";
}

// -- The guest's memory

TEST(GuestRam, TakesWholePagesThatNothingElseHas) {
  GuestRam ram;
  EXPECT_FALSE(ram.Show(0x1000, 0, File(kPageBytes), 0));
  EXPECT_FALSE(ram.Show(0x1001, kPageBytes, File(kPageBytes), 0));
  EXPECT_FALSE(ram.Show(0x1000, kPageBytes + 1, File(kPageBytes), 0));
  EXPECT_FALSE(ram.Show(1ull << 52, kPageBytes, File(kPageBytes), 0));
  EXPECT_FALSE(ram.Show(kPageBytes, 1ull << 52, File(kPageBytes), 0));
  EXPECT_FALSE(ram.Show(~0ull - kPageBytes + 1, kPageBytes, File(kPageBytes), 0));
  EXPECT_FALSE(ram.Show(0x1000, kPageBytes, File(kPageBytes), ~0ull));
  ASSERT_TRUE(ram.Show(0x3000, 2 * kPageBytes, File(2 * kPageBytes), 0));
  EXPECT_FALSE(ram.Show(0x3000, kPageBytes, File(kPageBytes), 0));
  EXPECT_FALSE(ram.Show(0x4000, kPageBytes, File(kPageBytes), 0));
  EXPECT_FALSE(ram.Show(0x2000, 2 * kPageBytes, File(2 * kPageBytes), 0));
  EXPECT_FALSE(ram.Show(0x1000, 16 * kPageBytes, File(16 * kPageBytes), 0));
  EXPECT_TRUE(ram.Show(0x2000, kPageBytes, File(kPageBytes), 0));
  EXPECT_TRUE(ram.Show(0x5000, kPageBytes, File(kPageBytes), 0));
  EXPECT_FALSE(ram.Forget(0x4000));
  EXPECT_TRUE(ram.Forget(0x3000));
  EXPECT_FALSE(ram.Forget(0x3000));
  EXPECT_TRUE(ram.Show(0x4000, kPageBytes, File(kPageBytes), 0));
}

TEST(GuestRam, ReadsAndWritesAcrossRangesAndNotBeyond) {
  GuestRam ram;
  ASSERT_TRUE(ram.Show(0x2000, kPageBytes, File(3 * kPageBytes), 2 * kPageBytes));
  ASSERT_TRUE(ram.Show(0x3000, kPageBytes, File(kPageBytes), 0));
  ASSERT_TRUE(ram.Show(0x9000, 2 * kPageBytes, File(kPageBytes), 0));  // half of it is no file
  PacketBytes out(kPageBytes, std::byte{0x5a}), in(kPageBytes);
  EXPECT_TRUE(ram.WriteAt(0x2800, out));
  EXPECT_TRUE(ram.ReadAt(0x2800, in));
  EXPECT_EQ(in, out);
  EXPECT_TRUE(ram.ReadAt(0x27f8, std::span(in).first(16)));
  EXPECT_EQ(in[7], std::byte{0});
  EXPECT_EQ(in[8], std::byte{0x5a});
  EXPECT_FALSE(ram.ReadAt(0x3800, in)) << "ends in a hole";
  EXPECT_FALSE(ram.ReadAt(0x1fff, std::span(in).first(2)));
  EXPECT_FALSE(ram.ReadAt(~0ull, std::span(in).first(2)));
  EXPECT_FALSE(ram.ReadAt(0xa000, std::span(in).first(1))) << "the file ends before";
  EXPECT_TRUE(ram.ReadAt(0x5000, {}));
}

TEST(GuestRam, HasALimit) {
  GuestRam ram;
  const UniqueFd file = File(kPageBytes);
  for (uint64_t i = 0; i < 64; ++i)
    ASSERT_TRUE(ram.Show(i * kPageBytes, kPageBytes, UniqueFd(dup(file.get())), 0));
  static_assert(GuestRam::kRangesMax == 4096, "what docs say");
}

TEST(GuestRam, MapsOneRunOfPages) {
  GuestRam ram;
  ASSERT_TRUE(ram.Show(0x2000, 4 * kPageBytes, File(4 * kPageBytes), 0));
  ASSERT_TRUE(ram.Show(0x6000, kPageBytes, File(kPageBytes), 0));
  EXPECT_TRUE(ram.Map(std::vector<uint64_t>{2, 3, 4, 5}));
  EXPECT_TRUE(ram.Map(std::vector<uint64_t>{4}));
  EXPECT_FALSE(ram.Map({}));
  EXPECT_FALSE(ram.Map(std::vector<uint64_t>{2, 4}));
  EXPECT_FALSE(ram.Map(std::vector<uint64_t>{3, 2}));
  EXPECT_FALSE(ram.Map(std::vector<uint64_t>{5, 6})) << "two files";
  EXPECT_FALSE(ram.Map(std::vector<uint64_t>{1}));
  EXPECT_FALSE(ram.Map(std::vector<uint64_t>{~0ull}));
}

TEST(GpadlPages, AreThePagesInTheirOrder) {
  auto ram = std::make_shared<GuestRam>();
  ASSERT_TRUE(ram->Show(0x2000, 4 * kPageBytes, File(4 * kPageBytes), 0));
  GpadlPages pages(ram, {5, 2, 3, 3, 1ull << 60});
  EXPECT_EQ(pages.size(), 5 * kPageBytes);
  PacketBytes out(2 * kPageBytes, std::byte{1}), in(2 * kPageBytes);
  out[0] = std::byte{7};
  EXPECT_TRUE(pages.Write(kPageBytes / 2, out));
  EXPECT_TRUE(pages.Read(kPageBytes / 2, in));
  EXPECT_EQ(in, out);
  EXPECT_TRUE(ram->ReadAt(0x5800, std::span(in).first(1)));
  EXPECT_EQ(in[0], std::byte{7});
  EXPECT_FALSE(pages.Read(3 * kPageBytes, in)) << "a frame that no machine has";
  EXPECT_FALSE(pages.Read(4 * kPageBytes, in)) << "behind its end";
  EXPECT_FALSE(pages.Read(~0ull, std::span(in).first(1)));
  EXPECT_FALSE(pages.Write(5 * kPageBytes, std::span(out).first(1)));
  EXPECT_TRUE(pages.Read(5 * kPageBytes, {}));
}

// -- The port

TEST(Port, KeepsWhatDoesNotFitInOrder) {
  auto channel = std::make_shared<FakeChannelState>();
  Port port(std::make_unique<FakeChannel>(channel),
            {.handle = [](const Packet&) {}, .over = [](const Status&) {}, .settled = {}}, {});
  channel->SetFull(true);
  for (uint64_t i = 1; i <= 100; ++i) port.Send({kCompletion, 0, i, {}});
  channel->SetFull(false);
  channel->WaitForSent(50);
  for (uint64_t i = 101; i <= 200; ++i) port.Send({kCompletion, 0, i, {}});
  channel->WaitForSent(200);
  const auto sent = channel->sent();
  for (uint64_t i = 1; i <= 200; ++i) EXPECT_EQ(sent[i - 1].transaction, i);
}

TEST(Port, AGuestThatNeverReadsLosesTheChannel) {
  for (size_t bytes : {size_t{0}, size_t{100000}}) {
    auto channel = std::make_shared<FakeChannelState>();
    Port port(std::make_unique<FakeChannel>(channel),
              {.handle = [](const Packet&) {}, .over = [](const Status&) {}, .settled = {}}, {});
    channel->SetFull(true);
    const PacketBytes payload(bytes);
    size_t sent = 0;
    for (; !channel->closed(); ++sent) port.Send({kCompletion, 0, 1, payload});
    EXPECT_LE(sent * bytes, Port::kKeptBytesMax + bytes);
    port.Send({kCompletion, 0, 1, payload});
  }
}

TEST(Port, TellsWhyItIsLostAndEndsInPeace) {
  auto channel = std::make_shared<FakeChannelState>();
  std::atomic<int> lost = 0;
  {
    Port port(std::make_unique<FakeChannel>(channel),
              {.handle = [](const Packet&) {},
               .over = [&](const Status& why) { lost = why.value(); },
               .settled = {}},
              {});
    channel->Lose();
    while (lost == 0) std::this_thread::yield();
    channel->SetFull(true);
    port.Send({kCompletion, 0, 1, {}});
  }
  EXPECT_EQ(lost, -ENODEV);
  auto other = std::make_shared<FakeChannelState>();
  lost = 1;
  {
    Port port(std::make_unique<FakeChannel>(other),
              {.handle = [](const Packet&) {},
               .over = [&](const Status& why) { lost = why.value(); },
               .settled = {}},
              {});
    port.End();
  }
  EXPECT_EQ(lost, 0) << "it is told of an end that was wanted, as OK";
}

TEST(Port, TellsOnceWhatBecameOfEachPacketThatItKept) {
  struct Fate {
    uint64_t transaction;
    Channel::Sent how;
  };
  auto channel = std::make_shared<FakeChannelState>();
  Mutex mutex;
  std::vector<Fate> fates;
  const auto count = [&] {
    MutexLock lock(mutex);
    return fates.size();
  };
  Port port(std::make_unique<FakeChannel>(channel),
            {.handle = [](const Packet&) {},
             .over = [](const Status&) {},
             .settled =
                 [&](uint64_t transaction, const Completion&, Channel::Sent how) {
                   MutexLock lock(mutex);
                   fates.push_back({transaction, how});
                 }},
            {});
  EXPECT_EQ(port.Send({kInBand, 0, 1, {}}), Channel::Sent::kYes);
  channel->SetFull(true);
  EXPECT_EQ(port.Send({kInBand, 0, 2, {}}, 3), Channel::Sent::kFull);
  while (count() < 1) std::this_thread::yield();
  EXPECT_EQ(port.Send({kInBand, 0, 3, {}}), Channel::Sent::kFull);
  channel->SetFull(false);
  while (count() < 2) std::this_thread::yield();
  channel->SetFull(true);
  EXPECT_EQ(port.Send({kInBand, 0, 4, {}}), Channel::Sent::kFull);
  port.Close();
  EXPECT_EQ(port.Send({kInBand, 0, 5, {}}), Channel::Sent::kLost);
  port.End();
  MutexLock lock(mutex);
  ASSERT_EQ(fates.size(), 3u);
  EXPECT_TRUE(fates[0].transaction == 2 && fates[0].how == Channel::Sent::kFull)
      << "tried as often as it may be";
  EXPECT_TRUE(fates[1].transaction == 3 && fates[1].how == Channel::Sent::kYes);
  EXPECT_TRUE(fates[2].transaction == 4 && fates[2].how == Channel::Sent::kLost);
}

// -- Places

TEST(Place, ReadsPathAndWords) {
  const auto parse = [](const std::string& text) {
    return ParseBusAddress(text, "--serve", {"v27", "window"});
  };
  ASSERT_TRUE(parse("vmbus").ok());
  EXPECT_EQ(parse("vmbus")->path, "");
  EXPECT_EQ(parse("vmbus:/a=b:c")->path, "/a=b:c");
  const auto place = parse("vmbus:/run/x,window=/dev/shm/w=1,v27");
  ASSERT_TRUE(place.ok());
  EXPECT_EQ(place.status().value(), 0);
  Result<BusAddress> again = parse("vmbus,window=,v27");
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again->has("window") && again->has("v27") && !again->has("other"));
  EXPECT_EQ(parse("vmbus:/run/x,window=/dev/shm/w=1,v27")->value("window"), "/dev/shm/w=1");
  EXPECT_EQ(again->value("other"), "");
  for (const char* wrong : {"", "vmbu", "vmbusX", "vmbus:", "vmbus:,v27", "vmbus,", "vmbus,v28",
                            "vmbus,v27,v27", "vmbus,v27,", "vmbus:a,,v27", "vmbus, v27"}) {
    EXPECT_EQ(parse(wrong).status().value(), -EINVAL) << wrong;
  }
}

}  // namespace
}  // namespace dxg::vmbus
