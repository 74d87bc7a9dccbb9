// What only a made-up kernel and host can show: waits, races, and who is told what.
#include <algorithm>
#include <array>

#include "tests/guest/rig.h"

namespace dxg::guest {
namespace {

using Asked = std::vector<std::string>;

TEST_F(DriverTest, OpenIsRefusedWithEbadfWhenTheHostRefusesTheProcess) {
  host.refuse = {"CREATEPROCESS"};
  EXPECT_EQ(StartOpen(100)->Wait(), -EBADF);
  EXPECT_EQ(driver.process_count(), 0u);
}

TEST_F(DriverTest, OpenByAnInvisibleThreadIsRefused) { EXPECT_EQ(StartOpen(999)->Wait(), -EBADF); }

TEST_F(DriverTest, SecondOpenOfAProcessSharesItAndAsksNothing) {
  const uint64_t first = Open(100);
  const uint32_t adapter = OpenAdapter(first, 100);
  const uint64_t second = Open(101);
  EXPECT_EQ(host.asked, Asked{"CREATEPROCESS"});
  d3dkmt_closeadapter close{{.v = adapter}};
  EXPECT_EQ(Call(second, 101, LX_DXCLOSEADAPTER, &close), 0);
  driver.Release(first);
  EXPECT_EQ(driver.process_count(), 1u);
  driver.Release(second);
  EXPECT_EQ(driver.process_count(), 0u);
  EXPECT_EQ(host.asked.back(), "DESTROYPROCESS");
}

TEST_F(DriverTest, OpensThatRaceWithTheFirstOneWaitForItAndShareItsProcess) {
  host.hold = {"CREATEPROCESS"};
  auto first = StartOpen(100), second = StartOpen(101), other = StartOpen(200);
  EXPECT_EQ(host.held(), 2u);  // one for each process
  host.Release();
  EXPECT_EQ(first->Wait(), 0);
  EXPECT_EQ(second->Wait(), 0);
  EXPECT_EQ(other->Wait(), 0);
  EXPECT_EQ(driver.process_count(), 2u);
  for (uint64_t file : {first->file, second->file, other->file}) driver.Release(file);
  EXPECT_EQ(driver.process_count(), 0u);
}

TEST_F(DriverTest, AReusedProcessNumberIsAnotherProcess) {
  const uint64_t old = Open(100);
  access.start_of[100] = 5;  // the leader with that number started later
  const uint64_t fresh = Open(100);
  EXPECT_EQ(driver.process_count(), 2u);
  driver.Release(old);
  driver.Release(fresh);
}

TEST_F(DriverTest, InheritedDescriptorIsEnottyForEveryCode) {
  const uint64_t file = Open(100);
  d3dkmt_enumadapters2 args{};
  EXPECT_EQ(Call(file, 200, LX_DXENUMADAPTERS2, &args), -ENOTTY);
  EXPECT_EQ(StartRaw(file, 200, LX_DXENUMADAPTERS2, 0, 0)->Wait(),
            -ENOTTY);  // before the argument is looked at
  driver.Release(file);
}

TEST_F(DriverTest, KnownButNotServedIsEnotty) {
  const uint64_t file = Open(100);
  for (const contract::CallRow& row : contract::Calls()) {
    if (row.served) continue;
    EXPECT_EQ(StartRaw(file, 100, row.code, 0, 0)->Wait(), -ENOTTY)
        << row.name;  // before the argument is looked at
  }
  driver.Release(file);
}

TEST_F(DriverTest, CallWaitsForTheHostWithoutHoldingTheCaller) {
  const uint64_t file = Open(100);
  const uint32_t adapter = OpenAdapter(file, 100);
  host.hold = {"QUERYVIDEOMEMORYINFO"};
  d3dkmt_queryvideomemoryinfo args{};
  args.adapter.v = adapter;
  auto waiting = StartCall(file, 100, LX_DXQUERYVIDEOMEMORYINFO, &args);
  EXPECT_FALSE(waiting->done);
  d3dkmt_enumadapters2 count{};
  EXPECT_EQ(Call(file, 101, LX_DXENUMADAPTERS2, &count), 0);  // others are served meanwhile
  host.Release();
  EXPECT_EQ(waiting->Wait(), 0);
  EXPECT_EQ(args.budget, 1234u);
  driver.Release(file);
}

TEST_F(DriverTest, DeviceIsDestroyedAgainWhenItsHandleCannotBeWritten) {
  const uint64_t file = Open(100);
  d3dkmt_createdevice args{};
  args.adapter.v = OpenAdapter(file, 100);
  access.unwritable = {reinterpret_cast<uint64_t>(&args.device)};
  EXPECT_EQ(Call(file, 100, LX_DXCREATEDEVICE, &args), -EFAULT);
  EXPECT_EQ(host.asked.back(), "DESTROYDEVICE");
  driver.Release(file);
}

TEST_F(DriverTest, DeviceThatOutlivesItsAdapterHandleIsDestroyedAgain) {
  const uint64_t file = Open(100);
  d3dkmt_createdevice args{};
  args.adapter.v = OpenAdapter(file, 100);
  host.hold = {"CREATEDEVICE"};
  auto creating = StartCall(file, 100, LX_DXCREATEDEVICE, &args);
  d3dkmt_closeadapter close{args.adapter};
  EXPECT_EQ(Call(file, 101, LX_DXCLOSEADAPTER, &close), 0);
  host.Release();
  EXPECT_EQ(creating->Wait(), -ENOMEM);
  EXPECT_EQ(host.asked.back(), "DESTROYDEVICE");
  driver.Release(file);
}

TEST_F(DriverTest, ContextWhoseDeviceEndsMeanwhileIsDestroyedAgain) {
  const uint64_t file = Open(100);
  d3dkmt_createcontextvirtual args{};
  args.device.v = CreateDevice(file, 100, OpenAdapter(file, 100));
  host.hold = {"CREATECONTEXTVIRTUAL"};
  auto creating = StartCall(file, 100, LX_DXCREATECONTEXTVIRTUAL, &args);
  d3dkmt_destroydevice destroy{args.device};
  EXPECT_EQ(Call(file, 101, LX_DXDESTROYDEVICE, &destroy), 0);
  host.Release();
  EXPECT_EQ(creating->Wait(), -ENODEV);
  EXPECT_EQ(host.asked.back(), "DESTROYCONTEXT");
  driver.Release(file);
}

TEST_F(DriverTest, HostRefusalOfADeviceIsSuccessAndLeavesTheFieldAlone) {
  const uint64_t file = Open(100);
  d3dkmt_createdevice args{};
  args.adapter.v = OpenAdapter(file, 100);
  args.device.v = 0x5a5a5a5a;
  host.refuse = {"CREATEDEVICE"};
  EXPECT_EQ(Call(file, 100, LX_DXCREATEDEVICE, &args), 0);
  EXPECT_EQ(args.device.v, 0x5a5a5a5au);
  driver.Release(file);
}

TEST_F(DriverTest, QueriesLeaveTheCopyToAKernelThatCopies) {
  const uint64_t file = Open(100);
  d3dkmt_queryvideomemoryinfo args{};
  args.adapter.v = OpenAdapter(file, 100);
  auto outcome = StartCall(file, 100, LX_DXQUERYVIDEOMEMORYINFO, &args, /*restricted=*/true);
  EXPECT_EQ(outcome->Wait(), 0);
  EXPECT_EQ(args.budget, 0u) << "written by us, though the kernel does it";
  ASSERT_EQ(outcome->out.size(), offsetof(d3dkmt_queryvideomemoryinfo, physical_adapter_index));
  std::memcpy(&args, outcome->out.data(), outcome->out.size());
  EXPECT_EQ(args.budget, 1234u);
  driver.Release(file);
}

TEST_F(DriverTest, CreationsWriteThemselvesAlsoWhenTheKernelCopies) {
  const uint64_t file = Open(100);
  d3dkmt_createdevice args{};
  args.adapter.v = OpenAdapter(file, 100);
  auto outcome = StartCall(file, 100, LX_DXCREATEDEVICE, &args, /*restricted=*/true);
  EXPECT_EQ(outcome->Wait(), 0);
  EXPECT_NE(args.device.v, 0u);
  EXPECT_TRUE(outcome->out.empty());
  driver.Release(file);
}

// [DEV] 45
TEST_F(DriverTest, ExecutionStateIsAskedForOnceAfterEachChange) {
  const uint64_t file = Open(100);
  d3dkmt_getdevicestate args{};
  args.device.v = CreateDevice(file, 100, OpenAdapter(file, 100));
  args.state_type = _D3DKMT_DEVICESTATE_EXECUTION;
  const auto asked = [&] { return std::count(host.asked.begin(), host.asked.end(), "GETDEVICESTATE"); };
  EXPECT_EQ(Call(file, 100, LX_DXGETDEVICESTATE, &args), 0);
  EXPECT_EQ(args.execution_state, 1u);
  EXPECT_EQ(asked(), 0);
  driver.DeviceStateChanged(kStateCookie + 1);
  EXPECT_EQ(Call(file, 100, LX_DXGETDEVICESTATE, &args), 0);
  EXPECT_EQ(asked(), 0) << "somebody else's";
  driver.DeviceStateChanged(kStateCookie);
  EXPECT_EQ(Call(file, 100, LX_DXGETDEVICESTATE, &args), 0);
  EXPECT_EQ(Call(file, 100, LX_DXGETDEVICESTATE, &args), 0);
  EXPECT_EQ(asked(), 1);
  driver.Release(file);
}

TEST_F(DriverTest, RemovedAdapterIsEnodevAndItsDevicesCanStillBeDestroyed) {
  const uint64_t file = Open(100);
  const uint32_t adapter = OpenAdapter(file, 100);
  d3dkmt_destroydevice destroy{{.v = CreateDevice(file, 100, adapter)}};
  driver.AdapterRemoved(kLuid);
  d3dkmt_queryvideomemoryinfo query{};
  query.adapter.v = adapter;
  EXPECT_EQ(Call(file, 100, LX_DXQUERYVIDEOMEMORYINFO, &query), -ENODEV);
  EXPECT_EQ(Call(file, 100, LX_DXDESTROYDEVICE, &destroy), 0);
  d3dkmt_closeadapter close{{.v = adapter}};
  EXPECT_EQ(Call(file, 100, LX_DXCLOSEADAPTER, &close), 0);
  EXPECT_EQ(std::count(host.asked.begin(), host.asked.end(), "DESTROYDEVICE"), 0);
  driver.Release(file);
}

TEST_F(DriverTest, AnAdapterThatStopsLeavesTheOthersAlone) {
  HostAdapter other;
  other.luid = kLuid + 1;
  other.address = 8;
  driver.AdapterArrived(other);
  const uint64_t file = Open(100);
  d3dkmt_openadapterfromluid open{};
  std::memcpy(&open.adapter_luid, &other.luid, sizeof(other.luid));
  ASSERT_EQ(Call(file, 100, LX_DXOPENADAPTERFROMLUID, &open), 0);
  d3dkmt_queryvideomemoryinfo of_one{}, of_other{};
  of_one.adapter.v = OpenAdapter(file, 100);
  of_other.adapter = open.adapter_handle;
  driver.AdapterStopped(kLuid);
  EXPECT_EQ(Call(file, 100, LX_DXQUERYVIDEOMEMORYINFO, &of_one), -ENODEV);
  EXPECT_EQ(Call(file, 100, LX_DXQUERYVIDEOMEMORYINFO, &of_other), 0);
  driver.Release(file);
}

TEST_F(DriverTest, AProcessUsesAnAdapterUntilItsLastHandleIsClosed) {
  const uint64_t file = Open(100), watching = Open(200);
  const auto users = [&] {
    std::array<uint32_t, 4> pids{};
    d3dkmt_enumprocesses args{};
    std::memcpy(&args.adapter_luid, &kLuid, sizeof(kLuid));
    args.buffer = reinterpret_cast<uint64_t>(pids.data());
    args.buffer_count = pids.size();
    EXPECT_EQ(Call(watching, 200, LX_DXENUMPROCESSES, &args), 0);
    return std::vector<uint32_t>(pids.begin(), pids.begin() + args.buffer_count);
  };
  EXPECT_EQ(users(), std::vector<uint32_t>{});
  d3dkmt_closeadapter first{{.v = OpenAdapter(file, 100)}}, second{{.v = OpenAdapter(file, 100)}};
  EXPECT_EQ(Call(file, 100, LX_DXCLOSEADAPTER, &first), 0);
  EXPECT_EQ(users(), std::vector<uint32_t>{100});
  EXPECT_EQ(Call(file, 100, LX_DXCLOSEADAPTER, &second), 0);
  EXPECT_EQ(users(), std::vector<uint32_t>{});
  driver.Release(file);
  driver.Release(watching);
}

// Containers on one node: each counts its processes from 1.
TEST_F(DriverTest, AProcessNumberIsOfTheCallersPidNamespace) {
  access.tgid_of[300] = 300;
  access.inside = {{100, {7, 1}}, {200, {8, 1}}, {300, {8, 2}}};
  std::map<pid_t, uint64_t> files;
  for (pid_t tid : {200, 300, 100}) OpenAdapter(files[tid] = Open(tid), tid);
  const auto listed = [&](pid_t by) {
    std::array<uint32_t, 4> pids{};
    d3dkmt_enumprocesses args{};
    std::memcpy(&args.adapter_luid, &kLuid, sizeof(kLuid));
    args.buffer = reinterpret_cast<uint64_t>(pids.data());
    args.buffer_count = pids.size();
    EXPECT_EQ(Call(files[by], by, LX_DXENUMPROCESSES, &args), 0);
    return std::vector<uint32_t>(pids.begin(), pids.begin() + args.buffer_count);
  };
  EXPECT_EQ(listed(100), std::vector<uint32_t>{1});
  EXPECT_EQ(listed(200), (std::vector<uint32_t>{1, 2}));

  uint32_t asked_for = 0;  // the process whose statistics the host was asked for
  host.before_answer = [&](const HostCall& call) {
    if (call.command->name == std::string_view("QUERYSTATISTICS")) asked_for = call.process;
  };
  const auto ask = [&](pid_t by, uint64_t number) {
    d3dkmt_querystatistics args{};
    std::memcpy(&args.adapter_luid, &kLuid, sizeof(kLuid));
    args.process = number;
    asked_for = 0;
    const int32_t result = Call(files[by], by, LX_DXQUERYSTATISTICS, &args);
    return result == 0 ? static_cast<int32_t>(asked_for) : result;
  };
  const int32_t own = ask(100, 0), neighbour = ask(200, 0), second = ask(300, 0);
  EXPECT_EQ(ask(100, 1), own) << "and not the one that another namespace calls so";
  EXPECT_EQ(ask(200, 1), neighbour);
  EXPECT_EQ(ask(200, 2), second);
  EXPECT_EQ(ask(300, 1), neighbour);
  EXPECT_EQ(ask(100, 2), -EINVAL) << "a process of another namespace";
  for (const auto& [tid, file] : files) driver.Release(file);
}

TEST_F(DriverTest, AProcessWhoseNamespaceIsNotKnownKnowsOnlyItself) {
  access.inside = {{100, {0, 100}}, {200, {0, 200}}};
  const uint64_t file = Open(100), other = Open(200);
  OpenAdapter(file, 100);
  OpenAdapter(other, 200);
  d3dkmt_querystatistics args{};
  std::memcpy(&args.adapter_luid, &kLuid, sizeof(kLuid));
  args.process = 200;
  EXPECT_EQ(Call(file, 100, LX_DXQUERYSTATISTICS, &args), -EINVAL);
  args.process = 100;
  EXPECT_EQ(Call(file, 100, LX_DXQUERYSTATISTICS, &args), 0);
  driver.Release(file);
  driver.Release(other);
}

TEST_F(DriverTest, TeardownTellsTheHostInTheDriversOrder) {
  const uint64_t file = Open(100);
  const uint32_t adapter = OpenAdapter(file, 100);
  CreateDevice(file, 100, adapter);
  CreateDevice(file, 100, adapter);
  host.asked.clear();
  driver.Release(file);
  EXPECT_EQ(host.asked,
            (Asked{"FLUSHDEVICE", "DESTROYDEVICE", "FLUSHDEVICE", "DESTROYDEVICE", "DESTROYPROCESS"}));
}

}  // namespace
}  // namespace dxg::guest
