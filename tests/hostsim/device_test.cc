#include "hostsim/work/device.h"

#include <gtest/gtest.h>

#include "tests/hostsim/rig.h"

namespace dxg::hostsim {
namespace {

Answer<host::GetDeviceState> Ask(Rig& rig, const Caller& caller, uint32_t device, uint32_t type) {
  host::GetDeviceState::Request request;
  request.set_device(device);
  request.set_state_type(type);
  request.set_state(std::string(48, '\xAA'));
  return rig.Ask<host::GetDeviceState>(caller, request);
}

TEST(Device, CreationRefusesUnknownCallers) {
  Rig rig;
  const Caller caller = rig.NewCaller();
  EXPECT_EQ(rig.TryDevice({}), 0u);
  EXPECT_EQ(rig.TryDevice({caller.process, 0}), 0u);
  EXPECT_EQ(rig.TryDevice({caller.process, caller.adapter_luid + 1}), 0u);
  EXPECT_EQ(rig.TryDevice({0, caller.adapter_luid}), 0u);
  EXPECT_EQ(rig.TryDevice({caller.process + 0x40, caller.adapter_luid}), 0u);
}

TEST(Device, CreationRefusesReservedBits) {
  Rig rig;
  const Caller caller = rig.NewCaller();
  for (uint32_t bit = 0; bit < 32; ++bit) {
    EXPECT_EQ(rig.TryDevice(caller, 1u << bit) != 0, bit < 4) << "bit " << bit;
  }
  EXPECT_EQ(rig.host().Account().devices, 4u);
  host::CreateDevice::Request request;
  request.set_cdd_device(1);
  EXPECT_EQ(rig.Ask<host::CreateDevice>(caller, request).reply.device(), 0u);
}

TEST(Device, DestroyRefusesWhatIsNoDevice) {
  Rig rig({Shipped("discrete"), Shipped("discrete")});
  const Caller caller = rig.NewCaller();
  const uint32_t device = rig.NewDevice(caller);
  const uint32_t context = rig.NewContext(caller, device);
  EXPECT_EQ(rig.DestroyDevice(caller, 0), kStatusInvalidParameter);
  EXPECT_EQ(rig.DestroyDevice(caller, context), kStatusInvalidParameter);
  EXPECT_EQ(rig.DestroyDevice({caller.process, rig.adapter(1).address}, device), kStatusInvalidParameter);
  EXPECT_EQ(rig.DestroyDevice({}, device), kStatusInvalidParameter);
  EXPECT_EQ(rig.DestroyDevice(caller, device), kStatusSuccess);
  EXPECT_EQ(rig.DestroyDevice(caller, device), kStatusInvalidParameter);
}

TEST(Device, DestroyEndsItsContexts) {
  Rig rig;
  const Caller caller = rig.NewCaller();
  const uint32_t device = rig.NewDevice(caller);
  const uint32_t other = rig.NewDevice(caller);
  const uint32_t context = rig.NewContext(caller, device);
  const uint32_t kept = rig.NewContext(caller, other);
  EXPECT_EQ(rig.DestroyDevice(caller, device), kStatusSuccess);
  EXPECT_EQ(rig.DestroyContext(caller, context), kStatusInvalidParameter);
  EXPECT_EQ(rig.DestroyContext(caller, kept), kStatusSuccess);
  EXPECT_EQ(rig.host().Account().contexts, 0u);
}

TEST(Device, FlushWantsADeviceAndItsReason) {
  Rig rig;
  const Caller caller = rig.NewCaller();
  const uint32_t device = rig.NewDevice(caller);
  auto flush = [&](uint32_t handle, uint32_t reason) {
    host::FlushDevice::Request request;
    request.set_device(handle);
    request.set_reason(reason);
    return rig.Ask<host::FlushDevice>(caller, request).reply.status();
  };
  EXPECT_EQ(flush(0, 4), kStatusInvalidParameter);
  EXPECT_EQ(flush(device, 3), kStatusInvalidParameter);
  EXPECT_EQ(flush(device, 4), kStatusSuccess);
  EXPECT_EQ(rig.MarkAsError(caller, device), kStatusSuccess);
  EXPECT_EQ(flush(device, 4), kStatusSuccess) << "part of every teardown";
}

TEST(Device, StateRefusesCompositorsAndUnknownTypes) {
  Rig rig;
  const Caller caller = rig.NewCaller();
  const uint32_t device = rig.NewDevice(caller);
  for (const uint32_t type : {0u, 4u, 6u, 7u, ~0u}) {
    EXPECT_EQ(Ask(rig, caller, device, type).reply.status(), kStatusInvalidParameter) << type;
  }
  EXPECT_EQ(Ask(rig, caller, device + 0x40, 1).reply.status(), kStatusInvalidParameter);
}

TEST(Device, NewDeviceIsActive) {
  Rig rig;
  const Caller caller = rig.NewCaller();
  const uint32_t device = rig.NewDevice(caller);
  const auto answer = Ask(rig, caller, device, 1);
  EXPECT_EQ(answer.reply.status(), kStatusSuccess);
  EXPECT_EQ(answer.reply.device(), device);
  EXPECT_EQ(answer.reply.state_type(), 1u);
  EXPECT_EQ(answer.reply.state(), std::string("\x01\0\0\0", 4) + std::string(44, '\xAA'));
  EXPECT_TRUE(rig.recorded.changes.empty());
}

TEST(Device, StateCopesWithAnOddBuffer) {
  Rig rig;
  const Caller caller = rig.NewCaller();
  host::GetDeviceState::Request request;
  request.set_device(rig.NewDevice(caller));
  request.set_state_type(5);
  for (const size_t size : {0, 1, 47, 49, 4096}) {
    request.set_state(std::string(size, 'x'));
    EXPECT_EQ(rig.Ask<host::GetDeviceState>(caller, request).reply.state().size(), 48u);
  }
}

TEST(Device, ResetStateSaysNoDesktopSwitch) {
  Rig rig;
  const Caller caller = rig.NewCaller();
  const auto answer = Ask(rig, caller, rig.NewDevice(caller), 3);
  EXPECT_EQ(answer.reply.status(), kStatusSuccess);
  EXPECT_EQ(answer.reply.state().substr(0, 4), std::string(4, '\0'));
}

TEST(Device, PageFaultIsUnknownBeforeAndRecordedAfter) {
  Rig rig;
  const Caller caller = rig.NewCaller();
  const uint32_t device = rig.NewDevice(caller, 0xC00C1E);
  std::string state = Ask(rig, caller, device, 5).reply.state();
  ConstBytes bytes = BytesOf(std::string_view(state));
  EXPECT_EQ(Get<uint64_t>(bytes, 0), ~0ull);
  EXPECT_EQ(Get<uint32_t>(bytes, 8), 0u);
  EXPECT_EQ(Get<uint32_t>(bytes, 12), ~0u);
  EXPECT_EQ(Get<uint64_t>(bytes, 24), 0u);

  PageFault fault;
  fault.flags = 0x88;
  fault.virtual_address = 0x123456789000;
  EXPECT_TRUE(rig.host().FaultDevice(caller.process, device, fault));
  EXPECT_EQ(rig.State(caller, device), std::make_tuple(kStatusSuccess, 7u));
  state = Ask(rig, caller, device, 5).reply.state();
  bytes = BytesOf(std::string_view(state));
  EXPECT_EQ(Get<uint32_t>(bytes, 16), 0x88u);
  EXPECT_EQ(Get<uint64_t>(bytes, 24), 0x123456789000u);
  EXPECT_EQ(rig.recorded.changes,
            (std::vector<RecordedEvents::Change>{{caller.process, caller.adapter_luid, 0xC00C1E, 7}}));
}

TEST(Device, MarkRefusesOtherReasons) {
  Rig rig;
  const Caller caller = rig.NewCaller();
  const uint32_t device = rig.NewDevice(caller);
  for (const uint32_t reason : {0u, 6u, 0x80000001u, 0x80000007u, ~0u}) {
    EXPECT_EQ(rig.MarkAsError(caller, device, reason), kStatusInvalidParameter) << reason;
  }
  EXPECT_EQ(rig.MarkAsError(caller, 0), kStatusInvalidParameter);
  EXPECT_EQ(rig.State(caller, device), std::make_tuple(kStatusSuccess, 1u));
  EXPECT_TRUE(rig.recorded.changes.empty());
}

// [DEV] 45
TEST(Device, MarkTellsOnceAndStands) {
  for (const uint32_t reason : {0x80000000u, 0x80000006u}) {
    Rig rig;
    const Caller caller = rig.NewCaller();
    const uint32_t device = rig.NewDevice(caller, 77);
    EXPECT_EQ(rig.MarkAsError(caller, device, reason), kStatusSuccess);
    EXPECT_EQ(rig.MarkAsError(caller, device, reason), kStatusSuccess) << "again: nothing changes";
    EXPECT_EQ(rig.State(caller, device), std::make_tuple(kStatusSuccess, 6u));
    EXPECT_EQ(rig.recorded.changes,
              (std::vector<RecordedEvents::Change>{{caller.process, caller.adapter_luid, 77, 6}}));
    EXPECT_TRUE(rig.host().FailDevice(caller.process, device, ExecutionState::kHung));
    EXPECT_EQ(rig.State(caller, device), std::make_tuple(kStatusSuccess, 6u)) << "the first error stands";
    EXPECT_EQ(rig.recorded.changes.size(), 1u);
    EXPECT_EQ(rig.State(caller, rig.NewDevice(caller)), std::make_tuple(kStatusSuccess, 1u));
  }
}

TEST(Device, ErroredDeviceCreatesNothingAndDestroysAll) {
  Rig rig;
  const Caller caller = rig.NewCaller();
  const uint32_t device = rig.NewDevice(caller);
  const uint32_t context = rig.NewContext(caller, device);
  ASSERT_EQ(rig.MarkAsError(caller, device), kStatusSuccess);
  EXPECT_EQ(rig.TryContext(caller, device), 0u);
  EXPECT_EQ(rig.DestroyContext(caller, context), kStatusSuccess);
  EXPECT_EQ(rig.DestroyDevice(caller, device), kStatusSuccess);
}

TEST(Device, FailHookRefusesWhatIsNoFailure) {
  Rig rig;
  const Caller caller = rig.NewCaller();
  const uint32_t device = rig.NewDevice(caller);
  EXPECT_FALSE(rig.host().FailDevice(caller.process, device, ExecutionState::kActive));
  EXPECT_FALSE(rig.host().FailDevice(caller.process, device + 0x40, ExecutionState::kHung));
  EXPECT_FALSE(rig.host().FailDevice(0, device, ExecutionState::kHung));
  EXPECT_FALSE(rig.host().FaultDevice(0, device, {}));
}

}  // namespace
}  // namespace dxg::hostsim
