#include "hostsim/work/context.h"

#include <gtest/gtest.h>

#include "tests/hostsim/rig.h"

namespace dxg::hostsim {
namespace {

class ContextTest : public testing::Test {
 protected:
  int32_t Set(uint32_t context, int32_t priority, bool in_process = false) {
    host::SetContextSchedulingPriority::Request request;
    request.set_context(context);
    request.set_priority(priority);
    request.set_in_process(in_process);
    return rig_.Ask<host::SetContextSchedulingPriority>(caller_, request).reply.status();
  }
  std::tuple<int32_t, int32_t> Read(uint32_t context, bool in_process = false) {
    host::GetContextSchedulingPriority::Request request;
    request.set_context(context);
    request.set_in_process(in_process);
    const auto answer = rig_.Ask<host::GetContextSchedulingPriority>(caller_, request);
    return {answer.reply.status(), answer.reply.priority()};
  }

  Rig rig_;
  Caller caller_ = rig_.NewCaller();
  uint32_t device_ = rig_.NewDevice(caller_);
};

TEST_F(ContextTest, CreationRefusesWhatIsNoDevice) {
  const uint32_t context = rig_.NewContext(caller_, device_);
  EXPECT_EQ(rig_.TryContext(caller_, 0), 0u);
  EXPECT_EQ(rig_.TryContext(caller_, device_ + 0x40), 0u);
  EXPECT_EQ(rig_.TryContext(caller_, context), 0u);
  EXPECT_EQ(rig_.TryContext(rig_.NewCaller(), device_), 0u);
  EXPECT_EQ(rig_.TryContext({}, device_), 0u);
}

TEST_F(ContextTest, CreationRefusesOtherNodesAndEngines) {
  EXPECT_EQ(rig_.TryContext(caller_, device_, 3), 0u) << "three nodes";
  EXPECT_EQ(rig_.TryContext(caller_, device_, ~0u), 0u);
  EXPECT_EQ(rig_.TryContext(caller_, device_, 0, 2), 0u);
  EXPECT_EQ(rig_.TryContext(caller_, device_, 0, ~0u), 0u);
  for (uint32_t node = 0; node < 3; ++node) {
    EXPECT_NE(rig_.TryContext(caller_, device_, node, 0), 0u);
    EXPECT_NE(rig_.TryContext(caller_, device_, node, 1), 0u) << "some clients send a mask";
  }
}

TEST_F(ContextTest, CreationRefusesReservedBits) {
  for (uint32_t bit = 0; bit < 32; ++bit) {
    EXPECT_EQ(rig_.TryContext(caller_, device_, 0, 1, 1u << bit) != 0, bit < 6) << "bit " << bit;
  }
}

TEST_F(ContextTest, HardwareQueuesWantHardwareScheduling) {
  Rig packets({Shipped("integrated")});
  const Caller caller = packets.NewCaller();
  const uint32_t device = packets.NewDevice(caller);
  EXPECT_EQ(packets.TryContext(caller, device, 0, 1, Context::kHwQueueSupported), 0u);
  EXPECT_NE(packets.TryContext(caller, device, 0, 1, 0), 0u);
  EXPECT_NE(rig_.TryContext(caller_, device_, 0, 1, Context::kHwQueueSupported), 0u);
}

TEST_F(ContextTest, PrivateDataIsWholeAndComesBack) {
  host::CreateContextVirtual::Request request;
  request.set_device(device_);
  request.set_client_hint(9999);
  request.set_priv_drv_data("abc");
  request.set_priv_drv_data_size(4);
  EXPECT_EQ(rig_.Ask<host::CreateContextVirtual>(caller_, request).reply.context(), 0u);
  request.set_priv_drv_data_size(3);
  const auto answer = rig_.Ask<host::CreateContextVirtual>(caller_, request);
  EXPECT_NE(answer.reply.context(), 0u);
  EXPECT_EQ(answer.reply.priv_drv_data(), "abc");
  request.set_priv_drv_data(std::string(128 * 1024, 'x'));
  request.set_priv_drv_data_size(128 * 1024);
  EXPECT_EQ(rig_.Ask<host::CreateContextVirtual>(caller_, request).reply.context(), 0u);
}

TEST_F(ContextTest, DestroyRefusesTwiceAndOthers) {
  const uint32_t context = rig_.NewContext(caller_, device_);
  EXPECT_EQ(rig_.DestroyContext(caller_, 0), kStatusInvalidParameter);
  EXPECT_EQ(rig_.DestroyContext(caller_, device_), kStatusInvalidParameter);
  EXPECT_EQ(rig_.DestroyContext(caller_, context), kStatusSuccess);
  EXPECT_EQ(rig_.DestroyContext(caller_, context), kStatusInvalidParameter);
  EXPECT_EQ(rig_.DestroyDevice(caller_, device_), kStatusSuccess) << "and the device forgot it";
}

TEST_F(ContextTest, PriorityRefusesOutOfRange) {
  const uint32_t context = rig_.NewContext(caller_, device_);
  for (const int32_t priority : {-8, 8, 100, INT32_MIN, INT32_MAX, -0x40000000}) {
    EXPECT_EQ(Set(context, priority), kStatusInvalidParameter) << priority;
  }
  for (const int32_t priority : {-1, 2, 7}) EXPECT_EQ(Set(context, priority, true), kStatusInvalidParameter);
  EXPECT_EQ(Set(0, 0), kStatusInvalidParameter);
  EXPECT_EQ(Set(device_, 0), kStatusInvalidParameter);
  EXPECT_EQ(Read(device_), std::make_tuple(kStatusInvalidParameter, 0));
  EXPECT_EQ(Read(context), std::make_tuple(kStatusSuccess, 0)) << "nothing was set";
}

TEST_F(ContextTest, AbsolutePriorityIsAPrivilege) {
  const int32_t absolute = 0x40000000;
  EXPECT_EQ(Set(rig_.NewContext(caller_, device_), absolute | 5), kStatusAccessDenied);

  AdapterProfile profile = Shipped("discrete");
  profile.mutable_policy()->set_absolute_priorities(true);
  Rig rig({profile});
  const Caller caller = rig.NewCaller();
  const uint32_t context = rig.NewContext(caller, rig.NewDevice(caller));
  host::SetContextSchedulingPriority::Request request;
  request.set_context(context);
  request.set_priority(absolute | 31);
  EXPECT_EQ(rig.Ask<host::SetContextSchedulingPriority>(caller, request).reply.status(), kStatusSuccess);
  request.set_priority(absolute | 32);
  EXPECT_EQ(rig.Ask<host::SetContextSchedulingPriority>(caller, request).reply.status(),
            kStatusInvalidParameter);
}

TEST_F(ContextTest, PrioritiesRoundTrip) {
  const uint32_t context = rig_.NewContext(caller_, device_);
  const uint32_t other = rig_.NewContext(caller_, device_);
  EXPECT_EQ(Read(context, true), std::make_tuple(kStatusSuccess, 0));
  for (int32_t priority = -7; priority <= 7; ++priority) {
    EXPECT_EQ(Set(context, priority), kStatusSuccess);
    EXPECT_EQ(Read(context), std::make_tuple(kStatusSuccess, priority));
  }
  EXPECT_EQ(Set(context, 1, true), kStatusSuccess);
  EXPECT_EQ(Read(context, true), std::make_tuple(kStatusSuccess, 1));
  EXPECT_EQ(Read(context), std::make_tuple(kStatusSuccess, 7)) << "the two are separate";
  EXPECT_EQ(Read(other), std::make_tuple(kStatusSuccess, 0));
}

TEST_F(ContextTest, ErroredDeviceOnlyAnswersQueries) {
  const uint32_t context = rig_.NewContext(caller_, device_);
  ASSERT_EQ(Set(context, 3), kStatusSuccess);
  ASSERT_EQ(rig_.MarkAsError(caller_, device_), kStatusSuccess);
  EXPECT_EQ(Set(context, 4), kStatusDeviceRemoved);
  EXPECT_EQ(Read(context), std::make_tuple(kStatusSuccess, 3));
}

}  // namespace
}  // namespace dxg::hostsim
