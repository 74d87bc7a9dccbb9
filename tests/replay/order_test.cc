// A call begins when those are over that had ended before it.
#include "cuse-dxg/replay/order.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "tests/replay/made_recording.h"

namespace dxg::replay {
namespace {

class OrderTest : public testing::Test {
 protected:
  // A call of that thread from then to then.
  void Add(uint32_t thread, uint64_t begin_ns, uint64_t end_ns) {
    calls::DestroyDevice::Request destroy;
    TraceRecord& record = made.Call(7, thread, LX_DXDESTROYDEVICE, destroy, calls::DestroyDevice::Reply());
    record.set_begin_ns(begin_ns);
    record.set_end_ns(end_ns);
  }
  void Begin() {
    recording = made.Take();
    order = *Order::Create(*recording);
    order->Done(order->OpenOf(0));
  }

  MadeRecording made;
  std::unique_ptr<Recording> recording;
  std::unique_ptr<Order> order;
};

TEST_F(OrderTest, WhatRanAtOnceMayRunAtOnceAndTheRestWaits) {
  Add(1, 10, 50);  // 0
  Add(2, 20, 30);  // 1: beside it
  Add(2, 40, 45);  // 2: after 1
  Add(1, 60, 70);  // 3: after all
  Begin();
  EXPECT_TRUE(order->IsUnderWay(0));
  EXPECT_TRUE(order->IsUnderWay(1));
  EXPECT_FALSE(order->IsUnderWay(2));
  order->Done(1);
  EXPECT_TRUE(order->IsUnderWay(2));
  EXPECT_FALSE(order->IsUnderWay(3));
  order->Done(0);  // out of order: it counts when 2 is over
  EXPECT_FALSE(order->IsUnderWay(3));
  order->Done(2);
  EXPECT_TRUE(order->IsUnderWay(3));
  EXPECT_FALSE(order->IsTimeFor(order->CloseOf(0)));
  order->Done(3);
  EXPECT_TRUE(order->IsTimeFor(order->CloseOf(0)));
}

// What ends a wait comes when that is under way: here the wait's thread has not come to its call.
TEST_F(OrderTest, AWaitIsUnderWayForWhatBeganAfterIt) {
  made.Call(7, 1, calls::WaitForSynchronizationObjectFromCpu::kCode,
            calls::WaitForSynchronizationObjectFromCpu::Request(),
            calls::WaitForSynchronizationObjectFromCpu::Reply());
  made.records.back().set_begin_ns(10);
  made.records.back().set_end_ns(50);
  Add(2, 20, 60);
  Add(2, 70, 80);
  Begin();
  EXPECT_TRUE(order->WaitForWaits(0));
  order->Stop();  // so that nobody sleeps
  EXPECT_FALSE(order->WaitForWaits(1));
  EXPECT_TRUE(order->WaitForWaits(2)) << "it had ended by then";
  order->Done(0);  // it is over: as good as under way
  EXPECT_TRUE(order->WaitForWaits(1));
}

// What a process had is gone for those that come after its close, and not before.
TEST_F(OrderTest, OpensAndClosesAreWaitedFor) {
  made.Open(7, "first");  // at 1'001'000 ns or so: MadeRecording's clock
  made.Call(7, 7, LX_DXDESTROYDEVICE, calls::DestroyDevice::Request(), calls::DestroyDevice::Reply());
  made.Close(7);
  made.Open(8, "second");
  made.Call(8, 8, LX_DXDESTROYDEVICE, calls::DestroyDevice::Request(), calls::DestroyDevice::Reply());
  recording = made.Take();
  order = *Order::Create(*recording);
  EXPECT_FALSE(order->IsUnderWay(0)) << "the node is not open yet";
  order->Done(order->OpenOf(0));
  EXPECT_TRUE(order->IsUnderWay(0));
  order->Done(0);
  EXPECT_TRUE(order->IsTimeFor(order->CloseOf(0)));
  EXPECT_FALSE(order->IsTimeFor(order->OpenOf(1))) << "the other one has not closed it";
  order->Done(order->CloseOf(0));
  EXPECT_TRUE(order->IsTimeFor(order->OpenOf(1)));
  order->Done(order->OpenOf(1));
  EXPECT_TRUE(order->IsUnderWay(1));
}

// Calls that took no time, as a coarse clock has them, do not wait for each other.
TEST_F(OrderTest, TimesThatAreTheSameBlockNobody) {
  Add(1, 10, 10);
  Add(2, 10, 10);
  Add(3, 20, 5);  // of a damaged file
  Begin();
  EXPECT_TRUE(order->IsUnderWay(0));
  EXPECT_TRUE(order->IsUnderWay(1));
  order->Done(0);
  order->Done(1);
  EXPECT_TRUE(order->WaitFor(2));
}

TEST_F(OrderTest, ProcessesWaitForEachOther) {
  for (uint64_t i = 0; i < 1000; ++i) Add(i % 2 + 1, 10 * i, 10 * i + 5);
  Begin();
  const uint32_t before = order->over();  // the open
  const pid_t child = fork();
  if (child == 0) {
    for (size_t i = 0; i < 1000; i += 2) {
      if (!order->WaitFor(i) || order->over() != before + i) _exit(1);
      order->Done(i);
    }
    _exit(0);
  }
  for (size_t i = 1; i < 1000; i += 2) {
    ASSERT_TRUE(order->WaitFor(i));
    ASSERT_EQ(order->over(), before + i);
    order->Done(i);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(OrderTest, StopWakesWhoWaits) {
  Add(1, 10, 20);
  Add(2, 30, 40);
  Begin();
  std::thread waiter([this] { EXPECT_FALSE(order->WaitFor(1)); });
  order->Stop();
  waiter.join();
}

}  // namespace
}  // namespace dxg::replay
