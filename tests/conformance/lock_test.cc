// Lock2, Unlock2, InvalidateCache: the CPU's view of an allocation.

#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/conformance/after_exec.h"
#include "tests/conformance/memory.h"
#include "tests/conformance/memory_client.h"
#include "tests/conformance/peer.h"

namespace dxg::conformance {
namespace {

std::span<std::byte> LockAll(const MemoryClient& client, d3dkmthandle allocation, uint64_t bytes) {
  return {client.Lock(allocation), bytes};
}

// ---- Refusals ----

TEST(Lock, RefusesWhatIsNoAllocation) {
  const MemoryClient client;
  for (d3dkmthandle handle : {Handle(0), Handle(0x40fff000), Handle(0xffffffff), client.device}) {
    EXPECT_EQ(client.TryLock(handle), -EINVAL) << handle.v;
    EXPECT_EQ(client.TryUnlock(handle), -EINVAL) << handle.v;
  }
}

TEST(Lock, RefusesADestroyedAllocationAndAResource) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const d3dkmthandle stale = client.Create();
  client.Lock(stale);
  client.Destroy(stale);
  EXPECT_EQ(client.TryLock(stale), -EINVAL);
  EXPECT_EQ(client.TryUnlock(stale), -EINVAL);
  EXPECT_EQ(client.TryLock(client.CreateResource().resource), -EINVAL);
}

TEST(Lock, RefusesABadDeviceTheFirstTime) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const d3dkmthandle allocation = client.Create();
  for (d3dkmthandle bad : {Handle(0), Handle(0x40fff000), allocation})
    EXPECT_EQ(client.TryLock(allocation, bad), -EINVAL);
  EXPECT_EQ(client.TryUnlock(allocation), -EINVAL) << "nothing is locked";
}

TEST(Lock, RefusesTheAllocationOfAnotherClient) {
  SKIP_WITHOUT_ALLOCATIONS();
  Peer other([](Peer& parent) {
    const MemoryClient client;
    const d3dkmthandle last = client.CreateMany(100).back();
    const std::span bytes = LockAll(client, last, kPageBytes);
    FillPattern(bytes, 1);
    parent.Send(last.v);
    parent.Receive();
    EXPECT_EQ(FindWrongByte(bytes, 1), -1);
    client.Unlock(last);
  });
  const d3dkmthandle foreign = Handle(static_cast<uint32_t>(other.Receive()));
  const MemoryClient client;
  EXPECT_EQ(client.TryLock(foreign), -EINVAL);
  EXPECT_EQ(client.TryUnlock(foreign), -EINVAL);
  other.Send(0);
  other.Join();
}

TEST(Lock, IsTakenBackWhereTheAddressCannotBeWritten) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const d3dkmthandle allocation = client.Create();
  GuardedMemory args(sizeof(d3dkmt_lock2));
  args.as<d3dkmt_lock2>()->device = client.device;
  args.as<d3dkmt_lock2>()->allocation = allocation;
  args.MakeReadOnly();
  EXPECT_EQ(client.node.TryIoctlAt(LX_DXLOCK2, args.address()), -EFAULT);
  EXPECT_EQ(client.TryUnlock(allocation), -EINVAL) << "nothing is locked";
  client.Lock(allocation);
  client.Unlock(allocation);
}

TEST(Unlock, RefusesWhatIsNotLocked) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const d3dkmthandle allocation = client.Create();
  EXPECT_EQ(client.TryUnlock(allocation), -EINVAL);
  client.Lock(allocation);
  client.Unlock(allocation);
  EXPECT_EQ(client.TryUnlock(allocation), -EINVAL);
}

// ---- One client ----

TEST(Lock, WritesTheAddressAndNothingElse) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  d3dkmt_lock2 args = {};
  args.device = client.device;
  args.allocation = client.Create();
  args.reserved = 0x5a5a5a5a;
  const d3dkmt_lock2 before = args;
  ASSERT_EQ(client.node.TryIoctl(LX_DXLOCK2, args), 0);
  EXPECT_NE(args.data, 0u);
  EXPECT_EQ(args.data % kPageBytes, 0u);
  args.data = 0;
  EXPECT_EQ(std::memcmp(&args, &before, sizeof(args)), 0);
}

TEST(Lock, FreshMemoryIsZeroFromTheFirstByteToTheLast) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  for (uint64_t bytes : {kPageBytes, 3 * kPageBytes, kMiB}) {
    const d3dkmthandle allocation = client.Create(bytes);
    const std::span memory = LockAll(client, allocation, bytes);
    EXPECT_TRUE(IsZero(memory));
    FillPattern(memory, bytes);
    EXPECT_EQ(FindWrongByte(memory, bytes), -1);
  }
}

// Memory goes from one owner to the next, what is in it does not.
TEST(Lock, FreshMemoryIsZeroAfterItWasSomebodyElses) {
  SKIP_WITHOUT_ALLOCATIONS();
  const auto fill = [] {
    const MemoryClient client;
    for (int i = 0; i < 20; ++i) {
      const d3dkmthandle allocation = client.Create(16 * kPageBytes);
      const std::span memory = LockAll(client, allocation, 16 * kPageBytes);
      EXPECT_TRUE(IsZero(memory));
      FillPattern(memory, 3);
      if (i % 2 == 0) client.Destroy(allocation);  // else it goes with its owner
    }
  };
  InFreshProcess(fill);
  InFreshProcess(fill);
  fill();
}

TEST(Lock, GivesTheSameAddressEachTimeAndCounts) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const d3dkmthandle allocation = client.Create();
  std::byte* const first = client.Lock(allocation);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(client.Lock(allocation), first);
  FillPattern({first, kPageBytes}, 1);
  for (int i = 0; i < 4; ++i) {
    client.Unlock(allocation);
    ASSERT_TRUE(IsMapped(first)) << "after unlock " << i;
    EXPECT_EQ(FindWrongByte({first, kPageBytes}, 1), -1);
  }
  client.Unlock(allocation);
  EXPECT_TRUE(IsGivenBack(first));
  EXPECT_EQ(client.TryUnlock(allocation), -EINVAL);
}

TEST(Lock, BytesStayFromOneLockToTheNext) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const std::vector<d3dkmthandle> allocations = client.CreateMany(10, 3 * kPageBytes);
  for (int round = 0; round < 3; ++round)
    for (size_t i = 0; i < allocations.size(); ++i) {
      const std::span memory = LockAll(client, allocations[i], 3 * kPageBytes);
      if (round != 0) {
        EXPECT_EQ(FindWrongByte(memory, 100 * (static_cast<uint64_t>(round) - 1) + i), -1);
      }
      FillPattern(memory, 100 * static_cast<uint64_t>(round) + i);
      client.Unlock(allocations[i]);
    }
}

TEST(Lock, LockedAllocationsDoNotOverlap) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const std::vector<d3dkmthandle> allocations = client.CreateMany(64, 2 * kPageBytes);
  std::vector<std::span<std::byte>> memory;
  for (size_t i = 0; i < allocations.size(); ++i) {
    memory.push_back(LockAll(client, allocations[i], 2 * kPageBytes));
    FillPattern(memory[i], i);
  }
  for (size_t i = 0; i < allocations.size(); ++i) EXPECT_EQ(FindWrongByte(memory[i], i), -1) << i;
}

// Known by its allocation alone once it is mapped.
TEST(Lock, AWrongDeviceIsNotNoticedWhileItIsLocked) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const d3dkmthandle allocation = client.Create();
  const std::byte* const first = client.Lock(allocation);
  for (d3dkmthandle bad : {Handle(0), Handle(0x40fff000), allocation}) {
    uint64_t address = 0;
    EXPECT_EQ(client.TryLock(allocation, bad, &address), 0);
    EXPECT_EQ(address, Address(first));
    EXPECT_EQ(client.TryUnlock(allocation, bad), 0) << "it stays locked";
  }
  client.Unlock(allocation);
}

// The address is gone by then, and only the host has not heard of it.
TEST(Unlock, OfTheLastOneRefusesAWrongDeviceTooLate) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const d3dkmthandle allocation = client.Create();
  const std::byte* const address = client.Lock(allocation);
  EXPECT_EQ(client.TryUnlock(allocation, Handle(0)), -EINVAL);
  EXPECT_TRUE(IsGivenBack(address));
  EXPECT_EQ(client.TryUnlock(allocation), -EINVAL) << "not locked";
}

TEST(Lock, EndsWithTheAllocationOrTheDevice) {
  SKIP_WITHOUT_ALLOCATIONS();
  MemoryClient client;
  const d3dkmthandle allocation = client.Create();
  const std::byte* address = client.Lock(allocation);
  client.Lock(allocation);
  client.Destroy(allocation);
  EXPECT_TRUE(IsGivenBack(address)) << "however often it was locked";
  const SharedResource resource = client.CreateResource();
  address = client.Lock(resource.allocations[0]);
  client.DestroyResource(resource.resource);
  EXPECT_TRUE(IsGivenBack(address));
  address = client.Lock(client.Create());
  client.node.DestroyDevice(client.device);
  EXPECT_TRUE(IsGivenBack(address));
}

// The parts of a large allocation are where they should be, and what is not touched costs nothing.
void TouchSparsely(uint64_t bytes) {
  const MemoryClient client;
  const d3dkmthandle allocation = client.Create(bytes);
  constexpr uint64_t kSteps = 64;
  std::byte* const memory = client.Lock(allocation);
  for (uint64_t i = 0; i < kSteps; ++i) {
    FillPattern({memory + bytes / kSteps * i, 64}, i);
    FillPattern({memory + bytes / kSteps * (i + 1) - 64, 64}, 1000 + i);
  }
  client.Unlock(allocation);
  const std::byte* const again = client.Lock(allocation);
  for (uint64_t i = 0; i < kSteps; ++i) {
    EXPECT_EQ(FindWrongByte({again + bytes / kSteps * i, 64}, i), -1) << i;
    EXPECT_EQ(FindWrongByte({again + bytes / kSteps * (i + 1) - 64, 64}, 1000 + i), -1) << i;
  }
  client.Destroy(allocation);
}

TEST(Lock, Of2MiB) {
  SKIP_WITHOUT_ALLOCATIONS();
  TouchSparsely(2 * kMiB);
}

TEST(Lock, Of1GiB) {
  SKIP_WITHOUT_ALLOCATIONS();
  TouchSparsely(kGiB);
}

TEST(Lock, Of4GiBAndAPage) {
  SKIP_WITHOUT_ALLOCATIONS();
  TouchSparsely(4 * kGiB + 64 * kPageBytes);
}

TEST(Lock, HandsTheKernelMemoryLikeAnyOther) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const std::span memory = LockAll(client, client.Create(), kPageBytes);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const Descriptor reader(ends[0]), writer(ends[1]);
  FillPattern(memory.first(512), 5);
  EXPECT_EQ(write(writer.get(), memory.data(), 512), 512);
  EXPECT_EQ(read(reader.get(), memory.data() + 1024, 512), 512);
  EXPECT_EQ(FindWrongByte(memory.subspan(1024, 512), 5), -1);
}

// A call's own struct may be in memory that the node has given.
TEST(Lock, TakesACallInsideLockedMemory) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const std::span memory = LockAll(client, client.Create(), kPageBytes);
  d3dkmt_getdevicestate args = {};
  args.device = client.device;
  args.state_type = _D3DKMT_DEVICESTATE_EXECUTION;
  std::memcpy(memory.data(), &args, sizeof(args));
  ASSERT_EQ(client.node.TryIoctlAt(LX_DXGETDEVICESTATE, Address(memory.data())), 0);
  std::memcpy(&args, memory.data(), sizeof(args));
  EXPECT_EQ(args.execution_state, uint32_t{_D3DKMT_DEVICEEXECUTION_ACTIVE});
}

// ---- Threads ----

TEST(Lock, ThreadsShareOneAddress) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  for (int round = 0; round < 20; ++round) {
    const d3dkmthandle allocation = client.Create();
    std::atomic<int> ready = 0;
    std::byte* addresses[8] = {};
    std::vector<std::thread> threads;
    for (std::byte*& address : addresses)
      threads.push_back(StartThread([&] {
        for (++ready; ready < 8;) std::this_thread::yield();
        address = client.Lock(allocation);
        *reinterpret_cast<volatile uint8_t*>(address) = 1;  // Safety: locked by this thread
      }));
    for (std::thread& thread : threads) thread.join();
    for (std::byte* address : addresses) EXPECT_EQ(address, addresses[0]);
    for (int i = 0; i < 8; ++i) EXPECT_EQ(client.TryUnlock(allocation), 0) << i;
    EXPECT_EQ(client.TryUnlock(allocation), -EINVAL);
    client.Destroy(allocation);
  }
}

TEST(Lock, ThreadsThatLockAndUnlockSeeTheBytes) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const d3dkmthandle allocation = client.Create(8 * kPageBytes);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < 8; ++i)
    threads.push_back(StartThread([&client, allocation, i] {
      for (uint64_t round = 0; round < 100; ++round) {
        const std::span page(client.Lock(allocation) + i * kPageBytes, 256);
        if (round != 0) {
          EXPECT_EQ(FindWrongByte(page, 1000 * i + round - 1), -1);
        }
        FillPattern(page, 1000 * i + round);
        client.Unlock(allocation);
      }
    }));
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(client.TryUnlock(allocation), -EINVAL);
}

TEST(Lock, DestroyedByAnotherThreadWhileItIsLocked) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  for (int round = 0; round < 50; ++round) {
    const d3dkmthandle allocation = client.Create();
    std::thread destroyer = StartThread([&] { client.Destroy(allocation); });
    for (int i = 0; i < 5; ++i) {
      const int result = i % 2 == 0 ? client.TryLock(allocation) : client.TryUnlock(allocation);
      EXPECT_TRUE(result == 0 || result == -EINVAL) << ResultName(result);
    }
    destroyer.join();
    EXPECT_EQ(client.TryLock(allocation), -EINVAL);
  }
}

// ---- Fork and exec ----

// The mapping is inherited like any other, the lock is not: that is the parent's.
TEST(Lock, SurvivesAForkForTheParentOnly) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const d3dkmthandle allocation = client.Create();
  const std::span memory = LockAll(client, allocation, kPageBytes);
  FillPattern(memory, 1);
  InFreshProcess([&] {
    EXPECT_EQ(client.TryLock(allocation), -ENOTTY);
    EXPECT_EQ(client.TryUnlock(allocation), -ENOTTY);
    const MemoryClient own;
    EXPECT_EQ(own.TryUnlock(allocation), -EINVAL);
    const d3dkmthandle own_allocation = own.Create();
    const std::span own_memory = LockAll(own, own_allocation, kPageBytes);
    EXPECT_TRUE(IsZero(own_memory));
    FillPattern(own_memory, 2);
  });
  EXPECT_EQ(FindWrongByte(memory, 1), -1);
  EXPECT_EQ(client.Lock(allocation), memory.data());
  client.Unlock(allocation);
  client.Unlock(allocation);
}

TEST(Lock, ManyForksWhileItIsLocked) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const d3dkmthandle allocation = client.Create();
  const std::span memory = LockAll(client, allocation, kPageBytes);
  for (uint64_t i = 0; i < 20; ++i) {
    FillPattern(memory, i);
    const pid_t child = fork();
    if (child == 0) _exit(0);
    client.Lock(allocation);
    client.Unlock(allocation);
    EXPECT_EQ(FindWrongByte(memory, i), -1);
    waitpid(child, nullptr, 0);
  }
  client.Unlock(allocation);
}

// What the client does with addresses that it has no right to is its own affair, and not the next lock's.
TEST(Lock, GivesItsBytesThoughTheClientMappedOverThem) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const d3dkmthandle neighbour = client.Create(kPageBytes), allocation = client.Create(4 * kPageBytes);
  const std::span beside = LockAll(client, neighbour, kPageBytes);
  FillPattern(beside, 1);
  const std::span memory = LockAll(client, allocation, 4 * kPageBytes);
  FillPattern(memory, 2);
  client.Unlock(allocation);
  void* const own = mmap(memory.data() + kPageBytes, kPageBytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  ASSERT_NE(own, MAP_FAILED);
  const std::span own_bytes(static_cast<std::byte*>(own), kPageBytes);
  FillPattern(own_bytes, 3);
  for (int round = 0; round < 3; ++round) {
    const std::span again = LockAll(client, allocation, 4 * kPageBytes);
    EXPECT_EQ(FindWrongByte(again, 2), -1) << round;
    EXPECT_EQ(FindWrongByte(own_bytes, 3), -1) << round;
    client.Unlock(allocation);
  }
  EXPECT_EQ(FindWrongByte(beside, 1), -1);
  client.Destroy(allocation);
  EXPECT_EQ(FindWrongByte(own_bytes, 3), -1);
  munmap(own, kPageBytes);
}

TEST(Lock, GivesItsBytesThoughTheClientUnmappedThem) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const d3dkmthandle allocation = client.Create(4 * kPageBytes);
  for (uint64_t round = 0; round < 20; ++round) {
    const std::span memory = LockAll(client, allocation, 4 * kPageBytes);
    if (round != 0) {
      ASSERT_EQ(FindWrongByte(memory, round - 1), -1) << round;
    }
    FillPattern(memory, round);
    client.Unlock(allocation);
    // The whole of it, its end, or a page in its middle.
    const uint64_t first = round % 3, pages = round % 3 == 0 ? 4 : 1;
    ASSERT_EQ(munmap(memory.data() + first * kPageBytes, pages * kPageBytes), 0);
  }
}

// A field of /proc/self/status, in bytes.
uint64_t MemoryField(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(name + ":")) return std::strtoull(line.c_str() + name.size() + 1, nullptr, 10) << 10;
  return 0;
}

// The flags of the mapping around an address, as /proc/self/smaps has them: "rd wr mr".
std::string FlagsOf(uint64_t address) {
  std::ifstream maps("/proc/self/smaps");
  bool found = false;
  for (std::string line; std::getline(maps, line);) {
    unsigned long begin = 0, end = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2) found = address >= begin && address < end;
    if (found && line.starts_with("VmFlags:")) return line.substr(8) + " ";
  }
  return "";
}

// What a dump walks, and mlockall() and fork() work for.
TEST(Lock, MapsAboutWhatIsUsedAndNothingForDumps) {
  SKIP_WITHOUT_ALLOCATIONS();
  InFreshProcess([] {
    const uint64_t before = MemoryField("VmSize");
    const MemoryClient client;
    const std::byte* const first = client.Lock(client.Create());
    EXPECT_LT(MemoryField("VmSize") - before, 16 * kMiB);
    EXPECT_NE(FlagsOf(Address(first)).find(" dd "), std::string::npos) << FlagsOf(Address(first));
    const uint64_t large = 64 * kMiB;
    const std::byte* const second = client.Lock(client.Create(large));
    EXPECT_LT(MemoryField("VmSize") - before, 2 * large + 32 * kMiB);
    EXPECT_NE(FlagsOf(Address(second)).find(" dd "), std::string::npos);
  });
}

TEST(Lock, AForkedChildDoesNotSeeWhatIsMappedLater) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const std::byte* const before = client.Lock(client.Create());
  Peer child([before](Peer& parent) {
    EXPECT_TRUE(IsMapped(before)) << "it has what was locked when it was forked";
    const auto later = reinterpret_cast<const void*>(parent.Receive());  // Safety: not followed
    EXPECT_FALSE(IsMapped(later));
  });
  child.Send(Address(client.Lock(client.Create(64 * kMiB))));
  child.Join();
}

#ifndef __SANITIZE_ADDRESS__  // which has terabytes of its own to be locked
TEST(Lock, WorksWhereAllMemoryIsLockedAsItIsMapped) {
  SKIP_WITHOUT_ALLOCATIONS();
  InFreshProcess([] {
    __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    __user_cap_data_struct sets[2] = {};
    ASSERT_EQ(syscall(SYS_capset, &header, sets), 0);  // root may lock as much as it likes
    rlimit limit = {};
    getrlimit(RLIMIT_MEMLOCK, &limit);
    limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 8 * kMiB);
    ASSERT_EQ(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
    ASSERT_EQ(mlockall(MCL_FUTURE), 0);
    const MemoryClient client;
    const std::span memory = LockAll(client, client.Create(), kPageBytes);
    FillPattern(memory, 1);
    EXPECT_EQ(FindWrongByte(memory, 1), -1);
    // More than the limit, unless another thread with rights of its own maps it.
    const int result = client.TryLock(client.Create(64 * kMiB));
    EXPECT_TRUE(result == -ENOMEM || result == 0) << result;
    client.Lock(client.Create());
  });
}
#endif

// The driver needs no descriptor to map memory.
TEST(Lock, WorksWithATableFullOfDescriptors) {
  SKIP_WITHOUT_ALLOCATIONS();
  rlimit most = {};
  getrlimit(RLIMIT_NOFILE, &most);
  if (most.rlim_max < 256) GTEST_SKIP() << "no more than " << most.rlim_max << " descriptors are allowed";
  InFreshProcess([] {
    rlimit limit = {};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = 64;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    int last = -1;
    for (int next; (next = dup(0)) >= 0;) last = next;
    close(last);
    const MemoryClient client;  // has the last number
    ASSERT_EQ(dup(0), -1);
    const d3dkmthandle allocation = client.Create(64 * kMiB);
    FillPattern(LockAll(client, allocation, kPageBytes), 1);
    client.Unlock(allocation);
    EXPECT_EQ(FindWrongByte(LockAll(client, allocation, kPageBytes), 1), -1);
    EXPECT_EQ(dup(0), -1) << "nothing is left over";
    rlimit after = {};
    getrlimit(RLIMIT_NOFILE, &after);
    EXPECT_EQ(after.rlim_cur, 64u);
  });
}

// The address space is a new one, the process is the same.
TEST(Lock, WorksAfterExec) {
  SKIP_WITHOUT_ALLOCATIONS();
  InFreshProcess([] {
    MemoryClient client;
    const Node inherited = OpenNode(O_RDONLY);
    const d3dkmthandle allocation = client.Create(3 * kPageBytes);
    FillPattern(LockAll(client, allocation, 3 * kPageBytes), kAfterExecSeed);
    client.Unlock(allocation);
    ExecAfter("lock", {static_cast<uint64_t>(inherited.fd()), client.device.v, allocation.v});
  });
}

// ---- InvalidateCache ----

TEST(InvalidateCache, RefusesAnUnknownDevice) {
  const MemoryClient client;
  for (d3dkmthandle device : {Handle(0), Handle(0x40fff000)}) {
    d3dkmt_invalidatecache args = {};
    args.device = device;
    EXPECT_EQ(client.node.TryIoctl(LX_DXINVALIDATECACHE, args), -EINVAL);
  }
}

TEST(InvalidateCache, TakesARangeOfAnAllocation) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  d3dkmt_invalidatecache args = {};
  args.device = client.device;
  args.allocation = client.Create(2 * kPageBytes);
  args.offset = 100;
  args.length = kPageBytes;
  EXPECT_EQ(client.node.TryIoctl(LX_DXINVALIDATECACHE, args), 0);
}

}  // namespace
}  // namespace dxg::conformance
