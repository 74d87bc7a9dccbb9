#include <gtest/gtest.h>

#include <memory>
#include <new>
#include <string>
#include <vector>

#include "hostsim/adapter/vertical_sync.h"
#include "hostsim/machine/handle_table.h"
#include "tests/guest/counted_memory.h"
#include "tests/hostsim/gpu_rig.h"

// Each limit of the host: exactly as much works, and one more is refused. Limits that are checked elsewhere:
// packets of a process and contexts of a broadcast (submit_test.cc), queued updates (gpu_va_test.cc), rules
// of faults (faults_test.cc), objects of a process, command by command (failed_creation_test.cc).

namespace dxg::hostsim {
namespace {

TEST(Limit, ObjectsOfAProcess) {
  struct Nothing : Object {
    Nothing() : Object(ObjectKind::kSync) {}
  };
  HandleTable<std::unique_ptr<Object>> table(kObjectsPerProcessMax);
  uint32_t last = 0;
  for (uint32_t i = 0; i < kObjectsPerProcessMax; ++i) last = table.Insert(std::make_unique<Nothing>());
  EXPECT_NE(last, 0u);
  EXPECT_EQ(table.Insert(std::make_unique<Nothing>()), 0u);
  table.Remove(last);
  EXPECT_NE(table.Insert(std::make_unique<Nothing>()), 0u);
}

TEST(Limit, ObjectsOfAProcessAreItsOwn) {
  constexpr uint32_t kMax = 40;
  GpuRig rig(Shipped("discrete"), nullptr, nullptr, false, kMax);
  const Caller other = rig.NewCaller();
  const uint32_t device = rig.NewDevice(other);
  for (uint32_t i = 1; i < kMax; ++i) ASSERT_NE(rig.TryFor(other, device, 1, 0).handle, 0u) << i;
  EXPECT_EQ(rig.TryFor(other, device, 1, 0).handle, 0u);
  EXPECT_EQ(rig.TryDevice(other), 0u);
  EXPECT_NE(rig.Try(1, 0).handle, 0u) << "of another process";
}

// Processes of one user share what the host bounds for him; another user has as much.
class LimitOfAUser : public testing::Test {
 protected:
  static constexpr uint64_t kMax = 100;
  static constexpr uint32_t kUser = 1000, kOther = 1001;
  // The rig's own process is of nobody who is known, and counts for no user.
  GpuRig rig_{Shipped("discrete"),
              nullptr,
              nullptr,
              false,
              kObjectsPerProcessMax,
              UserLimits{.packets = kMax, .va_parts = kMax}};

  // From here on the rig asks for another process.
  void Be(const Caller& caller) {
    rig_.caller = caller;
    rig_.device = rig_.NewDevice(caller);
    rig_.context = rig_.NewContext(caller, rig_.device);
  }
  void EndIt() { EXPECT_EQ(rig_.Ask<host::DestroyProcess>(rig_.caller, {}).reply.status(), kStatusSuccess); }
};

TEST_F(LimitOfAUser, PacketsThatWait) {
  const Caller first = rig_.NewCallerOf(kUser);
  Be(first);
  const auto fence = rig_.NewFence();
  const auto wait = [&] { return rig_.GpuWait(rig_.context, {{fence.handle, 1}}); };
  for (uint64_t i = 0; i < kMax / 2; ++i) ASSERT_EQ(wait(), kStatusSuccess) << i;
  const uint32_t first_device = rig_.device;
  Be(rig_.NewCallerOf(kUser));
  const auto own = rig_.NewFence();
  const auto wait_own = [&] { return rig_.GpuWait(rig_.context, {{own.handle, 1}}); };
  for (uint64_t i = 0; i < kMax / 2; ++i) ASSERT_EQ(wait_own(), kStatusSuccess) << i;
  EXPECT_EQ(wait_own(), kStatusNoMemory);
  EXPECT_EQ(rig_.Signal(own.handle, 1), kStatusSuccess);
  for (uint64_t i = 0; i < kMax / 2; ++i)
    ASSERT_EQ(rig_.GpuWait(rig_.context, {{own.handle, 2}}), kStatusSuccess) << "what is over does not count";
  EXPECT_EQ(rig_.GpuWait(rig_.context, {{own.handle, 2}}), kStatusNoMemory);
  const Caller second = rig_.caller;
  Be(rig_.NewCallerOf(kOther));
  const auto of_other = rig_.NewFence();
  for (uint64_t i = 0; i < kMax; ++i)
    ASSERT_EQ(rig_.GpuWait(rig_.context, {{of_other.handle, 1}}), kStatusSuccess) << i;
  EXPECT_EQ(rig_.GpuWait(rig_.context, {{of_other.handle, 1}}), kStatusNoMemory);
  rig_.caller = second;
  EndIt();
  rig_.caller = first;
  rig_.device = first_device;
  rig_.context = rig_.NewContext(first, first_device);
  for (uint64_t i = 0; i < kMax / 2; ++i) ASSERT_EQ(wait(), kStatusSuccess) << "the other process is gone";
  EXPECT_EQ(wait(), kStatusNoMemory);
}

// A packet for a queue that has ended is dropped, and counts for nobody.
TEST_F(LimitOfAUser, PacketsThatAreDropped) {
  Be(rig_.NewCallerOf(kUser));
  const auto fence = rig_.NewFence();
  EXPECT_EQ(rig_.GpuWait(rig_.context, {{fence.handle, 1}}), kStatusSuccess);
  for (int i = 0; i < 3; ++i) {
    const uint32_t context = rig_.NewContext(rig_.caller, rig_.device);
    for (uint64_t j = 1; j < kMax; ++j)
      ASSERT_EQ(rig_.GpuWait(context, {{fence.handle, 1}}), kStatusSuccess) << i << ' ' << j;
    EXPECT_EQ(rig_.GpuWait(context, {{fence.handle, 1}}), kStatusNoMemory);
    EXPECT_EQ(rig_.DestroyContext(rig_.caller, context), kStatusSuccess);
  }
}

// A packet that finds no memory is not queued, and counts for nobody.
TEST_F(LimitOfAUser, PacketsThatFindNoMemory) {
  Be(rig_.NewCallerOf(kUser));
  const auto fence = rig_.NewFence();
  const auto wait = [&] { return rig_.GpuWait(rig_.context, {{fence.handle, 1}}); };
  EXPECT_EQ(wait(), kStatusSuccess);
  constexpr uint64_t kContexts = 8;
  const auto request = rig_.SubmitRequest(std::vector<uint32_t>(kContexts, rig_.context), 0, 8);
  uint64_t queued = 1, refused = 0;
  bool failed = true;
  for (uint64_t n = 1; failed; ++n) {
    int32_t status = kStatusNoMemory;
    guest::FailAllocation(n);
    try {
      status = rig_.Submit(request);
    } catch (const std::bad_alloc&) {  // the rig's own
    }
    failed = guest::AllocationsSince() >= n;
    guest::FailAllocation(0);
    (status == kStatusSuccess ? queued : refused) += kContexts;
  }
  EXPECT_GT(refused, kContexts);
  for (; queued < kMax; ++queued) ASSERT_EQ(wait(), kStatusSuccess) << queued;
  EXPECT_EQ(wait(), kStatusNoMemory);
}

TEST_F(LimitOfAUser, AddressRanges) {
  constexpr uint64_t kUnit = GpuVa::kReserveUnit;
  const auto reserve = [&] { return rig_.TryReserve(kUnit).virtual_address(); };
  Be(rig_.NewCallerOf(kUser));
  const Caller first = rig_.caller;
  uint64_t last = 0;
  for (uint64_t i = 0; i < kMax - 10; ++i) ASSERT_NE(last = reserve(), 0u) << i;
  Be(rig_.NewCallerOf(kUser));
  for (uint64_t i = 0; i < 10; ++i) ASSERT_NE(reserve(), 0u) << i;
  EXPECT_EQ(reserve(), 0u);
  const Caller second = rig_.caller;
  Be(rig_.NewCallerOf(kOther));
  EXPECT_NE(reserve(), 0u);
  rig_.caller = first;
  EXPECT_EQ(rig_.Free(last, kUnit), kStatusSuccess);
  rig_.caller = second;
  EXPECT_NE(reserve(), 0u) << "there is room again";
  EXPECT_EQ(reserve(), 0u);
  EndIt();
  rig_.caller = first;
  for (uint64_t i = 0; i < 11; ++i) ASSERT_NE(reserve(), 0u) << "the other process is gone: " << i;
  EXPECT_EQ(reserve(), 0u);
}

// What their pages show counts too: a mapping is a range and a piece of it.
TEST_F(LimitOfAUser, PiecesOfRanges) {
  constexpr uint64_t kOfTheQueue = 2;  // its fence may be mapped
  Be(rig_.NewCallerOf(kUser));
  rig_.queue = rig_.NewQueue();
  const uint32_t allocation = rig_.New(kPage);
  rig_.BringIn({allocation});
  std::vector<uint64_t> mapped;
  while (mapped.size() <= kMax) {
    const auto reply = rig_.TryMap(rig_.MapRequest(allocation, 1));
    if (reply.status() < 0) break;
    mapped.push_back(reply.virtual_address());
  }
  EXPECT_GE(mapped.size(), (kMax - kOfTheQueue) / 2 - 1);
  EXPECT_LE(mapped.size(), kMax / 2);
  for (const uint64_t address : mapped) EXPECT_EQ(rig_.Free(address, kPage), kStatusSuccess);
  uint64_t reserved = 0;
  while (reserved <= kMax && rig_.TryReserve(GpuVa::kReserveUnit).virtual_address() != 0) ++reserved;
  EXPECT_GE(reserved, kMax - kOfTheQueue) << "what was freed still counts";
  EXPECT_LE(reserved, kMax);
}

// An address space ends at 2 to the profile's number of bits.
TEST(Limit, EndOfTheAddressSpace) {
  for (const uint32_t bits : {32u, 48u, 57u}) {
    AdapterProfile profile = Shipped("discrete");
    profile.mutable_caps()->set_virtual_address_bits(bits);
    GpuRig rig(profile);
    constexpr uint64_t kUnit = GpuVa::kReserveUnit;
    const uint64_t end = 1ull << bits;
    EXPECT_EQ(rig.TryReserve(kUnit, end).virtual_address(), 0u) << bits;
    EXPECT_EQ(rig.TryReserve(2 * kUnit, end - kUnit).virtual_address(), 0u) << bits;
    EXPECT_EQ(rig.TryReserve(kUnit, ~0ull - kUnit + 1).virtual_address(), 0u) << bits;
    EXPECT_EQ(rig.TryReserve(~0ull - kUnit + 1, 2 * kUnit).virtual_address(), 0u) << "its end is its start";
    EXPECT_EQ(rig.TryReserve(kUnit, 0, end).virtual_address(), 0u) << "from the end on";
    EXPECT_EQ(rig.TryReserve(kUnit, end - kUnit).virtual_address(), end - kUnit) << bits;
    EXPECT_EQ(rig.TryReserve(kUnit, 0, end - 2 * kUnit).virtual_address(), end - 2 * kUnit) << bits;
    EXPECT_EQ(rig.TryReserve(kUnit, 0, end - 2 * kUnit).virtual_address(), 0u) << "both are taken";
    EXPECT_EQ(rig.Free(end - kUnit, kUnit), kStatusSuccess);
    const uint32_t allocation = rig.New(2 * kPage);
    EXPECT_LT(rig.TryMap(rig.MapRequest(allocation, 2, end - kPage)).status(), 0);
    EXPECT_EQ(rig.Map(allocation, 1, end - kPage), end - kPage);
  }
}

TEST(Limit, StartOfTheAddressSpace) {
  GpuRig rig;
  constexpr uint64_t kUnit = GpuVa::kReserveUnit;
  const uint32_t allocation = rig.New(kPage);
  EXPECT_LT(rig.TryMap(rig.MapRequest(allocation, 1, GpuVa::kStart.value - kPage)).status(), 0);
  const uint64_t first = rig.TryReserve(kUnit, GpuVa::kStart.value).virtual_address();
  EXPECT_TRUE(first == 0 || first == GpuVa::kStart.value) << "the rig's own memory may be there";
}

// A message of the guest holds less than kMessageBytesMax of private data.
TEST(Limit, PrivateDataOfAMessage) {
  GpuRig rig;
  const std::string most(kMessageBytesMax - 1, 'p');
  const std::string too_much(kMessageBytesMax, 'p');
  auto submit = [&](const std::string& data) {
    auto request = rig.SubmitRequest({rig.context}, rig.Put(CommandWriter().bytes()), 8);
    request.set_priv_drv_data_size(static_cast<uint32_t>(data.size()));
    request.set_priv_drv_data(data);
    return rig.Submit(request);
  };
  EXPECT_EQ(submit(most), kStatusSuccess);
  EXPECT_EQ(submit(too_much), kStatusInvalidParameter);
  const uint32_t hardware = rig.TryContext(rig.caller, rig.device, 0, 0, GpuRig::kHwQueueSupported);
  EXPECT_EQ(rig.TryHwQueue(hardware, 0, too_much).status(), kStatusInvalidParameter);
  const auto queue = rig.TryHwQueue(hardware, 0, most);
  EXPECT_EQ(queue.status(), kStatusSuccess);
  EXPECT_EQ(rig.SubmitHw(queue.hwqueue(), 1, CommandWriter(), too_much), kStatusInvalidParameter);
  EXPECT_EQ(rig.SubmitHw(queue.hwqueue(), 1, CommandWriter(), most), kStatusSuccess);
  host::CreateContextVirtual::Request context;
  context.set_device(rig.device);
  context.set_priv_drv_data_size(static_cast<uint32_t>(too_much.size()));
  context.set_priv_drv_data(too_much);
  EXPECT_EQ(rig.Ask<host::CreateContextVirtual>(rig.caller, context).reply.context(), 0u);
  context.set_priv_drv_data_size(static_cast<uint32_t>(most.size()));
  context.set_priv_drv_data(most);
  EXPECT_NE(rig.Ask<host::CreateContextVirtual>(rig.caller, context).reply.context(), 0u);
}

// Each handle on a monitored fence has a page of its own.
TEST(Limit, PagesOfAFence) {
  GpuRig rig;
  const auto fence = rig.NewFence(7, kAnySharing);
  std::vector<GpuRig::Sync> opened;
  for (size_t i = 1; i < SyncPage::kPagesMax; ++i) {
    opened.push_back(rig.OpenFor(rig.caller, rig.device, fence.global));
    ASSERT_NE(opened.back().handle, 0u) << i;
  }
  const Accounting full = rig.host().Account();
  EXPECT_EQ(rig.OpenFor(rig.caller, rig.device, fence.global).handle, 0u);
  EXPECT_EQ(rig.host().Account().window_bytes, full.window_bytes) << "the page went back";
  EXPECT_EQ(rig.host().Account().mappings, full.mappings);
  EXPECT_EQ(rig.Signal(fence.handle, 8), kStatusSuccess);
  EXPECT_EQ(rig.ValueOf(opened.front()), 8u);
  EXPECT_EQ(rig.ValueOf(opened.back()), 8u);
  EXPECT_EQ(rig.DestroySync(opened.front().handle), kStatusSuccess);
  const auto again = rig.OpenFor(rig.caller, rig.device, fence.global);
  EXPECT_NE(again.handle, 0u);
  EXPECT_EQ(rig.ValueOf(again), 8u);
  EXPECT_EQ(rig.OpenFor(rig.caller, rig.device, fence.global).handle, 0u);
}

TEST(Limit, ObjectsOfOneWaitOrSignal) {
  GpuRig rig;
  GpuRig::Targets targets;
  for (uint32_t i = 0; i < kSyncObjectsPerListMax; ++i) targets.emplace_back(rig.NewFence().handle, 1);
  GpuRig::Targets too_many = targets;
  too_many.emplace_back(rig.NewFence().handle, 1);
  EXPECT_EQ(rig.Wait(too_many, 1), kStatusInvalidParameter);
  EXPECT_EQ(rig.GpuWait(rig.context, too_many), kStatusInvalidParameter);
  EXPECT_EQ(rig.GpuSignal({rig.context}, too_many), kStatusInvalidParameter);
  EXPECT_EQ(rig.Signal(too_many), kStatusInvalidParameter);
  EXPECT_TRUE(rig.Happened().empty());
  EXPECT_GE(rig.Wait(targets, 2), 0);
  EXPECT_EQ(rig.GpuWait(rig.context, targets), kStatusSuccess);
  EXPECT_EQ(rig.GpuSignal({rig.context}, targets), kStatusSuccess);
  EXPECT_TRUE(rig.Happened().empty());
  EXPECT_EQ(rig.Signal(targets), kStatusSuccess);
  EXPECT_EQ(rig.Happened(), GpuRig::Numbers{2});
}

TEST(Limit, AllocationsOfOneCreation) {
  GpuRig rig;
  EXPECT_FALSE(
      rig.TryCreate(std::vector<std::string>(kAllocationsPerCreateMax + 1, PrivateData(kPage))).accepted);
  EXPECT_TRUE(rig.TryCreate(std::vector<std::string>(kAllocationsPerCreateMax, PrivateData(kPage))).accepted);
}

TEST(Limit, LiveAdapters) {
  Rig rig;
  AdapterInfo info;
  for (uint32_t i = 1; i < kAdaptersMax; ++i)
    ASSERT_TRUE(rig.host().AddAdapter(Shipped("discrete"), &info)) << i;
  AdapterInfo none;
  EXPECT_FALSE(rig.host().AddAdapter(Shipped("discrete"), &none));
  EXPECT_EQ(rig.host().Adapters().size(), kAdaptersMax);
  EXPECT_TRUE(rig.host().RemoveAdapter(info.address));
  EXPECT_TRUE(rig.host().AddAdapter(Shipped("discrete"), &none));
}

}  // namespace
}  // namespace dxg::hostsim
