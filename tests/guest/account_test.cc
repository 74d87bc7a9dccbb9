// What a process and its user may make us have.
#include "cuse-dxg/guest/account.h"

#include <algorithm>

#include "proto/abi/flags.h"
#include "tests/guest/rig.h"

namespace dxg::guest {
namespace {

TEST(Account, GivesNoMoreThanItsLimit) {
  Account account({.objects = 3, .descriptors = 1, .bytes = 100});
  EXPECT_TRUE(account.Take(Charged::kObjects, 3));
  EXPECT_FALSE(account.Take(Charged::kObjects, 1));
  EXPECT_TRUE(account.Take(Charged::kBytes, 100));
  EXPECT_FALSE(account.Take(Charged::kBytes, ~0ull));
  account.Give(Charged::kObjects, 1);
  EXPECT_TRUE(account.Take(Charged::kObjects, 1));
  EXPECT_EQ(account.used(Charged::kObjects), 3u);
}

TEST(Account, IsPartOfAnother) {
  const auto user = std::make_shared<Account>(Limits{.objects = 4, .descriptors = 4, .bytes = 4});
  Account one({.objects = 3, .descriptors = 3, .bytes = 3}, user);
  Account other({.objects = 3, .descriptors = 3, .bytes = 3}, user);
  EXPECT_TRUE(one.Take(Charged::kBytes, 3));
  EXPECT_FALSE(other.Take(Charged::kBytes, 2));
  EXPECT_EQ(other.used(Charged::kBytes), 0u);
  EXPECT_TRUE(other.Take(Charged::kBytes, 1));
  one.Give(Charged::kBytes, 3);
  EXPECT_EQ(user->used(Charged::kBytes), 1u);
}

TEST(Charge, LastsAsLongAsItsOwner) {
  const auto account = std::make_shared<Account>(Limits{.objects = 0, .descriptors = 2, .bytes = 0});
  {
    Charge first(account, Charged::kDescriptors, 2);
    EXPECT_TRUE(first);
    EXPECT_FALSE(Charge(account, Charged::kDescriptors, 1));
    Charge moved = std::move(first);
    EXPECT_EQ(account->used(Charged::kDescriptors), 2u);
  }
  EXPECT_EQ(account->used(Charged::kDescriptors), 0u);
}

// Each limit: exactly as much works, one more is refused, and what was given up can be had again.
class LimitsTest : public DriverTest {
 protected:
  void Begin(const Limits& process, const Limits& user) {
    driver.set_limits(process, user);
    file = Open(100);
    device = CreateDevice(file, 100, OpenAdapter(file, 100));
  }
  ~LimitsTest() override {
    if (file != 0) driver.Release(file);
  }
  int32_t Allocate(uint32_t count = 1, uint32_t flags = 0) {
    std::vector<d3dddi_allocationinfo2> infos(count);
    char data[kDataBytes] = {1};
    for (auto& info : infos) {
      info.sysmem = sysmem;
      if (with_data)
        info = {.priv_drv_data = reinterpret_cast<uint64_t>(data), .priv_drv_data_size = kDataBytes};
    }
    d3dkmt_createallocation args{};
    args.device.v = device;
    args.flags.value = flags;
    if (with_data && (flags & 1) != 0) {
      args.priv_drv_data = args.private_runtime_data = reinterpret_cast<uint64_t>(data);
      args.priv_drv_data_size = args.private_runtime_data_size = kDataBytes;
    }
    args.alloc_count = count;
    args.allocation_info = reinterpret_cast<uint64_t>(infos.data());
    const int32_t result = Call(file, 100, LX_DXCREATEALLOCATION, &args);
    resource = args.resource.v;
    last = infos.back().allocation.v;
    return result;
  }
  int32_t Destroy() {
    d3dkmt_destroyallocation2 args{};
    args.device.v = device;
    args.alloc_count = 1;
    args.allocations = reinterpret_cast<uint64_t>(&last);
    return Call(file, 100, LX_DXDESTROYALLOCATION2, &args);
  }
  size_t Undone() {
    return static_cast<size_t>(std::count(host.asked.begin(), host.asked.end(), "DESTROYALLOCATION"));
  }

  static constexpr uint64_t kPlenty = 1u << 20;
  static constexpr uint32_t kDataBytes = 16;
  uint64_t file = 0, sysmem = 0;
  bool with_data = false;
  uint32_t device = 0, last = 0, resource = 0;
};

TEST_F(LimitsTest, Objects) {
  Begin({.objects = 5, .descriptors = kPlenty, .bytes = kPlenty}, kUserLimits);
  for (int i = 0; i < 3; ++i) ASSERT_EQ(Allocate(), 0);  // beside an adapter's handle and a device
  EXPECT_EQ(Allocate(), -ENOMEM);
  EXPECT_EQ(Undone(), 1u);  // the host made it before there was no room for its handle
  last = 0;
  EXPECT_EQ(Allocate(2), -ENOMEM);
}

TEST_F(LimitsTest, ObjectsThatEndAreGivenBack) {
  Begin({.objects = 3, .descriptors = kPlenty, .bytes = kPlenty}, kUserLimits);
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(Allocate(), 0);
    ASSERT_EQ(Destroy(), 0);
  }
}

TEST_F(LimitsTest, Bytes) {
  const uint64_t each = host.allocation_bytes;
  Begin({.objects = kPlenty, .descriptors = kPlenty, .bytes = 3 * each}, kUserLimits);
  EXPECT_EQ(Allocate(4), -ENOMEM);
  ASSERT_EQ(Allocate(3), 0);
  const uint32_t made = last;
  EXPECT_EQ(Allocate(), -ENOMEM);
  last = made;
  ASSERT_EQ(Destroy(), 0);
  EXPECT_EQ(Allocate(), 0);
}

TEST_F(LimitsTest, FilesOfSharedMemory) {
  constexpr uint32_t kShared =
      DXG_ALLOCATION_CREATE_RESOURCE | DXG_ALLOCATION_CREATE_SHARED | DXG_ALLOCATION_NT_SECURITY_SHARING;
  Begin({.objects = kPlenty, .descriptors = 4, .bytes = kPlenty}, kUserLimits);
  ASSERT_EQ(Allocate(3, kShared), 0);
  EXPECT_EQ(Allocate(1, kShared), -ENOMEM);
  ASSERT_EQ(Allocate(100), 0) << "others have none";
}

TEST_F(LimitsTest, PrivateData) {
  Begin({.private_data = 3 * kDataBytes}, kUserLimits);
  with_data = true;
  EXPECT_EQ(Allocate(4), -ENOMEM);
  EXPECT_EQ(Undone(), 0u) << "the host was not asked";
  ASSERT_EQ(Allocate(3), 0);
  const uint32_t made = last;
  EXPECT_EQ(Allocate(), -ENOMEM);
  with_data = false;
  EXPECT_EQ(Allocate(), 0) << "what has none is none";
  with_data = true;
  last = made;
  ASSERT_EQ(Destroy(), 0);
  EXPECT_EQ(Allocate(), 0);
}

// Its own, its driver's and its elements', and copies of all that for those who open it.
TEST_F(LimitsTest, PrivateDataOfASharedResource) {
  constexpr uint32_t kShared =
      DXG_ALLOCATION_CREATE_RESOURCE | DXG_ALLOCATION_CREATE_SHARED | DXG_ALLOCATION_NT_SECURITY_SHARING;
  with_data = true;
  Begin({.private_data = 8 * kDataBytes - 1}, kUserLimits);
  EXPECT_EQ(Allocate(2, kShared), -ENOMEM);
  EXPECT_EQ(Allocate(1, kShared), 0);
  EXPECT_EQ(Allocate(1, 1), -ENOMEM);
  EXPECT_EQ(Allocate(), 0);
  EXPECT_EQ(Allocate(), -ENOMEM);
}

// What the host keeps of a resource that came to nothing is charged until its device ends.
TEST_F(LimitsTest, PrivateDataOfAFailedResource) {
  constexpr uint32_t kResource = 1;
  Begin({.bytes = host.allocation_bytes, .private_data = 6 * kDataBytes}, kUserLimits);
  with_data = true;
  ASSERT_EQ(Allocate(2, kResource), -ENOMEM) << "of bytes";
  ASSERT_EQ(Allocate(2, kResource), -ENOMEM);
  EXPECT_EQ(Undone(), 2u);
  EXPECT_EQ(Allocate(1, kResource), -ENOMEM) << "of private data: two resources are left at the host";
  EXPECT_EQ(Undone(), 2u);
  d3dkmt_destroydevice destroy{};
  destroy.device.v = device;
  ASSERT_EQ(Call(file, 100, LX_DXDESTROYDEVICE, &destroy), 0);
  device = CreateDevice(file, 100, OpenAdapter(file, 100));
  EXPECT_EQ(Allocate(1, kResource), 0);
}

TEST_F(LimitsTest, ExistingMemory) {
  Begin({.page_lists = 2}, kUserLimits);
  sysmem = 0x10000;
  EXPECT_EQ(Allocate(3), -ENOMEM);
  EXPECT_TRUE(host.client_pages.empty());
  ASSERT_EQ(Allocate(2), 0);
  const uint32_t made = last;
  EXPECT_EQ(Allocate(), -ENOMEM);
  sysmem = 0;
  EXPECT_EQ(Allocate(), 0);
  sysmem = 0x10000;
  last = made;
  ASSERT_EQ(Destroy(), 0);
  EXPECT_EQ(Allocate(), 0);
}

TEST_F(LimitsTest, ObjectsThatAreWaitedFor) {
  Begin({.wait_points = 5}, kUserLimits);
  const uint32_t objects[3] = {1, 2, 3};
  const uint64_t values[3] = {};
  d3dkmt_waitforsynchronizationobjectfromcpu args{};
  args.device.v = device;
  args.objects = reinterpret_cast<uint64_t>(objects);
  args.fence_values = reinterpret_cast<uint64_t>(values);
  const auto wait = [&](uint32_t count) {
    args.object_count = count;
    return StartCall(file, 100, LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, &args);
  };
  const auto first = wait(3), second = wait(2);
  EXPECT_EQ(wait(1)->Wait(), -ENOMEM);
  ASSERT_EQ(host.events.size(), 2u) << "the host was not asked";
  driver.GuestEvent(host.events[1]);
  EXPECT_EQ(second->Wait(), 0);
  EXPECT_EQ(wait(3)->Wait(), -ENOMEM);
  host.refuse = {"WAITFORSYNCOBJECTFROMCPU"};
  EXPECT_EQ(wait(2)->Wait(), -EOVERFLOW);
  host.refuse = {};
  const auto third = wait(2);
  driver.GuestEvent(host.events[0]);
  driver.GuestEvent(host.events.back());
  EXPECT_EQ(first->Wait(), 0);
  EXPECT_EQ(third->Wait(), 0);
}

// A wait that a signal interrupted is the host's as before, and its call's again where that is restarted.
TEST_F(LimitsTest, ObjectsOfInterruptedWaits) {
  Begin({.wait_points = 2}, kUserLimits);
  uint32_t object = 1;
  const uint64_t value = 0;
  d3dkmt_waitforsynchronizationobjectfromcpu args{};
  args.device.v = device;
  args.object_count = 1;
  args.objects = reinterpret_cast<uint64_t>(&object);
  args.fence_values = reinterpret_cast<uint64_t>(&value);
  const auto wait = [&] { return StartCall(file, 100, LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, &args); };
  for (object = 1; object <= 2; ++object) {
    const auto interrupted = wait();
    ASSERT_TRUE(interrupted->Signal());
    ASSERT_EQ(interrupted->Wait(), attach::IoctlRequest::kRestart);
  }
  EXPECT_EQ(wait()->Wait(), -ENOMEM);
  object = 2;
  const auto restarted = wait();
  ASSERT_EQ(host.events.size(), 2u);
  driver.GuestEvent(host.events[1]);
  EXPECT_EQ(restarted->Wait(), 0);
  object = 3;
  const auto another = wait();
  driver.GuestEvent(host.events.back());
  EXPECT_EQ(another->Wait(), 0);
  driver.GuestEvent(host.events[0]);
}

// Another user's processes are not held up by it.
TEST_F(LimitsTest, OfAUser) {
  Begin(kProcessLimits, {.objects = 4, .descriptors = 2, .bytes = kPlenty});
  ASSERT_EQ(Allocate(2), 0);
  EXPECT_EQ(Allocate(), -ENOMEM);
  const uint64_t second = Open(200);
  EXPECT_EQ(OpenAdapterRaw(second, 200), -EINVAL);
  access.tgid_of[300] = 300;
  EXPECT_EQ(StartOpen(300)->Wait(), -EBADF);
  opener_uid = 1000;
  const uint64_t other = Open(300);
  EXPECT_NE(OpenAdapter(other, 300), 0u);
  driver.Release(second);
  driver.Release(other);
  driver.Release(std::exchange(file, 0));
  opener_uid = 0;
  file = Open(100);
  EXPECT_NE(OpenAdapter(file, 100), 0u);
}

}  // namespace
}  // namespace dxg::guest
