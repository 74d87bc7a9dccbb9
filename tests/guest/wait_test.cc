// Waits, and events of the host: who ends a call that is parked, what is left where it does not come to that,
// and what one costs.
#include "cuse-dxg/guest/event_table.h"
#include "cuse-dxg/guest/interrupted_waits.h"
#include "tests/guest/counted_memory.h"
#include "tests/guest/rig.h"

namespace dxg::guest {
namespace {

TEST(EventTable, AreNumberedFromTwoAndNeverAgain) {
  EventTable events;
  const Process process{client::Identity{}};
  const auto file = std::make_shared<CountingFile>();
  EXPECT_EQ(events.Add(process, file, EventTable::Lifetime::kOnce), 2u);
  events.Remove(2);
  EXPECT_EQ(events.Add(process, file, EventTable::Lifetime::kOnce), 3u);
  events.Happened(3);
  EXPECT_EQ(events.Add(process, file, EventTable::Lifetime::kOnce), 4u);
  EXPECT_EQ(file->count, 1);
}

TEST(EventTable, HappenOnceOrUntilRemoved) {
  EventTable events;
  const Process process{client::Identity{}};
  const auto once = std::make_shared<CountingFile>(), always = std::make_shared<CountingFile>();
  const uint64_t first = events.Add(process, once, EventTable::Lifetime::kOnce);
  const uint64_t second = events.Add(process, always, EventTable::Lifetime::kUntilRemoved);
  for (int i = 0; i < 3; ++i) {
    events.Happened(first);
    events.Happened(second);
  }
  EXPECT_EQ(once->count, 1);
  EXPECT_EQ(once.use_count(), 1);  // let go
  EXPECT_EQ(always->count, 3);
  events.Remove(second);
  events.Happened(second);
  EXPECT_EQ(always->count, 3);
  EXPECT_EQ(always.use_count(), 1);
  EXPECT_EQ(events.size(), 0u);
}

TEST(EventTable, UnknownOnesAreIgnored) {
  EventTable events;
  for (const uint64_t event : {0ull, 1ull, 2ull, 77ull, ~0ull}) {
    events.Happened(event);
    events.Remove(event);
  }
}

TEST(EventTable, EndWithTheirProcess) {
  EventTable events;
  const Process one{client::Identity{}}, other{client::Identity{}};
  const auto file = std::make_shared<CountingFile>();
  for (int i = 0; i < 3; ++i) events.Add(one, file, EventTable::Lifetime::kOnce);
  const uint64_t left = events.Add(other, file, EventTable::Lifetime::kOnce);
  EXPECT_FALSE(events.RemoveSome(one));
  EXPECT_FALSE(events.RemoveSome(one));
  EXPECT_EQ(events.size(), 1u);
  EXPECT_EQ(file.use_count(), 2);
  events.Happened(left);
  EXPECT_EQ(file->count, 1);
}

// Where each entry's memory goes is said in events.h; the host's part of a wait is not in here.
TEST(EventTable, AreSmall) {
  constexpr int kEvents = 100'000;
  EventTable events;
  const Process process{client::Identity{}};
  const auto file = std::make_shared<CountingFile>();
  const int64_t before = BytesInUse();
  for (int i = 0; i < kEvents; ++i) events.Add(process, file, EventTable::Lifetime::kOnce);
  const int64_t each = (BytesInUse() - before) / kEvents;
  RecordProperty("bytes", static_cast<int>(each));
  EXPECT_LE(each, 192);
  EXPECT_GT(each, 16);
}

class WaitTest : public FenceTest {
 protected:
  WaitTest() {
    args.device.v = device;
    args.object_count = 1;
    args.objects = reinterpret_cast<uint64_t>(&object);
    args.fence_values = reinterpret_cast<uint64_t>(&value);
  }

  std::shared_ptr<Outcome> StartWait() {
    return StartCall(file, 100, LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, &args);
  }

  uint32_t CreateSync(uint32_t type) {
    d3dkmt_createsynchronizationobject2 create{};
    create.device.v = device;
    create.info.type = static_cast<d3dddi_synchronizationobject_type>(type);
    EXPECT_EQ(Call(file, 100, LX_DXCREATESYNCHRONIZATIONOBJECT, &create), 0);
    return create.sync_object.v;
  }
  uint32_t CreateFence() { return CreateSync(_D3DDDI_MONITORED_FENCE); }
  uint32_t CreateMutex() { return CreateSync(_D3DDDI_SYNCHRONIZATION_MUTEX); }

  uint32_t object = 0x40000040;
  uint64_t value = 9;
  d3dkmt_waitforsynchronizationobjectfromcpu args{};
};

TEST_F(WaitTest, TheEventEndsIt) {
  auto wait = StartWait();
  ASSERT_FALSE(wait->done);
  ASSERT_EQ(host.events.size(), 1u);
  EXPECT_EQ(driver.events().size(), 1u);
  driver.GuestEvent(host.events[0] + 1);
  driver.GuestEvent(0);
  ASSERT_FALSE(wait->done);
  driver.GuestEvent(host.events[0]);
  EXPECT_EQ(wait->Wait(), 0);
  driver.GuestEvent(host.events[0]);
  EXPECT_EQ(driver.events().size(), 0u);
}

TEST_F(WaitTest, TheEventMayComeBeforeTheAnswer) {
  host.before_answer = [this](const HostCall&) { driver.GuestEvent(host.events.back()); };
  auto wait = StartWait();
  EXPECT_EQ(wait->Wait(), 0);
  EXPECT_EQ(driver.events().size(), 0u);
}

TEST_F(WaitTest, APositiveAnswerOfTheHostStillWaits) {
  host.status = 0x103;  // STATUS_PENDING
  auto wait = StartWait();
  ASSERT_FALSE(wait->done);
  driver.GuestEvent(host.events[0]);
  EXPECT_EQ(wait->Wait(), 0);
}

TEST_F(WaitTest, WhatTheHostRefusesLeavesNothing) {
  host.status = static_cast<int32_t>(0xc0000022);  // STATUS_ACCESS_DENIED
  EXPECT_EQ(StartWait()->Wait(), -EACCES);
  args.async_event = kEventfd;
  EXPECT_EQ(StartWait()->Wait(), -EACCES);
  EXPECT_EQ(driver.events().size(), 0u);
  for (const uint64_t event : host.events) driver.GuestEvent(event);
  EXPECT_EQ(eventfd().count, 0);
  EXPECT_EQ(delivery.eventfds[kEventfd].use_count(), 1);
}

TEST_F(WaitTest, BadArgumentsLeaveNothing) {
  args.fence_values = 8;
  EXPECT_EQ(StartWait()->Wait(), -EFAULT);
  args.async_event = kEventfd;
  EXPECT_EQ(StartWait()->Wait(), -EFAULT);
  args.async_event = kEventfd + 1;
  EXPECT_EQ(StartWait()->Wait(), -EINVAL);
  args.async_event = 0xffffffff;
  EXPECT_EQ(StartWait()->Wait(), -EINVAL);
  EXPECT_EQ(driver.events().size(), 0u);
  EXPECT_TRUE(host.events.empty());
}

TEST_F(WaitTest, ASignalEndsIt) {
  auto wait = StartWait();
  ASSERT_TRUE(wait->Signal());
  EXPECT_EQ(wait->Wait(), attach::IoctlRequest::kRestart);
  EXPECT_EQ(driver.events().size(), 1u);  // the host still has it
  driver.GuestEvent(host.events[0]);      // late
  EXPECT_EQ(driver.events().size(), 0u);
}

// A profiler's signals: each ends the call, and the kernel restarts it.
TEST_F(WaitTest, ARestartedWaitIsTheOneThatTheHostHas) {
  for (int i = 0; i < 1000; ++i) {
    auto wait = StartWait();
    ASSERT_TRUE(wait->Signal());
    ASSERT_EQ(wait->Wait(), attach::IoctlRequest::kRestart);
  }
  ASSERT_EQ(host.events.size(), 1u);
  EXPECT_EQ(driver.events().size(), 1u);
  auto wait = StartWait();
  ASSERT_EQ(host.events.size(), 1u);
  ASSERT_FALSE(wait->done);
  driver.GuestEvent(host.events[0]);
  EXPECT_EQ(wait->Wait(), 0);
  EXPECT_EQ(driver.events().size(), 0u);
}

// Each by itself: for other objects, values, flags, or beside one that has it already.
TEST_F(WaitTest, OnlyTheSameWaitIsTakenOver) {
  ASSERT_TRUE(StartWait()->Signal());
  value = 10;
  auto later = StartWait();
  EXPECT_EQ(host.events.size(), 2u);
  value = 9;
  args.flags.wait_any = 1;
  auto any = StartWait();
  EXPECT_EQ(host.events.size(), 3u);
  args.flags.wait_any = 0;
  auto again = StartWait(), beside = StartWait();
  EXPECT_EQ(host.events.size(), 4u);
  driver.GuestEvent(host.events[0]);
  EXPECT_EQ(again->Wait(), 0);
  for (const auto& wait : {later, any, beside}) EXPECT_FALSE(wait->done);
  for (const uint64_t event : host.events) driver.GuestEvent(event);
  for (const auto& wait : {later, any, beside}) EXPECT_EQ(wait->Wait(), 0);
}

// A fence may have been set back since: the host is asked again.
TEST_F(WaitTest, AFenceThatWasReachedInBetweenIsLookedAtAgain) {
  object = CreateFence();
  ASSERT_TRUE(StartWait()->Signal());
  driver.GuestEvent(host.events[0]);
  auto wait = StartWait();
  EXPECT_EQ(host.events.size(), 2u);
  driver.GuestEvent(host.events[1]);
  EXPECT_EQ(wait->Wait(), 0);
}

// The host gave it to the wait that was interrupted.
TEST_F(WaitTest, AMutexThatWasTakenInBetweenIsTheRestartedCalls) {
  object = CreateMutex();
  ASSERT_TRUE(StartWait()->Signal());
  driver.GuestEvent(host.events[0]);
  EXPECT_EQ(StartWait()->Wait(), 0);
  EXPECT_EQ(host.events.size(), 1u);
}

TEST_F(WaitTest, ASignalThatCameWhileTheHostWasAskedEndsIt) {
  host.hold = {"WAITFORSYNCOBJECTFROMCPU"};
  auto wait = StartWait();
  EXPECT_FALSE(wait->Signal());  // nothing less than death ends a wait for the host
  ASSERT_FALSE(wait->done);
  host.Release();
  EXPECT_EQ(wait->Wait(), attach::IoctlRequest::kRestart);
}

TEST_F(WaitTest, ADeathWhileTheHostIsAskedLeavesNothing) {
  host.hold = {"WAITFORSYNCOBJECTFROMCPU"};
  auto wait = StartWait();
  ASSERT_TRUE(wait->Kill());
  EXPECT_EQ(wait->Wait(), -EINTR);
  host.Release();
  EXPECT_EQ(driver.events().size(), 0u);
}

TEST_F(WaitTest, ADeathEndsAParkedCall) {
  auto wait = StartWait();
  ASSERT_TRUE(wait->Kill());
  EXPECT_LT(wait->Wait(), 0);
  driver.Release(std::exchange(file, 0));
  EXPECT_EQ(driver.events().size(), 0u);
}

TEST_F(WaitTest, TheDevicesEndEndsIt) {
  auto wait = StartWait();
  owned_driver.reset();
  EXPECT_EQ(wait->Wait(), -ENODEV);
}

// The kernel keeps the file open for a call, so this is for a server that does not.
TEST_F(WaitTest, TheEndOfTheProcessEndsIt) {
  auto wait = StartWait();
  driver.Release(std::exchange(file, 0));
  EXPECT_EQ(wait->Wait(), -ENODEV);
}

TEST_F(WaitTest, ADestroyedDeviceLeavesItToTheHost) {
  auto wait = StartWait();
  d3dkmt_destroydevice destroy{};
  destroy.device.v = device;
  EXPECT_EQ(Call(file, 101, LX_DXDESTROYDEVICE, &destroy), 0);
  ASSERT_FALSE(wait->done);
  driver.GuestEvent(host.events[0]);
  EXPECT_EQ(wait->Wait(), 0);
}

// The event, a signal and a death at once: one of them ends the call, the rig fails where two do.
TEST_F(WaitTest, OneOfManyEndsIt) {
  for (int i = 0; i < 300; ++i) {
    auto wait = StartWait();
    const uint64_t event = host.events.back();
    std::thread happened([&] { driver.GuestEvent(event); }), signalled([&] { wait->Signal(); }),
        again([&] { driver.GuestEvent(event); });
    happened.join();
    signalled.join();
    again.join();
    const int32_t result = wait->Wait();
    EXPECT_TRUE(result == 0 || result == attach::IoctlRequest::kRestart) << result;
    driver.GuestEvent(event);
  }
  EXPECT_EQ(driver.events().size(), 0u);
}

// The same while the host still answers.
TEST_F(WaitTest, OneOfManyEndsItWhileTheHostAnswers) {
  host.hold = {"WAITFORSYNCOBJECTFROMCPU"};
  for (int i = 0; i < 200; ++i) {
    auto wait = StartWait();
    std::thread answered([&] { host.Release(); }), signalled([&] { wait->Signal(); }),
        killed([&] { wait->Kill(); });
    answered.join();
    signalled.join();
    killed.join();
    bool done = false;
    {
      std::lock_guard lock(wait->mutex);
      done = wait->done;
    }
    if (!done) driver.GuestEvent(host.events.back());
    const int32_t result = wait->Wait();
    driver.GuestEvent(host.events.back());
    EXPECT_TRUE(result == 0 || result == attach::IoctlRequest::kRestart || result == -EINTR) << result;
  }
  EXPECT_EQ(driver.events().size(), 0u);
}

TEST_F(WaitTest, AnEventfdIsRaisedOnce) {
  args.async_event = (7ull << 32) | kEventfd;  // the upper half does not count
  EXPECT_EQ(StartWait()->Wait(), 0);
  EXPECT_EQ(eventfd().count, 0);
  driver.GuestEvent(host.events[0]);
  driver.GuestEvent(host.events[0]);
  EXPECT_EQ(eventfd().count, 1);
  EXPECT_EQ(delivery.eventfds[kEventfd].use_count(), 1);
}

TEST_F(WaitTest, TheEndOfTheProcessDropsWhatItWaitedFor) {
  args.async_event = kEventfd;
  for (int i = 0; i < 10; ++i) EXPECT_EQ(StartWait()->Wait(), 0);
  EXPECT_EQ(driver.events().size(), 10u);
  driver.Release(std::exchange(file, 0));
  EXPECT_EQ(driver.events().size(), 0u);
  EXPECT_EQ(delivery.eventfds[kEventfd].use_count(), 1);
}

TEST_F(WaitTest, AQueuedEventIsRaisedOnce) {
  d3dkmt_createcontextvirtual context{};
  context.device.v = device;
  ASSERT_EQ(Call(file, 100, LX_DXCREATECONTEXTVIRTUAL, &context), 0);
  d3dkmt_signalsynchronizationobject2 signal{};
  signal.context = context.context;
  signal.flags.enqueue_cpu_event = 1;
  signal.cpu_event_handle = kEventfd;
  ASSERT_EQ(Call(file, 100, LX_DXSIGNALSYNCHRONIZATIONOBJECT, &signal), 0);
  host.status = static_cast<int32_t>(0xc0000022);
  EXPECT_EQ(Call(file, 100, LX_DXSIGNALSYNCHRONIZATIONOBJECT, &signal), -EACCES);
  signal.context.v = 0;
  EXPECT_EQ(Call(file, 100, LX_DXSIGNALSYNCHRONIZATIONOBJECT, &signal), -EINVAL);
  EXPECT_EQ(driver.events().size(), 1u);
  for (const uint64_t event : host.events) driver.GuestEvent(event);
  EXPECT_EQ(eventfd().count, 1);
}

// The bytes that a parked call has beyond what stands for the kernel's request and the test's own notes.
TEST_F(WaitTest, AParkedCallIsSmall) {
  constexpr int kCalls = 1000;
  std::vector<std::shared_ptr<Outcome>> outcomes;
  for (int i = 0; i < kCalls + 1; ++i) outcomes.push_back(std::make_shared<Outcome>());
  host.events.reserve(kCalls + 1);
  host.asked.reserve(10 * kCalls);
  StartCallWith(outcomes[kCalls], file, 100, LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, &args);
  const int64_t before = BytesInUse();
  for (int i = 0; i < kCalls; ++i)
    StartCallWith(outcomes[i], file, 100, LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, &args);
  const int64_t each = (BytesInUse() - before) / kCalls;
  RecordProperty("bytes", static_cast<int>(each));
  EXPECT_LE(each, 1024);
  for (const uint64_t event : host.events) driver.GuestEvent(event);
  for (const auto& outcome : outcomes) EXPECT_EQ(outcome->Wait(), 0);
}

// The lists of a long wait are not kept.
TEST_F(WaitTest, AParkedCallWithManyObjectsIsSmallToo) {
  std::vector<uint32_t> objects(10000, object);
  std::vector<uint64_t> values(10000, value);
  args.object_count = 10000;
  args.objects = reinterpret_cast<uint64_t>(objects.data());
  args.fence_values = reinterpret_cast<uint64_t>(values.data());
  StartWait()->Signal();
  const int64_t before = BytesInUse();
  auto wait = StartWait();
  EXPECT_LE(BytesInUse() - before, 4096);
  driver.GuestEvent(host.events.back());
  EXPECT_EQ(wait->Wait(), 0);
}

// A second thread with the same wait comes between: the event would be both threads'.
TEST(InterruptedWaits, IsNobodysBeforeItsEventHasIt) {
  const auto waits = std::make_shared<InterruptedWaits>();
  const WaitDigest digest = DigestOf(1, 0, false, {}, {});
  const auto wait = waits->Add(digest, 5);
  EXPECT_FALSE(waits->Take(digest));
  waits->Left(digest, 5);
  const auto taken = waits->Take(digest);
  ASSERT_TRUE(taken);
  EXPECT_EQ(taken->event, 5u);
  EXPECT_FALSE(waits->Take(digest));
}

}  // namespace
}  // namespace dxg::guest
