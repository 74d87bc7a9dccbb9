#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <csignal>
#include <mutex>
#include <thread>

#include "tests/hostsim/gpu_rig.h"

// Engines with threads of their own, as in service. The clock stands still, so nothing here times out.

namespace dxg::hostsim {
namespace {

class ThreadRig : public GpuRig {
 public:
  ThreadRig() : GpuRig(Shipped("discrete"), nullptr, nullptr, true) {}

  void WaitUntil(const Sync& fence, uint64_t value) {
    while (ValueOf(fence) < value) std::this_thread::yield();
  }
};

TEST(EngineThreads, ShortCommandsAreOverAtOnce) {
  ThreadRig rig;
  const auto fence = rig.NewFence();
  EXPECT_EQ(rig.Submit(CommandWriter().Write64(rig.data, 5)), kStatusSuccess);
  EXPECT_EQ(rig.GpuSignal({rig.context}, {{fence.handle, 1}}), kStatusSuccess);
  EXPECT_EQ(rig.ValueOf(fence), 1u);
  EXPECT_EQ(rig.DataAt(0), 5u);
}

TEST(EngineThreads, LongCommandsRunElsewhere) {
  ThreadRig rig;
  const auto fence = rig.NewFence();
  const uint64_t large = rig.Memory(32 * kMiB);
  for (uint64_t i = 1; i <= 20; ++i) {
    EXPECT_EQ(rig.Submit(CommandWriter().Fill(large, 32 * kMiB, static_cast<uint32_t>(i))), kStatusSuccess);
    EXPECT_EQ(rig.GpuSignal({rig.context}, {{fence.handle, i}}), kStatusSuccess);
  }
  rig.WaitUntil(fence, 20);
  EXPECT_EQ(rig.GpuRead(large + 32 * kMiB - 8), 20u * 0x100000001u);
  rig.EndAndExpectNothing();
}

// A process that stops itself right after it has submitted: a real stop, in real time. Returns 0 where its
// work ended as it should.
int SubmitsAndStops(uint32_t timeout_ms) {
  AdapterProfile profile = Shipped("discrete");
  profile.mutable_engines()->set_timeout_ms(timeout_ms);
  GpuRig rig(profile, nullptr, nullptr, true);
  const auto fence = rig.NewFence();
  std::jthread time([&rig](const std::stop_token& end) {
    for (auto last = std::chrono::steady_clock::now(); !end.stop_requested();) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      const auto now = std::chrono::steady_clock::now();
      rig.clock.StandStillNs(static_cast<uint64_t>(std::chrono::nanoseconds(now - last).count()));
      rig.clock.AdvanceNs(0);
      last = now;
    }
  });
  CommandWriter commands;
  for (int i = 0; i < 5; ++i) commands.Delay(timeout_ms * kMs / 20);
  rig.Submit(commands);
  rig.GpuSignal({rig.context}, {{fence.handle, 1}});
  raise(SIGSTOP);
  while (rig.ValueOf(fence) == 0) std::this_thread::yield();
  // A device that hung has raised it further.
  return rig.ValueOf(fence) == 1 ? 0 : 1;
}

// Called in a process without other threads: the thread sanitizer allows a forked one no new thread
// otherwise.
int StopAndGoOn() {
  constexpr uint32_t kTimeoutMs = 400;
  const pid_t child = fork();
  if (child == 0) _exit(SubmitsAndStops(kTimeoutMs));
  int status = 0;
  if (waitpid(child, &status, WUNTRACED) != child || !WIFSTOPPED(status)) return 2;
  std::this_thread::sleep_for(std::chrono::milliseconds(2 * kTimeoutMs));  // the stop itself
  kill(child, SIGCONT);
  if (waitpid(child, &status, 0) != child || !WIFEXITED(status)) return 3;
  return WEXITSTATUS(status);
}

TEST(EngineThreads, AProcessThatWasStoppedFindsNobodyHung) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(_exit(StopAndGoOn()), testing::ExitedWithCode(0), "");
}

// One op that takes seconds is stopped inside: the clock says so, not its own end.
TEST(EngineThreads, OneLongOpEndsAtItsDeadline) {
  ThreadRig rig;
  constexpr uint32_t kSide = 2048;
  constexpr uint64_t kBytes = uint64_t{kSide} * kSide * sizeof(int64_t);
  const uint64_t factors = rig.Memory(kBytes);
  const uint64_t product = rig.Memory(kBytes);
  const auto filled = rig.NewFence();
  rig.Submit(CommandWriter().Fill(factors, kBytes, 1));
  rig.GpuSignal({rig.context}, {{filled.handle, 1}});
  rig.WaitUntil(filled, 1);
  rig.Settle();  // no timer is left
  dxg_op_matmul op = {};
  op.c = product;
  op.a = op.b = factors;
  op.m = op.n = op.k = op.a_row = op.b_row = op.c_row = kSide;
  op.type = DXG_TYPE_I64;
  EXPECT_EQ(rig.Submit(CommandWriter().Matmul(op).Marker(1)), kStatusSuccess);
  // The engine has set its timer, or a first part of the product is there without one.
  while (rig.clock.Pending() == 0 && rig.GpuRead(product) == 0u) std::this_thread::yield();
  EXPECT_EQ(rig.StateOf(rig.device), 1u);
  rig.clock.AdvanceNs(2000 * kMs);
  while (rig.StateOf(rig.device) == 1) std::this_thread::yield();
  EXPECT_EQ(rig.StateOf(rig.device), 3u) << "hung";
  EXPECT_EQ(rig.GpuRead(product + kBytes - sizeof(int64_t)), 0u) << "the op never came to its last element";
  EXPECT_TRUE(rig.Marks().empty());
  rig.EndAndExpectNothing();
}

TEST(EngineThreads, HungCommandEndsWithItsContextDeviceOrProcess) {
  for (const int end : {0, 1, 2}) {
    ThreadRig rig;
    EXPECT_EQ(rig.Submit(CommandWriter().Hang()), kStatusSuccess);
    EXPECT_EQ(rig.Submit(CommandWriter().Marker(1)), kStatusSuccess);
    if (end == 0) {
      EXPECT_EQ(rig.DestroyContext(rig.caller, rig.context), kStatusSuccess);
    } else if (end == 1) {
      EXPECT_EQ(rig.DestroyDevice(rig.caller, rig.device), kStatusSuccess);
    }
    rig.EndAndExpectNothing();
    EXPECT_TRUE(rig.Marks().empty());
  }
}

// A client's pages that do not answer until they are told to.
class HeldGuest : public FakeGuest {
 public:
  bool Read(uint32_t gpadl, uint64_t offset, Bytes bytes) override {
    std::unique_lock lock(mutex_);
    ++held_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return answers_; });
    return FakeGuest::Read(gpadl, offset, bytes);
  }
  void WaitUntilHeld(int reads) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this, reads] { return held_ >= reads; });
  }
  void Answer() {
    std::lock_guard lock(mutex_);
    answers_ = true;
    changed_.notify_all();
  }
  int held() {
    std::lock_guard lock(mutex_);
    return held_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int held_ = 0;  // ever
  bool answers_ = false;
};

// A command in such memory cannot be stopped. The engine goes on without.
class HeldMemory : public testing::Test {
 protected:
  HeldMemory() {
    guest_.runs[7] = std::string(kPage, 'x');
    const uint32_t pages = rig_.TryAllocation(kPage, kExistingSysmemFlag);
    host::SetExistingSysmemStore::Request bind;
    bind.set_device(rig_.device);
    bind.set_allocation(pages);
    bind.set_gpadl(7);
    EXPECT_EQ(rig_.Ask<host::SetExistingSysmemStore>(rig_.caller, bind).reply.status(), kStatusSuccess);
    rig_.BringIn({pages});
    const uint64_t held = rig_.Map(pages, 1);
    reads_it_.Copy(rig_.Memory(kPage, &target_), held, kPage).Marker(1);
  }
  void WaitForMarks(size_t count) {
    while (rig_.Marks().size() < count) std::this_thread::yield();
  }
  // A thread that comes back has a share of the process, and of its region, until it has let go of its
  // command.
  void EndAndWaitForNothing() {
    rig_.EndProcess(rig_.caller);
    for (Accounting left = rig_.host().Account(); left.processes + left.regions + left.machine_bytes != 0;
         left = rig_.host().Account())
      std::this_thread::yield();
    rig_.ExpectNothingLeft();
  }
  void Hang() {
    rig_.clock.AdvanceNs(2000 * kMs);
    rig_.clock.AdvanceNs(200 * kMs);
  }

  HeldGuest guest_;
  GpuRig rig_{Shipped("discrete"), nullptr, &guest_, true};
  uint32_t target_ = 0;
  CommandWriter reads_it_;
};

TEST_F(HeldMemory, IsAHangOfItsDeviceAlone) {
  const uint32_t other = rig_.NewDevice(rig_.caller);
  const uint32_t other_context = rig_.NewContext(rig_.caller, other);
  EXPECT_EQ(rig_.Submit(reads_it_), kStatusSuccess);
  guest_.WaitUntilHeld(1);
  EXPECT_EQ(rig_.SubmitTo({other_context}, CommandWriter().Marker(5)), kStatusSuccess);
  EXPECT_TRUE(rig_.Marks().empty());
  Hang();
  EXPECT_EQ(rig_.StateOf(rig_.device), 3u) << "hung";
  WaitForMarks(1);
  EXPECT_EQ(rig_.StateOf(other), 1u);
  EXPECT_EQ(rig_.Destroy({target_}), kStatusSuccess) << "the bytes stay until the command is back";
  guest_.Answer();
  EXPECT_EQ(rig_.SubmitTo({other_context}, CommandWriter().Marker(6)), kStatusSuccess);
  WaitForMarks(2);
  EXPECT_EQ(rig_.Marks().back(), 6u) << "the command that hung did not go on";
  EndAndWaitForNothing();
}

TEST_F(HeldMemory, IsLeftWhenItsDeviceEnds) {
  const uint32_t ending = rig_.NewDevice(rig_.caller);
  EXPECT_EQ(rig_.SubmitTo({rig_.NewContext(rig_.caller, ending)}, reads_it_), kStatusSuccess);
  guest_.WaitUntilHeld(1);
  const uint64_t devices = rig_.host().Account().devices;
  std::thread end([&] { EXPECT_EQ(rig_.DestroyDevice(rig_.caller, ending), kStatusSuccess); });
  while (rig_.host().Account().devices == devices) std::this_thread::yield();
  EXPECT_EQ(rig_.Submit(CommandWriter().Marker(5)), kStatusSuccess);
  rig_.clock.AdvanceNs(300 * kMs);  // much less than the timeout
  WaitForMarks(1);
  guest_.Answer();
  end.join();
  EndAndWaitForNothing();
}

// Each costs a thread, so a process has only a few of them at a time.
TEST_F(HeldMemory, HoldsAFewThreadsOfAProcess) {
  constexpr int kMost = 4;
  std::vector<uint32_t> devices;
  for (int i = 0; i < kMost + 1; ++i) devices.push_back(rig_.NewDevice(rig_.caller));
  for (const uint32_t device : devices) {
    const int held = guest_.held();
    EXPECT_EQ(rig_.SubmitTo({rig_.NewContext(rig_.caller, device)}, reads_it_), kStatusSuccess);
    if (held < kMost) {
      guest_.WaitUntilHeld(held + 1);
      Hang();
    }
    while (rig_.StateOf(device) != 3u) std::this_thread::yield();
  }
  EXPECT_EQ(guest_.held(), kMost);
  guest_.Answer();
  EndAndWaitForNothing();
}

TEST(EngineThreads, NothingTouchesMemoryAfterItsEnd) {
  ThreadRig rig;
  const uint32_t other = rig.NewDevice(rig.caller);
  const uint64_t large = rig.Memory(64 * kMiB);
  for (int round = 0; round < 5; ++round) {
    const uint32_t context = rig.NewContext(rig.caller, rig.device);
    CommandWriter commands;
    for (uint32_t i = 0; i < 100; ++i) commands.Fill(large, 64 * kMiB, 0xAAAAAAAA);
    EXPECT_EQ(rig.SubmitTo({context}, commands), kStatusSuccess);
    EXPECT_EQ(rig.DestroyContext(rig.caller, context), kStatusSuccess);
    EXPECT_TRUE(rig.GpuWrite(large, 1));
    EXPECT_EQ(rig.Submit(CommandWriter().Fill(rig.data, 8, 0)), kStatusSuccess);
    EXPECT_EQ(rig.GpuRead(large), 1u);
  }
  EXPECT_EQ(rig.StateOf(other), 1u);
}

TEST(EngineThreads, EnginesWaitForEachOther) {
  ThreadRig rig;
  const auto ping = rig.NewFence();
  const auto pong = rig.NewFence();
  const uint32_t other = rig.TryContext(rig.caller, rig.device, 1);
  constexpr uint64_t kRounds = 500;
  for (uint64_t i = 1; i <= kRounds; ++i) {
    rig.GpuWait(rig.context, {{pong.handle, i - 1}});
    rig.Submit(CommandWriter().AtomicAdd64(rig.data, 1));
    rig.GpuSignal({rig.context}, {{ping.handle, i}});
    rig.GpuWait(other, {{ping.handle, i}});
    rig.SubmitTo({other}, CommandWriter().AtomicAdd64(rig.data, 1));
    rig.GpuSignal({other}, {{pong.handle, i}});
  }
  rig.WaitUntil(pong, kRounds);
  EXPECT_EQ(rig.DataAt(0), 2 * kRounds);
}

TEST(EngineThreads, MemoryWaitsAreSatisfiedByAnotherEngine) {
  ThreadRig rig;
  const auto fence = rig.NewFence();
  const uint32_t other = rig.TryContext(rig.caller, rig.device, 1);
  rig.Submit(CommandWriter().Wait64(rig.data, 1).Write64(rig.data + 8, 2));
  rig.GpuSignal({rig.context}, {{fence.handle, 1}});
  rig.SubmitTo({other}, CommandWriter().Write64(rig.data, 1));
  // The clock stands still, so the wait looks again only because something has run.
  rig.WaitUntil(fence, 1);
  EXPECT_EQ(rig.DataAt(8), 2u);
}

TEST(EngineThreads, HostEndsUnderItsWork) {
  for (int round = 0; round < 5; ++round) {
    ThreadRig rig;
    const uint64_t large = rig.Memory(16 * kMiB);
    for (uint32_t node = 0; node < 3; ++node) {
      const uint32_t context = rig.TryContext(rig.caller, rig.device, node);
      for (int i = 0; i < 50; ++i)
        rig.SubmitTo({context}, CommandWriter().Fill(large + node * 5 * kMiB, 5 * kMiB, 1));
    }
  }
}

// Everything at once: work, waits, errors and ends from several threads.
TEST(EngineThreads, DevicesComeAndGoUnderTheirWork) {
  ThreadRig rig;
  const auto fence = rig.NewFence();
  const uint64_t marker = rig.Put(CommandWriter().Marker(1).bytes());
  const uint64_t hang = rig.Put(CommandWriter().Hang().bytes());
  std::vector<std::jthread> threads;
  for (uint32_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (uint32_t i = 0; i < 100; ++i) {
        const uint32_t device = rig.NewDevice(rig.caller);
        const uint32_t context = rig.TryContext(rig.caller, device, i % 3);
        rig.GpuWait(context, {{fence.handle, i % 2}});
        for (int n = 0; n < 5; ++n) rig.Submit(rig.SubmitRequest({context}, marker, 24));
        rig.Submit(rig.SubmitRequest({context}, hang, 16));
        rig.GpuSignal({context}, {{fence.handle, 1}});
        if (i % 3 == 0) rig.MarkAsError(rig.caller, device);
        if (i % 3 == 1) rig.DestroyContext(rig.caller, context);
        EXPECT_EQ(rig.DestroyDevice(rig.caller, device), kStatusSuccess);
        if (thread == 0) rig.Signal(fence.handle, 1);
      }
    });
  }
  threads.clear();
  rig.EndAndExpectNothing();
}

}  // namespace
}  // namespace dxg::hostsim
