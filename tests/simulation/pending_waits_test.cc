// What 100,000 waits that are pending at once cost, in the guest and in the host together.
#include <gtest/gtest.h>

#include <algorithm>

#include "cuse-dxg/guest/call.h"
#include "proto/abi/d3dkmthk.h"
#include "tests/guest/counted_memory.h"
#include "tests/simulation/machine.h"

namespace dxg::simulation {
namespace {

using guest::BytesInUse;

constexpr pid_t kPid = 100;
constexpr int kWaits = 100'000;

class PendingWaits : public testing::Test {
 protected:
  PendingWaits() : machine_(Machine::Discrete(64 << 20)) {
    machine_.Open(kPid);
    d3dkmt_adapterinfo info{};
    d3dkmt_enumadapters2 enumerate{.num_adapters = 1, .adapters = reinterpret_cast<uint64_t>(&info)};
    EXPECT_EQ(machine_.Call(kPid, LX_DXENUMADAPTERS2, &enumerate), 0);
    d3dkmt_createdevice device{};
    device.adapter = info.adapter_handle;
    EXPECT_EQ(machine_.Call(kPid, LX_DXCREATEDEVICE, &device), 0);
    device_ = device.device;
    d3dkmt_createsynchronizationobject2 fence{};
    fence.device = device_;
    fence.info.type = _D3DDDI_MONITORED_FENCE;
    EXPECT_EQ(machine_.Call(kPid, LX_DXCREATESYNCHRONIZATIONOBJECT, &fence), 0);
    fence_ = fence.sync_object;
  }

  int32_t Wait(uint64_t value, int event) {
    d3dkmt_waitforsynchronizationobjectfromcpu args{};
    args.device = device_;
    args.object_count = 1;
    args.objects = reinterpret_cast<uint64_t>(&fence_);
    args.fence_values = reinterpret_cast<uint64_t>(&value);
    args.async_event = static_cast<uint64_t>(event);
    return machine_.Call(kPid, LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, &args);
  }
  void Signal(uint64_t value) {
    d3dkmt_signalsynchronizationobjectfromcpu args{};
    args.device = device_;
    args.object_count = 1;
    args.objects = reinterpret_cast<uint64_t>(&fence_);
    args.fence_values = reinterpret_cast<uint64_t>(&value);
    EXPECT_EQ(machine_.Call(kPid, LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMCPU, &args), 0);
  }

  Machine machine_;
  d3dkmthandle device_{}, fence_{};
};

TEST_F(PendingWaits, WithAnEventCostAtMost512BytesEach) {
  const int event = machine_.NewEvent(kPid);
  ASSERT_EQ(Wait(1, event), 0);
  const int64_t before = BytesInUse();
  for (int i = 0; i < kWaits; ++i) ASSERT_EQ(Wait(1 + i % 2, event), 0);
  const int64_t each = (BytesInUse() - before) / kWaits;
  RecordProperty("bytes", static_cast<int>(each));
  EXPECT_LE(each, 512);
  EXPECT_GT(each, 64);
  Signal(1);
  EXPECT_EQ(machine_.Ticks(event), 1u + kWaits / 2);
  Signal(2);
  EXPECT_EQ(machine_.Ticks(event), 1u + kWaits);
}

// Of the request there is what stands for the kernel's here, and the call with its struct, its messages and
// their two lists.
TEST_F(PendingWaits, ThatBlockCostAtMost512BytesEachBesideTheirRequest) {
  const auto allocated = [](size_t bytes) {
    return static_cast<int64_t>(std::max<size_t>((bytes + 8 + 15) / 16 * 16, 32));
  };
  const int64_t request = Machine::kWaitingBytes +
                          allocated(sizeof(guest::CallOf<calls::WaitForSynchronizationObjectFromCpu>)) +
                          2 * allocated(sizeof(void*) + sizeof(uint64_t));
  ASSERT_EQ(Wait(1, 0), Machine::kWaits);
  const int64_t before = BytesInUse();
  for (int i = 0; i < kWaits; ++i) ASSERT_EQ(Wait(1 + i % 2, 0), Machine::kWaits);
  const int64_t each = (BytesInUse() - before) / kWaits - request;
  RecordProperty("bytes", static_cast<int>(each));
  EXPECT_LE(each, 512);
  EXPECT_GT(each, 128);
  EXPECT_EQ(machine_.waiting(), 1u + kWaits);
  Signal(1);
  EXPECT_EQ(machine_.waiting(), kWaits / 2u);
  Signal(2);
  EXPECT_EQ(machine_.waiting(), 0u);
}

}  // namespace
}  // namespace dxg::simulation
