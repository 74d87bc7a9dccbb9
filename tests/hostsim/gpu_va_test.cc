#include "hostsim/memory/gpu_va.h"

#include <gtest/gtest.h>

#include <chrono>

#include "tests/hostsim/sync_rig.h"

namespace dxg::hostsim {
namespace {

constexpr uint64_t kUnit = 64 * 1024;
constexpr uint32_t kZero = 1;

class Addresses : public testing::Test {
 protected:
  // Resident, and with a number in each page.
  uint32_t Numbered(uint64_t pages, uint64_t first) {
    const uint32_t allocation = rig_.New(pages * kPage);
    rig_.BringIn({allocation});
    const uint64_t window = rig_.Lock(allocation).cpu_visible_buffer_offset();
    for (uint64_t page = 0; page < pages; ++page) rig_.Poke(window + page * kPage, first + page);
    return allocation;
  }
  int32_t MapStatus(uint32_t allocation, uint64_t pages, uint64_t base = 0,
                    uint64_t protection = kProtectWrite, uint64_t offset = 0) {
    return rig_.TryMap(rig_.MapRequest(allocation, pages, base, protection, offset)).status();
  }

  SyncRig rig_{ImmediatePaging()};
};

// [GVA] 128
TEST_F(Addresses, RefuseWhatIsNotAligned) {
  EXPECT_EQ(rig_.TryReserve(0).virtual_address(), 0u);
  EXPECT_EQ(rig_.TryReserve(kUnit + kPage).virtual_address(), 0u);
  EXPECT_EQ(rig_.TryReserve(kUnit, kUnit * 8 + kPage).virtual_address(), 0u);
  EXPECT_EQ(rig_.TryReserve(kUnit, 0, kPage).virtual_address(), 0u);
  EXPECT_EQ(rig_.TryReserve(2 * kUnit, 0, 8 * kUnit, 10 * kUnit - 1).virtual_address(), 0u)
      << "the maximum is rounded down";
  EXPECT_EQ(rig_.TryReserve(kUnit, 0, 0, 0, 2).virtual_address(), 0u) << "a type of the system";
  EXPECT_EQ(rig_.TryReserve(kUnit, 0, 0, 0, 0, rig_.queue.fence).virtual_address(), 0u);
  const uint32_t allocation = rig_.New(4 * kPage);
  EXPECT_EQ(MapStatus(allocation, 0), kStatusInvalidParameter);
  EXPECT_EQ(MapStatus(allocation, 1, kUnit + 1), kStatusInvalidParameter);
  EXPECT_EQ(MapStatus(allocation, 5), kStatusInvalidParameter);
  EXPECT_EQ(MapStatus(allocation, 1, 0, 1, 4), kStatusInvalidParameter);
  EXPECT_EQ(MapStatus(allocation, 1, 0, 1, ~0ull), kStatusInvalidParameter);
  EXPECT_EQ(MapStatus(allocation, ~0ull), kStatusInvalidParameter);
  EXPECT_EQ(MapStatus(allocation, 1, 0, 16), kStatusInvalidParameter) << "the system's bit";
  EXPECT_EQ(rig_.Free(0, 0), kStatusInvalidParameter);
}

// [GVA] 129
TEST_F(Addresses, LieBetweenMinimumAndMaximum) {
  for (int i = 0; i < 4; ++i) {
    const auto reserved = rig_.TryReserve(kUnit, 0, 32 * kUnit, 36 * kUnit).virtual_address();
    EXPECT_EQ(reserved, (32 + static_cast<uint64_t>(i)) * kUnit);
  }
  EXPECT_EQ(rig_.TryReserve(kUnit, 0, 32 * kUnit, 36 * kUnit).virtual_address(), 0u) << "full";
  EXPECT_EQ(rig_.TryReserve(kUnit, 0, 36 * kUnit, 36 * kUnit).virtual_address(), 0u);
  auto request = rig_.MapRequest(rig_.New(2 * kPage), 1);
  request.set_minimum_address(32 * kUnit);
  request.set_maximum_address(36 * kUnit);
  EXPECT_EQ(rig_.TryMap(request).status(), kStatusNoMemory);
  request.set_maximum_address(36 * kUnit + kPage);
  EXPECT_EQ(rig_.TryMap(request).virtual_address(), 36 * kUnit);
  EXPECT_NE(rig_.TryReserve(kUnit).virtual_address(), 0u);
}

// [GVA] 130
TEST_F(Addresses, NeverOverlap) {
  const uint64_t base = rig_.Reserve(4 * kUnit, 0, 64 * kUnit);
  EXPECT_EQ(base, 64 * kUnit);
  EXPECT_EQ(rig_.TryReserve(kUnit, base + 3 * kUnit).virtual_address(), 0u);
  EXPECT_EQ(rig_.TryReserve(8 * kUnit, base - 4 * kUnit).virtual_address(), 0u);
  const uint32_t allocation = rig_.New(4 * kUnit);
  EXPECT_EQ(MapStatus(allocation, 2, base - kPage), kStatusInvalidParameter) << "half in, half out";
  EXPECT_EQ(MapStatus(allocation, 2, base + kPage), kStatusSuccess) << "inside a reservation";
  EXPECT_EQ(MapStatus(allocation, 2, base - 2 * kPage), kStatusSuccess) << "beside it";
  const uint64_t end = base + 4 * kUnit;
  EXPECT_EQ(MapStatus(allocation, 2, end - kPage), kStatusInvalidParameter) << "half in, half out";
  EXPECT_EQ(MapStatus(allocation, 2, end - 2 * kPage), kStatusSuccess) << "up to its end";
  EXPECT_EQ(rig_.TryReserve(kUnit, 0x8000'0000'0000'0000).virtual_address(), 0u) << "beyond all addresses";
  EXPECT_EQ(MapStatus(allocation, 1, (1ull << 48) - kPage), kStatusSuccess);
  EXPECT_EQ(MapStatus(allocation, 2, (1ull << 48) - 2 * kPage), kStatusInvalidParameter);
}

// [GVA] 131
TEST_F(Addresses, ZeroReadsZeroAndNoAccessFaults) {
  const uint64_t zero = rig_.Reserve(kUnit, kZero);
  EXPECT_EQ(rig_.GpuRead(zero), 0u);
  EXPECT_TRUE(rig_.GpuWrite(zero, 1));
  EXPECT_EQ(rig_.GpuRead(zero), 0u);
  const uint64_t none = rig_.Reserve(kUnit);
  EXPECT_EQ(rig_.GpuRead(none), std::nullopt);
  EXPECT_EQ(rig_.fault.reason, GpuFault::kNoAccess);
  EXPECT_EQ(rig_.Map(0, 1, zero, kProtectNoAccess), zero);
  EXPECT_EQ(rig_.GpuRead(zero), std::nullopt);
  EXPECT_EQ(rig_.GpuRead(zero + kPage), 0u);
  EXPECT_EQ(rig_.Map(0, 1, none, kProtectZero), none);
  EXPECT_EQ(rig_.GpuRead(none), 0u);
}

// [GVA] 132
TEST_F(Addresses, WritingNeedsTheRight) {
  const uint32_t allocation = Numbered(1, 5);
  const uint64_t address = rig_.Map(allocation, 1, 0, 0);
  EXPECT_EQ(rig_.GpuRead(address), 5u);
  EXPECT_FALSE(rig_.GpuWrite(address, 6));
  EXPECT_EQ(rig_.fault.reason, GpuFault::kReadOnly);
  EXPECT_EQ(rig_.fault.address.value, address);
  EXPECT_TRUE(rig_.fault.write);
  EXPECT_EQ(rig_.GpuRead(address), 5u);
}

// [GVA] 133
TEST_F(Addresses, OfOneAllocationShowTheSameBytes) {
  const uint32_t allocation = Numbered(4, 100);
  const uint64_t whole = rig_.Map(allocation, 4);
  const uint64_t last = rig_.Map(allocation, 1, 0, kProtectWrite, 3);
  EXPECT_EQ(rig_.GpuRead(last), 103u);
  EXPECT_TRUE(rig_.GpuWrite(last, 7));
  EXPECT_EQ(rig_.GpuRead(whole + 3 * kPage), 7u);
}

// [GVA] 134
TEST_F(Addresses, WithoutMemoryNeedAReservationAndNoAllocation) {
  const uint32_t allocation = rig_.New(kPage);
  const uint64_t mapped = rig_.Map(allocation, 1);
  const uint64_t reserved = rig_.Reserve(kUnit);
  for (const uint64_t protection : {kProtectZero, kProtectNoAccess}) {
    EXPECT_EQ(MapStatus(allocation, 1, reserved, protection), kStatusInvalidParameter);
    EXPECT_EQ(MapStatus(0, 1, mapped, protection), kStatusInvalidParameter);
    EXPECT_EQ(MapStatus(0, 1, 0, protection), kStatusInvalidParameter);
    EXPECT_EQ(MapStatus(0, 1, reserved, protection), kStatusSuccess);
  }
  EXPECT_EQ(MapStatus(0, 1, reserved, kProtectZero | kProtectNoAccess), kStatusInvalidParameter);
  EXPECT_EQ(MapStatus(0, 1, reserved, kProtectWrite), kStatusInvalidParameter) << "no memory at all";
}

// [GVA] 135 136
TEST_F(Addresses, AreFreedExactlyAndAtOnce) {
  const uint32_t allocation = Numbered(2, 1);
  const uint64_t base = 128 * kUnit;
  ASSERT_EQ(rig_.Map(allocation, 2, base), base);
  EXPECT_EQ(rig_.Free(base, kPage), kStatusInvalidParameter);
  EXPECT_EQ(rig_.Free(base + kPage, kPage), kStatusInvalidParameter);
  EXPECT_EQ(rig_.Free(base, 3 * kPage), kStatusInvalidParameter);
  EXPECT_EQ(rig_.Free(base - kUnit, kUnit), kStatusInvalidParameter);
  EXPECT_EQ(rig_.GpuRead(base + kPage), 2u) << "nothing has changed";
  EXPECT_EQ(rig_.Free(base, 2 * kPage), kStatusSuccess);
  EXPECT_EQ(rig_.GpuRead(base), std::nullopt);
  EXPECT_EQ(rig_.fault.reason, GpuFault::kUnmapped);
  EXPECT_EQ(rig_.Free(base, 2 * kPage), kStatusInvalidParameter);
  EXPECT_EQ(rig_.Map(allocation, 1, base), base) << "free for the next";
}

// [GVA] 137
TEST_F(Addresses, AreEachProcesssOwn) {
  const uint32_t allocation = Numbered(1, 9);
  const uint64_t address = rig_.Map(allocation, 1);
  const Caller other = rig_.NewCaller();
  rig_.NewDevice(other);
  EXPECT_EQ(rig_.GpuReadAs(other, address), std::nullopt);
  EXPECT_EQ(rig_.GpuRead(address), 9u);
}

TEST_F(Addresses, AreOnlyGoodWhenTheirOperationHasEnded) {
  MemoryRig slow;
  const uint32_t allocation = slow.New(kPage);
  slow.BringIn({allocation});
  const auto mapped = slow.TryMap(slow.MapRequest(allocation, 1));
  ASSERT_EQ(mapped.status(), kStatusPending);
  EXPECT_EQ(slow.GpuRead(mapped.virtual_address()), std::nullopt);
  EXPECT_EQ(slow.fault.reason, GpuFault::kNotEffective);
  slow.Settle();
  EXPECT_EQ(slow.GpuRead(mapped.virtual_address()), 0u);
  const auto reserved = slow.TryReserve(kUnit, 0, 0, 0, kZero, slow.queue.handle);
  EXPECT_GT(reserved.paging_fence_value(), mapped.paging_fence_value());
  EXPECT_EQ(slow.GpuRead(reserved.virtual_address()), std::nullopt);
  slow.Settle();
  EXPECT_EQ(slow.GpuRead(reserved.virtual_address()), 0u);
}

TEST_F(Addresses, AccessCrossesPiecesAndFaultsBeforeItWrites) {
  const uint32_t first = Numbered(1, 0x11);
  const uint32_t second = Numbered(1, 0x22);
  const uint64_t base = rig_.Reserve(kUnit);
  rig_.Map(first, 1, base);
  rig_.Map(second, 1, base + kPage);
  EXPECT_TRUE(rig_.GpuWrite(base + kPage - 4, 0x1122334455667788));
  EXPECT_EQ(rig_.GpuRead(base + kPage), 0x11223344u);
  EXPECT_FALSE(rig_.GpuWrite(base + 2 * kPage - 4, ~0ull));
  EXPECT_EQ(rig_.fault.address.value, base + 2 * kPage);
  EXPECT_EQ(rig_.GpuRead(base + 2 * kPage - 8), 0u);
}

// [GVA] 138, 139, 140, 141
class Updates : public Addresses {
 protected:
  static std::string Operation(uint32_t kind, const std::vector<uint64_t>& words) {
    std::string data(64, '\0');
    Put<uint32_t>(BytesOf(data), 0, kind);
    for (size_t i = 0; i < words.size(); ++i) Put<uint64_t>(BytesOf(data), 8 + 8 * i, words[i]);
    return data;
  }
  static std::string MapOp(uint64_t at, uint64_t bytes, uint32_t allocation, uint64_t offset = 0,
                           uint64_t window = 0) {
    return Operation(0, {at, bytes, allocation, offset, window});
  }
  static std::string UnmapOp(uint64_t at, uint64_t bytes, uint64_t protection) {
    return Operation(1, {at, bytes, protection});
  }
  static std::string CopyOp(uint64_t from, uint64_t bytes, uint64_t to) {
    return Operation(2, {from, bytes, to});
  }

  struct Asked {
    host::UpdateGpuVirtualAddress::Request request;
    host::UpdateGpuVirtualAddress::Reply reply;
    int completions = 0;
  };
  std::unique_ptr<Asked> Ask(const std::vector<std::string>& operations, uint64_t value, uint32_t flags = 0) {
    auto asked = std::make_unique<Asked>();
    asked->request.set_device(rig_.device);
    asked->request.set_context(context_);
    asked->request.set_fence_object(fence_);
    asked->request.set_fence_value(value);
    asked->request.set_flags(flags);
    asked->request.set_num_operations(static_cast<uint32_t>(operations.size()));
    for (const std::string& operation : operations) asked->request.add_operations()->set_operation(operation);
    rig_.host().Submit(rig_.caller, 19, asked->request, &asked->reply,
                       [count = &asked->completions](bool) { ++*count; });
    return asked;
  }
  int32_t Update(const std::vector<std::string>& operations, uint64_t value = 0, uint32_t flags = 1) {
    return Ask(operations, value, flags)->reply.status();
  }

  uint32_t context_ = rig_.NewContext(rig_.caller, rig_.device);
  SyncRig::Sync created_ = rig_.NewFence();
  uint32_t fence_ = created_.handle;
};

TEST_F(Updates, RefuseNonsense) {
  const uint64_t base = rig_.Reserve(kUnit, kZero);
  const uint32_t allocation = rig_.New(4 * kPage);
  EXPECT_EQ(Update({}), kStatusInvalidParameter);
  EXPECT_EQ(Update({MapOp(base, kPage, allocation)}, 0, 2), kStatusInvalidParameter);
  EXPECT_EQ(Update({Operation(4, {base, kPage})}), kStatusInvalidParameter);
  EXPECT_EQ(Update({MapOp(base, kPage - 1, allocation)}), kStatusInvalidParameter);
  EXPECT_EQ(Update({MapOp(base, 0, allocation)}), kStatusInvalidParameter);
  EXPECT_EQ(Update({MapOp(base, 5 * kPage, allocation)}), kStatusInvalidParameter);
  EXPECT_EQ(Update({MapOp(base, kPage, allocation + 0x4000)}), kStatusInvalidParameter);
  EXPECT_EQ(Update({MapOp(base + kUnit, kPage, allocation)}), kStatusInvalidParameter) << "outside";
  EXPECT_EQ(Update({MapOp(base, 3 * kPage, allocation, 0, 2 * kPage)}), kStatusInvalidParameter);
  EXPECT_EQ(Update({UnmapOp(base, kPage, 1)}), kStatusInvalidParameter);
  const uint32_t own = fence_;
  fence_ = rig_.queue.fence;
  EXPECT_EQ(Update({MapOp(base, kPage, allocation)}), kStatusAccessDenied) << "only its queue raises it";
  fence_ = own;
  const uint64_t no_access = rig_.Reserve(kUnit);
  EXPECT_EQ(Update({MapOp(no_access, kPage, allocation)}), kStatusInvalidParameter) << "not mapped, not zero";
  EXPECT_EQ(rig_.Peek(created_.page), 0u);
}

// [GVA] 138
TEST_F(Updates, WaitForTheFenceAndThenRaiseIt) {
  const uint64_t base = rig_.Reserve(kUnit, kZero);
  const uint32_t allocation = Numbered(1, 55);
  const auto asked = Ask({MapOp(base, kPage, allocation)}, 10);
  EXPECT_EQ(asked->reply.status(), kStatusSuccess);
  rig_.Settle();
  EXPECT_EQ(rig_.GpuRead(base), 0u) << "not yet";
  rig_.Signal(fence_, 9);
  EXPECT_EQ(rig_.GpuRead(base), 0u);
  rig_.Signal(fence_, 10);
  EXPECT_EQ(rig_.GpuRead(base), 55u);
  EXPECT_EQ(rig_.Peek(created_.page), 11u);
  EXPECT_EQ(Update({UnmapOp(base, kPage, kProtectZero)}, 20, 1), kStatusSuccess);
  EXPECT_EQ(rig_.GpuRead(base), 0u) << "without waiting";
  EXPECT_EQ(rig_.Peek(created_.page), 21u);
}

// [GVA] 139
TEST_F(Updates, ApplyInOrderAndStayInOneReservation) {
  const uint64_t base = rig_.Reserve(kUnit, kZero);
  const uint64_t other = rig_.Reserve(kUnit, kZero);
  const uint32_t allocation = Numbered(4, 1);
  EXPECT_EQ(Update({MapOp(base, kPage, allocation), MapOp(other, kPage, allocation)}),
            kStatusInvalidParameter);
  EXPECT_EQ(rig_.GpuRead(base), 0u) << "none of them";
  EXPECT_EQ(Update({MapOp(base, 4 * kPage, allocation), CopyOp(base, 2 * kPage, base + kPage),
                    UnmapOp(base, kPage, kProtectNoAccess)}),
            kStatusSuccess);
  EXPECT_EQ(rig_.GpuRead(base), std::nullopt);
  EXPECT_EQ(rig_.GpuRead(base + kPage), 1u);
  EXPECT_EQ(rig_.GpuRead(base + 2 * kPage), 2u);
  EXPECT_EQ(rig_.GpuRead(base + 3 * kPage), 4u);
  EXPECT_EQ(Update({CopyOp(base + kPage, kPage, other)}), kStatusSuccess) << "from one to the other";
  EXPECT_EQ(rig_.GpuRead(other), 1u);
}

// [GVA] 140
TEST_F(Updates, RepeatShowsTheWindowAgainAndAgain) {
  const uint64_t base = rig_.Reserve(kUnit, kZero);
  const uint32_t allocation = Numbered(4, 1);
  ASSERT_EQ(Update({MapOp(base, 6 * kPage, allocation, kPage, 2 * kPage)}), kStatusSuccess);
  std::vector<uint64_t> seen;
  for (uint64_t page = 0; page < 6; ++page) seen.push_back(rig_.GpuRead(base + page * kPage).value_or(0));
  EXPECT_EQ(seen, (std::vector<uint64_t>{2, 3, 2, 3, 2, 3}));
  ASSERT_EQ(Update({UnmapOp(base + kPage, kPage, kProtectZero)}), kStatusSuccess);
  EXPECT_EQ(rig_.GpuRead(base + 2 * kPage), 2u) << "the rest stays in step";
  EXPECT_EQ(rig_.GpuRead(base + 5 * kPage), 3u);
}

// [GVA] 141
TEST_F(Updates, TheOneTooManyBlocksItsCallerUntilOneIsDone) {
  const uint64_t base = rig_.Reserve(kUnit, kZero);
  const uint32_t allocation = Numbered(1, 3);
  std::vector<std::unique_ptr<Asked>> asked;
  for (uint64_t i = 0; i < 130; ++i) asked.push_back(Ask({MapOp(base, kPage, allocation)}, 1000 + 10 * i));
  EXPECT_EQ(asked[127]->completions, 1);
  EXPECT_EQ(asked[128]->completions, 0);
  EXPECT_EQ(asked[129]->completions, 0);
  rig_.Signal(fence_, 1000);
  EXPECT_EQ(asked[128]->completions, 1);
  EXPECT_EQ(asked[129]->completions, 0);
  rig_.DestroyContext(rig_.caller, context_);
  EXPECT_EQ(asked[129]->completions, 1) << "nothing is left to wait for";
}

TEST_F(Updates, OfFreedAddressesAndGoneAllocationsAreDropped) {
  const uint64_t base = rig_.Reserve(kUnit, kZero);
  const uint32_t gone = Numbered(1, 1);
  const uint32_t stays = Numbered(1, 2);
  Ask({MapOp(base, kPage, gone), MapOp(base + kPage, kPage, stays)}, 5);
  rig_.Destroy({gone});
  rig_.Signal(fence_, 5);
  EXPECT_EQ(rig_.GpuRead(base), 0u);
  EXPECT_EQ(rig_.GpuRead(base + kPage), 2u);
  Ask({MapOp(base, kPage, stays)}, 50);
  rig_.Free(base, kUnit);
  rig_.Signal(fence_, 50);
  EXPECT_EQ(rig_.Peek(created_.page), 51u);
  rig_.EndAndExpectNothing();
}

// A process makes its host keep so many ranges and pieces, and no more.
TEST(GpuVaLimits, OfRangesAndPieces) {
  MemoryBudget budget(Shipped("discrete"));
  VideoMemory memory({{kLocal, kGiB, false}}, budget, {});
  std::atomic<uint64_t> count{0};
  std::atomic<bool> reaches_guest = false;
  GpuVa va(memory, 48, count, reaches_guest, nullptr);
  GpuAddress address;
  while (va.Reserve({}, kUnit, ReservationType::kZero, &address) == kStatusSuccess) {
  }
  EXPECT_EQ(va.ranges(), GpuVa::kPartsMax);
  EXPECT_EQ(va.Reserve({}, kUnit, ReservationType::kZero, &address), kStatusNoMemory);
  const GpuAddress first = GpuVa::kStart, second = first + kUnit;
  GpuMapping nothing;
  nothing.protection = kProtectZero;
  EXPECT_EQ(va.Map({.base = first}, kPage, nothing, &address), kStatusNoMemory);
  EXPECT_EQ(va.MapFence(nullptr, false, &address), kStatusNoMemory);
  EXPECT_FALSE(va.HasRoomToShow(1));
  for (uint64_t i = 2; i < 5; ++i) ASSERT_EQ(va.Free(first + i * kUnit, kUnit), kStatusSuccess);
  ASSERT_EQ(va.Map({.base = first}, kPage, nothing, &address), kStatusSuccess);
  EXPECT_TRUE(va.HasRoomToShow(1));
  EXPECT_FALSE(va.HasRoomToShow(2));
  va.CopyPages(first, kPage, second);
  EXPECT_TRUE(va.HasRoomToShow(1)) << "not copied: it could have parted a piece";
  ASSERT_EQ(va.Free(first + 5 * kUnit, kUnit), kStatusSuccess);
  va.CopyPages(first, kPage, second);
  EXPECT_TRUE(va.HasRoomToShow(1));
  EXPECT_FALSE(va.HasRoomToShow(2));
}

// Prints what one mapping more costs among many. Not a check: machines differ.
TEST(GpuVaCost, GrowsWithTheLogarithm) {
  MemoryBudget budget(Shipped("discrete"));
  VideoMemory memory({{kLocal, kGiB, false}}, budget, {});
  for (const uint64_t live : {10ull, 1000ull, 1'000'000ull}) {
    std::atomic<uint64_t> count{0};
    std::atomic<bool> reaches_guest = false;
    GpuVa va(memory, 48, count, reaches_guest, nullptr);
    GpuAddress address;
    for (uint64_t i = 0; i < live; ++i) va.Reserve({}, kUnit, ReservationType::kZero, &address);
    Rng rng(1);
    constexpr int kRounds = 20'000;
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kRounds; ++i) {
      const GpuAddress victim(kUnit * (1 + rng.Below(live)));
      ASSERT_EQ(va.Free(victim, kUnit), kStatusSuccess);
      ASSERT_EQ(va.Reserve({}, kUnit, ReservationType::kZero, &address), kStatusSuccess);
      ASSERT_TRUE(address == victim) << "the lowest gap";
    }
    const auto ns =
        std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - start);
    std::printf("%8llu ranges: %lld ns to free one and find its gap again\n",
                static_cast<unsigned long long>(live), static_cast<long long>(ns.count() / kRounds));
  }
}

}  // namespace
}  // namespace dxg::hostsim
