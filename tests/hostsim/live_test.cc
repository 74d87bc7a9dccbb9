#include <gtest/gtest.h>

#include <set>

#include "tests/hostsim/gpu_rig.h"

namespace dxg::hostsim {
namespace {

ControlReply::Live See(Host& host, uint64_t after = 0) {
  ControlRequest::Live wanted;
  wanted.set_host_after(after);
  ControlReply::Live live;
  host.AddTo(wanted, &live);
  return live;
}

TEST(Live, ShowsAdaptersWithTheirMemoryAndEngines) {
  Rig rig;
  const ControlReply::Live live = See(rig.host());
  ASSERT_EQ(live.adapters_size(), 1);
  const auto& adapter = live.adapters(0);
  EXPECT_EQ(adapter.luid(), rig.adapter().luid);
  EXPECT_EQ(adapter.profile(), "discrete");
  EXPECT_EQ(adapter.local().size(), 8ull << 30);
  EXPECT_LT(adapter.local().budget(), adapter.local().size());
  EXPECT_EQ(adapter.non_local().size(), 16ull << 30);
  ASSERT_EQ(adapter.engines_size(), 3);
  EXPECT_EQ(adapter.engines(0).name(), "3D");
  EXPECT_EQ(adapter.engines(1).name(), "copy");
  EXPECT_EQ(adapter.engines(2).name(), "Compute");
}

TEST(Live, CountsQueuesUntilTheyEnd) {
  Rig rig;
  const Caller caller = rig.NewCaller();
  const uint32_t device = rig.NewDevice(caller);
  const uint32_t first = rig.NewContext(caller, device);
  rig.NewContext(caller, device);
  auto queues = [&] { return See(rig.host()).adapters(0).engines(0).queues(); };
  EXPECT_EQ(queues(), 2u);
  host::DestroyContext::Request request;
  request.set_context(first);
  rig.Ask<host::DestroyContext>(caller, request);
  EXPECT_EQ(queues(), 1u);
  host::DestroyDevice::Request end;
  end.set_device(device);
  rig.Ask<host::DestroyDevice>(caller, end);
  EXPECT_EQ(queues(), 0u);
}

TEST(Live, ManyProcessesComeInPagesAndEachOnce) {
  Rig rig;
  constexpr uint64_t kProcesses = 6000;
  std::set<uint32_t> made;
  for (uint64_t i = 0; i < kProcesses; ++i) {
    const Caller caller{rig.NewProcess(i + 1), rig.adapter().address};
    rig.NewDevice(caller);
    made.insert(caller.process);
  }
  std::set<uint32_t> seen;
  uint64_t after = 0;
  int pages = 0;
  do {
    const ControlReply::Live live = See(rig.host(), after);
    EXPECT_EQ(live.adapters_size(), after == 0 ? 1 : 0);
    EXPECT_LT(live.ByteSizeLong(), 100u * 1024);
    for (const auto& process : live.host_processes()) {
      EXPECT_TRUE(seen.insert(process.handle()).second) << "twice";
      ASSERT_EQ(process.uses_size(), 1);
      EXPECT_EQ(process.uses(0).devices(), 1u);
    }
    EXPECT_TRUE(live.host_next() == 0 || live.host_next() > after);
    after = live.host_next();
    ++pages;
  } while (after != 0);
  EXPECT_EQ(seen, made);
  EXPECT_GT(pages, 1) << "or it tests nothing";
  EXPECT_EQ(See(rig.host(), UINT64_MAX).host_processes_size(), 0);
}

TEST(Live, ManyAdaptersWithManyEnginesLeaveRoomForProcesses) {
  constexpr size_t kPageBytesMax = 96 * 1024;
  constexpr int kAdapters = 64, kNodes = 64;
  AdapterProfile profile = Shipped("discrete");
  while (profile.nodes_size() < kNodes) {
    *profile.add_nodes() = profile.nodes(profile.nodes_size() - 1);
    profile.mutable_nodes()->rbegin()->set_name(std::string(60, 'n'));
  }
  Rig rig(std::vector<AdapterProfile>(kAdapters, profile));
  std::set<uint32_t> made;
  for (uint64_t id = 1; id <= 3; ++id) made.insert(rig.NewProcess(id));
  std::set<uint32_t> seen;
  uint64_t after = 0;
  do {
    const ControlReply::Live live = See(rig.host(), after);
    EXPECT_LT(live.ByteSizeLong(), kPageBytesMax);
    if (after == 0) {
      EXPECT_GT(live.adapters_size(), 0);
      EXPECT_LT(live.adapters_size(), kAdapters) << "or it tests nothing";
    }
    for (const auto& process : live.host_processes()) seen.insert(process.handle());
    ASSERT_TRUE(live.host_next() == 0 || live.host_next() > after);
    after = live.host_next();
  } while (after != 0);
  EXPECT_EQ(seen, made);
}

}  // namespace
}  // namespace dxg::hostsim
