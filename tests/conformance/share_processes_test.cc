// A resource in several processes: what one writes, the others see, and none notices the end of another.

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "tests/conformance/after_exec.h"
#include "tests/conformance/descriptor_post.h"
#include "tests/conformance/memory_client.h"
#include "tests/conformance/peer.h"

namespace dxg::conformance {
namespace {

// Memory that may lie in an adapter is for its creator only; this may not.
SharedResource CreateForOthers(const MemoryClient& client, uint32_t count = 1) {
  Creation creation(client.device, count);
  creation.MakeShared();
  for (size_t i = 0; i < count; ++i)
    creation.SetData(i, AllocationData{.bytes = kPageBytes, .flags = AllocationData::kSystemOnly});
  client.node.Ioctl(LX_DXCREATEALLOCATION, creation.args, "CreateAllocation");
  return {creation.args.resource, creation.Handles()};
}

TEST(SharedBetweenProcesses, InheritedDescriptorOfAChildThatOpenedTheNodeItself) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const SharedResource shared = CreateForOthers(client, 2);
  const Descriptor descriptor(client.Share(shared.resource));
  const std::span memory = client.LockBytes(shared.allocations[1]);
  FillPattern(memory, 1);
  InFreshProcess([&] {
    EXPECT_EQ(client.TryLock(shared.allocations[1]), -ENOTTY);
    const MemoryClient own;
    const SharedResource opened = own.OpenShared(descriptor.get());
    const std::span own_memory = own.LockBytes(opened.allocations[1]);
    EXPECT_EQ(FindWrongByte(own_memory, 1), -1);
    FillPattern(own_memory, 2);
    EXPECT_TRUE(IsZero(own.LockBytes(opened.allocations[0])));
  });
  EXPECT_EQ(FindWrongByte(memory, 2), -1);
  EXPECT_TRUE(IsZero(client.LockBytes(shared.allocations[0])));
}

TEST(SharedBetweenProcesses, BytesGoBothWaysAtOnce) {
  SKIP_WITHOUT_ALLOCATIONS();
  constexpr uint64_t kTurns = 500;  // with one CPU each may take a tick of its clock
  const MemoryClient client;
  const SharedResource shared = CreateForOthers(client);
  const Descriptor descriptor(client.Share(shared.resource));
  auto* word = reinterpret_cast<uint64_t*>(client.Lock(shared.allocations[0]));  // Safety: page memory
  Peer other([&](Peer&) {
    const MemoryClient own;
    auto* own_word = reinterpret_cast<uint64_t*>(
        own.Lock(own.OpenShared(descriptor.get()).allocations[0]));  // Safety: page memory
    for (uint64_t turn = 1; turn < kTurns; turn += 2) {
      while (__atomic_load_n(own_word, __ATOMIC_ACQUIRE) != turn) std::this_thread::yield();
      __atomic_store_n(own_word, turn + 1, __ATOMIC_RELEASE);
    }
  });
  for (uint64_t turn = 0; turn < kTurns; turn += 2) {
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) != turn) std::this_thread::yield();
    __atomic_store_n(word, turn + 1, __ATOMIC_RELEASE);
  }
  other.Join();
  EXPECT_EQ(*word, kTurns);
}

TEST(SharedBetweenProcesses, DescriptorThroughASocket) {
  SKIP_WITHOUT_ALLOCATIONS();
  const DescriptorPost post;
  Peer other([&](Peer& parent) {
    const MemoryClient own;
    parent.Receive();
    const Descriptor descriptor(post.Receive());
    const std::span memory = own.LockBytes(own.OpenShared(descriptor.get()).allocations[0]);
    EXPECT_EQ(FindWrongByte(memory, 1), -1);
    FillPattern(memory, 2);
  });
  const MemoryClient client;
  const SharedResource shared = CreateForOthers(client);
  const std::span memory = client.LockBytes(shared.allocations[0]);
  FillPattern(memory, 1);
  {
    const Descriptor descriptor(client.Share(shared.resource));
    post.Send(descriptor.get());
  }
  other.Send(0);
  other.Join();
  EXPECT_EQ(FindWrongByte(memory, 2), -1);
}

TEST(SharedBetweenProcesses, DescriptorThatOnlyTravelsKeepsTheMemory) {
  SKIP_WITHOUT_ALLOCATIONS();
  const DescriptorPost post;
  InFreshProcess([&] {
    const MemoryClient client;
    const SharedResource shared = CreateForOthers(client);
    FillPattern(client.LockBytes(shared.allocations[0]), 1);
    const Descriptor descriptor(client.Share(shared.resource));
    post.Send(descriptor.get());
  });
  const MemoryClient client;
  const Descriptor descriptor(post.Receive());
  EXPECT_EQ(FindWrongByte(client.LockBytes(client.OpenShared(descriptor.get()).allocations[0]), 1), -1);
}

TEST(SharedBetweenProcesses, OpenerOutlivesAKilledCreator) {
  SKIP_WITHOUT_ALLOCATIONS();
  const DescriptorPost post;
  Peer creator([&](Peer& parent) {
    const MemoryClient client;
    const SharedResource shared = CreateForOthers(client);
    FillPattern(client.LockBytes(shared.allocations[0]), 1);
    const Descriptor descriptor(client.Share(shared.resource));
    post.Send(descriptor.get());
    parent.Send(0);
    parent.Receive();
  });
  creator.Receive();
  const MemoryClient client;
  const Descriptor descriptor(post.Receive());
  const std::span memory = client.LockBytes(client.OpenShared(descriptor.get()).allocations[0]);
  creator.Kill();
  EXPECT_EQ(FindWrongByte(memory, 1), -1);
  FillPattern(memory, 2);
  EXPECT_EQ(FindWrongByte(client.LockBytes(client.OpenShared(descriptor.get()).allocations[0]), 2), -1);
}

TEST(SharedBetweenProcesses, CreatorDoesNotNoticeAKilledOpener) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const SharedResource shared = CreateForOthers(client);
  const Descriptor descriptor(client.Share(shared.resource));
  const std::span memory = client.LockBytes(shared.allocations[0]);
  for (uint64_t round = 0; round < 5; ++round) {
    Peer opener([&](Peer& parent) {
      const MemoryClient own;
      FillPattern(own.LockBytes(own.OpenShared(descriptor.get()).allocations[0]), round);
      parent.Send(0);
      parent.Receive();
    });
    opener.Receive();
    opener.Kill();
    EXPECT_EQ(FindWrongByte(memory, round), -1);
  }
}

TEST(SharedBetweenProcesses, InheritedDescriptorAfterExec) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const SharedResource shared = CreateForOthers(client);
  FillPattern(client.LockBytes(shared.allocations[0]), kAfterExecSeed);
  const Descriptor descriptor(client.Share(shared.resource));
  InFreshProcess([&] {
    fcntl(descriptor.get(), F_SETFD, 0);
    ExecAfter("open", {static_cast<uint64_t>(descriptor.get())});
  });
}

TEST(SharedBetweenProcesses, ManyProcessesOpenOneResource) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const SharedResource shared = CreateForOthers(client);
  const Descriptor descriptor(client.Share(shared.resource));
  const std::span memory = client.LockBytes(shared.allocations[0]);
  std::vector<std::unique_ptr<Peer>> openers;
  for (size_t i = 0; i < 8; ++i)
    openers.push_back(std::make_unique<Peer>([&, i](Peer&) {
      const MemoryClient own;
      FillPattern(own.LockBytes(own.OpenShared(descriptor.get()).allocations[0]).subspan(256 * i, 256), i);
    }));
  for (auto& opener : openers) opener->Join();
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(FindWrongByte(memory.subspan(256 * i, 256), i), -1) << i;
}

}  // namespace
}  // namespace dxg::conformance
