// Waits that block, and what else can happen to those who are in one: signals, death, fork, exec, the end of
// the descriptor, and great numbers of them.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <memory>
#include <vector>

#include "tests/conformance/descriptor_post.h"
#include "tests/conformance/peer.h"
#include "tests/conformance/work_client.h"

namespace dxg::conformance {
namespace {

std::atomic<int> signals_handled = 0;

// A handler of SIGUSR1 that ends with its scope.
class Handler {
 public:
  explicit Handler(int flags) {
    signals_handled = 0;
    struct sigaction action = {};
    action.sa_handler = [](int) { ++signals_handled; };
    action.sa_flags = flags;
    sigaction(SIGUSR1, &action, &before_);
  }
  ~Handler() { sigaction(SIGUSR1, &before_, nullptr); }

 private:
  struct sigaction before_ = {};
};

// ---- Signals ----

TEST(SimBlockedWait, ASignalEndsItWithEintr) {
  const Handler handler(0);
  const SyncClient client;
  const Fence fence = client.CreateFence();
  Waiter waiter([&] { return client.TryWait(fence.handle, 1); });
  waiter.UntilInCall();
  pthread_kill(waiter.thread(), SIGUSR1);
  EXPECT_EQ(waiter.Join(), -EINTR);
  EXPECT_EQ(signals_handled, 1);
  client.Signal(fence, 1);  // nobody is there any more
  EXPECT_EQ(client.TryWait(fence.handle, 1), 0);
}

TEST(SimBlockedWait, ASignalWithRestartLeavesItWaiting) {
  const Handler handler(SA_RESTART);
  const SyncClient client;
  const Fence fence = client.CreateFence();
  Waiter waiter([&] { return client.TryWait(fence.handle, 1); });
  for (int i = 1; i <= 20; ++i) {
    waiter.UntilInCall();
    pthread_kill(waiter.thread(), SIGUSR1);
    while (signals_handled < i) std::this_thread::yield();
  }
  EXPECT_FALSE(waiter.IsDone());
  client.Signal(fence, 1);
  EXPECT_EQ(waiter.Join(), 0);
}

// A stopped and continued process comes back into its wait.
TEST(SimBlockedWait, StopAndContinueLeaveItWaiting) {
  const SyncClient client;
  const Fence fence = client.CreateFence(0, sync_flags::kShared);
  const Descriptor descriptor(client.Share(fence.handle));
  Peer other([&](Peer& parent) {
    const SyncClient own;
    const Fence opened = own.OpenFence(descriptor.get());
    parent.Send(0);
    EXPECT_EQ(own.TryWait(opened.handle, 1), 0);
    parent.Send(opened.Value());
  });
  other.Receive();
  for (int i = 0; i < 5; ++i) {
    int status = 0;
    kill(other.pid(), SIGSTOP);
    ASSERT_EQ(waitpid(other.pid(), &status, WUNTRACED), other.pid());
    kill(other.pid(), SIGCONT);
    ASSERT_EQ(waitpid(other.pid(), &status, WCONTINUED), other.pid());
  }
  client.Signal(fence, 1);
  EXPECT_EQ(other.Receive(), 1u);
  other.Join();
}

// A signal between two rounds is not lost, and neither is the fence: whatever comes first.
TEST(SimBlockedWait, SignalsAndFencesTogetherLoseNothing) {
  const Handler handler(0);
  const SyncClient client;
  const Fence fence = client.CreateFence();
  for (uint64_t round = 1; round <= 200; ++round) {
    Waiter waiter([&] { return client.TryWait(fence.handle, round); });
    if (round % 2 == 0) waiter.UntilInCall();
    std::thread killer([&] { pthread_kill(waiter.thread(), SIGUSR1); });
    client.Signal(fence, round);
    killer.join();
    const int result = waiter.Join();
    EXPECT_TRUE(result == 0 || result == -EINTR) << ResultName(result);
  }
}

// ---- Death ----

// [SYN] 164
TEST(SimBlockedWait, AKilledClientLeavesNoWaiter) {
  const SyncClient client;
  const Fence fence = client.CreateFence(0, sync_flags::kShared);
  const Descriptor descriptor(client.Share(fence.handle));
  for (int round = 0; round < 5; ++round) {
    Peer other([&](Peer& parent) {
      const SyncClient own;
      const Fence opened = own.OpenFence(descriptor.get());
      const Event event;
      for (int i = 0; i < 20; ++i) own.WaitEvent(opened.handle, 1000, event);
      std::vector<std::unique_ptr<Waiter>> waiters;
      for (int i = 0; i < 4; ++i)
        waiters.push_back(std::make_unique<Waiter>([&] { return own.TryWait(opened.handle, 1000); }));
      for (const auto& waiter : waiters) waiter->UntilInCall();
      parent.Send(0);
      parent.Receive();
    });
    other.Receive();
    other.Kill();
    client.Signal(fence, static_cast<uint64_t>(round) + 1);
    EXPECT_EQ(client.TryWait(fence.handle, static_cast<uint64_t>(round) + 1), 0);
  }
  client.Signal(fence, 1000);
  EXPECT_EQ(client.TryWait(fence.handle, 1000), 0);
}

// The file lives as long as a call is in it.
TEST(SimBlockedWait, OutlivesTheLastDescriptor) {
  const SyncClient client;
  const Fence fence = client.CreateFence(0, sync_flags::kShared);
  const Descriptor descriptor(client.Share(fence.handle));
  Peer other([&](Peer& parent) {
    SyncClient own;
    const Fence opened = own.OpenFence(descriptor.get());
    Waiter waiter([&] { return own.TryWait(opened.handle, 1); });
    waiter.UntilInCall();
    own.node.Close();
    parent.Send(0);
    EXPECT_EQ(waiter.Join(), 0);
  });
  other.Receive();
  client.Signal(fence, 1);
  other.Join();
}

// ---- fork and exec ----

TEST(SimBlockedWait, AForkedChildDoesNotDisturbIt) {
  const SyncClient client;
  const Fence fence = client.CreateFence();
  const Event event;
  client.WaitEvent(fence.handle, 1, event);
  Waiter waiter([&] { return client.TryWait(fence.handle, 1); });
  waiter.UntilInCall();
  Peer child([&](Peer&) {
    EXPECT_EQ(client.TryWait(fence.handle, 1), -ENOTTY) << "the descriptor is the parent's";
    EXPECT_EQ(client.TrySignal(fence.handle, 1), -ENOTTY);
    EXPECT_EQ(fence.Value(), 0u) << "the page is inherited";
  });
  child.Join();
  EXPECT_FALSE(waiter.IsDone());
  client.Signal(fence, 1);
  EXPECT_EQ(waiter.Join(), 0);
  EXPECT_EQ(event.Take(1u), 1u);
}

TEST(SimBlockedWait, ExecEndsItWithTheThread) {
  const SyncClient client;
  const Fence fence = client.CreateFence(0, sync_flags::kShared);
  const Descriptor descriptor(client.Share(fence.handle));
  Peer other([&](Peer& parent) {
    const SyncClient own;
    const Fence opened = own.OpenFence(descriptor.get());
    Waiter waiter([&] { return own.TryWait(opened.handle, 1); });
    waiter.UntilInCall();
    parent.Send(0);
    execl("/bin/true", "true", nullptr);
    ADD_FAILURE() << "exec";
  });
  other.Receive();
  other.Join();
  client.Signal(fence, 1);
  EXPECT_EQ(client.TryWait(fence.handle, 1), 0);
}

// A fence travels with its descriptor, by SCM_RIGHTS as by fork.
TEST(SimBlockedWait, FencesComeByDescriptorInAMessage) {
  const DescriptorPost post;
  Peer other([&](Peer& parent) {
    const SyncClient own;
    const Fence fence = own.CreateFence(0, sync_flags::kShared);
    const Descriptor descriptor(own.Share(fence.handle));
    post.Send(descriptor.get());
    EXPECT_EQ(own.TryWait(fence.handle, 1), 0);
    own.Signal(fence, 2);
    parent.Receive();
  });
  const SyncClient client;
  const Descriptor descriptor(post.Receive());
  const Fence opened = client.OpenFence(descriptor.get());
  Waiter waiter([&] { return client.TryWait(opened.handle, 2); });
  waiter.UntilInCall();
  client.Signal(opened, 1);
  EXPECT_EQ(waiter.Join(), 0);
  other.Send(0);
  other.Join();
}

// ---- Many ----

// A blocked call holds nobody up: there are far more of them than the node can have threads at work.
TEST(SimManyWaits, TwoHundredBlockedCallsLeaveRoomForOthers) {
  const SyncClient client;
  const Fence fence = client.CreateFence();
  std::vector<std::unique_ptr<Waiter>> waiters;
  for (uint64_t i = 0; i < 200; ++i)
    waiters.push_back(std::make_unique<Waiter>([&, i] { return client.TryWait(fence.handle, 1 + i % 10); }));
  for (const auto& waiter : waiters) waiter->UntilInCall();
  const SyncClient another;
  EXPECT_EQ(another.CreateFence(1).Value(), 1u);
  for (uint64_t value = 1; value <= 10; ++value) client.Signal(fence, value);
  for (const auto& waiter : waiters) EXPECT_EQ(waiter->Join(), 0);
}

// Half of them for one value, half for the next; a signal reaches exactly those that it is for.
void KeepPending(uint64_t waits) {
  const SyncClient client;
  const Fence fence = client.CreateFence();
  const Event event;
  for (uint64_t i = 0; i < waits; ++i) ASSERT_EQ(client.TryWait(fence.handle, 1 + i % 2, event.fd()), 0) << i;
  EXPECT_EQ(event.Take(), 0u);
  client.Signal(fence, 1);
  client.Wait(fence, 1);
  EXPECT_EQ(event.Take(waits / 2), waits / 2);
  client.Signal(fence, 2);
  client.Wait(fence, 2);
  EXPECT_EQ(event.Take(waits / 2), waits / 2);
}

TEST(SimManyWaits, AThousandEventsArePendingAtOnce) { KeepPending(1000); }
TEST(SimManyWaits, AHundredThousandEventsArePendingAtOnce) { KeepPending(100'000); }

}  // namespace
}  // namespace dxg::conformance
