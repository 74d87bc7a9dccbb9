#include "cuse-dxg/backend/uio/uio_bus.h"

#include <gtest/gtest.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <thread>

#include "cuse-dxg/backend/uio/uevents.h"
#include "link/vmbus/pci_config.h"
#include "tests/vmbus_uio/fake_node.h"
#include "tests/vmbus_uio/fake_sysfs.h"

namespace dxg::vmbus {
namespace {

using Lines = std::vector<std::string>;

class Events final : public BusEvents {
 public:
  void Offered(const ChannelOffer& offer) override {
    {
      std::lock_guard lock(mutex_);
      offers[offer.relid] = offer;
    }
    if (on_offer) on_offer(offer);
    Say(fmt::format("offered {} {}", offer.relid, offer.channel_class == kGlobalClass ? "global" : "vgpu"));
  }
  void Rescinded(uint32_t relid) override { Say(fmt::format("rescinded {}", relid)); }
  void FunctionArrived(std::shared_ptr<PciFunction> function) override {
    functions.push_back(function);
    Say("arrived " + function->name());
  }
  void FunctionRemoved(const std::string& name) override { Say("removed " + name); }
  void BusLost(const std::string& why) override { Say("lost: " + why); }

  // What was said since the last time.
  Lines Take() {
    std::lock_guard lock(mutex_);
    return std::exchange(said_, {});
  }
  void WaitForOne() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !said_.empty(); });
  }

  std::map<uint32_t, ChannelOffer> offers;
  std::vector<std::shared_ptr<PciFunction>> functions;
  std::function<void(const ChannelOffer&)> on_offer;

 private:
  void Say(std::string line) {
    std::lock_guard lock(mutex_);
    said_.push_back(std::move(line));
    changed_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  Lines said_;
};

class UioBusTest : public testing::Test {
 protected:
  UioBusTest() : wire_(4 << 20) { options_.places = sysfs_.places(); }
  ~UioBusTest() override {
    if (bus_) bus_->Stop();
  }

  void BindAll() {
    sysfs_.Bind(kGlobalName, kUioDriver);
    sysfs_.Bind(kVgpuName, kUioDriver);
  }
  void Start() {
    bus_ = std::make_unique<UioBus>(options_,
                                    [this](const std::string& path) -> Result<std::unique_ptr<UioNode>> {
                                      opened_.push_back(path);
                                      return wire_.TakeNode();
                                    });
    ASSERT_TRUE(bus_->Start(&events_).ok());
  }

  FakeSysfs sysfs_;
  FakeWire wire_;
  Events events_;
  UioOptions options_;
  Lines opened_;
  std::unique_ptr<UioBus> bus_;
};

TEST_F(UioBusTest, TellsWhatIsThereBeforeStartReturns) {
  sysfs_.AddGpu();
  BindAll();
  Start();
  EXPECT_EQ(events_.Take(),
            (Lines{"offered 12 global", "offered 13 vgpu", std::string("arrived ") + kFunctionName}));
  EXPECT_EQ(events_.offers[13].instance, Guid::Parse(kVgpuName));
  EXPECT_EQ(events_.offers[12].mmio_megabytes, 0);
  Result<Negotiated> agreed = Negotiate(*events_.functions.at(0), std::nullopt);
  ASSERT_TRUE(agreed.ok()) << agreed.status().why();
  EXPECT_EQ(agreed->channel, events_.offers[13].instance);
}

TEST_F(UioBusTest, ChannelsOfOtherDriversAndHalfMadeOnesAreNotOffered) {
  sysfs_.AddGpu();
  sysfs_.AddDxgDriver();
  sysfs_.Bind(kGlobalName, kDxgDriver);
  sysfs_.Bind(kVgpuName, kUioDriver);
  sysfs_.Remove(sysfs_.ChannelPath(kVgpuName) + "/uio/uio0/maps");
  sysfs_.Link(sysfs_.FunctionPath(kFunctionName) + "/driver", "sys/bus/pci/drivers/dxgkrnl");
  Start();
  EXPECT_EQ(events_.Take(), Lines{});
}

TEST_F(UioBusTest, ChannelsComeAndGo) {
  sysfs_.AddGpu();
  Start();
  EXPECT_EQ(events_.Take(), (Lines{std::string("arrived ") + kFunctionName}));
  BindAll();
  bus_->Rescan();
  EXPECT_EQ(events_.Take(), (Lines{"offered 12 global", "offered 13 vgpu"}));
  bus_->Rescan();
  EXPECT_EQ(events_.Take(), Lines{});
  sysfs_.Remove(sysfs_.ChannelPath(kVgpuName));
  bus_->Rescan();
  EXPECT_EQ(events_.Take(), Lines{"rescinded 13"});
  sysfs_.Unbind(kGlobalName);
  bus_->Rescan();
  EXPECT_EQ(events_.Take(), Lines{"rescinded 12"});
}

TEST_F(UioBusTest, ANumberThatIsUsedAgainIsAnotherChannel) {
  sysfs_.AddGpu();
  BindAll();
  Start();
  (void)events_.Take();
  sysfs_.Remove(sysfs_.ChannelPath(kVgpuName));
  sysfs_.AddChannel({"2d5f2a9c-4e11-4b07-9a2d-5c0f4e6b7a82", kVgpuClass, 13, {}, kUioDriver});
  bus_->Rescan();
  EXPECT_EQ(events_.Take(), (Lines{"rescinded 13", "offered 13 vgpu"}));
  EXPECT_EQ(events_.offers[13].instance, Guid::Parse("2d5f2a9c-4e11-4b07-9a2d-5c0f4e6b7a82"));
}

TEST_F(UioBusTest, FunctionsComeAndGo) {
  sysfs_.AddGpu();
  Start();
  (void)events_.Take();
  sysfs_.AddFunction("0002:00:00.0", "0x008a", "");
  bus_->Rescan();
  EXPECT_EQ(events_.Take(), Lines{"arrived 0002:00:00.0"});
  EXPECT_TRUE(events_.functions.back()->compute_only());
  sysfs_.Remove(sysfs_.FunctionPath("0002:00:00.0"));
  bus_->Rescan();
  EXPECT_EQ(events_.Take(), Lines{"removed 0002:00:00.0"});
}

TEST_F(UioBusTest, AFunctionThatWasReplacedBetweenTwoLooksIsAnother) {
  sysfs_.AddGpu();
  Start();
  (void)events_.Take();
  const std::string old = sysfs_.root() + "/" + sysfs_.FunctionPath(kFunctionName),
                    kept = sysfs_.root() + "/kept";
  std::filesystem::rename(old, kept);  // its inode is not free for the next one
  sysfs_.AddFunction(kFunctionName, "0x008e", "");
  bus_->Rescan();
  EXPECT_EQ(events_.Take(),
            (Lines{std::string("removed ") + kFunctionName, std::string("arrived ") + kFunctionName}));
}

TEST_F(UioBusTest, MalformedTreeTakesNothingElseAway) {
  sysfs_.AddGpu();
  BindAll();
  sysfs_.Write(sysfs_.ChannelPath(kVgpuName) + "/id", "x");
  Start();
  EXPECT_EQ(events_.Take(), (Lines{"offered 12 global", std::string("arrived ") + kFunctionName}));
}

TEST_F(UioBusTest, IsLostWithTheVmbus) {
  sysfs_.AddGpu();
  Start();
  (void)events_.Take();
  sysfs_.Remove("sys/bus/vmbus");
  bus_->Rescan();
  EXPECT_EQ(events_.Take(), Lines{"lost: there is no VMBus any more"});
  bus_->Rescan();
  EXPECT_EQ(events_.Take(), Lines{});
}

TEST_F(UioBusTest, TellsNothingAfterStop) {
  sysfs_.AddGpu();
  Start();
  (void)events_.Take();
  bus_->Stop();
  BindAll();
  bus_->Rescan();
  EXPECT_EQ(events_.Take(), Lines{});
}

TEST_F(UioBusTest, HearsOfDevices) {
  sysfs_.AddGpu();
  Start();
  (void)events_.Take();
  BindAll();
  // As the kernel says it, and only root may.
  const UniqueFd socket(::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT));
  sockaddr_nl to = {};
  to.nl_family = AF_NETLINK;
  to.nl_groups = 1;
  constexpr char kEvent[] = "bind@/devices/x\0ACTION=bind\0SUBSYSTEM=vmbus";
  const ssize_t sent = sendto(socket.get(), kEvent, sizeof(kEvent), 0, reinterpret_cast<const sockaddr*>(&to),
                              sizeof(to));  // Safety: as bind(2) wants it
  if (sent < 0) GTEST_SKIP() << "device events cannot be made up here: " << std::strerror(errno);
  events_.WaitForOne();
  EXPECT_EQ(events_.Take().at(0), "offered 12 global");
}

TEST(Uevents, OnlyThoseOfOurSubsystemsConcernUs) {
  const auto event = [](std::string text) {
    for (char& c : text) c = c == '|' ? '\0' : c;
    return text;
  };
  EXPECT_TRUE(ConcernsUs(event("add@/devices/x|ACTION=add|SUBSYSTEM=vmbus|SEQNUM=1|")));
  EXPECT_TRUE(ConcernsUs(event("add@/x|SUBSYSTEM=uio|")));
  EXPECT_TRUE(ConcernsUs(event("add@/x|SUBSYSTEM=pci")));
  for (const char* other : {"", "|", "|||", "add@/x", "add@/x|SUBSYSTEM=", "add@/x|SUBSYSTEM=pci2|",
                            "add@/x|XSUBSYSTEM=pci|", "add@/x|SUBSYSTEM=net|SUBSYSTEM=pci|"}) {
    EXPECT_FALSE(ConcernsUs(event(other))) << other;
  }
}

TEST(Uevents, AllAreTaken) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, ends), 0);
  const UniqueFd ours(ends[0]), theirs(ends[1]);
  EXPECT_FALSE(TakeUevents(ours.get()));
  const auto say = [&](std::string_view text) {
    ASSERT_EQ(send(theirs.get(), text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
  };
  say("SUBSYSTEM=net");
  EXPECT_FALSE(TakeUevents(ours.get()));
  say("SUBSYSTEM=uio");
  say("SUBSYSTEM=net");
  EXPECT_TRUE(TakeUevents(ours.get()));
  EXPECT_FALSE(TakeUevents(ours.get()));
}

// Of a channel.

std::vector<std::byte> Bytes(std::string_view text) {
  std::vector<std::byte> bytes(text.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

TEST_F(UioBusTest, PacketsGoBothWays) {
  sysfs_.AddGpu();
  BindAll();
  Start();
  auto channel = bus_->Open(events_.offers[12]);
  ASSERT_TRUE(channel.ok()) << channel.status().why();
  EXPECT_EQ(opened_, Lines{sysfs_.root() + "/dev/uio0"});
  auto host = wire_.HostChannel();
  std::thread answers([&] {
    const Status ended = host->Run([&](const Packet& packet) {
      EXPECT_EQ(packet.transaction, 7u);
      EXPECT_EQ(
          host->Send({.type = kCompletion, .transaction = packet.transaction, .payload = packet.payload}),
          Channel::Sent::kYes);
      host->Close();
    });
    EXPECT_TRUE(ended.ok());
  });
  const auto payload = Bytes("question");
  ASSERT_EQ((*channel)->Send({.flags = kCompletionRequested, .transaction = 7, .payload = payload}),
            Channel::Sent::kYes);
  std::vector<std::byte> answer;
  EXPECT_TRUE((*channel)
                  ->Run([&](const Packet& packet) {
                    EXPECT_EQ(packet.type, kCompletion);
                    answer.assign(packet.payload.begin(), packet.payload.end());
                    (*channel)->Close();
                  })
                  .ok());
  answers.join();
  EXPECT_EQ(answer, payload);
}

TEST_F(UioBusTest, MonitoredChannelSignalsByItsMonitor) {
  sysfs_.AddGpu();
  BindAll();
  sysfs_.Write(sysfs_.ChannelPath(kGlobalName) + "/monitor_id", "33\n");
  Start();
  auto channel = bus_->Open(events_.offers[12]);
  ASSERT_TRUE(channel.ok()) << channel.status().why();
  const auto payload = Bytes("question");
  ASSERT_EQ((*channel)->Send({.payload = payload}), Channel::Sent::kYes);
  uint32_t pending;
  std::memcpy(&pending, wire_.monitor().data() + 16, sizeof(pending));
  EXPECT_EQ(pending, 2u);
  EXPECT_EQ(wire_.Signal(), std::nullopt);
}

TEST_F(UioBusTest, RescindEndsTheChannel) {
  sysfs_.AddGpu();
  BindAll();
  Start();
  auto channel = *bus_->Open(events_.offers[12]);
  std::thread host([&] { wire_.Rescind(); });
  EXPECT_EQ(channel->Run([](const Packet&) {}).value(), -ENODEV);
  host.join();
  EXPECT_EQ(channel->Send({.payload = {}}), Channel::Sent::kLost);
}

TEST_F(UioBusTest, ChannelCanBeOpenedInsideOfItsOffer) {
  sysfs_.AddGpu();
  BindAll();
  Status opened(-EAGAIN);
  events_.on_offer = [&](const ChannelOffer& offer) {
    if (offer.channel_class == kGlobalClass) opened = bus_->Open(offer).status();
  };
  Start();
  EXPECT_TRUE(opened.ok()) << opened.why();
}

TEST_F(UioBusTest, ChannelThatIsGoneCannotBeOpened) {
  sysfs_.AddGpu();
  BindAll();
  Start();
  ChannelOffer other = events_.offers[12];
  other.instance = kVgpuClass;
  EXPECT_EQ(bus_->Open(other).status().value(), -ENODEV);
  sysfs_.Unbind(kGlobalName);
  bus_->Rescan();
  EXPECT_EQ(bus_->Open(events_.offers[12]).status().value(), -ENODEV);
  EXPECT_TRUE(opened_.empty());
}

TEST_F(UioBusTest, RingsOfNoSensibleSizeAreRefused) {
  sysfs_.AddGpu();
  BindAll();
  for (const char* size : {"0x0", "0x1000", "0x200800", "0xffffffffffffffff", "0x400000000", "0x4000"}) {
    SCOPED_TRACE(size);
    sysfs_.Write(sysfs_.ChannelPath(kGlobalName) + "/uio/uio0/maps/map0/size", size);
    Start();
    EXPECT_FALSE(bus_->Open(events_.offers[12]).ok());
    bus_->Stop();
  }
}

TEST_F(UioBusTest, NodeThatCannotBeOpenedIsNamed) {
  sysfs_.AddGpu();
  BindAll();
  bus_ = std::make_unique<UioBus>(options_);  // there is nothing in the tree's dev
  ASSERT_TRUE(bus_->Start(&events_).ok());
  const Status status = bus_->Open(events_.offers[12]).status();
  EXPECT_EQ(status.value(), -ENOENT);
  EXPECT_NE(status.why().find("/dev/uio0"), std::string::npos) << status.why();
  sysfs_.Write("dev/uio0", "a file, whose pages behind its end would kill who touches them");
  EXPECT_EQ(bus_->Open(events_.offers[12]).status().value(), -ENODEV);
}

TEST_F(UioBusTest, RefusesWhatTheDriverCannotDo) {
  sysfs_.AddGpu();
  Start();
  const Status gpadl = bus_->CreateGpadl({}, nullptr).status();
  EXPECT_EQ(gpadl.value(), -ENOTSUP);
  EXPECT_NE(gpadl.why().find("GPADL"), std::string::npos);
  const Status window = bus_->ReserveWindow({}).status();
  EXPECT_EQ(window.value(), -ENOTSUP);
  EXPECT_NE(window.why().find("--vmbus-window"), std::string::npos);
  const Status pin = bus_->Pin(nullptr).status();
  EXPECT_EQ(pin.value(), -ENOTSUP);
  EXPECT_NE(pin.why().find("--vmbus-unpinned-pages"), std::string::npos);
}

TEST(CreateUioBus, NeedsAVmbus) {
  FakeSysfs sysfs;
  UioOptions options;
  options.places = sysfs.places();
  const Status status = CreateUioBus(options).status();
  EXPECT_EQ(status.value(), -ENODEV);
  EXPECT_NE(status.why().find("there is no VMBus here"), std::string::npos);
  sysfs.AddGpu();
  EXPECT_TRUE(CreateUioBus(options).ok());
}

}  // namespace
}  // namespace dxg::vmbus
