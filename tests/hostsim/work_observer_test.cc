// What an observer of the host's work is told: commands on engines, fences, the ends of waits, devices.
#include "hostsim/machine/work_observer.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/hostsim/gpu_rig.h"

namespace dxg::hostsim {
namespace {

using Kind = WorkEvent::Kind;

class Seen final : public WorkObserver {
 public:
  void OnWork(const WorkEvent& event) override {
    all.push_back(event);
    told.push_back(rig != nullptr ? rig->recorded.events.size() : 0);
  }
  std::vector<WorkEvent> Of(uint32_t object) const {
    std::vector<WorkEvent> found;
    for (const WorkEvent& event : all) {
      if (event.of.object == object) found.push_back(event);
    }
    return found;
  }

  std::vector<WorkEvent> all;
  std::vector<size_t> told;  // how many events the guest had heard of then
  GpuRig* rig = nullptr;
};

class WorkObserverTest : public testing::Test {
 protected:
  static constexpr uint64_t kPid = 100;  // of the rig's first process

  WorkObserverTest() { seen.rig = &rig; }
  ~WorkObserverTest() override { seen.rig = nullptr; }

  void Expect(const WorkEvent& event, Kind kind, uint32_t object, uint64_t value) {
    EXPECT_EQ(event.kind, kind);
    EXPECT_EQ(event.of.process, rig.caller.process);
    EXPECT_EQ(event.of.process_id, kPid);
    EXPECT_EQ(event.of.object, object);
    EXPECT_EQ(event.value, value);
  }

  Seen seen;
  GpuRig rig{Shipped("discrete"), nullptr, nullptr, false, kObjectsPerProcessMax, {}, &seen};
};

TEST_F(WorkObserverTest, ACommandOfAHardwareQueueHasItsProgressFence) {
  constexpr uint32_t kNode = 1;
  const uint32_t context = rig.TryContext(rig.caller, rig.device, kNode, 0, GpuRig::kHwQueueSupported);
  const auto queue = rig.TryHwQueue(context);
  const uint64_t begin_ns = rig.clock.NowNs();
  ASSERT_EQ(rig.Wait(queue.progress_fence(), 2, 99), kStatusSuccess);
  ASSERT_EQ(rig.SubmitHw(queue.hwqueue(), 3, CommandWriter().Delay(kMs)), kStatusSuccess);
  rig.Settle();
  const auto work = seen.Of(queue.hwqueue());
  ASSERT_EQ(work.size(), 2u);
  Expect(work[0], Kind::kBegan, queue.hwqueue(), 3);
  Expect(work[1], Kind::kEnded, queue.hwqueue(), 3);
  EXPECT_EQ(work[0].node, kNode);
  EXPECT_EQ(work[1].node, kNode);
  for (const WorkEvent& each : work) EXPECT_EQ(each.adapter, rig.adapter().luid);
  EXPECT_EQ(work[0].at_ns, begin_ns);
  EXPECT_GE(work[1].at_ns, begin_ns + kMs);
  const auto fence = seen.Of(queue.progress_fence());
  ASSERT_EQ(fence.size(), 2u);
  Expect(fence[0], Kind::kFence, queue.progress_fence(), 3);
  Expect(fence[1], Kind::kWaitEnded, queue.progress_fence(), 2);
  EXPECT_EQ(fence[0].at_ns, work[1].at_ns);
  ASSERT_EQ(rig.recorded.events.size(), 1u);
  EXPECT_EQ(seen.told.back(), 0u) << "who waits hears of it before the observer";
}

TEST_F(WorkObserverTest, CommandsOfAContextAreCounted) {
  const auto fence = rig.NewFence();
  for (int i = 0; i < 2; ++i) ASSERT_EQ(rig.Submit(CommandWriter().Marker(1)), kStatusSuccess);
  ASSERT_EQ(rig.GpuSignal({rig.context}, {{fence.handle, 7}}), kStatusSuccess);
  rig.Settle();
  const auto work = seen.Of(rig.context);
  ASSERT_EQ(work.size(), 4u);
  Expect(work[0], Kind::kBegan, rig.context, 1);
  Expect(work[1], Kind::kEnded, rig.context, 1);
  Expect(work[2], Kind::kBegan, rig.context, 2);
  Expect(work[3], Kind::kEnded, rig.context, 2);
  ASSERT_EQ(seen.Of(fence.handle).size(), 1u);
  Expect(seen.Of(fence.handle)[0], Kind::kFence, fence.handle, 7);
}

TEST_F(WorkObserverTest, AFenceThatKeepsItsValueIsNoNews) {
  const auto fence = rig.NewFence(5);
  EXPECT_EQ(rig.Signal(fence.handle, 5), kStatusSuccess);
  EXPECT_TRUE(seen.Of(fence.handle).empty());
  EXPECT_EQ(rig.Wait(fence.handle, 4, 99), kStatusSuccess);
  const auto ended = seen.Of(fence.handle);
  ASSERT_EQ(ended.size(), 1u) << "a wait that is over at once ends too";
  Expect(ended[0], Kind::kWaitEnded, fence.handle, 4);
}

TEST_F(WorkObserverTest, AWaitForAnyNamesTheFenceThatIsThere) {
  const auto first = rig.NewFence(), second = rig.NewFence();
  ASSERT_EQ(rig.Wait({{first.handle, 1}, {second.handle, 2}}, 99, true), kStatusSuccess);
  ASSERT_EQ(rig.Signal(second.handle, 3), kStatusSuccess);
  EXPECT_TRUE(seen.Of(first.handle).empty());
  const auto events = seen.Of(second.handle);
  ASSERT_EQ(events.size(), 2u);
  Expect(events[0], Kind::kFence, second.handle, 3);
  Expect(events[1], Kind::kWaitEnded, second.handle, 2);
}

TEST_F(WorkObserverTest, AHandleOfAnotherProcessIsNotNamed) {
  const auto shared = rig.NewFence(0, kSyncShared | kSyncNtSecuritySharing);
  const Caller other{rig.NewProcess(200), rig.caller.adapter_luid};
  const uint32_t device = rig.NewDevice(other);
  const auto opened = rig.OpenFor(other, device, shared.global);
  ASSERT_EQ(opened.status, kStatusSuccess);
  ASSERT_EQ(rig.WaitFor(other, device, {{opened.handle, 1}}, 99), kStatusSuccess);
  ASSERT_EQ(rig.Signal(shared.handle, 1), kStatusSuccess);
  const WorkEvent& ended = seen.all.back();
  EXPECT_EQ(ended.kind, Kind::kWaitEnded);
  EXPECT_EQ(ended.of.process, other.process);
  EXPECT_EQ(ended.of.process_id, 200u);
  EXPECT_EQ(ended.of.object, 0u);
}

TEST_F(WorkObserverTest, ADeviceFailsOnce) {
  ASSERT_EQ(rig.MarkAsError(rig.caller, rig.device), kStatusSuccess);
  (void)rig.MarkAsError(rig.caller, rig.device);
  const auto events = seen.Of(rig.device);
  ASSERT_EQ(events.size(), 1u);
  Expect(events[0], Kind::kDeviceState, rig.device, rig.StateOf(rig.device));
  EXPECT_EQ(events[0].adapter, rig.adapter().luid);
}

}  // namespace
}  // namespace dxg::hostsim
