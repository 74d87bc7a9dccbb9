#include <gtest/gtest.h>

#include "tests/hostsim/gpu_rig.h"

// Contexts and what is submitted to them. Numbers in brackets are rules of docs/host-rules.md.

namespace dxg::hostsim {
namespace {

using Ids = std::vector<uint64_t>;

// -- Refusals.

TEST(Submit, CTX59_CountsContexts) {
  GpuRig rig;
  const uint64_t address = rig.Put(CommandWriter().Marker(1).bytes());
  auto with_count = [&](uint32_t count) {
    auto request = rig.SubmitRequest(std::vector<uint32_t>(64, rig.context), address, 24);
    request.set_broadcast_context_count(count);
    return rig.Submit(request);
  };
  EXPECT_EQ(with_count(0), kStatusInvalidParameter);
  EXPECT_EQ(with_count(65), kStatusInvalidParameter);
  EXPECT_EQ(with_count(~0u), kStatusInvalidParameter);
  EXPECT_EQ(rig.Marks(), Ids());
  EXPECT_EQ(with_count(64), kStatusSuccess);
  EXPECT_EQ(rig.Marks(), Ids(64, 1));
}

TEST(Submit, CTX59_ContextsOfOneDevice) {
  GpuRig rig;
  const uint32_t other = rig.NewContext(rig.caller, rig.NewDevice(rig.caller));
  EXPECT_EQ(rig.SubmitTo({rig.context, other}, CommandWriter().Marker(1)), kStatusInvalidParameter);
  EXPECT_EQ(rig.Marks(), Ids());
}

TEST(Submit, RefusesWhatIsNoContext) {
  GpuRig rig;
  const CommandWriter commands;
  for (const uint32_t handle : {0u, 0x7FFFFFC0u, rig.device, rig.queue.handle, rig.queue.fence}) {
    EXPECT_EQ(rig.SubmitTo({handle}, commands), kStatusInvalidParameter);
    EXPECT_EQ(rig.SubmitTo({rig.context, handle}, commands), kStatusInvalidParameter);
  }
  const uint32_t gone = rig.NewContext(rig.caller, rig.device);
  EXPECT_EQ(rig.DestroyContext(rig.caller, gone), kStatusSuccess);
  EXPECT_EQ(rig.SubmitTo({gone}, commands), kStatusInvalidParameter);
}

TEST(Submit, RefusesFlagsLengthsAndPrimaries) {
  GpuRig rig;
  const uint64_t address = rig.Put(CommandWriter().Marker(1).bytes());
  auto request = rig.SubmitRequest({rig.context}, address, 0);
  EXPECT_EQ(rig.Submit(request), kStatusInvalidParameter) << "no bytes";
  request.set_command_length(24);
  request.set_flags(4);
  EXPECT_EQ(rig.Submit(request), kStatusInvalidParameter) << "unknown flag";
  request.set_flags(0);
  request.set_num_primaries(17);
  EXPECT_EQ(rig.Submit(request), kStatusInvalidParameter);
  EXPECT_EQ(rig.Marks(), Ids());
  request.set_num_primaries(16);
  EXPECT_EQ(rig.Submit(request), kStatusSuccess);
  EXPECT_EQ(rig.Marks(), Ids{1});
}

TEST(Submit, CTX72_PrivateDataThatTheDriverCannotRead) {
  GpuRig rig;
  auto try_data = [&](const std::string& data, uint32_t size) {
    auto request = rig.SubmitRequest({rig.context}, rig.Put(CommandWriter().bytes()), 8);
    request.set_priv_drv_data(data);
    request.set_priv_drv_data_size(size);
    return rig.Submit(request);
  };
  dxg_submission good = {DXG_SUBMISSION_MAGIC, DXG_SUBMISSION_VERSION, sizeof good + 3, 0, 77};
  auto bytes = [](const dxg_submission& of) {
    return std::string(reinterpret_cast<const char*>(&of), sizeof of) + "abc";
  };
  EXPECT_EQ(try_data(bytes(good), sizeof good + 3), kStatusSuccess);
  EXPECT_EQ(try_data(bytes(good), sizeof good + 2), kStatusInvalidParameter) << "not as long as it says";
  EXPECT_EQ(try_data(bytes(good).substr(0, 20), 20), kStatusInvalidParameter);
  dxg_submission bad = good;
  bad.version = 2;
  EXPECT_EQ(try_data(bytes(bad), sizeof bad + 3), kStatusInvalidParameter);
  bad = good;
  bad.reserved = 1;
  EXPECT_EQ(try_data(bytes(bad), sizeof bad + 3), kStatusInvalidParameter);
  EXPECT_EQ(try_data("of somebody else", 16), kStatusSuccess);
  EXPECT_EQ(rig.StateOf(rig.device), 1u);
}

TEST(Submit, CTX60_PrivateDataArrivesByteForByte) {
  GpuRig rig;
  std::string data;
  for (int i = 0; i < 256; ++i) data.push_back(static_cast<char>(i));
  auto request = rig.SubmitRequest({rig.context}, rig.Put(CommandWriter().bytes()), 8);
  request.set_priv_drv_data(data);
  request.set_priv_drv_data_size(256);
  EXPECT_EQ(rig.Submit(request), kStatusSuccess);
  const auto seen = rig.host().SubmittedPrivateData(rig.adapter().address);
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0], data);
}

TEST(Submit, CTX68_SynchronizationOnly) {
  GpuRig rig;
  const uint32_t context = rig.TryContext(rig.caller, rig.device, 0, 0, 1u << 3);
  const auto fence = rig.NewFence();
  EXPECT_EQ(rig.SubmitTo({context}, CommandWriter()), kStatusInvalidParameter);
  EXPECT_EQ(rig.GpuWait(context, {{fence.handle, 1}}), kStatusSuccess);
  EXPECT_EQ(rig.GpuSignal({context}, {{fence.handle, 5}}), kStatusSuccess);
  EXPECT_EQ(rig.ValueOf(fence), 0u);
  EXPECT_EQ(rig.Signal(fence.handle, 1), kStatusSuccess);
  EXPECT_EQ(rig.ValueOf(fence), 5u);
}

TEST(Submit, DEV46_AfterAnError) {
  GpuRig rig;
  const auto fence = rig.NewFence();
  const uint32_t hw_context = rig.TryContext(rig.caller, rig.device, 0, 0, GpuRig::kHwQueueSupported);
  const auto hw_queue = rig.TryHwQueue(hw_context);
  EXPECT_EQ(rig.MarkAsError(rig.caller, rig.device), kStatusSuccess);
  auto request = rig.SubmitRequest({rig.context}, 0x10000, 8);
  EXPECT_EQ(rig.Submit(request), kStatusDeviceRemoved);
  EXPECT_EQ(rig.GpuSignal({rig.context}, {{fence.handle, 1}}), kStatusDeviceRemoved);
  EXPECT_EQ(rig.GpuWait(rig.context, {{fence.handle, 1}}), kStatusDeviceRemoved);
  EXPECT_EQ(rig.TryHwQueue(hw_context).status(), kStatusDeviceRemoved);
  EXPECT_EQ(rig.DestroyHwQueue(hw_queue.hwqueue()), kStatusSuccess);
  EXPECT_EQ(rig.DestroyContext(rig.caller, rig.context), kStatusSuccess);
  EXPECT_EQ(rig.DestroyDevice(rig.caller, rig.device), kStatusSuccess);
  rig.EndAndExpectNothing();
}

TEST(Submit, RefusedUnheardPutsTheDeviceIntoError) {
  GpuRig rig;
  Caller unheard = rig.caller;
  unheard.asynchronous = true;
  EXPECT_EQ(rig.Ask<host::SubmitCommand>(unheard, rig.SubmitRequest({0x40}, 0x10000, 8)).reply.status(),
            kStatusInvalidParameter);
  EXPECT_EQ(rig.StateOf(rig.device), 1u) << "of nobody";
  EXPECT_EQ(rig.host().Account().unheard_refusals, 1u);
  rig.Ask<host::SubmitCommand>(unheard, rig.SubmitRequest({rig.context}, 0x10000, 0));
  EXPECT_EQ(rig.StateOf(rig.device), 6u);
  EXPECT_EQ(rig.host().Account().unheard_refusals, 2u);
}

// [GEN] 15
TEST(Submit, SignalsAndWaitsRefusedUnheardLeaveTheDeviceAlone) {
  GpuRig rig;
  Caller unheard = rig.caller;
  unheard.asynchronous = true;
  const auto deaf = rig.NewFence(0, kSyncNoWait);
  host::WaitForSyncObjectFromGpu::Request wait;
  wait.set_context(rig.context);
  wait.set_object_count(1);
  wait.add_objects(deaf.handle);
  wait.add_fence_values(1);
  EXPECT_EQ(rig.Ask<host::WaitForSyncObjectFromGpu>(unheard, wait).reply.status(), kStatusAccessDenied);
  const auto mute = rig.NewFence(0, kSyncNoSignal);
  host::SignalSyncObject::Request signal;
  signal.set_context_count(1);
  signal.add_contexts(rig.context);
  signal.set_object_count(1);
  signal.add_objects(mute.handle);
  signal.add_fence_values(1);
  EXPECT_EQ(rig.Ask<host::SignalSyncObject>(unheard, signal).reply.status(), kStatusAccessDenied);
  EXPECT_EQ(rig.host().Account().unheard_refusals, 2u);
  EXPECT_EQ(rig.StateOf(rig.device), 1u);
  rig.Submit(CommandWriter().Marker(1));
  EXPECT_EQ(rig.Marks(), Ids{1}) << "nothing of them is queued";
}

// -- What is executed.

TEST(Submit, RunsOnTheGpusAddresses) {
  GpuRig rig;
  EXPECT_EQ(rig.Submit(CommandWriter()
                           .Fill(rig.data, 4096, 7)
                           .Copy(rig.data + 8192, rig.data, 4096)
                           .Timestamp(rig.data + 64)),
            kStatusSuccess);
  EXPECT_EQ(rig.DataAt(8192 + 4088), 0x700000007u);
  EXPECT_EQ(rig.DataAt(8192 + 4096), 0u);
  EXPECT_EQ(rig.DataAt(64), rig.clock.NowNs()) << "a clock of 1 GHz";
}

TEST(Submit, OfAnotherDriverSucceeds) {
  GpuRig rig;
  const auto fence = rig.NewFence();
  EXPECT_EQ(rig.Submit(rig.SubmitRequest({rig.context}, rig.data, 4096)), kStatusSuccess);
  EXPECT_EQ(rig.GpuSignal({rig.context}, {{fence.handle, 1}}), kStatusSuccess);
  EXPECT_EQ(rig.ValueOf(fence), 1u);
  EXPECT_EQ(rig.StateOf(rig.device), 1u);
  const auto noted = rig.host().fidelity().Read();
  ASSERT_EQ(noted.size(), 1u);
  EXPECT_EQ(noted[0].kind, FidelityKind::kNotExecuted);
  EXPECT_EQ(noted[0].what, fidelity::kForeignCommands);
  EXPECT_EQ(noted[0].count, 1u);
}

TEST(Submit, OfAnotherDriverLosesTheDeviceWhereTheProfileWantsThat) {
  AdapterProfile profile = Shipped("discrete");
  profile.mutable_engines()->set_unexecuted(AdapterProfile::Engines::FAULT);
  GpuRig rig(profile);
  EXPECT_EQ(rig.Submit(rig.SubmitRequest({rig.context}, rig.data, 4096)), kStatusSuccess);
  EXPECT_EQ(rig.StateOf(rig.device), 6u);
  EXPECT_EQ(rig.host().fidelity().Read().size(), 1u);
}

TEST(Submit, FlagsWithoutEffectAndUnreadDataAreCounted) {
  GpuRig rig;
  auto request = rig.SubmitRequest({rig.context}, rig.Put(CommandWriter().bytes()), 8);
  request.set_flags(2);  // PresentRedirected
  request.set_priv_drv_data("another driver's");
  request.set_priv_drv_data_size(16);
  EXPECT_EQ(rig.Submit(request), kStatusSuccess);
  request.set_flags(4);
  EXPECT_EQ(rig.Submit(request), kStatusInvalidParameter) << "what is refused is not counted";
  const auto noted = rig.host().fidelity().Read();
  ASSERT_EQ(noted.size(), 2u);
  EXPECT_EQ(noted[0].kind, FidelityKind::kUnread);
  EXPECT_EQ(noted[0].call, "SubmitCommand");
  EXPECT_EQ(noted[0].number, 16u);
  EXPECT_EQ(noted[1].kind, FidelityKind::kApproximated);
  EXPECT_EQ(noted[1].what, "flag PresentRedirected without effect");
  EXPECT_EQ(noted[1].count, 1u);
}

TEST(Submit, CTX55_OrderOfOneContext) {
  GpuRig rig;
  Ids expected;
  for (uint64_t i = 0; i < 200; ++i) {
    EXPECT_EQ(rig.Submit(CommandWriter().Delay(i % 7 * 1000).Marker(i)), kStatusSuccess);
    expected.push_back(i);
  }
  rig.Settle();
  EXPECT_EQ(rig.Marks(), expected);
}

// Whoever has less to do on the same node comes in between.
TEST(Submit, CTX56_ContextsHaveNoOrder) {
  bool first_wins = false, second_wins = false;
  for (uint64_t seed = 0; seed < 8; ++seed) {
    GpuRig rig;
    Rng rng(seed);
    const uint32_t other = rig.TryContext(rig.caller, rig.device, 1);
    EXPECT_EQ(rig.Submit(CommandWriter().Delay(rng.Below(1000) + 1).Marker(1)), kStatusSuccess);
    EXPECT_EQ(rig.SubmitTo({other}, CommandWriter().Delay(rng.Below(1000) + 1).Marker(2)), kStatusSuccess);
    rig.Settle();
    ASSERT_EQ(rig.Marks().size(), 2u);
    (rig.Marks().front() == 1 ? first_wins : second_wins) = true;
  }
  EXPECT_TRUE(first_wins);
  EXPECT_TRUE(second_wins);
}

TEST(Submit, NodesWorkAtTheSameTime) {
  GpuRig rig;
  const uint32_t other = rig.TryContext(rig.caller, rig.device, 1);
  const uint64_t begin = rig.clock.NowNs();
  rig.Submit(CommandWriter().Delay(kMs).Timestamp(rig.data));
  rig.SubmitTo({other}, CommandWriter().Delay(kMs).Timestamp(rig.data + 8));
  rig.Settle();
  EXPECT_EQ(rig.DataAt(0), begin + kMs);
  EXPECT_EQ(rig.DataAt(8), begin + kMs);
}

TEST(Submit, CTX58_ThousandsWaitWithoutHoldingTheirCaller) {
  GpuRig rig;
  const auto fence = rig.NewFence();
  EXPECT_EQ(rig.GpuWait(rig.context, {{fence.handle, 1}}), kStatusSuccess);
  const CommandWriter add = CommandWriter().AtomicAdd64(rig.data, 1);
  const uint64_t address = rig.Put(add.bytes());
  for (int i = 0; i < 5000; ++i) {
    ASSERT_EQ(rig.Submit(rig.SubmitRequest({rig.context}, address, add.bytes().size())), kStatusSuccess);
  }
  EXPECT_EQ(rig.DataAt(0), 0u);
  EXPECT_EQ(rig.Signal(fence.handle, 1), kStatusSuccess);
  EXPECT_EQ(rig.DataAt(0), 5000u);
}

TEST(Submit, QueuesAreLimited) {
  GpuRig rig;
  const auto fence = rig.NewFence();
  EXPECT_EQ(rig.GpuWait(rig.context, {{fence.handle, 1}}), kStatusSuccess);
  auto request =
      rig.SubmitRequest(std::vector<uint32_t>(64, rig.context), rig.Put(CommandWriter().bytes()), 8);
  uint64_t packets = 1;
  int32_t status = kStatusSuccess;
  while (status == kStatusSuccess && packets <= kPacketsPerProcessMax) {
    status = rig.Submit(request);
    if (status == kStatusSuccess) packets += 64;
  }
  EXPECT_EQ(status, kStatusNoMemory);
  EXPECT_GT(packets + 64, kPacketsPerProcessMax);
  EXPECT_EQ(rig.StateOf(rig.device), 1u);
  EXPECT_EQ(rig.Signal(fence.handle, 1), kStatusSuccess);
  EXPECT_EQ(rig.Submit(request), kStatusSuccess) << "there is room again";
  rig.EndAndExpectNothing();
}

TEST(Submit, BroadcastRunsInEachContext) {
  GpuRig rig;
  const uint32_t other = rig.TryContext(rig.caller, rig.device, 1);
  EXPECT_EQ(rig.SubmitTo({rig.context, other}, CommandWriter().AtomicAdd64(rig.data, 1)), kStatusSuccess);
  EXPECT_EQ(rig.DataAt(0), 2u);
}

TEST(Submit, CTX67_DestroyedContextTakesItsWorkAlong) {
  GpuRig rig;
  const auto fence = rig.NewFence();
  const uint32_t other = rig.NewContext(rig.caller, rig.device);
  EXPECT_EQ(rig.SubmitTo({other}, CommandWriter().Delay(kMs).Marker(1)), kStatusSuccess);
  EXPECT_EQ(rig.SubmitTo({other}, CommandWriter().Marker(2)), kStatusSuccess);
  EXPECT_EQ(rig.GpuSignal({other}, {{fence.handle, 9}}), kStatusSuccess);
  EXPECT_EQ(rig.Submit(CommandWriter().Marker(3)), kStatusSuccess);
  EXPECT_EQ(rig.DestroyContext(rig.caller, other), kStatusSuccess);
  rig.Settle();
  EXPECT_EQ(rig.Marks(), Ids{3}) << "what ran is stopped, what waited never runs";
  EXPECT_EQ(rig.ValueOf(fence), 0u) << "and its signals neither";
  EXPECT_EQ(rig.StateOf(rig.device), 1u);
}

TEST(Submit, DEV53_DestroyedDeviceRunsNoSignal) {
  GpuRig rig;
  const uint32_t gone = rig.NewDevice(rig.caller);
  const uint32_t its_context = rig.NewContext(rig.caller, gone);
  const auto fence = rig.NewFence();
  EXPECT_EQ(rig.SubmitTo({its_context}, CommandWriter().Delay(kMs)), kStatusSuccess);
  EXPECT_EQ(rig.GpuSignal({its_context}, {{fence.handle, 9}}), kStatusSuccess);
  EXPECT_EQ(rig.DestroyDevice(rig.caller, gone), kStatusSuccess);
  EXPECT_EQ(rig.SubmitTo({its_context}, CommandWriter()), kStatusInvalidParameter);
  rig.Settle();
  EXPECT_EQ(rig.ValueOf(fence), 0u);
}

TEST(Submit, CTX71_NullRendering) {
  GpuRig rig;
  const uint32_t context = rig.TryContext(rig.caller, rig.device, 0, 0, 1);
  const auto fence = rig.NewFence();
  EXPECT_EQ(rig.SubmitTo({context}, CommandWriter().Write64(rig.data, 1).Write64(0x40, 1)), kStatusSuccess);
  EXPECT_EQ(rig.SubmitTo({rig.context}, CommandWriter().Write64(rig.data, 1), 1), kStatusSuccess)
      << "by its flag";
  EXPECT_EQ(rig.GpuSignal({context}, {{fence.handle, 1}}), kStatusSuccess);
  EXPECT_EQ(rig.ValueOf(fence), 1u);
  EXPECT_EQ(rig.DataAt(0), 0u);
  EXPECT_EQ(rig.StateOf(rig.device), 1u);
}

// -- Whose turn it is.

int32_t SetPriority(GpuRig& rig, uint32_t context, int32_t priority, bool in_process = false) {
  host::SetContextSchedulingPriority::Request request;
  request.set_context(context);
  request.set_priority(priority);
  request.set_in_process(in_process ? 1 : 0);
  return rig.Ask<host::SetContextSchedulingPriority>(rig.caller, request).reply.status();
}

TEST(Submit, PriorityGoesFirstAndEqualsInTurn) {
  GpuRig rig;
  const uint32_t low = rig.NewContext(rig.caller, rig.device);
  const uint32_t high = rig.NewContext(rig.caller, rig.device);
  const uint32_t equal = rig.NewContext(rig.caller, rig.device);
  EXPECT_EQ(SetPriority(rig, low, -7), kStatusSuccess);
  EXPECT_EQ(SetPriority(rig, high, 7), kStatusSuccess);
  rig.Submit(CommandWriter().Delay(kMs));  // holds the engine until all are in line
  rig.SubmitTo({low}, CommandWriter().Marker(5));
  for (const uint64_t id : {3u, 33u}) rig.Submit(CommandWriter().Marker(id));
  for (const uint64_t id : {4u, 44u}) rig.SubmitTo({equal}, CommandWriter().Marker(id));
  rig.SubmitTo({high}, CommandWriter().Marker(1));
  rig.Settle();
  EXPECT_EQ(rig.Marks(), (Ids{1, 4, 3, 44, 33, 5}));
}

// Among contexts of one priority the one of the highest priority within its process goes first.
TEST(Submit, PriorityWithinTheProcessOrdersEquals) {
  GpuRig rig;
  const uint32_t low = rig.NewContext(rig.caller, rig.device);
  const uint32_t high = rig.NewContext(rig.caller, rig.device);
  const uint32_t above = rig.NewContext(rig.caller, rig.device);
  EXPECT_EQ(SetPriority(rig, high, 1, true), kStatusSuccess);
  EXPECT_EQ(SetPriority(rig, above, 1), kStatusSuccess);
  rig.Submit(CommandWriter().Delay(kMs));  // holds the engine until all are in line
  rig.SubmitTo({low}, CommandWriter().Marker(3));
  rig.Submit(CommandWriter().Marker(4));
  rig.SubmitTo({high}, CommandWriter().Marker(2));
  rig.SubmitTo({above}, CommandWriter().Marker(1));
  rig.Settle();
  EXPECT_EQ(rig.Marks(), (Ids{1, 2, 3, 4})) << "the other priority comes first";
}

// A priority that changes while commands are in line counts for them at once.
TEST(Submit, PriorityCountsForWhatIsInLine) {
  for (const bool in_process : {false, true}) {
    GpuRig rig;
    const uint32_t first = rig.NewContext(rig.caller, rig.device);
    const uint32_t second = rig.NewContext(rig.caller, rig.device);
    rig.Submit(CommandWriter().Delay(kMs));
    rig.SubmitTo({first}, CommandWriter().Marker(1));
    rig.SubmitTo({second}, CommandWriter().Marker(2));
    EXPECT_EQ(SetPriority(rig, second, 1, in_process), kStatusSuccess);
    rig.Settle();
    EXPECT_EQ(rig.Marks(), (Ids{2, 1})) << in_process;
  }
}

TEST(Submit, CTX70_NobodyIsStarved) {
  GpuRig rig;
  const uint32_t low = rig.NewContext(rig.caller, rig.device);
  const uint32_t high = rig.NewContext(rig.caller, rig.device);
  EXPECT_EQ(SetPriority(rig, low, -7), kStatusSuccess);
  EXPECT_EQ(SetPriority(rig, high, 7), kStatusSuccess);
  rig.SubmitTo({high}, CommandWriter().Delay(kMs));
  rig.SubmitTo({low}, CommandWriter().Marker(7777));
  for (uint64_t i = 0; i < 100; ++i) rig.SubmitTo({high}, CommandWriter().Delay(kMs).Marker(i));
  rig.Settle();
  const auto marks = rig.Marks();
  const auto its = std::find(marks.begin(), marks.end(), 7777u) - marks.begin();
  EXPECT_GT(its, 0) << "it is of low priority";
  EXPECT_LE(its, 16) << "but has its turn";
}

TEST(Submit, CommandsTakeTheProfilesTime) {
  AdapterProfile profile = Shipped("discrete");
  profile.mutable_engines()->set_command_ns(5 * kMs);
  GpuRig rig(profile);
  const auto fence = rig.NewFence();
  const uint64_t begin = rig.clock.NowNs();
  rig.Submit(CommandWriter());
  rig.GpuSignal({rig.context}, {{fence.handle, 1}});
  EXPECT_EQ(rig.ValueOf(fence), 0u);
  rig.Settle();
  EXPECT_EQ(rig.ValueOf(fence), 1u);
  EXPECT_EQ(rig.clock.NowNs() - begin, 5 * kMs);
}

TEST(Submit, JitterIsTheSeeds) {
  AdapterProfile profile = Shipped("discrete");
  profile.mutable_engines()->set_jitter_ns(kMs);
  std::vector<uint64_t> ends;
  for (int run = 0; run < 2; ++run) {
    GpuRig rig(profile);
    const uint64_t begin = rig.clock.NowNs();
    for (int i = 0; i < 10; ++i) rig.Submit(CommandWriter());
    rig.Settle();
    ends.push_back(rig.clock.NowNs() - begin);
  }
  EXPECT_EQ(ends[0], ends[1]);
  EXPECT_GT(ends[0], 0u);
}

// -- Memory that is used.

TEST(Submit, DEV51_PageFaultIsRecorded) {
  GpuRig rig;
  auto record = [&] {
    host::GetDeviceState::Request request;
    request.set_device(rig.device);
    request.set_state_type(5);
    request.set_state(std::string(48, '\0'));
    return rig.Ask<host::GetDeviceState>(rig.caller, request).reply.state();
  };
  EXPECT_EQ(Get<uint64_t>(BytesOf(std::string_view(record())), 0), ~0ull);
  EXPECT_EQ(Get<uint32_t>(BytesOf(std::string_view(record())), 12), ~0u);
  EXPECT_EQ(rig.Submit(CommandWriter().Write64(0xABC000, 1)), kStatusSuccess) << "nobody looks at submission";
  EXPECT_EQ(rig.StateOf(rig.device), 7u);
  const std::string state = record();
  EXPECT_EQ(Get<uint32_t>(BytesOf(std::string_view(state)), 16), 1u) << "a write";
  EXPECT_EQ(Get<uint32_t>(BytesOf(std::string_view(state)), 20), 0u) << "page fault";
  EXPECT_EQ(Get<uint64_t>(BytesOf(std::string_view(state)), 24), 0xABC000u);
  ASSERT_EQ(rig.recorded.changes.size(), 1u) << "[DEV] 45";
  EXPECT_EQ(rig.recorded.changes[0].state, 7u);
}

TEST(Submit, InvalidInstructionIsRecorded) {
  GpuRig rig;
  const uint64_t address = rig.Put(CommandWriter().bytes() + std::string(8, '\xFF'));
  EXPECT_EQ(rig.Submit(rig.SubmitRequest({rig.context}, address, 16)), kStatusSuccess);
  EXPECT_EQ(rig.StateOf(rig.device), 6u);
  host::GetDeviceState::Request request;
  request.set_device(rig.device);
  request.set_state_type(5);
  const std::string state = rig.Ask<host::GetDeviceState>(rig.caller, request).reply.state();
  EXPECT_EQ(Get<uint32_t>(BytesOf(std::string_view(state)), 20), 2u) << "general code 1";
  EXPECT_EQ(Get<uint64_t>(BytesOf(std::string_view(state)), 24), address + 8);
}

TEST(Submit, FaultHitsItsDeviceOnly) {
  GpuRig rig;
  const uint32_t other = rig.NewDevice(rig.caller);
  const uint32_t its_context = rig.NewContext(rig.caller, other);
  rig.Submit(CommandWriter().Delay(kMs));
  rig.SubmitTo({its_context}, CommandWriter().Fault(3));
  rig.Submit(CommandWriter().Marker(1));
  rig.Settle();
  EXPECT_EQ(rig.StateOf(other), 6u);
  EXPECT_EQ(rig.StateOf(rig.device), 1u);
  EXPECT_EQ(rig.Marks(), Ids{1});
}

TEST(Submit, RES113_EvictedMemoryFaults) {
  GpuRig rig;
  uint32_t allocation = 0;
  const uint64_t address = rig.Memory(kPage, &allocation);
  rig.Evict({allocation});
  EXPECT_EQ(rig.Submit(CommandWriter().Write64(address, 1)), kStatusSuccess);
  EXPECT_EQ(rig.StateOf(rig.device), 7u);
}

TEST(Submit, RES106_115_WorkBeginsWhenMemoryIsThere) {
  GpuRig rig;
  const uint32_t allocation = rig.New(64 * kMiB);
  const uint64_t address = rig.Map(allocation, 64 * kMiB / kPage);
  const uint32_t other_device = rig.NewDevice(rig.caller);
  const uint32_t other = rig.NewContext(rig.caller, other_device);
  EXPECT_EQ(rig.MakeResident({allocation}).status(), kStatusPending);
  EXPECT_EQ(rig.Submit(CommandWriter().Write64(address, 1).Marker(1)), kStatusSuccess);
  EXPECT_EQ(rig.SubmitTo({other}, CommandWriter().Marker(2)), kStatusSuccess);
  EXPECT_EQ(rig.Marks(), Ids{2}) << "the other device does not wait";
  rig.Settle();
  EXPECT_EQ(rig.Marks(), (Ids{2, 1}));
  EXPECT_EQ(rig.StateOf(rig.device), 1u);
  EXPECT_EQ(rig.GpuRead(address), 1u);
}

TEST(Submit, ALC86_DestroyedMemoryStaysForEarlierWork) {
  GpuRig rig;
  uint32_t allocation = 0;
  const uint64_t address = rig.Memory(kPage, &allocation);
  const uint64_t usage = rig.Usage();
  rig.Submit(CommandWriter().Delay(kMs).Write64(address, 7).Copy(rig.data, address, 8));
  EXPECT_EQ(rig.Destroy({allocation}), kStatusSuccess);
  EXPECT_EQ(rig.Lock(allocation).status(), kStatusInvalidParameter) << "its name is gone at once";
  EXPECT_EQ(rig.Usage(), usage);
  rig.Settle();
  EXPECT_EQ(rig.StateOf(rig.device), 1u);
  EXPECT_EQ(rig.DataAt(0), 7u);
  EXPECT_EQ(rig.Usage(), usage - kPage) << "then it is gone";
  rig.Submit(CommandWriter().Write64(address, 8));
  EXPECT_EQ(rig.StateOf(rig.device), 7u) << "later work does not find it";
  rig.EndAndExpectNothing();
}

// As many as a process may have behind one command: letting go of them costs no stack.
TEST(Submit, ALC86_ManyAreDestroyedBehindOneCommand) {
  GpuRig rig;
  constexpr int kMany = 100'000;
  std::vector<uint32_t> allocations;
  for (int i = 0; i < kMany; ++i) allocations.push_back(rig.New(kPage));
  EXPECT_EQ(rig.Submit(CommandWriter().Delay(kMs)), kStatusSuccess);
  for (const uint32_t allocation : allocations) EXPECT_EQ(rig.Destroy({allocation}), kStatusSuccess);
  rig.EndAndExpectNothing();
}

TEST(Submit, ALC86_OfAResource) {
  GpuRig rig;
  const auto resource = rig.NewResource(2);
  rig.BringIn({resource[1], resource[2]});
  const uint64_t address = rig.Map(resource[2], 1);
  rig.Submit(CommandWriter().Delay(kMs).Write64(address, 7));
  EXPECT_EQ(rig.Destroy({}, resource[0]), kStatusSuccess);
  EXPECT_EQ(rig.Destroy({}, resource[0]), kStatusInvalidParameter);
  rig.Settle();
  EXPECT_EQ(rig.StateOf(rig.device), 1u);
  EXPECT_EQ(rig.GpuRead(address), std::nullopt);
  rig.EndAndExpectNothing();
}

TEST(Submit, ALC87_AssumeNotInUse) {
  GpuRig rig;
  uint32_t allocation = 0;
  const uint64_t address = rig.Memory(kPage, &allocation);
  const uint32_t other = rig.NewDevice(rig.caller);
  rig.Submit(CommandWriter().Delay(kMs).Write64(address, 7));
  EXPECT_EQ(rig.Destroy({allocation}, 0, 1), kStatusSuccess);
  rig.Settle();
  EXPECT_EQ(rig.StateOf(rig.device), 7u);
  EXPECT_EQ(rig.StateOf(other), 1u);
}

TEST(Submit, ALC88_SynchronousDestroy) {
  GpuRig rig;
  uint32_t allocation = 0;
  rig.Memory(kPage, &allocation);
  const uint64_t usage = rig.Usage();
  rig.Submit(CommandWriter().Delay(kMs));
  rig.Submit(CommandWriter().Delay(kMs).Marker(1));
  host::DestroyAllocation::Request request;
  request.set_device(rig.device);
  request.set_flags(2);
  request.set_alloc_count(1);
  request.add_allocations(allocation);
  host::DestroyAllocation::Reply reply;
  bool done = false;
  rig.host().Submit(rig.caller, 5, request, &reply, [&](bool) {
    done = true;
    EXPECT_EQ(rig.Marks(), Ids{1}) << "all earlier work has ended";
    EXPECT_EQ(rig.Usage(), usage - kPage);
  });
  EXPECT_FALSE(done);
  rig.clock.AdvanceNs(kMs);
  EXPECT_FALSE(done);
  rig.clock.AdvanceNs(kMs);
  EXPECT_TRUE(done);
  EXPECT_EQ(reply.status(), kStatusSuccess);
}

TEST(Submit, SynchronousDestroyEndsWithItsDevice) {
  GpuRig rig;
  uint32_t allocation = 0;
  rig.Memory(kPage, &allocation);
  const auto fence = rig.NewFence();
  rig.GpuWait(rig.context, {{fence.handle, 1}});
  rig.Submit(CommandWriter());
  host::DestroyAllocation::Request request;
  request.set_device(rig.device);
  request.set_flags(2);
  request.set_alloc_count(1);
  request.add_allocations(allocation);
  host::DestroyAllocation::Reply reply;
  bool done = false;
  rig.host().Submit(rig.caller, 5, request, &reply, [&](bool) { done = true; });
  EXPECT_FALSE(done);
  EXPECT_EQ(rig.DestroyDevice(rig.caller, rig.device), kStatusSuccess);
  EXPECT_TRUE(done);
  rig.EndAndExpectNothing();
}

TEST(Submit, LCK93_LockDoesNotWait) {
  GpuRig rig;
  uint32_t allocation = 0;
  const uint64_t address = rig.Memory(kPage, &allocation);
  rig.Submit(CommandWriter().Write64(address, 1).Delay(kMs).Write64(address, 2));
  const auto lock = rig.Lock(allocation);
  EXPECT_EQ(lock.status(), kStatusSuccess);
  EXPECT_EQ(rig.Peek(lock.cpu_visible_buffer_offset()), 1u) << "in the middle of it";
  rig.Settle();
  EXPECT_EQ(rig.Peek(lock.cpu_visible_buffer_offset()), 2u);
}

TEST(Submit, OFR123_OfferWaitsForEarlierWork) {
  AdapterProfile profile = Shipped("discrete");
  profile.mutable_trouble()->set_discard_offered(true);
  GpuRig rig(profile);
  uint32_t allocation = 0;
  const uint64_t address = rig.Memory(kPage, &allocation);
  rig.GpuWrite(address, 77);
  rig.Submit(CommandWriter().Delay(kMs).Copy(rig.data, address, 8));
  host::OfferAllocations::Request offer;
  offer.set_device(rig.device);
  offer.set_allocation_count(1);
  offer.set_priority(1);
  offer.add_allocations(allocation);
  EXPECT_EQ(rig.Ask<host::OfferAllocations>(rig.caller, offer).reply.status(), kStatusSuccess);
  EXPECT_EQ(rig.Lock(allocation).status() == kStatusSuccess, false) << "offered";
  rig.Settle();
  EXPECT_EQ(rig.StateOf(rig.device), 1u);
  EXPECT_EQ(rig.DataAt(0), 77u) << "intact";
  rig.Submit(CommandWriter().Touch(address));
  EXPECT_EQ(rig.StateOf(rig.device), 7u) << "and then it went";
  rig.EndAndExpectNothing();
}

// -- Statistics.

std::string StatisticsOf(GpuRig& rig, uint32_t type, uint32_t node) {
  host::QueryStatistics::Request request;
  request.set_type(type);
  request.set_adapter_luid(rig.adapter().host_luid);
  request.set_selector(node);
  const auto answer = rig.Ask<host::QueryStatistics>(rig.caller, request);
  EXPECT_EQ(answer.reply.status(), kStatusSuccess);
  return answer.reply.result();
}

TEST(Submit, MSC181_NodeStatistics) {
  constexpr uint32_t kNode = 5, kProcessNode = 6;
  constexpr size_t kRender = 76, kWait = 108, kSignal = 116, kDma = 140;
  GpuRig rig;
  const auto fence = rig.NewFence();
  rig.GpuWait(rig.context, {{fence.handle, 1}});
  rig.Submit(CommandWriter().Delay(3 * kMs));
  rig.GpuSignal({rig.context}, {{fence.handle, 2}});
  auto number = [](const std::string& text, size_t at) {
    return Get<uint32_t>(BytesOf(std::string_view(text)), at);
  };
  std::string node = StatisticsOf(rig, kNode, 0);
  EXPECT_EQ(number(node, kRender), 1u);
  EXPECT_EQ(number(node, kRender + 4), 0u);
  EXPECT_EQ(number(node, kWait), 1u);
  EXPECT_EQ(number(node, kWait + 4), 0u);
  rig.Signal(fence.handle, 1);
  rig.Settle();
  for (const uint32_t type : {kNode, kProcessNode}) {
    node = StatisticsOf(rig, type, 0);
    EXPECT_EQ(Get<uint64_t>(BytesOf(std::string_view(node)), 0), 3000u) << "microseconds";
    for (const size_t at : {kRender, kWait, kSignal, kDma}) {
      EXPECT_EQ(number(node, at), 1u) << at;
      EXPECT_EQ(number(node, at + 4), 1u) << at;
    }
  }
  const std::string other = StatisticsOf(rig, kNode, 1);
  EXPECT_EQ(number(other, kRender), 0u);
}

}  // namespace
}  // namespace dxg::hostsim
