// Memory that is given back: beside the commands, in their order of things, and not before it reads zero.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>

#include "hostsim/memory/freeing_thread.h"
#include "tests/hostsim/memory_rig.h"

namespace dxg::hostsim {
namespace {

constexpr uint64_t kMuch = FreeingThread::kLeastBytes;

TEST(FreeingThread, DoesMuchBesideAndLittleAtOnce) {
  FreeingThread freeing;
  const auto here = std::this_thread::get_id();
  std::thread::id little, much;
  freeing.Run(kMuch - 1, [&] { little = std::this_thread::get_id(); });
  EXPECT_EQ(little, here);
  freeing.Run(kMuch, [&] { much = std::this_thread::get_id(); });
  freeing.Wait();
  EXPECT_NE(much, here);
  EXPECT_NE(much, std::thread::id());
  EXPECT_EQ(freeing.done_beside(), 1u);
}

TEST(FreeingThread, WhatIsTooMuchIsDoneByWhoFreesIt) {
  FreeingThread freeing;
  std::promise<void> opened;
  std::shared_future<void> open = opened.get_future().share();
  freeing.Run(FreeingThread::kWaitingBytesMax, [open] { open.wait(); });
  const auto here = std::this_thread::get_id();
  std::thread::id next;
  freeing.Run(kMuch, [&] { next = std::this_thread::get_id(); });
  EXPECT_EQ(next, here);
  opened.set_value();
}

TEST(FreeingThread, OneJobMayBeLargerThanWhatMayWait) {
  FreeingThread freeing;
  std::thread::id larger;
  freeing.Run(FreeingThread::kWaitingBytesMax * 2, [&] { larger = std::this_thread::get_id(); });
  freeing.Wait();
  EXPECT_NE(larger, std::this_thread::get_id());
  EXPECT_EQ(freeing.done_beside(), 1u);
}

TEST(FreeingThread, ItsEndDoesWhatIsLeft) {
  int done = 0;
  {
    FreeingThread freeing;
    for (int i = 0; i < 10; ++i) freeing.Run(kMuch, [&] { ++done; });
  }
  EXPECT_EQ(done, 10);
}

TEST(FreeingThread, AJobMayHoldTheLastOfIt) {
  auto freeing = std::make_shared<FreeingThread>();
  std::promise<void> done;
  auto ended = done.get_future();
  std::promise<void> opened;
  std::shared_future<void> open = opened.get_future().share();
  auto* const thread = freeing.get();
  thread->Run(kMuch, [freeing, open, &done] {
    open.wait();
    done.set_value();
  });
  freeing.reset();
  opened.set_value();
  ended.wait();
}

// With threads, as a host that serves has them.
TEST(Freeing, ACommandDoesNotWaitForTheMemoryToGo) {
  MemoryRig rig(Shipped("discrete"), nullptr, nullptr, true);
  constexpr uint64_t kBytes = 256ull << 20;
  const uint64_t before = rig.host().Account().window_bytes;
  const uint32_t allocation = rig.New(kBytes);
  const uint64_t shown = rig.Lock(allocation).cpu_visible_buffer_offset();
  const auto region = rig.host().FindRegion(shown);
  ASSERT_TRUE(region);
  ASSERT_EQ(fallocate(region->file->number(), 0, static_cast<off_t>(shown - region->window_start), kBytes),
            0);
  rig.Poke(shown, 7);
  EXPECT_GE(rig.host().Account().machine_bytes, kBytes);
  EXPECT_EQ(rig.Destroy({allocation}), kStatusSuccess);
  const Accounting after = rig.host().Account();  // waits for what is on its way
  EXPECT_LT(after.machine_bytes, kMuch);
  EXPECT_EQ(after.window_bytes, before);
  const uint32_t next = rig.New(kBytes);
  EXPECT_EQ(rig.Peek(rig.Lock(next).cpu_visible_buffer_offset()), 0u);
}

// How much dearer the first of many is than the first of few, at its best of several tries.
TEST(Freeing, ToDestroyOneOfAResourceDoesNotDependOnTheOthers) {
  MemoryRig rig;
  const auto of = [&rig](size_t count) {
    std::vector<uint32_t> handles = rig.NewResource(512);
    const uint32_t resource = handles.front();
    handles.erase(handles.begin());
    while (handles.size() < count) {
      const auto more = rig.TryCreate(std::vector<std::string>(512, PrivateData(kPage)), 0, resource);
      for (const auto& created : more.reply.allocations()) handles.push_back(created.allocation());
    }
    auto best = std::chrono::nanoseconds::max();
    for (size_t i = 0; i < 32; ++i) {
      const auto start = std::chrono::steady_clock::now();
      EXPECT_EQ(rig.Destroy({handles[i]}), kStatusSuccess);
      best = std::min<std::chrono::nanoseconds>(best, std::chrono::steady_clock::now() - start);
    }
    return static_cast<double>(best.count());
  };
  const double few = of(512), many = of(40'000);
  EXPECT_LE(many, 10 * few);
}

}  // namespace
}  // namespace dxg::hostsim
