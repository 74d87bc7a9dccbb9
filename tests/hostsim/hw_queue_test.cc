#include <gtest/gtest.h>

#include "tests/hostsim/gpu_rig.h"

// Hardware queues and their progress fences. Numbers in brackets are rules of docs/host-rules.md.

namespace dxg::hostsim {
namespace {

TEST(HwQueue, CTX63_WantsAContextThatSupportsIt) {
  GpuRig rig;
  EXPECT_EQ(rig.TryHwQueue(rig.context).status(), kStatusInvalidParameter);
  EXPECT_EQ(rig.TryHwQueue(rig.device).status(), kStatusInvalidParameter);
  EXPECT_EQ(rig.TryHwQueue(0).status(), kStatusInvalidParameter);
  GpuRig without(Shipped("integrated"));
  EXPECT_EQ(without.TryContext(without.caller, without.device, 0, 0, GpuRig::kHwQueueSupported), 0u)
      << "the host schedules packets there";
}

TEST(HwQueue, RefusesFlags) {
  GpuRig rig;
  const uint32_t context = rig.TryContext(rig.caller, rig.device, 0, 0, GpuRig::kHwQueueSupported);
  EXPECT_EQ(rig.TryHwQueue(context, 1u << 4).status(), kStatusNotSupported) << "user-mode submission";
  EXPECT_EQ(rig.TryHwQueue(context, 1u << 5).status(), kStatusInvalidParameter);
  EXPECT_EQ(rig.host().Account().hw_queues, 0u);
  const auto queue = rig.TryHwQueue(context, 0xF, "private");
  EXPECT_EQ(queue.status(), kStatusSuccess);
  EXPECT_EQ(queue.priv_drv_data(), "private");
}

TEST(HwQueue, NothingIsLeftWhereMemoryEnds) {
  FaultPlan faults;
  GpuRig rig(Shipped("discrete"), &faults);
  const uint32_t context = rig.TryContext(rig.caller, rig.device, 0, 0, GpuRig::kHwQueueSupported);
  const Accounting before = rig.host().Account();
  faults.FailAt(FaultPoint::kNoMemoryCreate, 1);
  EXPECT_EQ(rig.TryHwQueue(context).status(), kStatusNoMemory);
  EXPECT_EQ(rig.host().Account().sync_objects, before.sync_objects);
  EXPECT_EQ(rig.TryHwQueue(context).status(), kStatusSuccess);
}

TEST(HwQueue, CTX61_ProgressIsTheLastFinished) {
  GpuRig rig;
  const auto queue = rig.NewHwQueue();
  EXPECT_EQ(rig.Peek(queue.progress_fence_cpu_va()), 0u);
  EXPECT_EQ(rig.SubmitHw(queue.hwqueue(), 3, CommandWriter().Delay(kMs).Write64(rig.data, 1)),
            kStatusSuccess);
  EXPECT_EQ(rig.SubmitHw(queue.hwqueue(), 10, CommandWriter().Delay(kMs)), kStatusSuccess)
      << "gaps are allowed";
  EXPECT_EQ(rig.Peek(queue.progress_fence_cpu_va()), 0u);
  rig.clock.AdvanceNs(kMs);
  EXPECT_EQ(rig.Peek(queue.progress_fence_cpu_va()), 3u);
  EXPECT_EQ(rig.DataAt(0), 1u);
  EXPECT_EQ(rig.GpuRead(queue.progress_fence_gpu_va()), 3u);
  rig.Settle();
  EXPECT_EQ(rig.Peek(queue.progress_fence_cpu_va()), 10u);
}

TEST(HwQueue, CTX62_IdsGoUp) {
  GpuRig rig;
  const auto queue = rig.NewHwQueue();
  EXPECT_EQ(rig.SubmitHw(queue.hwqueue(), 0, CommandWriter().Marker(1)), kStatusInvalidParameter);
  EXPECT_EQ(rig.SubmitHw(queue.hwqueue(), 5, CommandWriter().Marker(2)), kStatusSuccess);
  EXPECT_EQ(rig.SubmitHw(queue.hwqueue(), 5, CommandWriter().Marker(3)), kStatusInvalidParameter);
  EXPECT_EQ(rig.SubmitHw(queue.hwqueue(), 4, CommandWriter().Marker(4)), kStatusInvalidParameter);
  EXPECT_EQ(rig.SubmitHw(queue.hwqueue(), 6, CommandWriter().Marker(5)), kStatusSuccess);
  EXPECT_EQ(rig.Marks(), (std::vector<uint64_t>{2, 5})) << "nothing of the refused ones";
}

TEST(HwQueue, CTX64_WaitsOnProgress) {
  GpuRig rig;
  const auto queue = rig.NewHwQueue();
  rig.SubmitHw(queue.hwqueue(), 7, CommandWriter().Delay(kMs));
  EXPECT_EQ(rig.Wait(queue.progress_fence(), 7, 99), kStatusSuccess);
  EXPECT_EQ(rig.GpuWait(rig.context, {{queue.progress_fence(), 7}}), kStatusSuccess);
  EXPECT_EQ(rig.Submit(CommandWriter().Marker(1)), kStatusSuccess);
  EXPECT_EQ(rig.Happened(), GpuRig::Numbers());
  EXPECT_TRUE(rig.Marks().empty());
  rig.Settle();
  EXPECT_EQ(rig.Happened(), GpuRig::Numbers{99});
  EXPECT_EQ(rig.Marks(), std::vector<uint64_t>{1});
}

TEST(HwQueue, ProgramsDoNotSignalOrDestroyProgress) {
  GpuRig rig;
  const auto queue = rig.NewHwQueue();
  EXPECT_EQ(rig.Signal(queue.progress_fence(), 9), kStatusAccessDenied);
  EXPECT_EQ(rig.GpuSignal({rig.context}, {{queue.progress_fence(), 9}}), kStatusAccessDenied);
  EXPECT_EQ(rig.DestroySync(queue.progress_fence()), kStatusInvalidParameter);
  EXPECT_EQ(rig.Peek(queue.progress_fence_cpu_va()), 0u);
}

TEST(HwQueue, CTX66_DestroyEndsBothHandles) {
  GpuRig rig;
  const auto queue = rig.NewHwQueue();
  const auto fence = rig.NewFence();
  rig.SubmitHw(queue.hwqueue(), 1, CommandWriter().Delay(kMs).Marker(1));
  rig.GpuSignal({queue.hwqueue()}, {{fence.handle, 1}});
  EXPECT_EQ(rig.DestroyHwQueue(queue.hwqueue()), kStatusSuccess);
  EXPECT_EQ(rig.DestroyHwQueue(queue.hwqueue()), kStatusInvalidParameter);
  EXPECT_EQ(rig.Wait(queue.progress_fence(), 0, 1), kStatusInvalidParameter);
  EXPECT_EQ(rig.SubmitHw(queue.hwqueue(), 2, CommandWriter()), kStatusInvalidParameter);
  EXPECT_EQ(rig.GpuRead(queue.progress_fence_gpu_va()), std::nullopt);
  rig.Settle();
  EXPECT_TRUE(rig.Marks().empty());
  EXPECT_EQ(rig.ValueOf(fence), 0u);
  rig.EndAndExpectNothing();
}

TEST(HwQueue, EndsWithItsContext) {
  GpuRig rig;
  const uint32_t context = rig.TryContext(rig.caller, rig.device, 0, 0, GpuRig::kHwQueueSupported);
  const auto queue = rig.TryHwQueue(context);
  rig.SubmitHw(queue.hwqueue(), 1, CommandWriter().Hang());
  EXPECT_EQ(rig.DestroyContext(rig.caller, context), kStatusSuccess);
  EXPECT_EQ(rig.host().Account().hw_queues, 0u);
  EXPECT_EQ(rig.SubmitHw(queue.hwqueue(), 2, CommandWriter()), kStatusInvalidParameter);
  EXPECT_EQ(rig.Submit(CommandWriter().Marker(1)), kStatusSuccess);
  EXPECT_EQ(rig.Marks(), std::vector<uint64_t>{1}) << "the engine is free";
}

TEST(HwQueue, WaitsAndSignalsInItsOrder) {
  GpuRig rig;
  const auto queue = rig.NewHwQueue();
  const auto fence = rig.NewFence();
  EXPECT_EQ(rig.GpuWait(queue.hwqueue(), {{fence.handle, 1}}), kStatusSuccess);
  rig.SubmitHw(queue.hwqueue(), 1, CommandWriter().Delay(kMs));
  EXPECT_EQ(rig.GpuSignal({queue.hwqueue()}, {{fence.handle, 2}}), kStatusSuccess);
  rig.Signal(fence.handle, 1);
  EXPECT_EQ(rig.ValueOf(fence), 1u);
  rig.Settle();
  EXPECT_EQ(rig.ValueOf(fence), 2u);
  EXPECT_EQ(rig.Peek(queue.progress_fence_cpu_va()), 1u);
}

TEST(HwQueue, TakesMonitoredFencesOnly) {
  GpuRig rig;
  const auto queue = rig.NewHwQueue();
  for (const uint32_t type : {1u, 3u}) {
    const auto object = rig.Try(type, 0);
    ASSERT_NE(object.handle, 0u);
    EXPECT_EQ(rig.GpuWait(queue.hwqueue(), {{object.handle, 0}}), kStatusInvalidParameter) << type;
    EXPECT_EQ(rig.GpuSignal({queue.hwqueue()}, {{object.handle, 0}}), kStatusInvalidParameter) << type;
  }
}

TEST(HwQueue, IsNoContextForSubmitCommand) {
  GpuRig rig;
  const auto queue = rig.NewHwQueue();
  EXPECT_EQ(rig.SubmitTo({queue.hwqueue()}, CommandWriter()), kStatusInvalidParameter);
  EXPECT_EQ(rig.SubmitHw(rig.context, 1, CommandWriter()), kStatusInvalidParameter);
}

TEST(HwQueue, PrivateDataIsChecked) {
  GpuRig rig;
  const auto queue = rig.NewHwQueue();
  EXPECT_EQ(rig.SubmitHw(queue.hwqueue(), 1, CommandWriter(), "SUBM"), kStatusInvalidParameter);
  EXPECT_EQ(rig.SubmitHw(queue.hwqueue(), 1, CommandWriter(), "subm"), kStatusSuccess)
      << "and the id is free";
  EXPECT_EQ(rig.host().SubmittedPrivateData(rig.adapter().address), std::vector<std::string>{"subm"});
}

}  // namespace
}  // namespace dxg::hostsim
