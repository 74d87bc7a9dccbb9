// A guest that means no good against the simulated host behind a link, through a real socket: nothing crashes
// or hangs, all is given back, and others do not notice.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <sstream>
#include <thread>

#include "base/page.h"
#include "hostsim/serve/vmbus_session.h"
#include "link/vmbus/message.h"
#include "proto/abi/ntstatus.h"
#include "proto/contract/host_commands.gen.h"
#include "tests/vmbus_backend/directory_count.h"

namespace dxg::vmbus {
namespace {

constexpr uint32_t kGlobal = 1, kVgpu = 2, kRingPages = 128;

// A host behind a socket, and the guest's end of it by hand.
class Guest {
 public:
  Guest() {
    int ends[2] = {-1, -1};
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    socket_ = std::make_unique<link::Socket>(UniqueFd(ends[0]));
    hostsim::serve::VmbusOptions options;
    options.window_megabytes = 64;
    session_ = std::make_unique<hostsim::serve::VmbusSession>(UniqueFd(ends[1]), "test", options);
    thread_ = std::thread([this] { session_->Run(); });
  }
  ~Guest() {
    socket_->Close();
    thread_.join();
  }

  template <class T>
  bool Tell(const T& message, std::span<const int> descriptors = {}, std::span<const std::byte> rest = {}) {
    return socket_->Tell(message, descriptors, rest);
  }
  void TellBytes(std::span<const std::byte> bytes) { (void)socket_->Send({}, bytes); }
  void SendPacket(uint32_t relid, uint64_t transaction, std::span<const std::byte> payload,
                  uint16_t type = kInBand) {
    (void)socket_->Send({relid, type, kCompletionRequested, transaction}, payload);
  }
  // The next control message of that kind; none: the host has closed the connection.
  template <class T>
  std::optional<T> Next() {
    for (;;) {
      auto received = socket_->Receive();
      if (!received.ok()) return std::nullopt;
      if (received->header.channel != link::kControlChannel) continue;
      if (const auto message = link::Read<T>(received->payload)) return message;
    }
  }
  // The payload of the next packet.
  std::optional<std::pair<uint64_t, std::vector<std::byte>>> NextPacket() {
    for (;;) {
      auto received = socket_->Receive();
      if (!received.ok()) return std::nullopt;
      if (received->header.channel == link::kControlChannel) continue;
      return std::pair(received->header.transaction,
                       std::vector<std::byte>(received->payload.begin(), received->payload.end()));
    }
  }
  // Waits until the host has ended the connection.
  bool Closed() { return !Next<link::Control>(); }  // which no host sends

  void Greet() {
    Tell(link::InitiateContact{});
    ASSERT_TRUE(Next<link::VersionResponse>());
    Tell(link::RequestOffers{});
    ASSERT_TRUE(Next<link::AllOffersDelivered>());
  }
  uint32_t Open(uint32_t relid, uint32_t gpadl = 0, uint32_t downstream = kRingPages / 2) {
    link::Open open;
    open.relid = relid;
    open.ring_gpadl = gpadl;
    open.downstream_page = downstream;
    Tell(open);
    const auto result = Next<link::OpenResult>();
    return result ? result->status : ~0u;
  }
  uint32_t ShowGpadl(uint32_t number, uint64_t page, uint64_t pages, uint32_t relid = kVgpu,
                     uint64_t step = 1) {
    link::GpadlHeader header;
    header.relid = relid;
    header.gpadl = number;
    header.byte_count = static_cast<uint32_t>(pages * kPageBytes);
    std::vector<uint64_t> frames(pages);
    for (uint64_t i = 0; i < pages; ++i) frames[i] = page + i * step;
    Tell(header, {}, std::as_bytes(std::span(frames)));
    const auto created = Next<link::GpadlCreated>();
    return created ? created->status : ~0u;
  }
  void ShowFile(uint64_t page, uint64_t pages, bool sealed = true) {
    const UniqueFd file(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    ASSERT_EQ(ftruncate(file.get(), static_cast<off_t>(pages * kPageBytes)), 0);
    if (sealed) {
      ASSERT_EQ(fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK), 0);
    }
    link::GuestMemory memory;
    memory.address = page * kPageBytes;
    memory.bytes = pages * kPageBytes;
    const int descriptors[] = {file.get()};
    Tell(memory, descriptors);
  }
  void Ring(uint32_t relid) {
    const UniqueFd one(eventfd(0, EFD_CLOEXEC)), other(eventfd(0, EFD_CLOEXEC));
    const int bells[] = {one.get(), other.get()};
    link::Doorbells doorbells;
    doorbells.relid = relid;
    Tell(doorbells, bells);
  }
  // A command that a well-behaved guest sends works.
  void ExpectWorks() {
    ASSERT_EQ(Open(kGlobal), 0u);
    SendPacket(kGlobal, 5, CreateProcess());
    const auto answer = NextPacket();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->first, 5u);
    EXPECT_GE(answer->second.size(), 4u);
  }
  static std::vector<std::byte> CreateProcess() {
    host::CreateProcess::Request request;
    request.set_process_id(1);
    request.set_process_bits(8);
    return EncodeRequest(*contract::FindHostCommand(1000), {0, 0, 27, false}, request);
  }

 private:
  std::unique_ptr<link::Socket> socket_;
  std::unique_ptr<hostsim::serve::VmbusSession> session_;
  std::thread thread_;
};

struct HostileGuest : testing::Test {
  void SetUp() override {
    spdlog::set_level(spdlog::level::off);
    {
      Guest once;
      once.Greet();
    }  // what is made once stays
    files_ = CountOf("/proc/self/fd");
    threads_ = CountOf("/proc/self/task");
  }
  void TearDown() override {
    EXPECT_EQ(CountOf("/proc/self/fd"), files_) << "descriptors are left";
    EXPECT_EQ(CountOf("/proc/self/task"), threads_) << "threads are left";
    Guest other;
    other.Greet();
    other.ExpectWorks();
    spdlog::set_level(spdlog::level::info);
  }
  size_t files_ = 0, threads_ = 0;
};

TEST_F(HostileGuest, WhoDoesNotBeginWithContactIsSentAway) {
  for (uint32_t number : {3u, 5u, 7u, 8u, 9u, 11u, 0x102u, 0x111u, 0x113u, 0x120u, 0x999u, 0u}) {
    Guest guest;
    std::vector<std::byte> bytes(256);
    std::memcpy(bytes.data(), &number, 4);
    guest.TellBytes(bytes);
    EXPECT_TRUE(guest.Closed()) << number;
  }
}

TEST_F(HostileGuest, MessagesOfAnyLengthEndAtMostItsOwnConnection) {
  for (uint32_t number :
       {3u, 5u, 7u, 8u, 9u, 11u, 13u, 14u, 0x102u, 0x103u, 0x111u, 0x112u, 0x113u, 0x120u, 0x999u}) {
    for (size_t size : {8u, 9u, 12u, 16u, 20u, 27u, 28u, 36u, 147u, 148u, 300u, 100000u}) {
      for (uint8_t fill : {0x00, 0x01, 0xff}) {
        Guest guest;
        guest.Greet();
        std::vector<std::byte> bytes(size, std::byte{fill});
        std::memcpy(bytes.data(), &number, 4);
        guest.TellBytes(bytes);
      }
    }
  }
}

// What a device process sends last it waits no answer for. That is no fault of it to be logged.
TEST_F(HostileGuest, OneThatEndsInTheMiddleHasEndedAndNothingElse) {
  std::ostringstream log;
  const auto before = spdlog::default_logger();
  spdlog::set_default_logger(
      std::make_shared<spdlog::logger>("kept", std::make_shared<spdlog::sinks::ostream_sink_mt>(log)));
  {
    Guest guest;
    guest.Greet();
    link::GpadlTeardown teardown;
    for (teardown.gpadl = 1; teardown.gpadl <= 100; ++teardown.gpadl) guest.Tell(teardown);
  }
  spdlog::set_default_logger(before);
  EXPECT_NE(log.str().find("over: the other side has closed the connection"), std::string::npos) << log.str();
}

TEST_F(HostileGuest, AnEmptyPacketIsNotFatalAndABareHeaderNeither) {
  Guest guest;
  guest.Greet();
  guest.TellBytes({});
  guest.SendPacket(kVgpu, 1, {});
  guest.SendPacket(77, 1, {});
  guest.ExpectWorks();
}

TEST_F(HostileGuest, OpensTwiceAndClosesNothing) {
  Guest guest;
  guest.Greet();
  link::Close close;
  for (uint32_t relid : {0u, kVgpu, 77u, ~0u}) {
    close.relid = relid;
    guest.Tell(close);
  }
  EXPECT_NE(guest.Open(0), 0u);
  EXPECT_NE(guest.Open(77), 0u);
  EXPECT_EQ(guest.Open(kVgpu), 0u);
  EXPECT_NE(guest.Open(kVgpu), 0u);
  close.relid = kVgpu;
  guest.Tell(close);
  guest.Tell(close);
  EXPECT_EQ(guest.Open(kVgpu), 0u) << "again";
  guest.ExpectWorks();
}

TEST_F(HostileGuest, GpadlsWithTooManyOrTooFewFrames) {
  {
    Guest guest;
    guest.Greet();
    link::GpadlHeader header;
    header.gpadl = 5;
    header.byte_count = 2 * kPageBytes;
    const uint64_t frames[3] = {1, 2, 3};
    guest.Tell(header, {}, std::as_bytes(std::span(frames)));
    EXPECT_TRUE(guest.Closed());
  }
  {
    Guest guest;
    guest.Greet();
    link::GpadlHeader header;
    header.gpadl = 5;
    header.byte_count = 4 * kPageBytes;
    const uint64_t frames[3] = {1, 2, 3};
    guest.Tell(header, {}, std::as_bytes(std::span(frames)));
    EXPECT_NE(guest.Open(kVgpu, 5), 0u) << "not all of it is told";
    link::GpadlTeardown teardown;
    teardown.gpadl = 5;
    guest.Tell(teardown);
    EXPECT_TRUE(guest.Next<link::GpadlTornDown>());
    guest.Tell(teardown);
    EXPECT_TRUE(guest.Next<link::GpadlTornDown>()) << "of what is gone";
    link::GpadlBody body;
    body.gpadl = 5;
    guest.Tell(body, {}, std::as_bytes(std::span(frames)));
    guest.ExpectWorks();
  }
  for (uint32_t bytes : {0u, 1u, 4095u, 4097u}) {
    Guest guest;
    guest.Greet();
    link::GpadlHeader header;
    header.byte_count = bytes;
    guest.Tell(header);
    EXPECT_TRUE(guest.Closed()) << bytes;
  }
}

TEST_F(HostileGuest, TenThousandGpadls) {
  Guest guest;
  guest.Greet();
  link::GpadlHeader header;
  constexpr uint32_t kTaken = 4096;  // without their frames, so that no word comes of them
  for (uint32_t i = 1; i <= 10000; ++i) {
    header.gpadl = i;
    header.byte_count = kPageBytes;
    ASSERT_TRUE(guest.Tell(header));
    if (i <= kTaken) continue;
    const auto refused = guest.Next<link::GpadlCreated>();
    ASSERT_TRUE(refused);
    EXPECT_EQ(refused->status, static_cast<uint32_t>(kStatusInsufficientResources));
  }
  guest.ExpectWorks();
}

TEST_F(HostileGuest, GpadlsOfMorePagesThanAnyoneHas) {
  Guest guest;
  guest.Greet();
  link::GpadlHeader header;
  header.byte_count = ~0u - kPageBytes + 1;  // nearly 4 GiB
  for (header.gpadl = 1; header.gpadl <= 4; ++header.gpadl) ASSERT_TRUE(guest.Tell(header));
  ASSERT_TRUE(guest.Tell(header));
  EXPECT_EQ(guest.Next<link::GpadlCreated>()->status, static_cast<uint32_t>(kStatusInsufficientResources));
  guest.ExpectWorks();
}

TEST_F(HostileGuest, RingsThatAreNone) {
  Guest guest;
  guest.Greet();
  guest.ShowFile(0x1000, kRingPages);
  guest.ShowFile(0x2000, kRingPages, false);
  guest.ShowFile(0x3000, kRingPages / 2);
  guest.ShowFile(0x3000, kRingPages);  // something is there
  EXPECT_EQ(guest.ShowGpadl(1, 0x1000, kRingPages), 0u);
  EXPECT_EQ(guest.ShowGpadl(2, 0x2000, kRingPages), 0u);
  EXPECT_EQ(guest.ShowGpadl(3, 0x3000, kRingPages), 0u);
  EXPECT_EQ(guest.ShowGpadl(4, 0x1000, kRingPages, kVgpu, 2), 0u);
  EXPECT_EQ(guest.ShowGpadl(5, 0x1000, 4), 0u);
  EXPECT_EQ(guest.ShowGpadl(6, ~0ull - 200, kRingPages), 0u);
  EXPECT_NE(guest.ShowGpadl(1, 0x1000, 4), 0u) << "the number is taken";
  EXPECT_NE(guest.Open(kVgpu, 1), 0u) << "without doorbells";
  guest.Ring(kVgpu);
  for (uint32_t gpadl : {2u, 3u, 4u, 5u, 6u, 7u, ~0u}) EXPECT_NE(guest.Open(kVgpu, gpadl), 0u) << gpadl;
  for (uint32_t downstream : {0u, kRingPages, kRingPages + 1, ~0u, 1u, kRingPages - 1}) {
    guest.Ring(kVgpu);
    EXPECT_NE(guest.Open(kVgpu, 1, downstream), 0u) << downstream;
  }
  guest.Ring(kVgpu);
  EXPECT_EQ(guest.Open(kVgpu, 1), 0u);
  guest.SendPacket(kVgpu, 1, Guest::CreateProcess());  // over the socket, though the channel has rings
  guest.ExpectWorks();
}

TEST_F(HostileGuest, DoorbellsThatAreNoEventfds) {
  int pipe_ends[2] = {-1, -1};
  ASSERT_EQ(pipe2(pipe_ends, O_CLOEXEC), 0);
  const UniqueFd write_end(pipe_ends[1]), zero(open("/dev/zero", O_RDWR | O_CLOEXEC)),
      bell(eventfd(0, EFD_CLOEXEC));
  close(pipe_ends[0]);  // whoever writes there gets SIGPIPE
  for (const auto& [first, second] :
       {std::pair{bell.get(), write_end.get()}, {write_end.get(), bell.get()}, {zero.get(), bell.get()}}) {
    Guest guest;
    guest.Greet();
    link::Doorbells doorbells;
    doorbells.relid = kVgpu;
    const int bells[] = {first, second};
    guest.Tell(doorbells, bells);
    EXPECT_TRUE(guest.Closed());
  }
  for (size_t count : {0u, 1u}) {
    Guest guest;
    guest.Greet();
    link::Doorbells doorbells;
    doorbells.relid = kVgpu;
    const int bells[] = {bell.get()};
    guest.Tell(doorbells, std::span(bells).first(count));
    EXPECT_TRUE(guest.Closed());
  }
}

TEST_F(HostileGuest, DescriptorsThatNobodyAskedForAreClosed) {
  Guest guest;
  guest.Greet();
  const UniqueFd bell(eventfd(0, EFD_CLOEXEC));
  const int descriptors[] = {bell.get(), bell.get()};
  for (int i = 0; i < 1000; ++i) guest.Tell(link::RelidReleased{}, descriptors);
  guest.ExpectWorks();
}

// Every command of the table with bytes that say much: each is answered, and the host lives.
TEST_F(HostileGuest, CommandsThatAskForTooMuch) {
  Guest guest;
  guest.Greet();
  ASSERT_EQ(guest.Open(kVgpu), 0u);
  uint64_t transaction = 100;
  for (uint32_t id = 0; id < 70; ++id) {
    for (size_t size : {0u, 23u, 24u, 40u, 64u, 1000u}) {
      for (uint8_t fill : {0x00, 0x7f, 0xff}) {
        std::vector<std::byte> bytes(size, std::byte{fill});
        if (size >= 24) {
          std::fill_n(bytes.begin(), 24, std::byte{0});
          std::memcpy(bytes.data() + 16, &id, 4);
        }
        guest.SendPacket(kVgpu, ++transaction, bytes);
        const auto answer = guest.NextPacket();
        ASSERT_TRUE(answer);
        ASSERT_EQ(answer->first, transaction);
        ASSERT_LE(answer->second.size(), kMessageBytesMax);
      }
    }
  }
  guest.SendPacket(kVgpu, 1, {}, 77);  // of no type
  guest.ExpectWorks();
}

TEST_F(HostileGuest, GoesWhileItsCommandsAreOnTheirWay) {
  for (int i = 0; i < 20; ++i) {
    Guest guest;
    guest.Greet();
    ASSERT_EQ(guest.Open(kGlobal), 0u);
    for (int j = 0; j < 50; ++j)
      guest.SendPacket(kGlobal, static_cast<uint64_t>(j) + 1, Guest::CreateProcess());
  }
}

TEST_F(HostileGuest, ConfigurationSpaceHasItsBounds) {
  Guest guest;
  guest.Greet();
  link::ReadConfig read;
  read.function = 1;
  for (const auto& [offset, error] : {std::pair<uint32_t, int>{0xC0, 0},
                                      {0xDC, 0},
                                      {0xE0, EINVAL},
                                      {0xBC, EINVAL},
                                      {0xC1, EINVAL},
                                      {~0u, EINVAL},
                                      {~3u, EINVAL}}) {
    read.offset = offset;
    guest.Tell(read);
    const auto done = guest.Next<link::ConfigDone>();
    ASSERT_TRUE(done);
    EXPECT_EQ(done->error, error) << offset;
  }
  read.function = 9;
  guest.Tell(read);
  EXPECT_EQ(guest.Next<link::ConfigDone>()->error, ENODEV);
  for (uint32_t version : {0u, 5u, 41u, ~0u}) {
    link::WriteConfig write;
    write.function = 1;
    write.offset = 0xD0;
    write.value = version;
    guest.Tell(write);
    EXPECT_EQ(guest.Next<link::ConfigDone>()->error, 0);
  }
}

TEST_F(HostileGuest, OrdersThatCannotBeReadEndIt) {
  Guest guest;
  guest.Greet();
  const std::byte nonsense[64] = {std::byte{0xff}};
  guest.Tell(link::Control{}, {}, nonsense);
  EXPECT_TRUE(guest.Closed());
}

}  // namespace
}  // namespace dxg::vmbus
