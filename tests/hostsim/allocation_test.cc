#include "hostsim/memory/allocation.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hostsim/memory/io_space.h"
#include "tests/hostsim/memory_rig.h"

namespace dxg::hostsim {
namespace {

// [ALC] 73
TEST(CreateAllocation, RefusesImpossibleFlags) {
  MemoryRig rig;
  const std::string data = PrivateData(kPage);
  EXPECT_FALSE(rig.TryCreate({data}, kSharedFlag).accepted) << "shared without a resource";
  EXPECT_FALSE(rig.TryCreate({data}, kResourceFlag | kNtFlag).accepted) << "NT sharing of what is not shared";
  EXPECT_FALSE(rig.TryCreate({data}, kStandardFlag).accepted) << "standard without the client's memory";
  for (const uint32_t bit : {3u, 8u, 9u, 12u, 17u, 22u, 31u}) {
    EXPECT_FALSE(rig.TryCreate({data}, 1u << bit).accepted) << bit;
  }
  const uint32_t resource = rig.NewResource(1)[0];
  EXPECT_FALSE(rig.TryCreate({data}, kResourceFlag, resource).accepted) << "a new resource and an old one";
  EXPECT_FALSE(rig.TryCreate({data}, 0, resource + 0x40).accepted);
  EXPECT_FALSE(rig.TryCreate({}).accepted) << "no allocations and no resource";
  auto request = MemoryRig::CreateRequest(rig.device, {data});
  request.set_make_resident(1);
  EXPECT_FALSE(rig.Ask<host::CreateAllocation>(rig.caller, request).accepted);
  request.set_make_resident(0);
  request.mutable_allocations(0)->set_flags(1);
  EXPECT_FALSE(rig.Ask<host::CreateAllocation>(rig.caller, request).accepted) << "a primary surface";
  EXPECT_TRUE(rig.TryCreate({}, kResourceFlag).accepted) << "an empty resource";
}

// [ALC] 73
TEST(CreateAllocation, RefusesCountsAndSizesThatDoNotAgree) {
  MemoryRig rig;
  const auto good = MemoryRig::CreateRequest(rig.device, {PrivateData(kPage)});
  auto refused = [&](auto change) {
    auto request = good;
    change(request);
    return !rig.Ask<host::CreateAllocation>(rig.caller, request).accepted;
  };
  EXPECT_TRUE(refused([](auto& request) { request.set_alloc_count(2); }));
  EXPECT_TRUE(refused([](auto& request) { request.set_alloc_count(0); }));
  EXPECT_TRUE(refused([](auto& request) { request.set_private_runtime_data_size(1); }));
  EXPECT_TRUE(refused([](auto& request) { request.set_priv_drv_data_size(1); }));
  EXPECT_TRUE(refused([](auto& request) { request.mutable_allocation_data()->pop_back(); }));
  EXPECT_TRUE(refused([](auto& request) { request.set_device(request.device() + 0x40); }));
  EXPECT_TRUE(refused([](auto& request) {
    request.set_private_runtime_data(std::string(128 * 1024, 'x'));
    request.set_private_runtime_data_size(128 * 1024);
  }));
  EXPECT_FALSE(rig.TryCreate(std::vector<std::string>(1025, PrivateData(1))).accepted);
  EXPECT_TRUE(rig.TryCreate(std::vector<std::string>(1024, PrivateData(1))).accepted);
}

// [ALC] 73
TEST(CreateAllocation, RefusesWhatTheDriverCannotRead) {
  MemoryRig rig;
  EXPECT_FALSE(rig.TryCreate({""}).accepted);
  EXPECT_FALSE(rig.TryCreate({std::string(64, 'x')}).accepted);
  EXPECT_FALSE(rig.TryCreate({PrivateData(kPage).substr(0, 31)}).accepted);
  EXPECT_FALSE(rig.TryCreate({PrivateData(0)}).accepted);
  EXPECT_FALSE(rig.TryCreate({PrivateData(kAllocationBytesMax + 1)}).accepted);
  EXPECT_FALSE(rig.TryCreate({PrivateData(~0ull)}).accepted);
  EXPECT_FALSE(rig.TryCreate({PrivateData(kPage, 1u << 3)}).accepted) << "an unknown flag";
  EXPECT_FALSE(rig.TryCreate({PrivateData(kPage, 0, 3)}).accepted) << "there are two segments";
  EXPECT_FALSE(rig.TryCreate({PrivateData(kPage, kAllocationSystemOnly, 1)}).accepted);
  std::string version = PrivateData(kPage);
  Put<uint32_t>(BytesOf(version), kAllocationVersionAt, 2);
  EXPECT_FALSE(rig.TryCreate({version}).accepted);
  EXPECT_EQ(rig.host().Account().allocations, 0u);
}

TEST(CreateAllocation, TakesOtherDriversDataWhereTheProfileSaysSo) {
  AdapterProfile profile = Shipped("discrete");
  profile.mutable_memory()->set_unknown_allocation_bytes(3 * kPage);
  MemoryRig rig(profile);
  const std::string foreign(100, 'x');
  const auto answer = rig.TryCreate({foreign, ""});
  ASSERT_TRUE(answer.accepted);
  EXPECT_EQ(answer.reply.allocations(0).allocation_size(), 3 * kPage);
  EXPECT_EQ(answer.reply.allocations(1).allocation_size(), 3 * kPage);
  EXPECT_EQ(answer.reply.allocation_data(), foreign) << "unchanged";
}

TEST(CreateAllocation, RefusesOnADeviceInError) {
  MemoryRig rig;
  rig.MarkAsError(rig.caller, rig.device);
  EXPECT_EQ(rig.TryAllocation(kPage), 0u);
  rig.EndAndExpectNothing();
}

// [ALC] 74
TEST(CreateAllocation, FailureAtAnyStepLeavesNothing) {
  for (uint64_t step = 1; step <= 4; ++step) {
    FaultPlan faults;
    MemoryRig rig(Shipped("discrete"), &faults);
    const Accounting before = rig.host().Account();
    faults.FailAt(FaultPoint::kNoMemoryCreate, step, "CREATEALLOCATION");
    const std::vector<std::string> three(3, PrivateData(kMiB));
    EXPECT_FALSE(rig.TryCreate(three, kResourceFlag | kSharedFlag | kNtFlag).accepted) << step;
    const Accounting after = rig.host().Account();
    EXPECT_EQ(after.allocations + after.resources + after.storages, 0u);
    EXPECT_EQ(after.window_bytes, before.window_bytes);
    EXPECT_EQ(after.regions, before.regions);
    EXPECT_TRUE(rig.TryCreate(three, kResourceFlag | kSharedFlag | kNtFlag).accepted) << "again";
  }
}

// [ALC] 74
TEST(CreateAllocation, FailsTheOneThatTheProfileNames) {
  AdapterProfile profile = Shipped("discrete");
  profile.mutable_trouble()->set_fail_allocation(2);
  MemoryRig rig(profile);
  EXPECT_FALSE(rig.TryCreate({PrivateData(1), PrivateData(1)}).accepted);
  EXPECT_EQ(rig.host().Account().allocations, 0u);
  EXPECT_TRUE(rig.TryCreate({PrivateData(1), PrivateData(1)}).accepted);
}

// [ALC] 75
TEST(CreateAllocation, NewMemoryIsZeroAlsoWhereAnotherProcessWrote) {
  MemoryRig rig;
  for (int round = 0; round < 3; ++round) {
    const uint32_t allocation = rig.New(kPage);
    const uint64_t window = rig.Lock(allocation).cpu_visible_buffer_offset();
    EXPECT_EQ(rig.Peek(window), 0u);
    rig.BringIn({allocation});
    const uint64_t address = rig.Map(allocation, 1);
    EXPECT_EQ(rig.GpuRead(address + 8), 0u);
    rig.Poke(window, 0x5EC2E7);
    EXPECT_TRUE(rig.GpuWrite(address + 8, 0x5EC2E7));
    EXPECT_EQ(rig.Destroy({allocation}), kStatusSuccess);
  }
}

// [ALC] 76
TEST(CreateAllocation, DriverWritesBackAndKeepsTheRest) {
  MemoryRig rig;
  const std::string sent = PrivateData(kPage + 1) + "the user-mode driver's";
  const auto answer = rig.TryCreate({sent});
  ASSERT_TRUE(answer.accepted);
  const std::string& back = answer.reply.allocation_data();
  ASSERT_EQ(back.size(), sent.size());
  EXPECT_EQ(Get<uint64_t>(BytesOf(std::string_view(back)), kAllocationAllocatedAt), 2 * kPage);
  EXPECT_EQ(back.substr(0, kAllocationAllocatedAt), sent.substr(0, kAllocationAllocatedAt));
  EXPECT_EQ(back.substr(kAllocationDataBytes), sent.substr(kAllocationDataBytes));
  EXPECT_EQ(answer.reply.allocations(0).allocation_size(), 2 * kPage);
  EXPECT_EQ(answer.reply.allocations(0).priv_drv_data_size(), sent.size());
}

// [ALC] 77
TEST(CreateAllocation, StandAloneHasNoResourceAndNoGlobalHandle) {
  MemoryRig rig;
  const auto alone = rig.TryCreate({PrivateData(kPage)});
  EXPECT_EQ(alone.reply.resource(), 0u);
  EXPECT_EQ(alone.reply.global_share(), 0u);
  const auto shared = rig.TryCreate({PrivateData(kPage)}, kResourceFlag | kSharedFlag | kNtFlag);
  EXPECT_NE(shared.reply.resource(), 0u);
  EXPECT_EQ(shared.reply.global_share(), 0u);
  EXPECT_LT(shared.reply.resource(), shared.reply.allocations(0).allocation()) << "the resource comes first";
}

TEST(CreateAllocation, SaysWhatTheCpuMayCache) {
  MemoryRig rig;
  auto flags = [&](uint32_t data_flags) {
    return rig.TryCreate({PrivateData(kPage, data_flags)}).reply.allocations(0).allocation_flags();
  };
  EXPECT_EQ(flags(0), 0u);
  EXPECT_EQ(flags(kAllocationCached), 1u << 19);
  EXPECT_EQ(flags(kAllocationSystemOnly), 1u << 19);
}

// [ALC] 78
TEST(CreateAllocation, AddsToAResourceUntilItIsShared) {
  MemoryRig rig;
  const uint32_t resource = rig.NewResource(1, kPage, kResourceFlag | kSharedFlag | kNtFlag)[0];
  EXPECT_TRUE(rig.TryCreate({PrivateData(kPage)}, 0, resource).accepted);
  host::CreateNtSharedObject::Request share;
  share.set_object(resource);
  EXPECT_NE(rig.Ask<host::CreateNtSharedObject>({rig.caller.process, 0}, share).reply.shared_handle(), 0u);
  EXPECT_FALSE(rig.TryCreate({PrivateData(kPage)}, 0, resource).accepted);
}

// [ALC] 80
TEST(CreateAllocation, RefusesTheClientsMemoryInAnOldResource) {
  MemoryRig rig;
  const uint32_t resource = rig.NewResource(1)[0];
  EXPECT_FALSE(rig.TryCreate({PrivateData(kPage)}, kExistingSysmemFlag, resource).accepted);
  EXPECT_TRUE(rig.TryCreate({PrivateData(kPage)}, kExistingSysmemFlag).accepted);
}

std::string HeapDescriptor(uint32_t type, uint64_t bytes) {
  std::string descriptor(24, '\0');
  Put<uint32_t>(BytesOf(descriptor), 0, type);
  Put<uint64_t>(BytesOf(descriptor), 8, bytes);
  return descriptor;
}

// [ALC] 73
TEST(CreateAllocation, StandardHeapIsDescribedExactly) {
  MemoryRig rig;
  auto create = [&](const std::string& descriptor, uint32_t flags = kStandardFlag | kExistingSysmemFlag,
                    const std::vector<std::string>& data = {""}) {
    auto request = MemoryRig::CreateRequest(rig.device, data, flags);
    request.set_priv_drv_data(descriptor);
    request.set_priv_drv_data_size(static_cast<uint32_t>(descriptor.size()));
    return rig.Ask<host::CreateAllocation>(rig.caller, request);
  };
  EXPECT_FALSE(create(HeapDescriptor(0, kPage)).accepted);
  EXPECT_FALSE(create(HeapDescriptor(1, 0)).accepted);
  EXPECT_FALSE(create(HeapDescriptor(1, kPage + 1)).accepted);
  EXPECT_FALSE(create(HeapDescriptor(1, kPage).substr(0, 23)).accepted);
  EXPECT_FALSE(create(HeapDescriptor(1, kPage), kStandardFlag | kExistingSysmemFlag, {"", ""}).accepted);
  EXPECT_FALSE(create(HeapDescriptor(1, kPage), kStandardFlag | kExistingSysmemFlag, {"x"}).accepted);
  const auto answer = create(HeapDescriptor(1, 3 * kPage));
  ASSERT_TRUE(answer.accepted);
  EXPECT_EQ(answer.reply.allocations(0).allocation_size(), 3 * kPage);
  EXPECT_EQ(answer.reply.allocation_data(), "");
}

TEST(StandardAllocationData, TellsSizesThenData) {
  MemoryRig rig;
  host::GetStandardAllocationDriverData::Request request;
  auto ask = [&] { return rig.Ask<host::GetStandardAllocationDriverData>(rig.caller, request).reply; };
  request.set_alloc_type(4);
  request.set_height(1);
  EXPECT_EQ(ask().status(), kStatusInvalidParameter) << "no bytes";
  request.set_width(static_cast<uint32_t>(5 * kPage));
  request.set_alloc_type(1);
  EXPECT_EQ(ask().status(), kStatusNotSupported);
  request.set_alloc_type(4);
  const auto sizes = ask();
  EXPECT_EQ(sizes.status(), kStatusSuccess);
  EXPECT_EQ(sizes.priv_driver_data_size(), kAllocationDataBytes);
  EXPECT_EQ(sizes.priv_driver_resource_size(), 0u);
  EXPECT_EQ(sizes.width(), 5 * kPage) << "comes back";
  request.set_priv_driver_data_size(kAllocationDataBytes - 1);
  EXPECT_EQ(ask().status(), kStatusBufferTooSmall);
  request.set_priv_driver_data_size(kAllocationDataBytes);
  const auto data = ask();
  ASSERT_EQ(data.status(), kStatusSuccess);
  const auto created = rig.TryCreate({data.allocation_data()});
  ASSERT_TRUE(created.accepted);
  EXPECT_EQ(created.reply.allocations(0).allocation_size(), 5 * kPage);
}

// [ALC] 81
TEST(CreateAllocation, ReachesBeyondTheAdaptersMemory) {
  MemoryRig rig;
  for (int i = 0; i < 5; ++i) rig.New(4 * kGiB);
  rig.New(70 * kGiB);
  EXPECT_EQ(rig.host().Account().machine_bytes, 3 * kPage) << "the first pages of two regions, and the fence";
}

// [ALC] 82
TEST(CreateAllocation, IsNowhereAndHasNoAddress) {
  MemoryRig rig;
  const uint32_t allocation = rig.New(kPage);
  EXPECT_EQ(rig.WhereIs(allocation), 3u);
  EXPECT_EQ(rig.host().Account().mappings, 0u);
  EXPECT_EQ(rig.Usage(), 0u);
  EXPECT_TRUE(rig.Evict({allocation}).accepted) << "an evict too many changes nothing";
  rig.BringIn({allocation});
  EXPECT_EQ(rig.WhereIs(allocation), 1u);
}

// [ALC] 83
TEST(DestroyAllocation, OfNothingSucceedsAndOfAMissingListFails) {
  MemoryRig rig;
  EXPECT_EQ(rig.Destroy({}), kStatusSuccess);
  host::DestroyAllocation::Request request;
  request.set_device(rig.device);
  request.set_alloc_count(1);
  EXPECT_EQ(rig.Ask<host::DestroyAllocation>(rig.caller, request).reply.status(), kStatusInvalidParameter);
  EXPECT_EQ(rig.DestroyFor(rig.caller, rig.device + 0x40, {}), kStatusInvalidParameter);
}

// [ALC] 84
TEST(DestroyAllocation, ByResourceTakesAllAndByListLeavesTheResource) {
  MemoryRig rig;
  const auto whole = rig.NewResource(3);
  EXPECT_EQ(rig.Destroy({}, whole[0]), kStatusSuccess);
  for (const uint32_t handle : {whole[1], whole[2], whole[3]}) {
    EXPECT_EQ(rig.Destroy({handle}), kStatusInvalidParameter);
  }
  const auto emptied = rig.NewResource(2);
  EXPECT_EQ(rig.Destroy({emptied[1], emptied[2]}), kStatusSuccess);
  EXPECT_EQ(rig.host().Account().storages, 0u);
  EXPECT_TRUE(rig.TryCreate({PrivateData(kPage)}, 0, emptied[0]).accepted) << "the resource is alive";
  EXPECT_EQ(rig.Destroy({}, emptied[0]), kStatusSuccess);
  EXPECT_EQ(rig.Destroy({}, emptied[0]), kStatusInvalidParameter);
  EXPECT_EQ(rig.host().Account().allocations + rig.host().Account().resources, 0u);
}

// [ALC] 85
TEST(DestroyAllocation, OfAMixedListDestroysNothing) {
  MemoryRig rig;
  const auto first = rig.NewResource(2);
  const auto second = rig.NewResource(1);
  const uint32_t alone = rig.New(kPage);
  EXPECT_EQ(rig.Destroy({first[1], alone}), kStatusInvalidParameter);
  EXPECT_EQ(rig.Destroy({first[1], second[1]}), kStatusInvalidParameter);
  EXPECT_EQ(rig.Destroy({alone, alone}), kStatusInvalidParameter);
  EXPECT_EQ(rig.Destroy({alone, alone + 0x4000}), kStatusInvalidParameter);
  EXPECT_EQ(rig.Destroy({first[1]}, first[0]), kStatusInvalidParameter) << "a resource and a list";
  const uint32_t other_device = rig.NewDevice(rig.caller);
  EXPECT_EQ(rig.DestroyFor(rig.caller, other_device, {alone}), kStatusInvalidParameter);
  EXPECT_EQ(rig.host().Account().allocations, 4u);
}

// [ALC] 89
TEST(DestroyAllocation, RefusesReservedFlags) {
  MemoryRig rig;
  const uint32_t allocation = rig.New(kPage);
  for (const uint32_t flags : {4u, 1u << 31, ~0u}) {
    EXPECT_EQ(rig.Destroy({allocation}, 0, flags), kStatusInvalidParameter);
  }
  EXPECT_EQ(rig.Destroy({allocation}, 0, 3), kStatusSuccess);
}

// [ALC] 90
TEST(DestroyAllocation, DropsItsCountsLocksAndAddressesAndNoOthers) {
  MemoryRig rig;
  const uint32_t gone = rig.New(kPage);
  const uint32_t stays = rig.New(kPage);
  rig.BringIn({gone, gone, stays});
  const uint64_t own = rig.Map(gone, 1);
  const uint64_t other = rig.Map(stays, 1);
  const uint64_t reservation = rig.Reserve(64 * 1024, 1);
  rig.Map(gone, 1, reservation);
  rig.Lock(gone);
  EXPECT_EQ(rig.Destroy({gone}), kStatusSuccess);
  EXPECT_EQ(rig.Usage(), kPage);
  EXPECT_EQ(rig.GpuRead(own), std::nullopt);
  EXPECT_EQ(rig.fault.reason, GpuFault::kUnmapped);
  EXPECT_EQ(rig.GpuRead(reservation), 0u) << "reads as the reservation again";
  EXPECT_EQ(rig.GpuRead(other), 0u);
  EXPECT_EQ(rig.host().Account().mappings, 2u);
  EXPECT_EQ(rig.Destroy({stays}), kStatusSuccess);
  EXPECT_EQ(rig.Usage(), 0u);
}

// [ALC] 90
TEST(DestroyAllocation, WorksInErrorAndAfterRemoval) {
  MemoryRig rig;
  const uint32_t first = rig.New(kPage);
  const uint32_t second = rig.New(kPage);
  rig.BringIn({first, second});
  rig.MarkAsError(rig.caller, rig.device);
  EXPECT_EQ(rig.Destroy({first}), kStatusSuccess);
  rig.host().RemoveAdapter(rig.caller.adapter_luid);
  EXPECT_EQ(rig.Destroy({second}), kStatusSuccess);
  rig.EndAndExpectNothing();
}

TEST(DestroyDevice, TakesAllItsMemoryAlong) {
  MemoryRig rig;
  const auto resource = rig.NewResource(3, kMiB);
  rig.BringIn({resource[1], resource[2]});
  rig.Map(resource[1], 1);
  rig.Lock(resource[2]);
  EXPECT_EQ(rig.DestroyDevice(rig.caller, rig.device), kStatusSuccess);
  const Accounting left = rig.host().Account();
  EXPECT_EQ(
      left.resources + left.allocations + left.storages + left.mappings + left.sync_objects + left.waits, 0u);
  EXPECT_EQ(left.window_bytes, 0u);
  EXPECT_EQ(rig.Usage(), 0u);
  rig.EndAndExpectNothing();
}

// -- The client's own memory.

class ExistingMemory : public testing::Test {
 protected:
  int32_t Bind(uint32_t allocation, uint32_t gpadl) {
    host::SetExistingSysmemStore::Request request;
    request.set_device(rig_.device);
    request.set_allocation(allocation);
    request.set_gpadl(gpadl);
    return rig_.Ask<host::SetExistingSysmemStore>(rig_.caller, request).reply.status();
  }
  int32_t BindPages(uint32_t allocation, uint32_t first, const std::vector<uint64_t>& frames) {
    host::SetExistingSysmemPages::Request request;
    request.set_device(rig_.device);
    request.set_allocation(allocation);
    request.set_alloc_offset_in_pages(first);
    request.set_num_pages(static_cast<uint32_t>(frames.size()));
    for (const uint64_t frame : frames) request.add_pages(frame);
    return rig_.Ask<host::SetExistingSysmemPages>(rig_.caller, request).reply.status();
  }

  FakeGuest guest_;
  MemoryRig rig_{Shipped("discrete"), nullptr, &guest_};
};

// [ALC] 79
TEST_F(ExistingMemory, GpuAndClientSeeOneMemory) {
  guest_.runs[7] = std::string(2 * kPage, '\0');
  const uint32_t allocation = rig_.TryAllocation(2 * kPage, kExistingSysmemFlag);
  EXPECT_EQ(Bind(allocation, 8), kStatusInvalidParameter) << "no such memory";
  guest_.runs[9] = std::string(kPage, '\0');
  EXPECT_EQ(Bind(allocation, 9), kStatusInvalidParameter) << "too small";
  EXPECT_EQ(Bind(rig_.New(kPage), 7), kStatusInvalidParameter) << "not of the guest";
  ASSERT_EQ(Bind(allocation, 7), kStatusSuccess);
  rig_.BringIn({allocation});
  EXPECT_EQ(rig_.WhereIs(allocation), 2u) << "in system memory";
  const uint64_t address = rig_.Map(allocation, 2);
  EXPECT_TRUE(rig_.GpuWrite(address + kPage - 4, 0x1122334455667788)) << "over the end of a page";
  EXPECT_EQ(Get<uint64_t>(BytesOf(guest_.runs[7]), kPage - 4), 0x1122334455667788u);
  Put<uint64_t>(BytesOf(guest_.runs[7]), 16, 42);
  EXPECT_EQ(rig_.GpuRead(address + 16), 42u);
}

TEST_F(ExistingMemory, PagesThatAreGoneReadZeroAndTakeNothing) {
  guest_.runs[7] = std::string(kPage, 'x');
  const uint32_t allocation = rig_.TryAllocation(kPage, kExistingSysmemFlag);
  rig_.BringIn({allocation});
  const uint64_t address = rig_.Map(allocation, 1);
  EXPECT_EQ(rig_.GpuRead(address), 0u) << "not told yet";
  ASSERT_EQ(Bind(allocation, 7), kStatusSuccess);
  guest_.gone = true;
  EXPECT_EQ(rig_.GpuRead(address), 0u);
  EXPECT_TRUE(rig_.GpuWrite(address, 1));
  EXPECT_EQ(guest_.runs[7][0], 'x');
  EXPECT_EQ(rig_.host().Account().lost_accesses, 3u);
}

TEST_F(ExistingMemory, FramesNeedAHostThatKnowsThem) {
  guest_.runs[1] = std::string(8 * kPage, '\0');
  const uint32_t allocation = rig_.TryAllocation(4 * kPage, kExistingSysmemFlag);
  EXPECT_EQ(BindPages(allocation, 0, {5}), kStatusNotSupported);
  guest_.frames = true;
  EXPECT_EQ(BindPages(allocation, 0, {}), kStatusInvalidParameter);
  EXPECT_EQ(BindPages(allocation, 4, {5}), kStatusInvalidParameter) << "behind the end";
  EXPECT_EQ(BindPages(allocation, 1, {5, 3}), kStatusSuccess);
  rig_.BringIn({allocation});
  const uint64_t address = rig_.Map(allocation, 4);
  EXPECT_TRUE(rig_.GpuWrite(address + 2 * kPage, 77));
  EXPECT_EQ(Get<uint64_t>(BytesOf(guest_.runs[1]), 3 * kPage), 77u);
  EXPECT_EQ(rig_.GpuRead(address), 0u) << "a page that was not told";
}

TEST_F(ExistingMemory, ReadOnlyFaultsOnWrite) {
  guest_.runs[7] = std::string(kPage, 'x');
  const uint32_t allocation = rig_.TryAllocation(kPage, kExistingSysmemFlag | kReadOnlyFlag);
  ASSERT_EQ(Bind(allocation, 7), kStatusSuccess);
  rig_.BringIn({allocation});
  const uint64_t address = rig_.Map(allocation, 1);
  EXPECT_FALSE(rig_.GpuWrite(address, 1));
  EXPECT_EQ(rig_.fault.reason, GpuFault::kReadOnly);
  EXPECT_EQ(guest_.runs[7][0], 'x');
}

TEST(ExistingMemoryWithoutAGuest, CannotBeBound) {
  MemoryRig rig;
  host::SetExistingSysmemStore::Request request;
  request.set_device(rig.device);
  request.set_allocation(rig.TryAllocation(kPage, kExistingSysmemFlag));
  EXPECT_EQ(rig.Ask<host::SetExistingSysmemStore>(rig.caller, request).reply.status(), kStatusNotSupported);
}

// -- The CPU's view.

// [LCK] 91
TEST(Lock, RefusesFlagsAndStrangers) {
  MemoryRig rig;
  const uint32_t allocation = rig.New(kPage);
  EXPECT_EQ(rig.Lock(allocation, 1).status(), kStatusInvalidParameter);
  EXPECT_EQ(rig.Lock(allocation + 0x4000).status(), kStatusInvalidParameter);
  EXPECT_EQ(rig.LockFor(rig.caller, rig.NewDevice(rig.caller), allocation).status(), kStatusInvalidParameter);
  EXPECT_EQ(rig.Unlock(allocation), kStatusInvalidParameter) << "not locked";
  EXPECT_EQ(rig.Lock(rig.New(kPage, kAllocationNotCpuVisible)).status(), kStatusInvalidParameter);
}

TEST(Lock, FailsWhenTheWindowIsFull) {
  FaultPlan faults;
  MemoryRig rig(Shipped("discrete"), &faults);
  const uint32_t allocation = rig.New(kPage);
  faults.FailAt(FaultPoint::kApertureFull, 1);
  EXPECT_EQ(rig.Lock(allocation).status(), kStatusGraphicsAllocationBusy);
  EXPECT_EQ(rig.Unlock(allocation), kStatusInvalidParameter);
  EXPECT_EQ(rig.Lock(allocation).status(), kStatusSuccess);
}

// [LCK] 92
TEST(Lock, CountsAndKeepsItsAddress) {
  MemoryRig rig;
  const uint32_t allocation = rig.New(kPage);
  const uint64_t window = rig.Lock(allocation).cpu_visible_buffer_offset();
  EXPECT_NE(window, 0u);
  EXPECT_EQ(window % kPage, 0u);
  EXPECT_EQ(rig.Lock(allocation).cpu_visible_buffer_offset(), window);
  EXPECT_EQ(rig.Unlock(allocation), kStatusSuccess);
  EXPECT_EQ(rig.Unlock(allocation), kStatusSuccess);
  EXPECT_EQ(rig.Unlock(allocation), kStatusInvalidParameter);
  rig.Lock(allocation);
  rig.MarkAsError(rig.caller, rig.device);
  EXPECT_EQ(rig.Lock(allocation).status(), kStatusDeviceRemoved);
  EXPECT_EQ(rig.Unlock(allocation), kStatusSuccess);
}

// [LCK] 94
TEST(Lock, OfTheClientsMemoryShowsNothingNew) {
  MemoryRig rig;
  const uint32_t allocation = rig.TryAllocation(kPage, kExistingSysmemFlag);
  EXPECT_EQ(rig.Lock(allocation).cpu_visible_buffer_offset(), 0u);
  EXPECT_EQ(rig.Unlock(allocation), kStatusSuccess);
  EXPECT_EQ(rig.Unlock(allocation), kStatusSuccess) << "guests tell only of the unlock";
}

// [LCK] 95
TEST(Lock, ContentIsOneWhereverItIsSaidToBe) {
  MemoryRig rig;
  const uint32_t allocation = rig.New(kPage);
  const uint64_t window = rig.Lock(allocation).cpu_visible_buffer_offset();
  rig.Poke(window, 1);
  rig.BringIn({allocation});
  const uint64_t address = rig.Map(allocation, 1);
  EXPECT_EQ(rig.GpuRead(address), 1u);
  EXPECT_TRUE(rig.GpuWrite(address, 2));
  EXPECT_EQ(rig.Peek(window), 2u);
  rig.Evict({allocation});
  EXPECT_EQ(rig.Peek(window), 2u);
  rig.Poke(window, 3);
  rig.BringIn({allocation});
  EXPECT_EQ(rig.GpuRead(address), 3u);
}

TEST(InvalidateCache, ChecksItsRange) {
  MemoryRig rig;
  host::InvalidateCache::Request request;
  request.set_device(rig.device);
  request.set_allocation(rig.New(2 * kPage));
  auto ask = [&](uint64_t offset, uint64_t length) {
    request.set_offset(offset);
    request.set_length(length);
    return rig.Ask<host::InvalidateCache>(rig.caller, request).reply.status();
  };
  EXPECT_EQ(ask(0, 2 * kPage), kStatusSuccess);
  EXPECT_EQ(ask(2 * kPage, 0), kStatusSuccess);
  EXPECT_EQ(ask(1, 2 * kPage), kStatusInvalidParameter);
  EXPECT_EQ(ask(2 * kPage + 1, 0), kStatusInvalidParameter);
  EXPECT_EQ(ask(kPage, ~0ull), kStatusInvalidParameter);
}

// -- The window.

TEST(IoSpace, RegionIsSealedAndBeginsWithItsCookie) {
  MemoryRig rig;
  const uint64_t window = rig.Lock(rig.New(kPage)).cpu_visible_buffer_offset();
  const auto region = rig.host().FindRegion(window);
  ASSERT_TRUE(region);
  EXPECT_NE(region->cookie, 0u);
  EXPECT_EQ(rig.Peek(region->window_start), region->cookie);
  EXPECT_GT(window, region->window_start) << "page 0 is nobody's";
  EXPECT_NE(ftruncate(region->file->number(), 0), 0);
  EXPECT_EQ(rig.host().FindRegion(0), std::nullopt);
  EXPECT_EQ(rig.host().FindRegion(region->window_start - 1), std::nullopt);
  EXPECT_EQ(rig.host().FindRegion(region->window_start + region->bytes), std::nullopt);
}

TEST(IoSpace, ProcessesHaveRegionsOfTheirOwn) {
  MemoryRig rig;
  const uint64_t first = rig.Lock(rig.New(kPage)).cpu_visible_buffer_offset();
  const Caller other = rig.NewCaller();
  const uint32_t device = rig.NewDevice(other);
  const uint64_t second =
      rig.LockFor(other, device, rig.NewFor(other, device, kPage)).cpu_visible_buffer_offset();
  EXPECT_NE(rig.host().FindRegion(first)->window_start, rig.host().FindRegion(second)->window_start);
  EXPECT_NE(rig.host().FindRegion(first)->cookie, rig.host().FindRegion(second)->cookie);
  const uint64_t start = rig.host().FindRegion(second)->window_start;
  rig.EndProcess(other);
  EXPECT_EQ(rig.host().FindRegion(second), std::nullopt);
  const Caller third = rig.NewCaller();
  const uint32_t third_device = rig.NewDevice(third);
  const uint64_t again =
      rig.LockFor(third, third_device, rig.NewFor(third, third_device, kPage)).cpu_visible_buffer_offset();
  EXPECT_EQ(rig.host().FindRegion(again)->window_start, start) << "its place is used again";
}

// As some device nodes; a file of secret memory has no call to read it, and no other process needs to see it
// here.
TEST(IoSpace, AWindowThatCanOnlyBeMappedIsRead) {
  const auto file = std::make_shared<const FileDescriptor>(static_cast<int>(syscall(SYS_memfd_secret, 0)));
  if (file->number() < 0) GTEST_SKIP() << "this kernel has no memfd_secret";
  ASSERT_EQ(ftruncate(file->number(), 2 * kPage), 0);
  uint64_t word = 0;
  ASSERT_LT(pread(file->number(), &word, sizeof(word), 0), 0);
  const auto region =
      Region::OfWindow(std::make_shared<IoSpace>(1, true), {file, 2 * kPage}, IoSpace::kStart);
  ASSERT_NE(region, nullptr);
  const uint64_t written = 0x0123456789abcdef;
  region->Write(kPage, ConstBytes(reinterpret_cast<const uint8_t*>(&written), sizeof(written)));
  region->Read(kPage, Bytes(reinterpret_cast<uint8_t*>(&word), sizeof(word)));
  EXPECT_EQ(word, written);
}

TEST(IoSpace, FreedMemoryGoesBackToTheMachine) {
  MemoryRig rig;
  const uint64_t before = rig.host().Account().machine_bytes;
  const uint32_t allocation = rig.New(64 * kPage);
  const uint64_t window = rig.Lock(allocation).cpu_visible_buffer_offset();
  for (uint64_t page = 0; page < 64; ++page) rig.Poke(window + page * kPage, page + 1);
  EXPECT_EQ(rig.host().Account().machine_bytes, before + 64 * kPage);
  rig.Destroy({allocation});
  EXPECT_EQ(rig.host().Account().machine_bytes, before);
}

TEST(IoSpace, LargeMemoryBeginsAtALargePage) {
  MemoryRig rig;
  rig.New(kPage);
  const uint64_t large = rig.Lock(rig.New(3 * kMiB)).cpu_visible_buffer_offset();
  EXPECT_EQ(large % (2 * kMiB), 0u);
  const uint64_t huge = rig.Lock(rig.New(100 * kGiB)).cpu_visible_buffer_offset();
  EXPECT_NE(rig.host().FindRegion(huge)->window_start, rig.host().FindRegion(large)->window_start)
      << "a region that is large enough";
  EXPECT_EQ(rig.host().FindRegion(huge + 100 * kGiB - 1)->window_start,
            rig.host().FindRegion(huge)->window_start);
}

}  // namespace
}  // namespace dxg::hostsim
