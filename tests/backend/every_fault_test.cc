#include <gtest/gtest.h>

#include "tests/backend/backend_client.h"

// Each fault point once: armed through the control interface, passed by a client's life, struck, cleared,
// nothing left.

namespace dxg {
namespace {

using hostsim::CommandWriter;
using hostsim::FaultPoint;
using hostsim::FaultPointInfo;

constexpr uint32_t kShortTimeoutMs = 100;
constexpr uint64_t kPaged = 1, kWorkDone = 2;  // events

bool Hangs(FaultPoint point) {
  return point == FaultPoint::kEngineHang || point == FaultPoint::kEngineResetFails;
}

class EveryFault : public testing::TestWithParam<FaultPointInfo> {
 protected:
  // Only where something is going to hang: a slow machine may take its time for all else.
  EveryFault() : client_(Hangs(GetParam().point) ? kShortTimeoutMs : 0) {}

  void Arm(const FaultPointInfo& info) {
    FaultRule rule;
    rule.set_point(info.name);
    if ((info.takes & hostsim::kTakesDelay) != 0) rule.set_delay_ns(1'000'000);
    client_.Arm(rule);
  }
  void LiveAClientsLife();
  void UseMemory();
  void UseEngine();

  BackendClient client_;
  BackendClient::Device device_;
  uint32_t context_ = 0;
  BackendClient::Fence fence_;
};

void EveryFault::UseMemory() {
  constexpr uint32_t kMustSucceed = 3;  // and cannot trim further
  const uint32_t allocation = client_.NewAllocation(device_);
  client_.BringIn(&device_, allocation, kMustSucceed);
  client_.Lock(device_, allocation);
  host::OfferAllocations::Request offer;
  offer.set_device(device_.handle);
  offer.set_priority(1);
  offer.set_allocation_count(1);
  offer.add_allocations(allocation);
  client_.Ask<host::OfferAllocations>(offer);
}

void EveryFault::UseEngine() {
  const auto pages = std::make_shared<TestPages>(kPage);
  const auto own = client_.NewMemoryOf(&device_, pages);
  auto memory = client_.NewMemory(&device_);
  const CommandWriter commands = CommandWriter().Write64(memory.gpu, 1).Copy(own.gpu, memory.gpu, 8);
  const bool hears = GetParam().point != FaultPoint::kEventLost;
  // From then on the command begins where it is submitted, and not when some thread finds the paging done.
  if (client_.Wait(device_, {device_.paging_fence}, device_.paged, kPaged) && hears)
    client_.AwaitEvent(kPaged);
  const bool waits = client_.Work(device_, context_, &memory, commands, fence_, 2, kWorkDone);
  const bool ends = GetParam().point != FaultPoint::kHangWithoutTimeout;
  if (waits && hears && ends) client_.AwaitEvent(kWorkDone);
}

// What a client does between its first open and its end; where trouble comes, it goes on as well as it can.
void EveryFault::LiveAClientsLife() {
  client_.OpenProcess();
  host::QueryAdapterInfo::Request query;
  query.set_query_type(15);  // ADAPTERTYPE
  query.set_private_data_size(4);
  query.set_private_data(std::string(4, '\0'));
  client_.Ask<host::QueryAdapterInfo>(query);
  host::QueryClockCalibration::Request clock;
  clock.set_adapter(client_.adapter().host_handle);
  client_.Ask<host::QueryClockCalibration>(clock);
  device_ = client_.NewDevice();
  context_ = client_.NewContext(device_);
  fence_ = client_.NewFence(device_);
  client_.Signal(device_, fence_, 1);
  UseMemory();
  UseEngine();
  client_.MarkAsError(device_);
}

TEST_P(EveryFault, IsListedArmedStruckAndClearedAndLeavesNothing) {
  const FaultPointInfo& info = GetParam();
  EXPECT_EQ(client_.State(info).name(), info.name);
  Arm(info);
  // What happens only to those that have another trouble.
  if (info.point == FaultPoint::kTooManyTimeouts) Arm(hostsim::InfoOf(FaultPoint::kAdapterReset));
  if (info.point == FaultPoint::kAdapterReturn) Arm(hostsim::InfoOf(FaultPoint::kAdapterRemoval));
  if (info.point == FaultPoint::kEngineResetFails) Arm(hostsim::InfoOf(FaultPoint::kEngineHang));
  ASSERT_EQ(client_.State(info).rules_size(), 1);
  LiveAClientsLife();
  EXPECT_EQ(client_.State(info).struck(), 1u);
  if (info.point == FaultPoint::kAdapterReturn) client_.AwaitArrivals(2);
  client_.ClearFaults();
  EXPECT_EQ(client_.State(info).rules_size(), 0);
  client_.EndProcess();
  client_.ExpectNothingLeft();
}

INSTANTIATE_TEST_SUITE_P(AllOf, EveryFault,
                         testing::ValuesIn(hostsim::FaultPoints().begin(), hostsim::FaultPoints().end()),
                         [](const auto& each) {
                           std::string name = each.param.name;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

}  // namespace
}  // namespace dxg
