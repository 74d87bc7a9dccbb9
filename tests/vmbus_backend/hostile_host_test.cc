// A host that means no good at the other end of a link, through a real socket: the back-end neither crashes
// nor hangs, and gives everything back.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "base/page.h"
#include "base/unix_socket.h"
#include "cuse-dxg/backend/vmbus/simulated_bus.h"
#include "cuse-dxg/backend/vmbus/vmbus_backend.h"
#include "link/simulated_bus/protocol.h"
#include "tests/backend/raw_peer.h"
#include "tests/vmbus_backend/directory_count.h"
#include "tests/vmbus_backend/fake_bus.h"

namespace dxg::vmbus {
namespace {

UniqueFd MemoryFile(uint64_t bytes) {
  UniqueFd file(memfd_create("test", MFD_CLOEXEC));
  EXPECT_EQ(ftruncate(file.get(), static_cast<off_t>(bytes)), 0);
  return file;
}

// A host by hand: what it does is `script`, on a thread of its own, with the guest's connection.
class Host {
 public:
  using Script = std::function<void(link::Socket& guest)>;

  explicit Host(Script script) : path_(directory_.path() + "/host") {
    auto listening = ListenUnix(path_, "test", {"test", SOCK_SEQPACKET, 1});
    EXPECT_TRUE(listening.ok()) << listening.status().why();
    fcntl(listening->get(), F_SETFL, 0);  // wait in accept
    thread_ = std::thread([socket = std::move(*listening), script = std::move(script)] {
      UniqueFd guest(accept4(socket.get(), nullptr, nullptr, SOCK_CLOEXEC));
      link::Socket connection(std::move(guest));
      script(connection);
      // Until the guest has enough of it, it goes on answering pings.
      while (Serve(connection)) {
      }
    });
  }
  ~Host() { thread_.join(); }
  const std::string& path() const { return path_; }

  // Answers one message of the guest's as a good host does, as far as that goes. False: it is gone.
  static bool Serve(link::Socket& guest) {
    auto received = guest.Receive();
    if (!received.ok()) return false;
    const auto payload = received->payload;
    if (received->header.channel != link::kControlChannel) {
      const auto head = DecodeHead(payload, true);
      if (head)
        (void)guest.Send({received->header.channel, kCompletion, 0, received->header.transaction},
                         *FakeBus::DefaultAnswer(head->command));
    } else if (link::Read<link::Ping>(payload)) {
      guest.Tell(link::Pong{});
    } else if (link::Read<link::InitiateContact>(payload)) {
      link::VersionResponse response;
      response.supported = 1;
      guest.Tell(response);
    } else if (const auto read = link::Read<link::ReadConfig>(payload)) {
      link::ConfigDone done;
      done.function = read->function;
      done.offset = read->offset;
      auto config = Config();
      done.value = config[read->offset];
      guest.Tell(done);
    } else if (const auto write = link::Read<link::WriteConfig>(payload)) {
      link::ConfigDone done;
      done.function = write->function;
      done.offset = write->offset;
      guest.Tell(done);
    } else if (const auto open = link::Read<link::Open>(payload)) {
      link::OpenResult result;
      result.relid = open->relid;
      guest.Tell(result);
    }
    return true;
  }
  // As Serve, until the guest has asked for the offers.
  static bool Greet(link::Socket& guest) {
    return Serve(guest) && Serve(guest);  // contact, offers
  }
  static void ShowWindow(link::Socket& guest, uint64_t bytes, uint64_t file_bytes) {
    const UniqueFd file = MemoryFile(file_bytes);
    const int descriptors[] = {file.get()};
    link::WindowFile window;
    window.bytes = bytes;
    guest.Tell(window, descriptors);
  }
  static void Offer(link::Socket& guest, const ChannelOffer& offered) {
    link::Offer offer;
    offer.channel_class = offered.channel_class;
    offer.instance = offered.instance;
    offer.relid = offered.relid;
    offer.mmio_megabytes = offered.mmio_megabytes;
    guest.Tell(offer);
  }
  static void Arrive(link::Socket& guest, uint32_t function = 1) {
    link::FunctionArrived arrived;
    arrived.function = function;
    arrived.vendor = kPciVendor;
    arrived.device = kPciRender;
    guest.Tell(arrived);
  }
  static void OfferUsual(link::Socket& guest) {
    ShowWindow(guest, 64 << 20, 64 << 20);
    Offer(guest, FakeBus::Global());
    Offer(guest, FakeBus::Vgpu());
    Arrive(guest);
    guest.Tell(link::AllOffersDelivered{});
  }

 private:
  socket::TestDirectory directory_;
  const std::string path_;
  std::thread thread_;
};

struct HostileHost : testing::Test {
  void SetUp() override {
    spdlog::set_level(spdlog::level::off);
    Status ignored = Status::Ok();
    {
      Run([](link::Socket& guest) { guest.Close(); }, &ignored);
    }
    files_ = CountOf("/proc/self/fd");
    threads_ = CountOf("/proc/self/task");
  }
  void TearDown() override {
    EXPECT_EQ(CountOf("/proc/self/fd"), files_) << "descriptors are left";
    EXPECT_EQ(CountOf("/proc/self/task"), threads_) << "threads are left";
    spdlog::set_level(spdlog::level::info);
  }
  // A back-end against that host, from Start to Stop; `then` in between.
  void Run(Host::Script script, Status* started, std::function<void(Backend&, Heard&)> then = nullptr,
           LinkData data = LinkData::kPackets) {
    Host host(std::move(script));
    Heard heard;
    auto bus = ConnectLinkBus(host.path(), data);
    ASSERT_TRUE(bus.ok()) << bus.status().why();
    const auto backend = CreateVmbusBackend(*std::move(bus));
    *started = backend->Start(&heard);
    if (then) then(*backend, heard);
    backend->Stop();
  }
  size_t files_ = 0, threads_ = 0;
};

TEST_F(HostileHost, AGoodOneWorks) {
  Status started = Status::Ok();
  Run([](link::Socket& guest) { Host::Greet(guest), Host::OfferUsual(guest); }, &started,
      [](Backend& backend, Heard& heard) {
        EXPECT_EQ(heard.told(), (std::vector<std::string>{"arrived 0xbadbeef00c0ffee"}));
        EXPECT_TRUE(backend.FindRegion(WindowAddress(1ull << 40)));
      });
  EXPECT_EQ(started.value(), 0);
}

TEST_F(HostileHost, OneThatClosesOrRefusesContact) {
  Status started = Status::Ok();
  Run([](link::Socket& guest) { guest.Close(); }, &started);
  EXPECT_FALSE(started.ok());
  Run([](link::Socket& guest) { (void)guest.Receive(), guest.Tell(link::VersionResponse{}); }, &started);
  EXPECT_EQ(started.value(), -EPROTO);
}

TEST_F(HostileHost, WindowsThatAreNoneEndTheConnection) {
  const std::function<void(link::Socket&)> windows[] = {
      [](link::Socket& guest) {
        Host::ShowWindow(guest, 64 << 20, (64 << 20) - 1);
      },  // the file is too short
      [](link::Socket& guest) { Host::ShowWindow(guest, ~0ull, 64 << 20); },
      [](link::Socket& guest) { guest.Tell(link::WindowFile{}); },  // without a descriptor
      [](link::Socket& guest) {
        const UniqueFd file = MemoryFile(kPageBytes);
        const int descriptors[] = {file.get(), file.get()};
        guest.Tell(link::WindowFile{}, descriptors);
      },
      [](link::Socket& guest) {
        const UniqueFd file = MemoryFile(4 * kPageBytes);
        const int descriptors[] = {file.get()};
        link::WindowFile window;
        window.bytes = kPageBytes;
        window.file_offset = 1;
        guest.Tell(window, descriptors);
      },
  };
  for (const auto& window : windows) {
    Status started = Status::Ok();
    Run([&](link::Socket& guest) { Host::Greet(guest), window(guest); }, &started);
    EXPECT_FALSE(started.ok());
  }
}

TEST_F(HostileHost, OneWithoutAWindowHasNoAdapters) {
  for (uint16_t megabytes : {0, 64}) {
    Status started = Status::Ok();
    Run(
        [&](link::Socket& guest) {
          Host::Greet(guest);
          ChannelOffer global = FakeBus::Global();
          global.mmio_megabytes = megabytes;
          if (megabytes == 0) Host::ShowWindow(guest, 64 << 20, 64 << 20);
          Host::Offer(guest, global);
          Host::Offer(guest, FakeBus::Vgpu());
          Host::Arrive(guest);
          guest.Tell(link::AllOffersDelivered{});
        },
        &started, [](Backend&, Heard& heard) { EXPECT_TRUE(heard.told().empty()); });
    EXPECT_EQ(started.value(), 0);
  }
}

TEST_F(HostileHost, MessagesOfAnyLength) {
  for (uint32_t number = 0; number < 0x140; number = number == 15 ? 0x100 : number + 1) {
    Status started = Status::Ok();
    Run(
        [number](link::Socket& guest) {
          Host::Greet(guest);
          Host::ShowWindow(guest, 64 << 20, 64 << 20);
          for (size_t size : {0u, 4u, 8u, 12u, 16u, 20u, 24u, 64u, 195u, 196u, 1000u}) {
            for (uint8_t fill : {0x00, 0x01, 0xff}) {
              std::vector<std::byte> bytes(size, std::byte{fill});
              if (size >= 4) std::memcpy(bytes.data(), &number, 4);
              (void)guest.Send({}, bytes);
              (void)guest.Send({fill, kCompletion, 0, 1}, bytes);
            }
          }
          guest.Tell(link::AllOffersDelivered{});
        },
        &started);
  }
}

TEST_F(HostileHost, OffersOfRelidZeroAndTwoOfEverything) {
  Status started = Status::Ok();
  Run(
      [](link::Socket& guest) {
        Host::Greet(guest);
        ChannelOffer zero = FakeBus::Global(0);
        Host::Offer(guest, zero);
      },
      &started);
  EXPECT_FALSE(started.ok());
  Run(
      [](link::Socket& guest) {
        Host::Greet(guest);
        Host::OfferUsual(guest);
        Host::OfferUsual(guest);
        Host::OfferUsual(guest);
      },
      &started, [](Backend&, Heard& heard) { EXPECT_EQ(heard.Wait(1).size(), 1u); });
  EXPECT_EQ(started.value(), 0);
}

TEST_F(HostileHost, RingsThatTheHostDoesNotOpen) {
  Status started = Status::Ok();
  Run(
      [](link::Socket& guest) {
        Host::Greet(guest);
        Host::OfferUsual(guest);
        for (;;) {  // a GPADL of theirs is refused
          auto received = guest.Receive();
          if (!received.ok()) return;
          if (const auto header = link::Read<link::GpadlHeader>(received->payload)) {
            link::GpadlCreated created;
            created.gpadl = header->gpadl;
            created.status = 1;
            guest.Tell(created);
          } else if (link::Read<link::Ping>(received->payload)) {
            guest.Tell(link::Pong{});
          } else if (const auto read = link::Read<link::ReadConfig>(received->payload)) {
            link::ConfigDone done;
            done.function = read->function;
            done.offset = read->offset;
            auto config = Config();
            done.value = config[read->offset];
            guest.Tell(done);
          } else if (const auto write = link::Read<link::WriteConfig>(received->payload)) {
            link::ConfigDone done;
            done.function = write->function;
            done.offset = write->offset;
            guest.Tell(done);
          }
        }
      },
      &started, [](Backend&, Heard& heard) { EXPECT_TRUE(heard.told().empty()); }, LinkData::kRings);
  EXPECT_EQ(started.value(), 0);
}

TEST_F(HostileHost, StopsAndIsMissed) {
  Status started = Status::Ok();
  Run(
      [](link::Socket& guest) {
        Host::Greet(guest);
        Host::OfferUsual(guest);
        for (;;) {  // well, until it is asked for anything at all on a channel; then it only reads
          auto received = guest.Receive();
          if (!received.ok()) return;
        }
      },
      &started, [](Backend&, Heard& heard) { EXPECT_EQ(heard.Wait(1), (std::vector<std::string>{"lost"})); });
}

TEST_F(HostileHost, AdaptersThatComeAndGo) {
  Status started = Status::Ok();
  Run(
      [](link::Socket& guest) {
        Host::Greet(guest);
        Host::OfferUsual(guest);
        for (uint32_t i = 1; i <= 200; ++i) {
          link::Rescind rescind;
          rescind.relid = FakeBus::kVgpu;
          link::FunctionRemoved removed;
          removed.function = i;
          guest.Tell(removed);
          guest.Tell(rescind);
          Host::Offer(guest, FakeBus::Vgpu());
          Host::Arrive(guest, i + 1);
        }
      },
      &started,
      [](Backend&, Heard& heard) {
        // Some go before they work; the last one stays.
        while (heard.told().empty() || !heard.told().back().starts_with("arrived")) std::this_thread::yield();
      });
  EXPECT_EQ(started.value(), 0);
}

}  // namespace
}  // namespace dxg::vmbus
