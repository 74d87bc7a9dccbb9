// A guest's bus at the simulated host's end of the link.
#include "cuse-dxg/backend/vmbus/simulated_bus.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <map>
#include <thread>
#include <utility>

#include "hostsim/serve/server.h"
#include "tests/backend/raw_peer.h"

namespace dxg::vmbus {
namespace {

struct Offers final : BusEvents {
  void Offered(const ChannelOffer& offer) override { by_class[offer.channel_class.text()] = offer; }
  void Rescinded(uint32_t) override {}
  void FunctionArrived(std::shared_ptr<PciFunction>) override {}
  void FunctionRemoved(const std::string&) override {}
  void BusLost(const std::string&) override { lost = true; }

  std::map<std::string, ChannelOffer> by_class;
  bool lost = false;
};

class LinkBusTest : public testing::TestWithParam<LinkData> {
 protected:
  LinkBusTest() {
    auto server = hostsim::serve::Server::Listen(directory_.path() + "/bus", hostsim::serve::ForGuests({}));
    EXPECT_TRUE(server.ok()) << server.status().why();
    server_ = *std::move(server);
    thread_ = std::thread([this] { server_->Run(stop_.get()); });
    auto bus_at = ConnectLinkBus(directory_.path() + "/bus", GetParam());
    EXPECT_TRUE(bus_at.ok()) << bus_at.status().why();
    bus = *std::move(bus_at);
    EXPECT_TRUE(bus->Start(&offers).ok());
  }
  ~LinkBusTest() override {
    bus->Stop();
    const uint64_t one = 1;
    EXPECT_EQ(write(stop_.get(), &one, sizeof(one)), static_cast<ssize_t>(sizeof(one)));
    thread_.join();
  }

  Offers offers;
  std::unique_ptr<Bus> bus;

 private:
  socket::TestDirectory directory_;
  const UniqueFd stop_{eventfd(0, EFD_CLOEXEC)};
  std::unique_ptr<hostsim::serve::Server> server_;
  std::thread thread_;
};

// As adapters that come and go do. A host knows 4096 lists of pages of a guest, and as many ranges of its
// memory.
TEST_P(LinkBusTest, AChannelThatWasClosedLeavesNothingAtTheHost) {
  constexpr int kMoreThanAHostKnows = 4200;
  const ChannelOffer vgpu = offers.by_class.at(kVgpuClass.text());
  for (int i = 0; i < kMoreThanAHostKnows; ++i) {
    auto channel = bus->Open(vgpu);
    ASSERT_TRUE(channel.ok()) << i << ": " << channel.status().why();
  }
}

TEST_P(LinkBusTest, AChannelIsOpenedOnceAtATime) {
  const ChannelOffer vgpu = offers.by_class.at(kVgpuClass.text());
  auto first = bus->Open(vgpu);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(bus->Open(vgpu).status().value(), -ENODEV);
}

INSTANTIATE_TEST_SUITE_P(Data, LinkBusTest, testing::Values(LinkData::kRings, LinkData::kPackets),
                         [](const auto& info) {
                           return info.param == LinkData::kRings ? "Rings" : "Packets";
                         });

}  // namespace
}  // namespace dxg::vmbus
