// Memory under load: two processes of eight threads each, private, shared and existing memory, forks, and a
// signal to every thread each millisecond. Not one byte may be wrong. How long: --stress-seconds.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "tests/conformance/memory_client.h"
#include "tests/conformance/options.h"
#include "tests/conformance/peer.h"

namespace dxg::conformance {
namespace {

constexpr int kMemoryProcesses = 2;
constexpr int kMemoryThreads = 8;
constexpr uint64_t kWorkers = kMemoryProcesses * kMemoryThreads;
constexpr long kTick_ns = 1'000'000;

using Clock = std::chrono::steady_clock;

// A signal to the thread that made it, each millisecond. No call of the node may end because of one.
class Ticker {
 public:
  Ticker() {
    struct sigaction action = {};
    action.sa_handler = [](int) {};
    sigaction(SIGUSR1, &action, nullptr);
    sigevent event = {};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGUSR1;
    event._sigev_un._tid = gettid();
    if (timer_create(CLOCK_MONOTONIC, &event, &timer_) != 0) throw std::runtime_error("timer_create");
    const itimerspec every = {{0, kTick_ns}, {0, kTick_ns}};
    timer_settime(timer_, 0, &every, nullptr);
  }
  Ticker(const Ticker&) = delete;
  Ticker& operator=(const Ticker&) = delete;
  ~Ticker() { timer_delete(timer_); }

 private:
  timer_t timer_;
};

// What one thread does: each step makes memory, writes it, and looks whether it is still so.
class MemoryWorker {
 public:
  // `place` is its page in the shared resource.
  MemoryWorker(const MemoryClient& client, const PagingQueue& queue, int descriptor, uint64_t place)
      : client_(client), queue_(queue), descriptor_(descriptor), place_(place), random_(place + 1) {}

  void RunUntil(Clock::time_point deadline) {
    const Ticker ticker;
    while (Clock::now() < deadline && !testing::Test::HasFailure()) Step();
  }

 private:
  unsigned Dice(unsigned sides) { return static_cast<unsigned>(random_() % sides); }

  void Step() {
    switch (Dice(12)) {
      case 0:
        return Fork();
      case 1:
      case 2:
        return UseExistingMemory();
      case 3:
        return ShareWithItself();
      case 4:
        return MoveAround();
      case 5:
      case 6:
      case 7:
        return UseSharedMemory();
      default:
        return UsePrivateMemory();
    }
  }

  void Expect(std::span<const std::byte> bytes, uint64_t seed, const char* what) {
    const ptrdiff_t wrong = FindWrongByte(bytes, seed);
    EXPECT_EQ(wrong, -1) << what << " of worker " << place_ << ": wrong byte";
  }

  std::span<std::byte> Lock(d3dkmthandle allocation, uint64_t bytes) {
    return {client_.Lock(allocation), bytes};
  }

  void UsePrivateMemory() {
    const uint64_t bytes = (1 + Dice(16)) * kPageBytes, seed = random_();
    const d3dkmthandle allocation = client_.Create(bytes);
    const std::span memory = Lock(allocation, bytes);
    EXPECT_TRUE(IsZero(memory)) << "fresh memory of worker " << place_;
    FillPattern(memory, seed);
    if (Dice(2) == 0) {
      client_.Unlock(allocation);
      Expect(Lock(allocation, bytes), seed, "private memory that was unlocked");
    }
    Expect({client_.Lock(allocation), bytes}, seed, "private memory");
    if (Dice(2) == 0) client_.Unlock(allocation);
    client_.Destroy(allocation);  // locked or not
  }

  void UseSharedMemory() {
    const SharedResource opened = client_.OpenShared(descriptor_);
    const std::span page =
        Lock(opened.allocations[0], kWorkers * kPageBytes).subspan(place_ * kPageBytes, kPageBytes);
    if (last_ != 0) Expect(page, last_, "shared memory");
    last_ = random_();
    FillPattern(page, last_);
    if (Dice(2) == 0) client_.Unlock(opened.allocations[0]);
    client_.DestroyResource(opened.resource);
  }

  void UseExistingMemory() {
    const Pages own((1 + Dice(8)) * kPageBytes);
    const uint64_t seed = random_();
    FillPattern(own.span(), seed);
    const d3dkmthandle allocation = client_.CreateHeap(own.data(), own.bytes());
    EXPECT_EQ(client_.Lock(allocation), own.data());
    client_.Destroy(allocation);
    Expect(own.span(), seed, "existing memory");
  }

  void ShareWithItself() {
    const uint64_t seed = random_();
    const SharedResource shared = client_.CreateResource(2, kPageBytes, true);
    FillPattern(Lock(shared.allocations[1], kPageBytes), seed);
    const Descriptor descriptor(client_.Share(shared.resource));
    const SharedResource opened = client_.OpenShared(descriptor.get());
    client_.DestroyResource(shared.resource);
    Expect(Lock(opened.allocations[1], kPageBytes), seed, "opened memory");
    client_.DestroyResource(opened.resource);
  }

  void MoveAround() {
    const uint64_t seed = random_();
    const d3dkmthandle allocation = client_.Create(4 * kPageBytes);
    const std::span memory = Lock(allocation, 4 * kPageBytes);
    FillPattern(memory, seed);
    client_.MakeResident(queue_, {&allocation, 1});
    Expect(memory, seed, "resident memory");
    client_.Evict({&allocation, 1});
    Expect(memory, seed, "evicted memory");
    client_.Destroy(allocation);
  }

  void Fork() {
    const uint64_t seed = random_();
    const d3dkmthandle allocation = client_.Create();
    const std::span memory = Lock(allocation, kPageBytes);
    FillPattern(memory, seed);
    const pid_t child = fork();
    if (child == 0) _exit(FindWrongByte(memory, seed) == -1 ? 0 : 1);
    client_.Unlock(allocation);
    Expect(Lock(allocation, kPageBytes), seed, "memory during a fork");
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    EXPECT_EQ(status, 0) << "what the child of worker " << place_ << " inherited is wrong";
    client_.Destroy(allocation);
  }

  const MemoryClient& client_;
  const PagingQueue& queue_;
  const int descriptor_;
  const uint64_t place_;
  std::mt19937 random_;
  uint64_t last_ = 0;
};

// A page for each worker, by descriptor.
int ShareMemory(const MemoryClient& client) {
  Creation creation(client.device);
  creation.MakeShared();
  creation.SetData(0, AllocationData{.bytes = kWorkers * kPageBytes, .flags = AllocationData::kSystemOnly});
  client.node.Ioctl(LX_DXCREATEALLOCATION, creation.args, "CreateAllocation");
  return client.Share(creation.args.resource);
}

TEST(Stress, MemoryOfManyThreadsInTwoProcesses) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const Descriptor descriptor(ShareMemory(client));
  const auto deadline = StressDeadline();
  std::vector<std::unique_ptr<Peer>> processes;
  for (uint64_t process = 0; process < kMemoryProcesses; ++process)
    processes.push_back(std::make_unique<Peer>([&, process](Peer&) {
      const MemoryClient own;
      const PagingQueue queue = own.CreatePagingQueue();
      std::vector<std::thread> threads;
      for (uint64_t i = 0; i < kMemoryThreads; ++i)
        threads.push_back(StartThread([&, i] {
          MemoryWorker(own, queue, descriptor.get(), process * kMemoryThreads + i).RunUntil(deadline);
        }));
      for (std::thread& thread : threads) thread.join();
    }));
  for (auto& process : processes) process->Join();
}

// Clients that die while memory is on its way to them, or while others look at theirs.
TEST(Stress, MemoryOfKilledClients) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const Descriptor descriptor(ShareMemory(client));
  const d3dkmthandle bystander = client.Create(16 * kPageBytes);
  const std::span memory(client.Lock(bystander), 16 * kPageBytes);
  FillPattern(memory, 1);
  std::mt19937 random(3);
  const auto deadline = StressDeadline();
  while (Clock::now() < deadline && !testing::Test::HasFailure()) {
    std::vector<std::unique_ptr<Peer>> processes;
    for (uint64_t process = 0; process < kMemoryProcesses; ++process)
      processes.push_back(std::make_unique<Peer>([&, process](Peer&) {
        const MemoryClient own;
        const PagingQueue queue = own.CreatePagingQueue();
        std::vector<std::thread> threads;
        for (uint64_t i = 0; i < kMemoryThreads; ++i)
          threads.push_back(StartThread([&, i] {
            MemoryWorker(own, queue, descriptor.get(), process * kMemoryThreads + i)
                .RunUntil(Clock::now() + std::chrono::hours(1));
          }));
        for (std::thread& thread : threads) thread.join();
      }));
    usleep(static_cast<useconds_t>(1000 + random() % 50000));
    for (auto& process : processes) process->Kill();
    EXPECT_EQ(FindWrongByte(memory, 1), -1);
    const d3dkmthandle fresh = client.Create(16 * kPageBytes);
    EXPECT_TRUE(IsZero({client.Lock(fresh), 16 * kPageBytes}));
    client.Destroy(fresh);
  }
}

}  // namespace
}  // namespace dxg::conformance
