// Allocations of the client's own memory. As heaps, which any GPU driver makes without private data.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "tests/conformance/memory.h"
#include "tests/conformance/memory_client.h"
#include "tests/conformance/peer.h"

namespace dxg::conformance {
namespace {

// Page frames do not fit into one message beyond this.
constexpr uint64_t kPagesPerMessage = 15867;

// ---- Refusals ----

TEST(ExistingMemory, RefusesMemoryThatIsNotThere) {
  const MemoryClient client;
  Pages memory(4 * kPageBytes);
  std::byte* const address = memory.data();
  memory.Unmap();
  d3dkmthandle allocation;
  EXPECT_EQ(client.TryCreateHeap(address, kPageBytes, &allocation), -ENOMEM);
  EXPECT_EQ(client.TryCreateHeap(reinterpret_cast<void*>(kUnmappedAddress), kPageBytes, &allocation),
            -ENOMEM);
  EXPECT_EQ(client.TryCreateHeap(reinterpret_cast<void*>(kKernelAddress), kPageBytes, &allocation), -ENOMEM);
}

TEST(ExistingMemory, RefusesMemoryThatIsThereInPart) {
  const MemoryClient client;
  const Pages memory(8 * kPageBytes);
  ASSERT_EQ(munmap(memory.data() + 5 * kPageBytes, kPageBytes), 0);
  d3dkmthandle allocation;
  EXPECT_EQ(client.TryCreateHeap(memory.data(), 8 * kPageBytes, &allocation), -ENOMEM);
  EXPECT_EQ(client.TryCreateHeap(memory.data() + 4 * kPageBytes, 2 * kPageBytes, &allocation), -ENOMEM);
  EXPECT_EQ(client.TryCreateHeap(memory.data(), 5 * kPageBytes, &allocation), 0);
  EXPECT_EQ(client.TryCreateHeap(memory.data() + 6 * kPageBytes, 2 * kPageBytes, &allocation), 0);
}

TEST(ExistingMemory, RefusesMemoryWithoutAccess) {
  const MemoryClient client;
  const Pages memory(4 * kPageBytes);
  memory.Protect(PROT_NONE, 3 * kPageBytes);
  d3dkmthandle allocation;
  EXPECT_EQ(client.TryCreateHeap(memory.data(), 4 * kPageBytes, &allocation), -ENOMEM);
  EXPECT_EQ(client.TryCreateHeap(memory.data(), 4 * kPageBytes, &allocation, true), -ENOMEM);
}

TEST(ExistingMemory, TakesReadOnlyMemoryOnlyAsReadOnly) {
  const MemoryClient client;
  const Pages memory(4 * kPageBytes);
  FillPattern(memory.span(), 1);
  memory.Protect(PROT_READ, kPageBytes);
  d3dkmthandle allocation;
  EXPECT_EQ(client.TryCreateHeap(memory.data(), 4 * kPageBytes, &allocation), -ENOMEM);
  EXPECT_EQ(client.TryCreateHeap(memory.data(), kPageBytes, &allocation), 0) << "its first page is not";
  EXPECT_EQ(client.TryCreateHeap(memory.data(), 4 * kPageBytes, &allocation, true), 0);
  EXPECT_EQ(FindWrongByte(memory.span(), 1), -1);
}

TEST(ExistingMemory, RefusalLeavesTheClientAsItWas) {
  const MemoryClient client;
  const Pages memory(4 * kPageBytes);
  FillPattern(memory.span(), 2);
  memory.Protect(PROT_NONE, 2 * kPageBytes);
  for (int i = 0; i < 20; ++i) {
    d3dkmthandle allocation;
    EXPECT_EQ(client.TryCreateHeap(memory.data(), 4 * kPageBytes, &allocation), -ENOMEM);
  }
  memory.Protect(PROT_READ | PROT_WRITE);
  EXPECT_EQ(FindWrongByte(memory.span(), 2), -1);
  client.Destroy(client.CreateHeap(memory.data(), 4 * kPageBytes));
}

TEST(ExistingMemory, RefusesAMappingBeyondTheEndOfItsFile) {
  const MemoryClient client;
  const Descriptor file(memfd_create("conformance", MFD_CLOEXEC));
  ASSERT_EQ(ftruncate(file.get(), 2 * kPageBytes + 1), 0);
  void* const mapping = mmap(nullptr, 4 * kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  ASSERT_NE(mapping, MAP_FAILED);
  d3dkmthandle allocation;
  for (const bool read_only : {false, true}) {
    EXPECT_EQ(client.TryCreateHeap(mapping, 4 * kPageBytes, &allocation, read_only), -ENOMEM);
    EXPECT_EQ(client.TryCreateHeap(mapping, 3 * kPageBytes, &allocation, read_only), 0)
        << "the last page is there in part";
  }
  ASSERT_EQ(ftruncate(file.get(), 4 * kPageBytes), 0);
  EXPECT_EQ(client.TryCreateHeap(mapping, 4 * kPageBytes, &allocation), 0);
}

// Device memory has no pages that could be kept.
TEST(ExistingMemory, RefusesALockedAllocation) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  std::byte* const locked = client.Lock(client.Create(4 * kPageBytes));
  std::byte* const shared = client.Lock(client.CreateResource().allocations[0]);
  d3dkmthandle allocation;
  for (std::byte* const address : {locked, shared}) {
    EXPECT_EQ(client.TryCreateHeap(address, kPageBytes, &allocation), -ENOMEM);
    EXPECT_EQ(client.TryCreateHeap(address, kPageBytes, &allocation, true), -ENOMEM);
  }
}

// ---- Success ----

TEST(ExistingMemory, KeepsItsBytesAndStaysWhereItIs) {
  const MemoryClient client;
  const Pages memory(16 * kPageBytes);
  FillPattern(memory.span(), 3);
  const d3dkmthandle allocation = client.CreateHeap(memory.data(), memory.bytes());
  EXPECT_EQ(FindWrongByte(memory.span(), 3), -1);
  FillPattern(memory.span(), 4);
  client.Destroy(allocation);
  EXPECT_EQ(FindWrongByte(memory.span(), 4), -1);
}

TEST(ExistingMemory, MayBeUntouched) {
  const MemoryClient client;
  const Pages memory(16 * kPageBytes, false);
  const d3dkmthandle allocation = client.CreateHeap(memory.data(), memory.bytes());
  EXPECT_TRUE(IsZero(memory.span()));
  FillPattern(memory.span(), 5);
  client.Destroy(allocation);
  EXPECT_EQ(FindWrongByte(memory.span(), 5), -1);
}

// The client has had the address all along, so nobody counts.
TEST(ExistingMemory, LockGivesTheVeryPointerAndCountsNothing) {
  const MemoryClient client;
  const Pages memory(4 * kPageBytes);
  const d3dkmthandle allocation = client.CreateHeap(memory.data(), memory.bytes());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(client.Lock(allocation), memory.data());
  for (int i = 0; i < 5; ++i)
    client.TryUnlock(allocation);  // goes to the host each time, which has its own view
  EXPECT_EQ(client.Lock(allocation), memory.data());
  uint64_t address = 0;
  EXPECT_EQ(client.TryLock(allocation, Handle(0), &address), 0) << "nobody asks for the device";
  EXPECT_EQ(address, Address(memory.data()));
  client.Destroy(allocation);
  EXPECT_TRUE(IsMapped(memory.data()));
}

TEST(ExistingMemory, UnlockLooksAtTheDevice) {
  const MemoryClient client;
  const Pages memory(kPageBytes);
  const d3dkmthandle allocation = client.CreateHeap(memory.data(), memory.bytes());
  for (d3dkmthandle bad : {Handle(0), Handle(0x40fff000), allocation})
    EXPECT_EQ(client.TryUnlock(allocation, bad), -EINVAL);
}

TEST(ExistingMemory, MayBeUnmappedWhileItIsUsed) {
  const MemoryClient client;
  Pages memory(16 * kPageBytes);
  FillPattern(memory.span(), 6);
  const d3dkmthandle allocation = client.CreateHeap(memory.data(), memory.bytes());
  std::byte* const address = memory.data();
  memory.Unmap();
  uint64_t locked = 0;
  EXPECT_EQ(client.TryLock(allocation, &locked), 0);
  EXPECT_EQ(locked, Address(address)) << "what was said at its creation";
  client.Destroy(allocation);
  const Pages next(16 * kPageBytes);
  client.Destroy(client.CreateHeap(next.data(), next.bytes()));
}

// What is mapped at the address afterwards is other memory.
TEST(ExistingMemory, DestroyLeavesWhatIsMappedThereMeanwhile) {
  const MemoryClient client;
  const Pages memory(16 * kPageBytes);
  const d3dkmthandle allocation = client.CreateHeap(memory.data(), memory.bytes());
  ASSERT_EQ(mmap(memory.data(), memory.bytes(), PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
            memory.data());
  FillPattern(memory.span(), 7);
  client.Destroy(allocation);
  EXPECT_EQ(FindWrongByte(memory.span(), 7), -1);
}

TEST(ExistingMemory, MayBackSeveralAllocations) {
  const MemoryClient client;
  const Pages memory(16 * kPageBytes);
  const d3dkmthandle all = client.CreateHeap(memory.data(), memory.bytes());
  const d3dkmthandle part = client.CreateHeap(memory.data() + 4 * kPageBytes, 4 * kPageBytes);
  EXPECT_NE(all.v, part.v);
  EXPECT_EQ(client.Lock(all), memory.data());
  EXPECT_EQ(client.Lock(part), memory.data() + 4 * kPageBytes);
  client.Destroy(all);
  EXPECT_EQ(client.Lock(part), memory.data() + 4 * kPageBytes);
}

TEST(ExistingMemory, MayBeMoreThanAMessageHolds) {
  const MemoryClient client;
  for (uint64_t pages : {kPagesPerMessage, kPagesPerMessage + 1}) {
    const Pages memory(pages * kPageBytes);
    FillPattern(memory.span().last(64), pages);
    const d3dkmthandle allocation = client.CreateHeap(memory.data(), memory.bytes());
    client.Destroy(allocation);
    EXPECT_EQ(FindWrongByte(memory.span().last(64), pages), -1);
  }
}

TEST(ExistingMemory, MayBeSharedWithOthers) {
  const MemoryClient client;
  const Descriptor file(memfd_create("conformance", MFD_CLOEXEC));
  ASSERT_EQ(ftruncate(file.get(), 4 * kPageBytes), 0);
  void* mapping = mmap(nullptr, 4 * kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  ASSERT_NE(mapping, MAP_FAILED);
  const d3dkmthandle allocation = client.CreateHeap(mapping, 4 * kPageBytes);
  FillPattern({static_cast<std::byte*>(mapping), 4 * kPageBytes}, 8);
  InFreshProcess([&] {
    EXPECT_EQ(FindWrongByte({static_cast<std::byte*>(mapping), 4 * kPageBytes}, 8), -1);
    FillPattern({static_cast<std::byte*>(mapping), 4 * kPageBytes}, 9);
  });
  EXPECT_EQ(FindWrongByte({static_cast<std::byte*>(mapping), 4 * kPageBytes}, 9), -1);
  client.Destroy(allocation);
  munmap(mapping, 4 * kPageBytes);
}

// Private memory is copied by a fork, and then it is a question of who has the pages that were pinned: the
// one who asked for it.
TEST(ExistingMemory, BelongsToTheParentAfterAFork) {
  const MemoryClient client;
  const Pages memory(4 * kPageBytes);
  const d3dkmthandle allocation = client.CreateHeap(memory.data(), memory.bytes());
  FillPattern(memory.span(), 10);
  InFreshProcess([&] {
    EXPECT_EQ(FindWrongByte(memory.span(), 10), -1);
    FillPattern(memory.span(), 11);
    const MemoryClient own;
    EXPECT_EQ(own.TryLock(allocation), -EINVAL);
    own.Destroy(own.CreateHeap(memory.data(), memory.bytes()));
  });
  EXPECT_EQ(FindWrongByte(memory.span(), 10), -1);
  client.Destroy(allocation);
}

TEST(ExistingMemory, WorksFromManyThreads) {
  const MemoryClient client;
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < 8; ++i)
    threads.push_back(StartThread([&client, i] {
      const Pages memory(4 * kPageBytes);
      for (uint64_t round = 0; round < 25; ++round) {
        FillPattern(memory.span(), 100 * i + round);
        const d3dkmthandle allocation = client.CreateHeap(memory.data(), memory.bytes());
        EXPECT_EQ(client.Lock(allocation), memory.data());
        client.Destroy(allocation);
        EXPECT_EQ(FindWrongByte(memory.span(), 100 * i + round), -1);
      }
    }));
  for (std::thread& thread : threads) thread.join();
}

TEST(ExistingMemory, EndsWithAKilledClient) {
  Peer other([](Peer& parent) {
    const MemoryClient client;
    const Pages memory(64 * kPageBytes);
    client.CreateHeap(memory.data(), memory.bytes());
    parent.Send(0);
    parent.Receive();
  });
  other.Receive();
  other.Kill();
  const MemoryClient client;
  const Pages memory(64 * kPageBytes);
  client.Destroy(client.CreateHeap(memory.data(), memory.bytes()));
}

}  // namespace
}  // namespace dxg::conformance
