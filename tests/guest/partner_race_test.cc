// Races with a partner that the test scripts: answers that are held, effects that come late, handles that
// open and close while a fence is signalled.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "base/unique_fd.h"
#include "proto/abi/flags.h"
#include "proto/dxg/host.pb.h"
#include "tests/guest/rig.h"

namespace dxg::guest {
namespace {

class PartnerRace : public FenceTest {
 protected:
  PartnerRace() {
    memory = UniqueFd(memfd_create("fences", MFD_CLOEXEC));
    EXPECT_EQ(ftruncate(memory.get(), 1 << 20), 0);
    for (auto& [begin, region] : host.regions) region.file = memory.get();
  }
  ~PartnerRace() override {
    host.before_answer = host.after_answer = nullptr;  // they see what was a test's own
    while (!delivery.files.empty()) CloseDescriptor(delivery.files.begin()->first);
  }
  void CloseDescriptor(int descriptor) {
    const auto object = delivery.files.extract(descriptor);
    if (!object.empty() && object.mapped() != 0) driver.Release(object.mapped());
  }
  uint32_t CreateFence(uint32_t flags) {
    d3dkmt_createsynchronizationobject2 args{};
    args.device.v = device;
    args.info.type = _D3DDDI_MONITORED_FENCE;
    args.info.flags.value = flags;
    EXPECT_EQ(Call(file, 100, LX_DXCREATESYNCHRONIZATIONOBJECT, &args), 0);
    return args.sync_object.v;
  }
  size_t Asked(const char* command) {
    return static_cast<size_t>(std::count(host.asked.begin(), host.asked.end(), command));
  }
  // What the GPU writes.
  void SetFence(uint64_t value) {
    EXPECT_EQ(pwrite(memory.get(), &value, sizeof(value), 0x1000), static_cast<ssize_t>(sizeof(value)));
  }
  bool Readable(uint64_t descriptor) {
    return driver.Poll(delivery.files[static_cast<int>(descriptor)], nullptr) != 0;
  }

  static constexpr uint32_t kShared = DXG_SYNC_SHARED | DXG_SYNC_NT_SECURITY_SHARING;
  UniqueFd memory;
};

// The host names the object for each; one name is enough, the other is given back, and the one goes with the
// last descriptor.
TEST_F(PartnerRace, TwoFirstSharesOfOneObject) {
  uint32_t fence = CreateFence(kShared);
  host.hold = {"CREATENTSHAREDOBJECT"};
  uint64_t descriptors[2] = {};
  d3dkmt_shareobjects args[2] = {};
  std::shared_ptr<Outcome> calls[2];
  for (int i = 0; i < 2; ++i) {
    args[i].object_count = 1;
    args[i].objects = reinterpret_cast<uint64_t>(&fence);
    args[i].shared_handle = reinterpret_cast<uint64_t>(&descriptors[i]);
    calls[i] = StartCall(file, 100 + i, LX_DXSHAREOBJECTS, &args[i]);
  }
  ASSERT_EQ(host.held(), 2u);
  std::vector<uint32_t> named, ended;
  host.after_answer = [&](const HostCall& call) {
    if (auto* made = dynamic_cast<host::CreateNtSharedObject::Reply*>(call.reply))
      named.push_back(made->shared_handle());
    if (auto* end = dynamic_cast<const host::DestroyNtSharedObject::Request*>(call.request))
      ended.push_back(end->shared_handle());
  };
  host.hold.clear();
  host.ReleaseOne();
  host.ReleaseOne();
  for (const auto& call : calls) EXPECT_EQ(call->Wait(), 0);
  ASSERT_EQ(named.size(), 2u);
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_TRUE(ended[0] == named[0] || ended[0] == named[1]);
  ASSERT_EQ(delivery.files.size(), 2u);
  CloseDescriptor(delivery.files.begin()->first);
  EXPECT_EQ(ended.size(), 1u) << "the name ended with the first descriptor";
  CloseDescriptor(delivery.files.begin()->first);
  ASSERT_EQ(ended.size(), 2u);
  EXPECT_NE(ended[0], ended[1]);
  host.after_answer = nullptr;
}

// An event that comes before the value: the sync file is not ready, and asks again.
TEST_F(PartnerRace, AnEventBeforeTheValueItStandsFor) {
  const uint32_t fence = CreateFence(0);
  d3dkmt_createsyncfile args{};
  args.device.v = device;
  args.monitored_fence.v = fence;
  args.fence_value = 9;
  ASSERT_EQ(Call(file, 100, LX_DXCREATESYNCFILE, &args), 0);
  ASSERT_EQ(host.events.size(), 1u);
  SetFence(8);
  driver.GuestEvent(host.events[0]);
  EXPECT_FALSE(Readable(args.sync_file_handle));
  ASSERT_EQ(host.events.size(), 2u) << "nobody asked again";
  EXPECT_NE(host.events[1], host.events[0]);
  driver.GuestEvent(host.events[0]);  // a late one
  EXPECT_FALSE(Readable(args.sync_file_handle));
  SetFence(9);
  EXPECT_FALSE(Readable(args.sync_file_handle)) << "ready before the host said so";
  driver.GuestEvent(host.events[1]);
  EXPECT_TRUE(Readable(args.sync_file_handle));
  EXPECT_EQ(driver.events().size(), 0u);
}

// The fence's handle goes before the event: the file is ready with an error, and nobody is asked again.
TEST_F(PartnerRace, AnEventAfterTheFenceIsGone) {
  const uint32_t fence = CreateFence(0);
  d3dkmt_createsyncfile args{};
  args.device.v = device;
  args.monitored_fence.v = fence;
  args.fence_value = 9;
  ASSERT_EQ(Call(file, 100, LX_DXCREATESYNCFILE, &args), 0);
  d3dkmt_destroysynchronizationobject destroy{};
  destroy.sync_object.v = fence;
  ASSERT_EQ(Call(file, 100, LX_DXDESTROYSYNCHRONIZATIONOBJECT, &destroy), 0);
  SetFence(3);
  driver.GuestEvent(host.events[0]);
  EXPECT_TRUE(Readable(args.sync_file_handle));
  EXPECT_EQ(host.events.size(), 1u);
}

// Three threads: two make waits and fences and end them, one lets everything happen that the host was told
// of. Under TSan this is what it is for; and nothing is left at the end.
TEST_F(PartnerRace, HandlesOpenAndCloseWhileTheFenceIsSignalled) {
  constexpr int kRounds = 300;
  std::atomic<bool> stop = false;
  std::atomic<uint64_t> last = 0;
  host.before_answer = [&](const HostCall& call) {
    const auto* wait = dynamic_cast<const host::WaitForSyncObjectFromCpu::Request*>(call.request);
    if (wait == nullptr) return;
    for (uint64_t seen = last;
         seen < wait->guest_event() && !last.compare_exchange_weak(seen, wait->guest_event());) {
    }
  };
  std::thread host_thread([&] {
    uint64_t next = 2;
    while (!stop || next <= last) {
      while (next <= last) driver.GuestEvent(next++);
      std::this_thread::yield();
    }
  });
  const auto client = [&](pid_t tid) {
    uint32_t object = 0x40000040;
    uint64_t value = 1;
    for (int i = 0; i < kRounds; ++i) {
      d3dkmt_waitforsynchronizationobjectfromcpu wait{};
      wait.device.v = device;
      wait.object_count = 1;
      wait.objects = reinterpret_cast<uint64_t>(&object);
      wait.fence_values = reinterpret_cast<uint64_t>(&value);
      EXPECT_EQ(Call(file, tid, LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, &wait), 0);
      d3dkmt_createsynchronizationobject2 made{};
      made.device.v = device;
      made.info.type = _D3DDDI_SYNCHRONIZATION_MUTEX;
      EXPECT_EQ(Call(file, tid, LX_DXCREATESYNCHRONIZATIONOBJECT, &made), 0);
      d3dkmt_destroysynchronizationobject destroy{};
      destroy.sync_object = made.sync_object;
      EXPECT_EQ(Call(file, tid, LX_DXDESTROYSYNCHRONIZATIONOBJECT, &destroy), 0);
    }
  };
  const size_t handles = driver.Processes().front()->live_handles();
  std::thread first(client, 100), second(client, 101);
  first.join();
  second.join();
  stop = true;
  host_thread.join();
  host.before_answer = nullptr;
  EXPECT_EQ(driver.events().size(), 0u);
  EXPECT_EQ(driver.Processes().front()->live_handles(), handles);
}

}  // namespace
}  // namespace dxg::guest
