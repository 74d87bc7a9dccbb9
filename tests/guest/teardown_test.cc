// Who leaves with much holds up nobody: what is taken apart, where, and who waits for it.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>

#include "cuse-dxg/guest/event_table.h"
#include "tests/guest/rig.h"

namespace dxg::guest {
namespace {

constexpr size_t kAtOnce = TeardownThread::kStepsAtOnce;
constexpr size_t kMany = 40 * kAtOnce;

// Two processes, each with a device.
class TeardownTest : public DriverTest {
 protected:
  struct Client {
    pid_t tid;
    uint64_t file = 0;
    uint32_t adapter = 0, device = 0;
  };

  TeardownTest() {
    host.on_submit = [this](const HostCall& call) {
      const std::string name = call.command->name;
      if (name == "DESTROYALLOCATION" && std::this_thread::get_id() == main_) ++destroyed_here_;
      if (name == "DESTROYPROCESS" && std::this_thread::get_id() == main_) ++ended_here_;
      if (name != "DESTROYALLOCATION" || std::this_thread::get_id() == main_) return;
      if (!gate_.valid()) return;
      if (!reached_.test_and_set()) at_gate_.set_value();
      gate_.wait();
    };
    large_ = Begin(100);
    small_ = Begin(200);
  }
  ~TeardownTest() override {
    OpenGate();
    for (const Client& client : {large_, small_}) {
      if (client.file != 0) driver.Release(client.file);
    }
    if (owned_driver) driver.teardown().Stop();  // it asks the host, and so us, until it is done
  }

  Client Begin(pid_t tid) {
    Client client{tid};
    client.file = Open(tid);
    client.adapter = OpenAdapter(client.file, tid);
    client.device = CreateDevice(client.file, tid, client.adapter);
    return client;
  }

  std::vector<uint32_t> Allocate(const Client& client, size_t count, uint32_t resource = 0,
                                 uint32_t flags = 0) {
    std::vector<uint32_t> handles;
    while (handles.size() < count) {
      std::vector<d3dddi_allocationinfo2> infos(std::min<size_t>(count - handles.size(), 512));
      d3dkmt_createallocation args{};
      args.device.v = client.device;
      args.resource.v = resource;
      args.flags.value = flags;
      args.alloc_count = static_cast<uint32_t>(infos.size());
      args.allocation_info = reinterpret_cast<uint64_t>(infos.data());
      EXPECT_EQ(Call(client.file, client.tid, LX_DXCREATEALLOCATION, &args), 0);
      resource = args.resource.v;
      flags &= ~1u;
      for (const auto& info : infos) handles.push_back(info.allocation.v);
      if (testing::Test::HasFailure()) break;
    }
    resource_ = resource;
    return handles;
  }

  // From here on the teardown thread waits before its first command for an allocation.
  void CloseGate() { gate_ = opened_.get_future().share(); }
  void OpenGate() {
    if (gate_.valid() && !std::exchange(open_, true)) opened_.set_value();
  }
  size_t Asked(const std::string& name) { return host.times_asked(name); }
  // What has been handed to the thread is done.
  void Finish() {
    OpenGate();
    driver.teardown().Stop();
  }

  const std::thread::id main_ = std::this_thread::get_id();
  size_t destroyed_here_ = 0, ended_here_ = 0;
  std::promise<void> opened_, at_gate_;
  std::atomic_flag reached_;
  std::shared_future<void> gate_;
  bool open_ = false;
  uint32_t resource_ = 0;
  Client large_, small_;
};

// The thread that closes is the one that reads the requests of all.
TEST_F(TeardownTest, AProcessWithMuchIsNotTakenApartByWhoReads) {
  Allocate(large_, kMany);
  CloseGate();
  driver.Release(std::exchange(large_.file, 0));
  EXPECT_EQ(destroyed_here_, 0u);
  EXPECT_EQ(driver.process_count(), 1u);
  Finish();
  EXPECT_EQ(Asked("DESTROYALLOCATION"), kMany);
  EXPECT_EQ(Asked("DESTROYPROCESS"), 1u);
}

// To close a million handles of one adapter takes a while, too.
TEST_F(TeardownTest, NorIsOneWithManyHandlesOfAnAdapter) {
  for (size_t i = 0; i < 2 * kAtOnce; ++i) ASSERT_NE(OpenAdapter(small_.file, small_.tid), 0u);
  driver.Release(std::exchange(small_.file, 0));
  Finish();
  EXPECT_EQ(Asked("DESTROYPROCESS"), 1u);
  EXPECT_EQ(ended_here_, 0u);
}

// What is little is done when the descriptor is closed, as in the driver: whoever opens next meets none of
// it.
TEST_F(TeardownTest, AProcessWithLittleIsTakenApartAtOnce) {
  Allocate(small_, 20);
  driver.Release(std::exchange(small_.file, 0));
  EXPECT_EQ(destroyed_here_, 20u);
  EXPECT_EQ(Asked("DESTROYPROCESS"), 1u);
  EXPECT_EQ(driver.teardown().turns(), 0u);
}

TEST_F(TeardownTest, NeighboursAreServedMeanwhile) {
  Allocate(large_, kMany);
  CloseGate();
  driver.Release(std::exchange(large_.file, 0));
  constexpr int kCalls = 200;
  for (int i = 0; i < kCalls; ++i) {
    ASSERT_EQ(Allocate(small_, 1).size(), 1u);
  }
  EXPECT_EQ(Asked("DESTROYPROCESS"), 0u);  // none of it waited for the other's end
  Finish();
}

// Turns: a teardown of ten thousands does not go before one of some hundreds that came later.
TEST_F(TeardownTest, WhoHasLessToLeaveIsGoneFirst) {
  Allocate(large_, kMany);
  Allocate(small_, 2 * kAtOnce);
  CloseGate();
  const uint32_t small_process = driver.Processes().back()->host_handle;
  driver.Release(std::exchange(large_.file, 0));
  at_gate_.get_future().wait();
  driver.Release(std::exchange(small_.file, 0));
  std::vector<uint32_t> ended;
  std::promise<void> both;
  host.after_answer = [&](const HostCall& call) {
    if (std::string(call.command->name) != "DESTROYPROCESS") return;
    ended.push_back(call.process);
    if (ended.size() == 2) both.set_value();
  };
  OpenGate();
  both.get_future().wait();
  driver.teardown().Stop();
  ASSERT_EQ(ended.size(), 2u);
  EXPECT_EQ(ended[0], small_process);
}

// A user who leaves with many processes has as many turns as one who leaves with one.
TEST_F(TeardownTest, UsersHaveTurnsNotTheirProcesses) {
  constexpr pid_t kFirst = 300, kProcesses = 8;
  std::vector<Client> of_one;
  opener_uid = 1;
  for (pid_t tid = kFirst; tid < kFirst + kProcesses; ++tid) {
    access.tgid_of[tid] = tid;
    of_one.push_back(Begin(tid));
    Allocate(of_one.back(), 4 * kAtOnce);
  }
  opener_uid = 2;
  access.tgid_of[400] = 400;
  const Client other = Begin(400);
  Allocate(other, 4 * kAtOnce);
  const uint32_t others_process = driver.Processes().back()->host_handle;
  CloseGate();
  for (const Client& client : of_one) driver.Release(client.file);
  at_gate_.get_future().wait();
  driver.Release(other.file);
  uint32_t first = 0;
  size_t ended = 0;
  std::promise<void> all;
  host.after_answer = [&](const HostCall& call) {
    if (std::string(call.command->name) != "DESTROYPROCESS") return;
    if (++ended == 1) first = call.process;
    if (ended == kProcesses + 1u) all.set_value();
  };
  OpenGate();
  all.get_future().wait();
  driver.teardown().Stop();
  host.after_answer = nullptr;
  EXPECT_EQ(first, others_process);
}

// Numbers and handles of the one are never taken for the other's.
TEST_F(TeardownTest, TheSameProcessComesBackWhenItsEndIsOver) {
  Allocate(large_, kMany);
  CloseGate();
  driver.Release(std::exchange(large_.file, 0));
  auto again = StartOpen(100), and_again = StartOpen(101);
  access.tgid_of[201] = 201;
  EXPECT_FALSE(again->done);
  const uint64_t other = Open(201);
  EXPECT_EQ(Asked("CREATEPROCESS"), 3u);
  OpenGate();
  EXPECT_EQ(again->Wait(), 0);
  EXPECT_EQ(and_again->Wait(), 0);
  EXPECT_EQ(Asked("CREATEPROCESS"), 4u);
  const auto end = std::find(host.asked.begin(), host.asked.end(), "DESTROYPROCESS");
  ASSERT_NE(end, host.asked.end());
  EXPECT_EQ(std::count(end, host.asked.end(), "CREATEPROCESS"), 1);
  driver.Release(again->file);
  EXPECT_EQ(driver.process_count(), 3u);
  driver.Release(and_again->file);
  driver.Release(other);
  EXPECT_EQ(driver.process_count(), 1u);
}

// A worker that destroys a device is free at once, and the call is answered when all is gone.
TEST_F(TeardownTest, ADeviceWithMuchIsTakenApartBesideTheWorkers) {
  Allocate(large_, kMany);
  CloseGate();
  d3dkmt_destroydevice args{};
  args.device.v = large_.device;
  auto call = StartCall(large_.file, 100, LX_DXDESTROYDEVICE, &args);
  EXPECT_FALSE(call->done);
  EXPECT_EQ(destroyed_here_, 0u);
  // Its client is killed and its descriptor closed: the process ends after it.
  EXPECT_TRUE(call->Kill());
  driver.Release(std::exchange(large_.file, 0));
  EXPECT_EQ(Asked("DESTROYPROCESS"), 0u);
  OpenGate();
  driver.teardown().Stop();
  EXPECT_EQ(Asked("DESTROYALLOCATION"), kMany);
  const auto device = std::find(host.asked.begin(), host.asked.end(), "DESTROYDEVICE");
  const auto process = std::find(host.asked.begin(), host.asked.end(), "DESTROYPROCESS");
  EXPECT_LT(device, process);
  EXPECT_NE(process, host.asked.end());
}

TEST_F(TeardownTest, TheDriversEndWaitsForIt) {
  Allocate(large_, kMany);
  driver.Release(std::exchange(large_.file, 0));
  driver.Release(std::exchange(small_.file, 0));
  owned_driver.reset();
  EXPECT_EQ(Asked("DESTROYALLOCATION"), kMany);
  EXPECT_EQ(Asked("DESTROYPROCESS"), 2u);
}

// How much dearer one is among many than among few, at its best of several tries.
TEST_F(TeardownTest, ToDestroyOneOfManyCostsWhatOneOfFewDoes) {
  constexpr uint32_t kCreateResource = 1;
  constexpr size_t kFew = 64, kLots = 40'000;
  const auto of = [this](const std::vector<uint32_t>& handles) {
    auto best = std::chrono::nanoseconds::max();
    for (size_t i = 0; i < 16; ++i) {
      uint32_t handle = handles[handles.size() - 1 - i];  // the last are the dearest to look for
      d3dkmt_destroyallocation2 args{};
      args.device.v = large_.device;
      args.alloc_count = 1;
      args.allocations = reinterpret_cast<uint64_t>(&handle);
      const auto start = std::chrono::steady_clock::now();
      EXPECT_EQ(Call(large_.file, 100, LX_DXDESTROYALLOCATION2, &args), 0);
      best = std::min<std::chrono::nanoseconds>(best, std::chrono::steady_clock::now() - start);
    }
    return static_cast<double>(best.count());
  };
  const double few = of(Allocate(large_, kFew, 0, kCreateResource));
  const double lots_of_resource = of(Allocate(large_, kLots, 0, kCreateResource));
  const double lots = of(Allocate(large_, kLots));
  EXPECT_LE(lots_of_resource, 10 * few);
  EXPECT_LE(lots, 10 * few);
}

TEST(EventTable, AProcessLosesAFewAtATime) {
  EventTable events;
  const Process one{client::Identity{}}, other{client::Identity{}};
  const auto file = std::make_shared<CountingFile>();
  for (int i = 0; i < 1000; ++i) {
    events.Add(one, file, EventTable::Lifetime::kOnce);
    events.Add(other, file, EventTable::Lifetime::kOnce);
  }
  EXPECT_TRUE(events.RemoveSome(one));
  EXPECT_GT(events.size(), 1800u);
  while (events.RemoveSome(one)) {
  }
  EXPECT_EQ(events.size(), 1000u);
  for (uint64_t event = 2; event < 2002; ++event) events.Happened(event);
  EXPECT_EQ(file->count, 1000);
  EXPECT_EQ(events.size(), 0u);
}

TEST(ProcessLife, EndsOnce) {
  Process process{client::Identity{}};
  process.CallOutlivesItsFile();
  EXPECT_FALSE(process.End()) << "a call goes on";
  EXPECT_TRUE(process.CallEnds());
  process.CallOutlivesItsFile();
  EXPECT_FALSE(process.CallEnds()) << "a second time";
}

}  // namespace
}  // namespace dxg::guest
