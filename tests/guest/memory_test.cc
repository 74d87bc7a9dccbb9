// What the guest half does about memory beyond the packets and errnos of the golden records: bringing the
// host's memory and descriptors into clients, and whatever can go wrong on the way.
#include <algorithm>
#include <array>
#include <future>

#include "proto/abi/dxg_export.h"
#include "tests/guest/rig.h"

namespace dxg::guest {
namespace {

constexpr uint64_t kHome = 0xf00000000000, kShared = 0xf10000000000;
constexpr uint64_t kRegionBytes = 1 << 20, kSharedBytes = 8192;
constexpr uint64_t kCookie = 0x1234567890abcdef;

// A process with a device, and a host with a region for each process and one for a shared allocation. The
// "client's" mappings of both are buffers of the test.
class MemoryTest : public DriverTest {
 protected:
  MemoryTest() {
    Deliver();
    HostRegion region;
    region.window_address = WindowAddress(kHome);
    region.size = kRegionBytes;
    region.cookie = kCookie;
    host.regions[kHome] = region;
    region.window_address = WindowAddress(kShared);
    region.size = kSharedBytes;
    region.cookie = 0;
    host.regions[kShared] = region;
    host.next_lock = kHome + 0x3000;
    std::memcpy(home.data(), &kCookie, sizeof(kCookie));
    delivery.map_result = AddressOf(home);
    file = Open(100);
    device = CreateDevice(file, 100, OpenAdapter(file, 100));
  }

  ~MemoryTest() override {
    while (!delivery.files.empty()) CloseDescriptor(delivery.files.begin()->first);
    if (file != 0) CloseNode();
  }
  void CloseNode() { driver.Release(std::exchange(file, 0)); }
  void CloseDescriptor(uint64_t descriptor) {
    const auto object = delivery.files.extract(static_cast<int>(descriptor));
    if (!object.empty() && object.mapped() != 0) driver.Release(object.mapped());
  }

  static uint64_t AddressOf(const std::vector<std::byte>& bytes) {
    return reinterpret_cast<uint64_t>(bytes.data());
  }

  // Flags of CreateAllocation; sets `resource` where one is created.
  uint32_t CreateAllocation(uint32_t flags = 0) {
    char data[16] = {1};
    d3dddi_allocationinfo2 info{};
    info.priv_drv_data = reinterpret_cast<uint64_t>(data);
    info.priv_drv_data_size = sizeof(data);
    info.sysmem = sysmem;
    d3dkmt_createallocation args{};
    args.device.v = device;
    args.alloc_count = 1;
    args.allocation_info = reinterpret_cast<uint64_t>(&info);
    args.flags.value = flags;
    create_result = Call(file, 100, LX_DXCREATEALLOCATION, &args);
    resource = args.resource.v;
    return info.allocation.v;
  }
  static constexpr uint32_t kSharedResource =
      1 | 2 | 64;  // create_resource, create_shared, nt_security_sharing

  int32_t Lock(uint32_t allocation, uint64_t* address = nullptr) {
    d3dkmt_lock2 args{};
    args.device.v = device;
    args.allocation.v = allocation;
    const size_t left = delivery.left.size();
    int32_t result = Call(file, 100, LX_DXLOCK2, &args);
    if (delivery.left.size() > left) result = delivery.left.back();  // it went by the visit
    if (address != nullptr) *address = args.data;
    return result;
  }
  int32_t Unlock(uint32_t allocation) {
    d3dkmt_unlock2 args{};
    args.device.v = device;
    args.allocation.v = allocation;
    return Call(file, 100, LX_DXUNLOCK2, &args);
  }
  int32_t Destroy(uint32_t allocation, uint32_t of_resource) {
    d3dkmt_destroyallocation2 args{};
    args.device.v = device;
    args.resource.v = of_resource;
    args.allocations = reinterpret_cast<uint64_t>(&allocation);
    args.alloc_count = of_resource == 0 ? 1 : 0;
    return Call(file, 100, LX_DXDESTROYALLOCATION2, &args);
  }
  int32_t Share(uint32_t object, uint64_t* descriptor) {
    d3dkmt_shareobjects args{};
    args.object_count = 1;
    args.objects = reinterpret_cast<uint64_t>(&object);
    args.shared_handle = reinterpret_cast<uint64_t>(descriptor);
    const size_t left = delivery.left.size();
    const int32_t result = Call(file, 100, LX_DXSHAREOBJECTS, &args);
    return delivery.left.size() > left ? delivery.left.back() : result;
  }
  size_t Asked(const std::string& command) {
    return std::count(host.asked.begin(), host.asked.end(), command);
  }
  size_t Did(client::Step::Kind kind) {
    return std::count_if(delivery.steps.begin(), delivery.steps.end(),
                         [kind](const auto& step) { return step.kind == kind; });
  }

  std::vector<std::byte> home = std::vector<std::byte>(kRegionBytes),
                         shared = std::vector<std::byte>(kSharedBytes);
  uint64_t file = 0, sysmem = 0;
  uint32_t device = 0, resource = 0;
  int32_t create_result = 0;
};

using Kind = client::Step::Kind;

TEST_F(MemoryTest, FirstLockBringsTheWholeRegionAndLaterOnesNeedNoVisit) {
  const uint32_t first = CreateAllocation(), second = CreateAllocation();
  uint64_t address = 0;
  ASSERT_EQ(Lock(first, &address), 0);
  EXPECT_EQ(address, AddressOf(home) + 0x3000);
  ASSERT_EQ(delivery.steps.size(), 1u);
  EXPECT_EQ(delivery.steps[0].kind, Kind::kMap);
  EXPECT_EQ(delivery.steps[0].size, kRegionBytes);
  host.next_lock = kHome + 0x8000;
  ASSERT_EQ(Lock(second, &address), 0);
  EXPECT_EQ(address, AddressOf(home) + 0x8000);
  EXPECT_EQ(delivery.entered, 1);
}

TEST_F(MemoryTest, FirstDeviceBringsTheProcessesRegion) {
  host.home = kHome;
  CreateDevice(file, 100, OpenAdapter(file, 100));
  EXPECT_EQ(Did(Kind::kMap), 1u);
  ASSERT_EQ(Lock(CreateAllocation()), 0);
  EXPECT_EQ(delivery.entered, 1) << "the lock needed a visit";
}

TEST_F(MemoryTest, DeviceIsCreatedThoughNoMemoryCanBeBrought) {
  host.home = kHome;
  delivery.refuse_enter = EPERM;
  EXPECT_NE(CreateDevice(file, 100, OpenAdapter(file, 100)), 0u);
}

TEST_F(MemoryTest, LockSaysWhyMemoryCannotBeBroughtAndLeavesNothing) {
  const uint32_t allocation = CreateAllocation();
  delivery.refuse_enter = EPERM;
  EXPECT_EQ(Lock(allocation), -EPERM);
  EXPECT_EQ(Unlock(allocation), -EINVAL) << "it is locked";
  delivery.refuse_enter = 0;
  EXPECT_EQ(Lock(allocation), 0);
}

TEST_F(MemoryTest, LockWhoseAddressCannotBeWrittenDoesNotCount) {
  const uint32_t allocation = CreateAllocation();
  d3dkmt_lock2 args{};
  args.device.v = device;
  args.allocation.v = allocation;
  const auto lock = [&] {
    access.unwritable = {reinterpret_cast<uint64_t>(&args.data)};
    const size_t left = delivery.left.size();
    const int32_t result = Call(file, 100, LX_DXLOCK2, &args);
    access.unwritable.clear();
    return delivery.left.size() > left ? delivery.left.back() : result;
  };
  EXPECT_EQ(lock(), -EFAULT);
  EXPECT_EQ(Unlock(allocation), -EINVAL) << "it is locked";
  ASSERT_EQ(Lock(allocation), 0);
  EXPECT_EQ(lock(), -EFAULT);
  EXPECT_EQ(Unlock(allocation), 0);
  EXPECT_EQ(Unlock(allocation), -EINVAL) << "it is locked twice";
}

TEST_F(MemoryTest, ThreadKilledOnItsWayIsAnsweredOnce) {
  const uint32_t allocation = CreateAllocation();
  delivery.kill_after_answer = true;
  EXPECT_EQ(Lock(allocation),
            -EIO);  // the provisional answer, seen where the injector is killed and the thread is not
  EXPECT_TRUE(delivery.left.empty());
  EXPECT_EQ(Unlock(allocation), -EINVAL) << "it is locked";
}

TEST_F(MemoryTest, ClientWithoutRoomGetsOnlyWhatItLocked) {
  const uint32_t allocation = CreateAllocation();
  delivery.refuse_step = ENOMEM;
  uint64_t address = 0;
  ASSERT_EQ(Lock(allocation, &address), 0);
  ASSERT_EQ(delivery.steps.size(), 2u);
  EXPECT_EQ(delivery.steps[1].size, host.allocation_bytes);
  EXPECT_EQ(delivery.steps[1].offset, 0x3000u);
  EXPECT_EQ(address, AddressOf(home));
}

TEST_F(MemoryTest, MappingThatAnotherProgramReplacedIsMadeAnew) {
  ASSERT_EQ(Lock(CreateAllocation()), 0);
  home[0] = std::byte{0};  // what is there now is not ours
  std::vector<std::byte> again(kRegionBytes);
  delivery.map_result = AddressOf(again);
  uint64_t address = 0;
  ASSERT_EQ(Lock(CreateAllocation(), &address), 0);
  EXPECT_EQ(address, AddressOf(again) + 0x3000);
  EXPECT_EQ(Did(Kind::kMap), 2u);
}

TEST_F(MemoryTest, TwoThreadsThatMapAtOnceKeepOneMapping) {
  const uint32_t first = CreateAllocation(), second = CreateAllocation();
  std::vector<std::byte> other(kRegionBytes);
  uint64_t inner = 0, outer = 0;
  delivery.before_step = [&] {
    delivery.map_result = AddressOf(home);
    ASSERT_EQ(Lock(second, &inner), 0);
    delivery.map_result = AddressOf(other);
  };
  ASSERT_EQ(Lock(first, &outer), 0);
  EXPECT_EQ(inner, outer) << "both are at the same place of one mapping";
  EXPECT_EQ(Did(Kind::kUnmap), 1u);
  EXPECT_EQ(delivery.steps.back().address, AddressOf(other));
}

TEST_F(MemoryTest, AddressOutsideEveryRegionIsENOMEM) {
  const uint32_t allocation = CreateAllocation();
  host.next_lock = 0x1000;
  EXPECT_EQ(Lock(allocation), -ENOMEM);
  host.next_lock = kHome + kRegionBytes - 4096;  // 8 KiB do not fit there
  EXPECT_EQ(Lock(allocation), -ENOMEM);
  EXPECT_EQ(delivery.entered, 0);
}

TEST_F(MemoryTest, SharedMemoryIsUnmappedWithItsLastAllocation) {
  host.next_lock = kShared;
  delivery.map_result = AddressOf(shared);
  const uint32_t first = CreateAllocation(kSharedResource), first_resource = resource;
  ASSERT_EQ(Lock(first), 0);
  const uint32_t second = CreateAllocation(kSharedResource), second_resource = resource;
  ASSERT_EQ(Lock(second), 0);
  EXPECT_EQ(Did(Kind::kMap), 1u);
  ASSERT_EQ(Destroy(0, first_resource), 0);
  EXPECT_EQ(Did(Kind::kUnmap), 0u) << "another allocation is seen through it";
  ASSERT_EQ(Destroy(0, second_resource), 0);
  EXPECT_EQ(Did(Kind::kUnmap), 1u);
  EXPECT_EQ(delivery.steps.back().address, AddressOf(shared));
  EXPECT_EQ(delivery.left.back(), 0) << "the result went by the visit";
}

TEST_F(MemoryTest, SharedMemoryThatWasLockedAgainIsUnmappedOnce) {
  host.next_lock = kShared;
  delivery.map_result = AddressOf(shared);
  const uint32_t allocation = CreateAllocation(kSharedResource);
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(Lock(allocation), 0);
    ASSERT_EQ(Unlock(allocation), 0);
  }
  EXPECT_EQ(Did(Kind::kUnmap), 0u);
  ASSERT_EQ(Destroy(0, resource), 0);
  EXPECT_EQ(Did(Kind::kMap), 1u);
  EXPECT_EQ(Did(Kind::kUnmap), 1u);
}

TEST_F(MemoryTest, DestroyedDeviceUnmapsWhatWasShared) {
  host.next_lock = kShared;
  delivery.map_result = AddressOf(shared);
  ASSERT_EQ(Lock(CreateAllocation(kSharedResource)), 0);
  d3dkmt_destroydevice args{};
  args.device.v = device;
  Call(file, 100, LX_DXDESTROYDEVICE, &args);
  EXPECT_EQ(Did(Kind::kUnmap), 1u);
  EXPECT_EQ(delivery.left.back(), 0);
}

// A client can hold up what is asked of its mappings. Whoever else has much is taken apart meanwhile.
TEST_F(MemoryTest, HeldMappingsHoldUpNoOtherTeardown) {
  constexpr size_t kMuch = 2 * TeardownThread::kStepsAtOnce;
  host.next_lock = kShared;
  delivery.map_result = AddressOf(shared);
  ASSERT_EQ(Lock(CreateAllocation(kSharedResource)), 0);
  for (size_t i = 0; i < kMuch; ++i) CreateAllocation();
  const uint64_t other = Open(200);
  for (size_t i = 0; i < kMuch; ++i) OpenAdapter(other, 200);
  std::promise<void> asked, goes_on, ended;
  access.shows = [&](uint64_t, uint64_t) {
    asked.set_value();
    goes_on.get_future().wait();
    return client::Mapped::kYes;
  };
  d3dkmt_destroydevice args{};
  args.device.v = device;
  const auto call = StartCall(file, 100, LX_DXDESTROYDEVICE, &args);
  asked.get_future().wait();
  host.after_answer = [&](const HostCall& answered) {
    if (std::string(answered.command->name) == "DESTROYPROCESS") ended.set_value();
  };
  driver.Release(other);
  ended.get_future().wait();
  host.after_answer = nullptr;
  goes_on.set_value();
  driver.host().beside().Stop();
  EXPECT_EQ(Did(Kind::kUnmap), 1u);
}

TEST_F(MemoryTest, OwnRegionStaysWhenItsLastAllocationEnds) {
  const uint32_t allocation = CreateAllocation();
  ASSERT_EQ(Lock(allocation), 0);
  ASSERT_EQ(Destroy(allocation, 0), 0);
  EXPECT_EQ(Did(Kind::kUnmap), 0u);
}

TEST_F(MemoryTest, AListThatNamesAnAllocationTwiceDestroysNothing) {
  const uint32_t allocation = CreateAllocation();
  const std::array<uint32_t, 3> list = {allocation, CreateAllocation(), allocation};
  d3dkmt_destroyallocation2 args{};
  args.device.v = device;
  args.allocations = reinterpret_cast<uint64_t>(list.data());
  args.alloc_count = list.size();
  EXPECT_EQ(Call(file, 100, LX_DXDESTROYALLOCATION2, &args), -EINVAL);
  EXPECT_EQ(Asked("DESTROYALLOCATION"), 0u);
  args.alloc_count = 2;
  EXPECT_EQ(Call(file, 100, LX_DXDESTROYALLOCATION2, &args), 0);
}

TEST_F(MemoryTest, ProcessEndsAfterTheVisitThatItsCloseOvertook) {
  const uint32_t allocation = CreateAllocation();
  delivery.before_step = [&] { CloseNode(); };  // a character device lets go of it that early
  EXPECT_EQ(Lock(allocation), 0);
  EXPECT_EQ(Asked("DESTROYPROCESS"), 1u) << "after the call";
  EXPECT_EQ(host.asked.back(), "DESTROYPROCESS");
}

TEST_F(MemoryTest, KilledClientIsLetGoAndNotTouchedAnyMore) {
  host.hold = {"LOCK2"};
  const uint32_t allocation = CreateAllocation();
  d3dkmt_lock2 args{};
  args.device.v = device;
  args.allocation.v = allocation;
  auto outcome = StartCall(file, 100, LX_DXLOCK2, &args);
  ASSERT_TRUE(outcome->kill) << "the call waits, and nobody would tell of its client's death";
  const auto kill = outcome->kill;
  kill();
  EXPECT_EQ(outcome->Wait(), -EINTR);
  CloseNode();
  EXPECT_EQ(Asked("DESTROYPROCESS"), 1u) << "the host may not answer before";
  args = {};
  host.Release();  // the host answers in the end
  EXPECT_EQ(Asked("DESTROYPROCESS"), 1u);
  EXPECT_EQ(args.data, 0u);
  EXPECT_EQ(delivery.entered, 0) << "its number may be another's by now";
  EXPECT_TRUE(delivery.left.empty());
  kill();  // too late, and harmless
}

TEST_F(MemoryTest, CallThatDidNotWaitIsNotWatched) {
  d3dkmt_unlock2 args{};
  EXPECT_FALSE(StartCall(file, 100, LX_DXUNLOCK2, &args)->kill);
}

// -- The region in parts, and whether the client still has them --

// As above, with a region of a real host's size, and a client whose mappings are a list of lost ranges.
class PartsTest : public MemoryTest {
 protected:
  static constexpr uint64_t kMiB = 1 << 20, kGiB = 1 << 30;
  static constexpr uint64_t kClient = 0x7e0000000000;  // where the next part is mapped

  PartsTest() {
    host.regions[kHome].size = 64 * kGiB;
    host.home = kHome;
    host.allocation_bytes = kMiB;
    delivery.map_result = kClient;
    access.shows = [this](uint64_t address, uint64_t size) {
      return address + size <= lost_begin || address >= lost_end ? client::Mapped::kYes : client::Mapped::kNo;
    };
    host.next_lock = kHome + kMiB;
  }
  void Lose(uint64_t begin, uint64_t end) {
    lost_begin = begin;
    lost_end = end;
  }
  uint64_t MappedBytes() {
    uint64_t bytes = 0;
    for (const auto& step : delivery.steps) bytes += step.kind == Kind::kMap ? step.size : 0;
    return bytes;
  }
  uint64_t LockedAt(uint32_t allocation) {
    uint64_t address = 0;
    EXPECT_EQ(Lock(allocation, &address), 0);
    return address;
  }

  uint64_t lost_begin = 0, lost_end = 0;
};

TEST_F(PartsTest, EightGiBLockedAreElevenVisitsAndAtMostTwiceTheMemory) {
  CreateDevice(file, 100, OpenAdapter(file, 100));
  EXPECT_EQ(delivery.entered, 1);
  EXPECT_EQ(delivery.steps.back().size, 4 * kMiB);
  for (uint64_t at = kMiB; at < 8 * kGiB; at += kMiB) {
    host.next_lock = kHome + at;
    ASSERT_EQ(Lock(CreateAllocation()), 0) << at;
    ASSERT_LE(MappedBytes(), std::max(20 * kMiB, 2 * (at + kMiB))) << at;
  }
  EXPECT_EQ(delivery.entered, 11);
}

TEST_F(PartsTest, LockAndUnlockOfWhatIsInAPartNeedNoVisit) {
  CreateDevice(file, 100, OpenAdapter(file, 100));
  const uint32_t allocation = CreateAllocation();
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(LockedAt(allocation), kClient + kMiB);
    ASSERT_EQ(Unlock(allocation), 0);
  }
  EXPECT_EQ(delivery.entered, 1);
}

TEST_F(PartsTest, AllocationOverAPartsEndIsInOnePart) {
  CreateDevice(file, 100, OpenAdapter(file, 100));
  host.next_lock = kHome + 4 * kMiB - 4096;
  delivery.map_result = kClient + kGiB;
  EXPECT_EQ(LockedAt(CreateAllocation()), kClient + kGiB) << "the part begins with it";
  EXPECT_EQ(delivery.steps.back().offset, 4 * kMiB - 4096);
  EXPECT_EQ(delivery.steps.back().size, 16 * kMiB);
  host.next_lock = kHome + 5 * kMiB;
  EXPECT_EQ(LockedAt(CreateAllocation()), kClient + kGiB + kMiB + 4096);
  host.next_lock = kHome + kMiB;
  EXPECT_EQ(LockedAt(CreateAllocation()), kClient + kMiB) << "the first part is as it was";
  EXPECT_EQ(delivery.entered, 2);
}

// Such a part begins at a multiple of its size, behind what is mapped, and would end within the allocation.
TEST_F(PartsTest, AllocationOverTheEndOfAPartFarAwayMakesItLonger) {
  CreateDevice(file, 100, OpenAdapter(file, 100));
  host.next_lock = kHome + 32 * kMiB - 4096;
  delivery.map_result = kClient + kGiB;
  EXPECT_EQ(LockedAt(CreateAllocation()), kClient + kGiB + 16 * kMiB - 4096);
  EXPECT_EQ(delivery.steps.back().offset, 16 * kMiB);
  EXPECT_EQ(delivery.steps.back().size, 17 * kMiB - 4096);
}

TEST_F(PartsTest, LargeAndFarAllocationsMapLittleMore) {
  host.allocation_bytes = 1 * kGiB;
  host.next_lock = kHome + 2 * kMiB;
  ASSERT_EQ(Lock(CreateAllocation()), 0);
  EXPECT_LE(MappedBytes(), 2 * kGiB);
  host.allocation_bytes = 4096;
  host.next_lock = kHome + 64 * kGiB - 4096;
  ASSERT_EQ(Lock(CreateAllocation()), 0);
  EXPECT_LE(MappedBytes(), 4 * kGiB);
  EXPECT_EQ(delivery.steps.back().offset + delivery.steps.back().size, 64 * kGiB);
}

TEST_F(PartsTest, ClientWithLittleRoomGetsPartsWhileTheyFit) {
  CreateDevice(file, 100, OpenAdapter(file, 100));
  delivery.map_bytes_max = 4 * kMiB;
  host.next_lock = kHome + 8 * kMiB;
  delivery.map_result = kClient + kGiB;
  const uint32_t allocation = CreateAllocation();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(LockedAt(allocation), kClient + kGiB);
    ASSERT_EQ(Unlock(allocation), 0);
  }
  EXPECT_EQ(delivery.steps.back().size, kMiB) << "it alone";
  EXPECT_EQ(delivery.entered, 2);
  ASSERT_EQ(Destroy(allocation, 0), 0);
  EXPECT_EQ(Did(Kind::kUnmap), 1u);
}

TEST_F(PartsTest, WhatMayNotBeLockedInMemoryIsENOMEM) {
  delivery.refuse_step = EAGAIN;
  host.next_lock = kHome + kMiB;
  const uint32_t allocation = CreateAllocation();
  ASSERT_EQ(Lock(allocation), 0) << "less is tried";
  delivery.map_bytes_max = 0;
  host.next_lock = kHome + 8 * kMiB;
  EXPECT_EQ(Lock(CreateAllocation()), -ENOMEM);
}

TEST_F(PartsTest, AHoleInAPartIsClosedWhereItIs) {
  const uint32_t first = CreateAllocation();
  ASSERT_EQ(LockedAt(first), kClient + kMiB);
  ASSERT_EQ(Unlock(first), 0);
  Lose(kClient + kMiB, kClient + 2 * kMiB);
  delivery.map_where_asked = true;
  EXPECT_EQ(LockedAt(first), kClient + kMiB);
  EXPECT_EQ(delivery.steps.back().address, kClient + kMiB);
  EXPECT_EQ(delivery.steps.back().size, kMiB);
  EXPECT_EQ(delivery.steps.back().offset, kMiB) << "the same bytes";
  EXPECT_FALSE(delivery.steps.back().replace) << "what the client has there is its own";
  Lose(0, 0);
  ASSERT_EQ(Unlock(first), 0);
  EXPECT_EQ(LockedAt(first), kClient + kMiB);
  EXPECT_EQ(delivery.entered, 2);
}

TEST_F(PartsTest, WhatTheClientMappedOverStaysItsOwn) {
  const uint32_t first = CreateAllocation();
  ASSERT_EQ(Lock(first), 0);
  ASSERT_EQ(Unlock(first), 0);
  Lose(kClient + kMiB, kClient + 2 * kMiB);
  delivery.map_result = kClient + kGiB;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(LockedAt(first), kClient + kGiB) << "elsewhere, since that is not free";
    ASSERT_EQ(Unlock(first), 0);
  }
  EXPECT_EQ(delivery.entered, 2);
  host.next_lock = kHome + 2 * kMiB;
  EXPECT_EQ(LockedAt(CreateAllocation()), kClient + 2 * kMiB) << "the rest of the part is still good";
  ASSERT_EQ(Destroy(first, 0), 0);
  EXPECT_EQ(delivery.steps.back().kind, Kind::kUnmap);
  EXPECT_EQ(delivery.steps.back().address, kClient + kGiB);
}

TEST_F(PartsTest, PartThatIsLostAsAWholeComesBackAsAWhole) {
  const uint32_t first = CreateAllocation();
  ASSERT_EQ(Lock(first), 0);
  ASSERT_EQ(Unlock(first), 0);
  Lose(kClient, kClient + 4 * kMiB);
  delivery.map_result = kClient + kGiB;
  EXPECT_EQ(LockedAt(first), kClient + kGiB + kMiB);
  EXPECT_EQ(delivery.steps.back().address, kClient) << "where it was, if it can be";
  EXPECT_EQ(delivery.steps.back().size, 4 * kMiB);
  host.next_lock = kHome + 2 * kMiB;
  EXPECT_EQ(LockedAt(CreateAllocation()), kClient + kGiB + 2 * kMiB);
  EXPECT_EQ(delivery.entered, 2);
}

TEST_F(PartsTest, AnotherProgramHasNothingOfItsForerunners) {
  const uint32_t first = CreateAllocation();
  ASSERT_EQ(Lock(first), 0);
  ASSERT_EQ(Unlock(first), 0);
  ++access.program;
  Lose(0, ~0ull);
  delivery.map_result = kClient + kGiB;
  EXPECT_EQ(LockedAt(first), kClient + kGiB + kMiB);
  Lose(0, 0);
  ASSERT_EQ(Unlock(first), 0);
  EXPECT_EQ(LockedAt(first), kClient + kGiB + kMiB);
  EXPECT_EQ(delivery.entered, 2);
}

// Two allocations of one shared resource are seen through one mapping.
TEST_F(MemoryTest, HoldersOfALostMappingStayItsHolders) {
  host.next_lock = kShared;
  delivery.map_result = AddressOf(shared);
  const uint32_t first = CreateAllocation(kSharedResource), first_resource = resource;
  ASSERT_EQ(Lock(first), 0);
  const uint32_t second = CreateAllocation(kSharedResource), second_resource = resource;
  access.unreadable = {AddressOf(shared)};  // the client unmapped it
  ASSERT_EQ(Lock(second), 0);
  access.unreadable.clear();
  EXPECT_EQ(Did(Kind::kMap), 2u);
  ASSERT_EQ(Destroy(0, first_resource), 0);
  EXPECT_EQ(Did(Kind::kUnmap), 0u) << "the second is seen through it";
  ASSERT_EQ(Destroy(0, second_resource), 0);
  EXPECT_EQ(Did(Kind::kUnmap), 1u);
}

TEST_F(MemoryTest, WhatTheClientHasInPlaceOfAMappingIsNotUnmapped) {
  host.next_lock = kShared;
  delivery.map_result = AddressOf(shared);
  access.shows = [](uint64_t, uint64_t) { return client::Mapped::kYes; };
  CreateAllocation(kSharedResource);
  const uint32_t first_resource = resource;
  const uint32_t allocation = CreateAllocation(kSharedResource);
  ASSERT_EQ(Lock(allocation), 0);
  access.shows = [](uint64_t, uint64_t) { return client::Mapped::kNo; };
  ASSERT_EQ(Destroy(0, resource), 0);
  EXPECT_EQ(Did(Kind::kUnmap), 0u);
  ASSERT_EQ(Destroy(0, first_resource), 0);
}

TEST(Arena, HoldsRangesUpToTheLastByteOfAMapping) {
  Arena arena;
  Arena::Mapping mapping;
  mapping.window_address = WindowAddress(0x10000);
  mapping.size = 0x2000;
  arena.Add(mapping);
  for (const uint64_t offset : {0x0, 0x1, 0x1000, 0x1fff}) {
    const WindowAddress begin = mapping.window_address + offset;
    EXPECT_TRUE(arena.Hold(begin, mapping.size - offset)) << offset;
    EXPECT_FALSE(arena.Hold(begin, mapping.size - offset + 1)) << offset;
    EXPECT_FALSE(arena.Hold(begin, ~0ull)) << offset;
  }
  EXPECT_FALSE(arena.Hold(mapping.window_address - 1, 1));
  EXPECT_FALSE(arena.Hold(mapping.window_address + mapping.size, 1));
}

// -- The client's own memory --

TEST_F(MemoryTest, ClientPagesAreTheHostsUntilTheAllocationEnds) {
  alignas(4096) static char memory[8192] = "client";
  sysmem = reinterpret_cast<uint64_t>(memory);
  const uint32_t allocation = CreateAllocation();
  ASSERT_EQ(create_result, 0);
  ASSERT_EQ(host.client_pages.size(), 1u);
  auto& pages = *host.client_pages.begin()->second;
  EXPECT_EQ(pages.size(), host.allocation_bytes);
  ASSERT_TRUE(pages.file());
  EXPECT_EQ(pages.file()->descriptor, 5);
  EXPECT_EQ(pages.file()->offset, sysmem);
  EXPECT_EQ(pages.file()->number, 77u) << "a host elsewhere would keep a descriptor for each allocation";
  std::byte there[6];
  ASSERT_TRUE(pages.Read(0, there));
  EXPECT_EQ(std::memcmp(there, "client", 6), 0);
  EXPECT_FALSE(pages.Read(8190, there)) << "beyond the end";
  uint64_t address = 0;
  ASSERT_EQ(Lock(allocation, &address), 0);
  EXPECT_EQ(address, sysmem);
  EXPECT_EQ(delivery.entered, 0);
  ASSERT_EQ(Destroy(allocation, 0), 0);
  EXPECT_TRUE(host.client_pages.empty());
}

TEST_F(MemoryTest, MemoryThatCannotBePinnedIsENOMEMAndTheHostsHalfIsUndone) {
  sysmem = 0x10000;
  access.pinnable = false;
  CreateAllocation();
  EXPECT_EQ(create_result, -ENOMEM);
  EXPECT_EQ(Asked("DESTROYALLOCATION"), 1u);
  EXPECT_TRUE(host.client_pages.empty());
}

// As many pages in a message as the driver puts into one.
TEST_F(MemoryTest, FramesOfClientPagesGoInMessagesOf15867) {
  constexpr uint64_t kPagesMax = 15867, kPages = 2 * kPagesMax + 1;
  HostAdapter takes_frames;
  takes_frames.luid = kLuid + 1;
  takes_frames.address = 8;
  takes_frames.map_guest_pages = true;
  driver.AdapterArrived(takes_frames);
  d3dkmt_openadapterfromluid open{};
  std::memcpy(&open.adapter_luid, &takes_frames.luid, sizeof(takes_frames.luid));
  ASSERT_EQ(Call(file, 100, LX_DXOPENADAPTERFROMLUID, &open), 0);
  device = CreateDevice(file, 100, open.adapter_handle.v);
  host.allocation_bytes = kPages * 4096;
  sysmem = 0x10000;
  std::vector<uint64_t> frames, counts;
  host.after_answer = [&](const HostCall& call) {
    const auto* pages = dynamic_cast<const host::SetExistingSysmemPages::Request*>(call.request);
    if (pages == nullptr) return;
    EXPECT_EQ(pages->alloc_offset_in_pages(), frames.size());
    EXPECT_EQ(pages->num_pages(), static_cast<uint32_t>(pages->pages_size()));
    counts.push_back(pages->num_pages());
    frames.insert(frames.end(), pages->pages().begin(), pages->pages().end());
  };
  CreateAllocation();
  host.after_answer = nullptr;
  EXPECT_EQ(create_result, 0);
  EXPECT_EQ(counts, (std::vector<uint64_t>{kPagesMax, kPagesMax, 1}));
  ASSERT_EQ(frames.size(), kPages);
  for (uint64_t page = 0; page < kPages; ++page) ASSERT_EQ(frames[page], FakeHost::kFirstFrame + page);
}

// -- Descriptors of shared resources --

TEST_F(MemoryTest, LastDescriptorEndsTheHostsName) {
  CreateAllocation(kSharedResource);
  uint64_t first = 0, second = 0;
  ASSERT_EQ(Share(resource, &first), 0);
  ASSERT_EQ(Share(resource, &second), 0);
  EXPECT_NE(first, second);
  EXPECT_EQ(Asked("CREATENTSHAREDOBJECT"), 1u);
  CloseDescriptor(first);
  EXPECT_EQ(Asked("DESTROYNTSHAREDOBJECT"), 0u);
  CloseDescriptor(second);
  EXPECT_EQ(Asked("DESTROYNTSHAREDOBJECT"), 1u);
  ASSERT_EQ(Share(resource, &first), 0) << "shared again, under a new name";
  EXPECT_EQ(Asked("CREATENTSHAREDOBJECT"), 2u);
}

TEST_F(MemoryTest, DescriptorThatCannotBeGivenIsENOTRECOVERABLE) {
  CreateAllocation(kSharedResource);
  uint64_t descriptor = ~0ull;
  delivery.refuse_step = EMFILE;
  EXPECT_EQ(Share(resource, &descriptor), -ENOTRECOVERABLE);
  EXPECT_EQ(Asked("DESTROYNTSHAREDOBJECT"), 1u);
  EXPECT_EQ(descriptor, ~0ull);
}

TEST_F(MemoryTest, DescriptorForWhichTheClientHasNoRoomIsCountedOnce) {
  CreateAllocation(kSharedResource);
  uint64_t first = 0, second = 0, none = 0;
  ASSERT_EQ(Share(resource, &first), 0);
  ASSERT_EQ(Share(resource, &second), 0);
  delivery.no_room = true;
  EXPECT_EQ(Share(resource, &none), -ENOTRECOVERABLE);
  ASSERT_EQ(delivery.opened_in_vain.size(), 1u);
  driver.Release(delivery.opened_in_vain.front());
  CloseDescriptor(first);
  EXPECT_EQ(Asked("DESTROYNTSHAREDOBJECT"), 0u) << "the second is still open";
  CloseDescriptor(second);
  EXPECT_EQ(Asked("DESTROYNTSHAREDOBJECT"), 1u);
}

TEST_F(MemoryTest, DescriptorOfAClientThatMayNotBeVisitedIsEPERM) {
  CreateAllocation(kSharedResource);
  uint64_t descriptor = ~0ull;
  delivery.refuse_enter = EPERM;
  EXPECT_EQ(Share(resource, &descriptor), -EPERM) << "traced, or in a sandbox";
  EXPECT_EQ(Asked("DESTROYNTSHAREDOBJECT"), 1u);
  delivery.refuse_enter = 0;
  EXPECT_EQ(Share(resource, &descriptor), 0);
}

TEST_F(MemoryTest, DescriptorIsClosedAgainWhereItsNumberCannotBeWritten) {
  CreateAllocation(kSharedResource);
  EXPECT_EQ(Share(resource, nullptr), -EFAULT);
  EXPECT_EQ(Did(Kind::kCloseFile), 1u);
}

TEST_F(MemoryTest, DescriptorOfAnObjectHasNoCalls) {
  CreateAllocation(kSharedResource);
  uint64_t descriptor = 0;
  ASSERT_EQ(Share(resource, &descriptor), 0);
  d3dkmt_enumadapters2 args{};
  EXPECT_EQ(Call(delivery.files[static_cast<int>(descriptor)], 100, LX_DXENUMADAPTERS2, &args), -ENOTTY);
}

TEST_F(MemoryTest, OpenedResourceLivesOnWithoutItsCreatorAndItsDescriptor) {
  CreateAllocation(kSharedResource);
  uint64_t descriptor = 0;
  ASSERT_EQ(Share(resource, &descriptor), 0);
  char data[16];
  d3dddi_openallocationinfo2 info{};
  d3dkmt_openresourcefromnthandle args{};
  args.device.v = device;
  args.nt_handle = descriptor;
  args.allocation_count = 1;
  args.open_alloc_info = reinterpret_cast<uint64_t>(&info);
  args.total_priv_drv_data = reinterpret_cast<uint64_t>(data);
  args.total_priv_drv_data_size = sizeof(data);
  ASSERT_EQ(Call(file, 100, LX_DXOPENRESOURCEFROMNTHANDLE, &args), 0);
  EXPECT_EQ(info.priv_drv_data, reinterpret_cast<uint64_t>(data));
  EXPECT_EQ(data[0], 1);
  CloseDescriptor(descriptor);
  ASSERT_EQ(Destroy(0, resource), 0);
  EXPECT_EQ(Lock(info.allocation.v), 0);
}

TEST_F(MemoryTest, SharedResourceIsExportedAsAFile) {
  CreateAllocation(kSharedResource);
  uint64_t descriptor = 0;
  ASSERT_EQ(Share(resource, &descriptor), 0);
  const uint64_t object = delivery.files[static_cast<int>(descriptor)];
  host.exported = kShared;
  dxg_export args{};
  args.kind = DXG_EXPORT_MEMFD;
  const auto ask = [&] {
    const size_t left = delivery.left.size();
    const int32_t result = Call(object, 200, DXG_IOCTL_EXPORT, &args);  // any process may
    return delivery.left.size() > left ? delivery.left.back() : result;
  };
  caller_uid = 7;
  ASSERT_EQ(ask(), 0);
  EXPECT_EQ(delivery.user, 7u) << "whoever holds the descriptor, and not who made it, has the visit";
  EXPECT_EQ(args.size, kSharedBytes);
  EXPECT_EQ(Did(Kind::kGiveFile), 1u);
  args.allocation_index = 1;
  EXPECT_EQ(ask(), -EINVAL);
  args = {};
  EXPECT_EQ(ask(), -EINVAL) << "kind 0";
  args.kind = DXG_EXPORT_MEMFD;
  args.reserved = 1;
  EXPECT_EQ(ask(), -EINVAL);
  args.reserved = 0;
  host.exported = 0;
  EXPECT_EQ(ask(), -EPERM) << "not a file on this host";
  EXPECT_EQ(Call(file, 100, DXG_IOCTL_EXPORT, &args), -ENOTTY) << "the node itself has nothing to export";
}

TEST_F(MemoryTest, NumberOfNoDescriptorOfOursIsEINVAL) {
  d3dkmt_queryresourceinfofromnthandle args{};
  args.device.v = device;
  for (const uint64_t number : {uint64_t{3}, uint64_t{50}, uint64_t{0xffffffff}}) {
    args.nt_handle = number;
    EXPECT_EQ(Call(file, 100, LX_DXQUERYRESOURCEINFOFROMNTHANDLE, &args), -EINVAL) << number;
  }
}

TEST_F(MemoryTest, NothingIsAliveAfterTheLastClose) {
  CreateAllocation(kSharedResource);
  CreateAllocation();
  CloseNode();
  EXPECT_EQ(driver.process_count(), 0u);
  EXPECT_EQ(Asked("DESTROYALLOCATION"), 2u);
}

}  // namespace
}  // namespace dxg::guest
