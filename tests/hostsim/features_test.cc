#include <gtest/gtest.h>

#include "tests/hostsim/rig.h"

namespace dxg::hostsim {
namespace {

host::IsFeatureEnabled::Reply Feature(Rig& rig, uint64_t luid, uint32_t id) {
  host::IsFeatureEnabled::Request request;
  request.set_feature_id(id);
  return rig.Ask<host::IsFeatureEnabled>({0, luid}, request).reply;
}

TEST(Features, RefusesAnUnknownAdapter) {
  Rig rig;
  EXPECT_EQ(Feature(rig, 0, 0).status(), kStatusInvalidParameter);
}

TEST(Features, OldHostsRefuseTheQuestion) {
  AdapterProfile profile = Shipped("discrete");
  profile.mutable_policy()->set_refuse_feature_queries(true);
  Rig rig({profile});
  EXPECT_EQ(Feature(rig, rig.adapter().address, 0).status(), kStatusInvalidParameter);
}

TEST(Features, UnknownOnesAreAllZero) {
  Rig rig;
  for (const uint32_t id : {6u, 31u, 38u, 0x10000000u, ~0u}) {
    const auto reply = Feature(rig, rig.adapter().address, id);
    EXPECT_EQ(reply.ByteSizeLong(), 0u) << "nothing set, feature " << id;
  }
}

TEST(Features, HardwareSchedulingFollowsTheProfile) {
  Rig rig({Shipped("discrete"), Shipped("integrated")});
  const auto enabled = Feature(rig, rig.adapter(0).address, 0);
  EXPECT_EQ(enabled.value(), 0xFu);
  EXPECT_EQ(enabled.version(), 1u);
  EXPECT_EQ(enabled.descriptor_bits(), 0x21u);
  EXPECT_EQ(Feature(rig, rig.adapter(1).address, 0).value(), 0x2u);
}

TEST(Features, EnabledImpliesKnownAndConfigured) {
  Rig rig;
  for (uint32_t id = 0; id < 64; ++id) {
    const auto reply = Feature(rig, rig.adapter().address, id);
    EXPECT_EQ(reply.status(), kStatusSuccess);
    if ((reply.value() & 1) != 0) {
      EXPECT_EQ(reply.value() & 0xA, 0xAu) << id;
    }
  }
  EXPECT_EQ(Feature(rig, rig.adapter().address, 32).value(), 0xBu) << "no matter of the driver";
  EXPECT_EQ(Feature(rig, rig.adapter().address, 37).value(), 0x2u);
}

TEST(Features, GlobalOnesAreKnownAndNeedNoAdapter) {
  Rig rig;
  const auto ask = [&](uint32_t id) {
    host::IsFeatureEnabledGlobal::Request request;
    request.set_feature_id(id);
    return rig.Ask<host::IsFeatureEnabledGlobal>({0, 0}, request).reply;
  };
  EXPECT_EQ(ask(0).status(), kStatusSuccess);
  EXPECT_EQ(ask(0).value(), 0x2u) << "no driver, no hardware scheduling";
  EXPECT_EQ(ask(0).descriptor_bits(), 0x20u);
  EXPECT_EQ(ask(32).value(), 0x2u);
  EXPECT_EQ(ask(32).descriptor_bits(), 0u) << "no matter of the driver";
  EXPECT_EQ(ask(31).ByteSizeLong(), 0u) << "nobody knows it";
}

}  // namespace
}  // namespace dxg::hostsim
