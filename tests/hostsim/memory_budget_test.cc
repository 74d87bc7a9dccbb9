#include "hostsim/memory/memory_budget.h"

#include <gtest/gtest.h>

#include "tests/hostsim/rig.h"

namespace dxg::hostsim {
namespace {

constexpr uint64_t kGiB = 1ull << 30;

class Budget : public testing::Test {
 protected:
  Answer<host::QueryVideoMemoryInfo> Query(const Caller& caller, uint32_t group = 0, uint32_t index = 0) {
    host::QueryVideoMemoryInfo::Request request;
    request.set_adapter(rig_.adapter().host_handle);
    request.set_memory_segment_group(group);
    request.set_physical_adapter_index(index);
    return rig_.Ask<host::QueryVideoMemoryInfo>(caller, request);
  }
  int32_t Reserve(const Caller& caller, uint64_t bytes, uint32_t group = 0, uint32_t index = 0) {
    host::ChangeVideoMemoryReservation::Request request;
    request.set_memory_segment_group(group);
    request.set_reservation(bytes);
    request.set_physical_adapter_index(index);
    return rig_.Ask<host::ChangeVideoMemoryReservation>(caller, request).reply.status();
  }

  Rig rig_;
  Caller caller_ = rig_.NewCaller();
};

// [RES] 118: a bad adapter, index or group; the reply has no status
TEST_F(Budget, QueryRefusesByAShortAnswer) {
  EXPECT_FALSE(Query(caller_, 2).accepted);
  EXPECT_FALSE(Query(caller_, 0, 1).accepted);
  EXPECT_FALSE(Query({}).accepted);
  EXPECT_FALSE(Query({0, caller_.adapter_luid}).accepted);
  EXPECT_FALSE(rig_.Ask<host::QueryVideoMemoryInfo>(caller_, {}).accepted) << "no adapter handle";
  EXPECT_TRUE(Query(caller_).accepted);
  rig_.host().RemoveAdapter(caller_.adapter_luid);
  host::QueryVideoMemoryInfo::Request request;
  request.set_adapter(0x40000000);
  EXPECT_FALSE(rig_.Ask<host::QueryVideoMemoryInfo>(caller_, request).accepted);
}

TEST_F(Budget, ReservationRefusesNonsense) {
  EXPECT_EQ(Reserve({}, 0), kStatusInvalidParameter);
  EXPECT_EQ(Reserve(caller_, 0, 2), kStatusInvalidParameter);
  EXPECT_EQ(Reserve(caller_, 0, 0, 1), kStatusInvalidParameter);
  host::ChangeVideoMemoryReservation::Request request;
  request.set_process(1);
  EXPECT_EQ(rig_.Ask<host::ChangeVideoMemoryReservation>(caller_, request).reply.status(),
            kStatusInvalidParameter);
  request.set_process(0);
  request.set_adapter(rig_.adapter().host_handle);
  EXPECT_EQ(rig_.Ask<host::ChangeVideoMemoryReservation>(caller_, request).reply.status(),
            kStatusInvalidParameter);
}

TEST_F(Budget, IdleProcessHasAllOfIt) {
  const auto local = Query(caller_).reply;
  EXPECT_EQ(local.budget(), 8 * kGiB / 100 * 90);
  EXPECT_EQ(local.current_usage(), 0u);
  EXPECT_EQ(local.current_reservation(), 0u);
  EXPECT_LE(local.available_for_reservation(), local.budget());
  EXPECT_EQ(Query(caller_, 1).reply.budget(), 16 * kGiB / 100 * 90);
}

// [RES] 119
TEST_F(Budget, ReservationReadsBackAndTooMuchKeepsTheOldOne) {
  const uint64_t available = Query(caller_).reply.available_for_reservation();
  EXPECT_EQ(Reserve(caller_, available + 1), kStatusInvalidParameter);
  EXPECT_EQ(Query(caller_).reply.current_reservation(), 0u);
  EXPECT_EQ(Reserve(caller_, available), kStatusSuccess);
  EXPECT_EQ(Query(caller_).reply.current_reservation(), available);
  EXPECT_EQ(Query(caller_).reply.budget(), available) << "a reservation raises no budget";
  EXPECT_EQ(Reserve(caller_, ~0ull), kStatusInvalidParameter);
  EXPECT_EQ(Query(caller_).reply.current_reservation(), available);
  EXPECT_EQ(Query(caller_, 1).reply.current_reservation(), 0u) << "the other group's";
  EXPECT_EQ(Reserve(caller_, 0), kStatusSuccess);
  EXPECT_EQ(rig_.host().Account().reserved_bytes[kLocal], 0u);
}

TEST_F(Budget, ActiveProcessesShare) {
  const Caller other = rig_.NewCaller();
  const uint64_t all = Query(caller_).reply.budget();
  rig_.NewDevice(caller_);
  const uint32_t device = rig_.NewDevice(other);
  const uint32_t second = rig_.NewDevice(other);
  EXPECT_EQ(Query(caller_).reply.budget(), all / 2);
  EXPECT_EQ(Query(other).reply.budget(), all / 2);
  rig_.DestroyDevice(other, device);
  EXPECT_EQ(Query(caller_).reply.budget(), all / 2) << "still one device";
  rig_.DestroyDevice(other, second);
  EXPECT_EQ(Query(caller_).reply.budget(), all);
}

TEST_F(Budget, ShareNeverFallsBelowTheReservation) {
  const uint64_t all = Query(caller_).reply.budget();
  rig_.NewDevice(caller_);
  ASSERT_EQ(Reserve(caller_, all / 4 * 3), kStatusSuccess);
  const Caller other = rig_.NewCaller();
  rig_.NewDevice(other);
  EXPECT_EQ(Query(caller_).reply.budget(), all / 4 * 3);
  EXPECT_EQ(Query(caller_).reply.available_for_reservation(), all / 4 * 3);
  EXPECT_LE(Query(other).reply.available_for_reservation(), all - all / 4 * 3)
      << "together no more than there is";
  EXPECT_EQ(Reserve(other, all / 2), kStatusInvalidParameter);
  rig_.Ask<host::DestroyProcess>({caller_.process, 0}, {});
  EXPECT_EQ(Reserve(other, all / 2), kStatusSuccess) << "its end gives it back";
}

TEST(BudgetOfOnePool, IsAllLocal) {
  Rig rig({Shipped("integrated")});
  const Caller caller = rig.NewCaller();
  host::QueryVideoMemoryInfo::Request request;
  request.set_adapter(rig.adapter().host_handle);
  EXPECT_EQ(rig.Ask<host::QueryVideoMemoryInfo>(caller, request).reply.budget(), 8 * kGiB / 100 * 90);
  request.set_memory_segment_group(1);
  EXPECT_EQ(rig.Ask<host::QueryVideoMemoryInfo>(caller, request).reply.budget(), 0u);
}

}  // namespace
}  // namespace dxg::hostsim
