#include "hostsim/machine/world.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/hostsim/rig.h"

namespace dxg::hostsim {
namespace {

TEST(World, VirtualClockMovesOnlyWhenMoved) {
  VirtualClock clock(7);
  EXPECT_EQ(clock.NowNs(), 7u);
  EXPECT_EQ(clock.NowNs(), 7u);
  clock.AdvanceNs(3);
  EXPECT_EQ(clock.NowNs(), 10u);
}

TEST(World, RealClockNeverGoesBack) {
  RealClock clock;
  const uint64_t first = clock.NowNs();
  EXPECT_GE(clock.NowNs(), first);
}

TEST(World, SameSeedSameNumbers) {
  Rng a(42), b(42), c(43);
  EXPECT_EQ(Rng(0).Next(), 0xE220A8397B1DCDAFu) << "the published first number of SplitMix64";
  bool differs = false;
  for (int i = 0; i < 100; ++i) {
    const uint64_t number = a.Next();
    EXPECT_EQ(number, b.Next());
    differs |= number != c.Next();
  }
  EXPECT_TRUE(differs);
  for (int i = 0; i < 100; ++i) EXPECT_LT(a.Below(7), 7u);
}

TEST(World, NoMemoryAtAnyStepLeavesNothing) {
  for (const std::string command : {"CREATEPROCESS", "CREATEDEVICE", "CREATECONTEXTVIRTUAL"}) {
    FaultPlan faults;
    faults.FailAt(FaultPoint::kNoMemoryCreate, 1, command.c_str());
    Rig rig({Shipped("discrete")}, &faults);
    const uint32_t process = rig.Ask<host::CreateProcess>({}, {}).reply.process();
    EXPECT_EQ(process == 0, command == "CREATEPROCESS");
    const Caller caller = process != 0 ? Caller{process, rig.adapter().address} : rig.NewCaller();
    const uint32_t device = rig.TryDevice(caller);
    EXPECT_EQ(device == 0, command == "CREATEDEVICE");
    const uint32_t again = device != 0 ? device : rig.NewDevice(caller);
    const uint32_t context = rig.TryContext(caller, again);
    EXPECT_EQ(context == 0, command == "CREATECONTEXTVIRTUAL");
    EXPECT_EQ(rig.DestroyDevice(caller, again), kStatusSuccess);
    const Accounting accounting = rig.host().Account();
    EXPECT_EQ(accounting.devices, 0u);
    EXPECT_EQ(accounting.contexts, 0u);
  }
}

// Everything that a run answers, as text.
std::string Script() {
  Rig rig({Shipped("discrete"), Shipped("compute")});
  std::string log;
  for (size_t index = 0; index < 2; ++index) {
    const Caller caller = rig.NewCaller(index);
    const uint32_t device = rig.NewDevice(caller, 7);
    log += std::to_string(device) + " " + std::to_string(rig.NewContext(caller, device)) + "\n";
    for (uint32_t type = 0; type <= 80; ++type) {
      for (const size_t size : {4, 32, 64, 560, 2080, 8192}) {
        std::string data(size, '\0');
        log += std::to_string(rig.Query(caller, type, &data)) + data;
      }
    }
    rig.clock.AdvanceNs(123'456'789);
    host::QueryClockCalibration::Request request;
    request.set_adapter(rig.adapter(index).host_handle);
    log += rig.Ask<host::QueryClockCalibration>(caller, request).reply.SerializeAsString();
  }
  return log;
}

// [GEN] 17
TEST(World, SameScriptSameAnswers) { EXPECT_EQ(Script(), Script()); }

}  // namespace
}  // namespace dxg::hostsim
