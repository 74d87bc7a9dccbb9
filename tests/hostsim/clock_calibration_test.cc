#include <gtest/gtest.h>

#include "tests/hostsim/rig.h"

namespace dxg::hostsim {
namespace {

host::QueryClockCalibration::Reply Calibrate(Rig& rig, const Caller& caller, uint32_t adapter, uint32_t node,
                                             uint32_t index = 0) {
  host::QueryClockCalibration::Request request;
  request.set_adapter(adapter);
  request.set_node_ordinal(node);
  request.set_physical_adapter_index(index);
  return rig.Ask<host::QueryClockCalibration>(caller, request).reply;
}

TEST(ClockCalibration, RefusesWhatIsNotThere) {
  Rig rig;
  const Caller caller = rig.NewCaller();
  const uint32_t adapter = rig.adapter().host_handle;
  EXPECT_EQ(Calibrate(rig, caller, 0, 0).status(), kStatusInvalidParameter);
  EXPECT_EQ(Calibrate(rig, caller, adapter, 3).status(), kStatusInvalidParameter);
  EXPECT_EQ(Calibrate(rig, caller, adapter, 0, 1).status(), kStatusInvalidParameter);
  EXPECT_EQ(Calibrate(rig, {}, adapter, 0).status(), kStatusInvalidParameter);
}

TEST(ClockCalibration, CountersRunAtTheirFrequencies) {
  AdapterProfile profile = Shipped("discrete");
  profile.mutable_nodes(1)->set_clock_hz(27'000'000);
  Rig rig({profile});
  const Caller caller = rig.NewCaller();
  const uint32_t adapter = rig.adapter().host_handle;
  for (uint32_t node = 0; node < 3; ++node) {
    const auto before = Calibrate(rig, caller, adapter, node);
    ASSERT_EQ(before.status(), kStatusSuccess);
    EXPECT_EQ(before.gpu_frequency(), node == 1 ? 27'000'000u : 1'000'000'000u);
    rig.clock.AdvanceNs(2'000'000'000);
    const auto after = Calibrate(rig, caller, adapter, node);
    EXPECT_EQ(after.gpu_clock_counter() - before.gpu_clock_counter(), 2 * before.gpu_frequency());
    EXPECT_EQ(after.cpu_clock_counter() - before.cpu_clock_counter(), 20'000'000u);
  }
}

TEST(ClockCalibration, HoldsForYears) {
  Rig rig;
  const Caller caller = rig.NewCaller();
  rig.clock.AdvanceNs(20ull * 365 * 24 * 3600 * 1'000'000'000);
  const auto before = Calibrate(rig, caller, rig.adapter().host_handle, 0);
  rig.clock.AdvanceNs(1'000);
  const auto after = Calibrate(rig, caller, rig.adapter().host_handle, 0);
  EXPECT_EQ(after.gpu_clock_counter() - before.gpu_clock_counter(), 1'000u);
}

}  // namespace
}  // namespace dxg::hostsim
