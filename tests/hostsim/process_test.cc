#include "hostsim/machine/process.h"

#include <gtest/gtest.h>

#include "tests/hostsim/rig.h"

namespace dxg::hostsim {
namespace {

TEST(Process, RefusesUnknownAndTwiceDestroyed) {
  Rig rig;
  EXPECT_EQ(rig.Ask<host::DestroyProcess>({}, {}).reply.status(), kStatusInvalidParameter);
  EXPECT_EQ(rig.Ask<host::DestroyProcess>({0x40000000, 0}, {}).reply.status(), kStatusInvalidParameter);
  const uint32_t process = rig.NewProcess();
  EXPECT_EQ(rig.Ask<host::DestroyProcess>({process, 0}, {}).reply.status(), kStatusSuccess);
  EXPECT_EQ(rig.Ask<host::DestroyProcess>({process, 0}, {}).reply.status(), kStatusInvalidParameter);
}

TEST(Process, RefusesANameThatIsTooLong) {
  Rig rig;
  host::CreateProcess::Request request;
  request.set_process_name(std::string(522, 'a'));
  EXPECT_NE(rig.Ask<host::CreateProcess>({}, request).reply.process(), 0u);
  request.set_process_name(std::string(523, 'a'));
  EXPECT_EQ(rig.Ask<host::CreateProcess>({}, request).reply.process(), 0u);
}

TEST(Process, UnknownCommandIsRefused) {
  Rig rig;
  host::DestroyProcess::Request request;
  host::DestroyProcess::Reply reply;
  bool accepted = true;
  rig.host().Submit({}, 999, request, &reply, [&](bool done) { accepted = done; });
  EXPECT_FALSE(accepted);
}

// [GEN] 6
TEST(Process, HandlesLookLikeWindows) {
  Rig rig;
  EXPECT_EQ(rig.NewProcess(), 0x40000000u);
  EXPECT_EQ(rig.NewProcess(), 0x40000040u);
}

TEST(Process, EndsWithTheHost) {
  Rig rig;
  const Caller caller = rig.NewCaller();
  const uint32_t device = rig.NewDevice(caller);
  rig.NewContext(caller, device);
  rig.host().End();
  rig.ExpectNothingLeft();
  EXPECT_EQ(rig.TryDevice(caller), 0u) << "a late command finds a host, and no process";
  EXPECT_EQ(rig.DestroyDevice(caller, device), kStatusInvalidParameter);
  rig.host().End();
}

TEST(Process, EndDestroysEverything) {
  Rig rig;
  const Caller caller = rig.NewCaller();
  for (int i = 0; i < 3; ++i) rig.NewContext(caller, rig.NewDevice(caller));
  host::ChangeVideoMemoryReservation::Request reserve;
  reserve.set_reservation(1 << 20);
  ASSERT_EQ(rig.Ask<host::ChangeVideoMemoryReservation>(caller, reserve).reply.status(), kStatusSuccess);
  Accounting accounting = rig.host().Account();
  EXPECT_EQ(accounting.processes, 1u);
  EXPECT_EQ(accounting.devices, 3u);
  EXPECT_EQ(accounting.contexts, 3u);
  EXPECT_EQ(accounting.reserved_bytes[kLocal], 1u << 20);
  ASSERT_EQ(rig.Ask<host::DestroyProcess>({caller.process, 0}, {}).reply.status(), kStatusSuccess);
  accounting = rig.host().Account();
  EXPECT_EQ(accounting.processes, 0u);
  EXPECT_EQ(accounting.devices, 0u);
  EXPECT_EQ(accounting.contexts, 0u);
  EXPECT_EQ(accounting.reserved_bytes[kLocal], 0u);
  EXPECT_EQ(rig.TryDevice(caller), 0u) << "an ended process creates nothing";
}

// [GEN] 5
TEST(Process, HandlesAreItsOwn) {
  Rig rig;
  const Caller one = rig.NewCaller();
  const Caller two = rig.NewCaller();
  const uint32_t device = rig.NewDevice(one);
  EXPECT_EQ(rig.DestroyDevice(two, device), kStatusInvalidParameter);
  EXPECT_EQ(rig.NewDevice(two), device) << "the same value names another object";
  EXPECT_EQ(rig.MarkAsError(two, device), kStatusSuccess);
  EXPECT_EQ(rig.State(one, device), std::make_tuple(kStatusSuccess, 1u));
  EXPECT_EQ(rig.State(two, device), std::make_tuple(kStatusSuccess, 6u));
}

}  // namespace
}  // namespace dxg::hostsim
