// Many clients at once, and clients that die in the middle of a call. How long: --stress-seconds.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "tests/conformance/codes.h"
#include "tests/conformance/node.h"
#include "tests/conformance/options.h"
#include "tests/conformance/peer.h"

namespace dxg::conformance {
namespace {

constexpr int kStressProcesses = 8;
constexpr int kStressThreads = 4;
constexpr int kDevicesMax = 6;

using Clock = std::chrono::steady_clock;

// What one thread owns while it lives; every call on it has a known result.
class Worker {
 public:
  explicit Worker(unsigned seed) : random_(seed), node_(OpenNode()), luid_(node_.FirstLuid()) {}

  void RunUntil(Clock::time_point deadline) {
    while (Clock::now() < deadline && !testing::Test::HasFailure()) Step();
    for (d3dkmthandle device : devices_) node_.DestroyDevice(device);
  }

 private:
  unsigned Dice(unsigned sides) { return static_cast<unsigned>(random_() % sides); }

  void Step() {
    switch (Dice(6)) {
      case 0:
        OpenAndClose();
        break;
      case 1:
      case 2:
        Create();
        break;
      case 3:
        Destroy();
        break;
      case 4:
        UseADevice();
        break;
      case 5:
        OpenNodeAgain();
        break;
    }
  }

  void OpenAndClose() {
    for (const d3dkmt_adapterinfo& info : node_.EnumAdapters()) {
      EXPECT_TRUE(node_.IsAdapter(info.adapter_handle));
      node_.CloseAdapter(info.adapter_handle);
    }
    const d3dkmthandle adapter = node_.OpenAdapter(luid_);
    EXPECT_TRUE(node_.IsAdapter(adapter));
    node_.CloseAdapter(adapter);
  }

  void Create() {
    if (devices_.size() >= kDevicesMax) return Destroy();
    devices_.push_back(node_.CreateDevice(node_.FirstAdapter()));
  }

  void Destroy() {
    if (devices_.empty()) return;
    const size_t index = Dice(static_cast<unsigned>(devices_.size()));
    const d3dkmthandle device = devices_[index];
    devices_.erase(devices_.begin() + static_cast<ptrdiff_t>(index));
    node_.DestroyDevice(device);
  }

  void UseADevice() {
    if (devices_.empty()) return;
    const d3dkmthandle device = devices_[Dice(static_cast<unsigned>(devices_.size()))];
    EXPECT_EQ(node_.ExecutionState(device), _D3DKMT_DEVICEEXECUTION_ACTIVE);
    if (const auto context = node_.TryCreateContext(device)) {
      EXPECT_TRUE(node_.IsContext(*context));
      if (Dice(2) == 0) node_.DestroyContext(*context);  // else it goes with its device
    }
    d3dkmt_queryvideomemoryinfo memory = {};
    memory.adapter = node_.FirstAdapter();
    EXPECT_EQ(node_.TryIoctl(LX_DXQUERYVIDEOMEMORYINFO, memory), 0);
  }

  void OpenNodeAgain() {
    const Node again = OpenNode();
    for (d3dkmthandle device : devices_) EXPECT_TRUE(again.IsDevice(device));
  }

  std::mt19937 random_;
  Node node_;
  winluid luid_;
  std::vector<d3dkmthandle> devices_;
};

void RunThreads(unsigned seed, Clock::time_point deadline) {
  const Node first = OpenNode();  // so that no two threads are the first of the process
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kStressThreads; ++i)
    threads.push_back(StartThread([=] { Worker(seed + i).RunUntil(deadline); }));
  for (std::thread& thread : threads) thread.join();
}

TEST(Stress, ManyProcessesWithManyThreads) {
  const auto deadline = StressDeadline();
  std::vector<std::unique_ptr<Peer>> clients;
  for (unsigned i = 0; i < kStressProcesses; ++i)
    clients.push_back(std::make_unique<Peer>([=](Peer&) { RunThreads(1000 * i, deadline); }));
  for (auto& client : clients) client->Join();
}

// Every call with random bytes: nobody checks the results, only that the node survives. The children are
// killed because MarkDeviceAsError and worse are among the calls.
[[noreturn]] void MakeRandomCalls(unsigned seed) {
  std::mt19937 random(seed);
  Node node = OpenNode();
  std::vector<uint32_t> plausible = {0, 1, 2, 4, 64, 0x1000, 0xffffffff};
  for (int i = 0; i < 3; ++i) {
    const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
    plausible.push_back(device.v);
    if (const auto context = node.TryCreateContext(device)) plausible.push_back(context->v);
  }
  plausible.push_back(node.FirstAdapter().v);
  plausible.push_back(node.FirstLuid().a);
  plausible.push_back(node.FirstLuid().b);
  std::vector<uint32_t> words(4096);
  for (;;) {
    const Code& call = kCodes[random() % std::size(kCodes)];
    for (uint32_t& word : words)
      word = random() % 4 != 0 ? plausible[random() % plausible.size()] : static_cast<uint32_t>(random());
    if (random() % 2 == 0) {  // a pointer where there may be one
      const uint64_t address = Address(words.data() + 1024);
      std::memcpy(words.data() + 2 * (random() % 4), &address, sizeof(address));
    }
    node.TryIoctlAt(call.code, Address(words.data()));
  }
}

// Random calls may do harm on a real host, which is somebody's machine.
TEST(SimStress, RandomCallsOfKilledClients) {
  Node node = OpenNode();
  const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
  std::mt19937 random(1);
  const auto deadline = StressDeadline();
  unsigned seed = 0;
  while (Clock::now() < deadline) {
    std::vector<std::unique_ptr<Peer>> clients;
    for (int i = 0; i < kStressProcesses; ++i)
      clients.push_back(std::make_unique<Peer>([s = ++seed](Peer&) { MakeRandomCalls(s); }));
    usleep(static_cast<useconds_t>(1000 + random() % 50000));
    for (auto& client : clients) client->Kill();
    ASSERT_EQ(node.ExecutionState(device), _D3DKMT_DEVICEEXECUTION_ACTIVE);
    InFreshProcess([] {
      Node node = OpenNode();
      EXPECT_TRUE(node.IsDevice(node.CreateDevice(node.FirstAdapter())));
    });
  }
}

TEST(Stress, ClientsKilledWhileTheyWork) {
  Node node = OpenNode();
  const winluid luid = node.FirstLuid();
  const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
  std::mt19937 random(2);
  std::set<pid_t> killed;
  const auto deadline = StressDeadline();
  while (Clock::now() < deadline) {
    std::vector<std::unique_ptr<Peer>> clients;
    for (unsigned i = 0; i < kStressProcesses; ++i)
      clients.push_back(
          std::make_unique<Peer>([=](Peer&) { RunThreads(i, Clock::now() + std::chrono::hours(1)); }));
    usleep(static_cast<useconds_t>(1000 + random() % 50000));
    for (auto& client : clients) {
      killed.insert(client->pid());
      client->Kill();
    }
    ASSERT_EQ(node.ExecutionState(device), _D3DKMT_DEVICEEXECUTION_ACTIVE);
  }
  EXPECT_TRUE(Eventually([&] {
    std::vector<uint32_t> pids(4096);
    d3dkmt_enumprocesses args = {luid, Address(pids.data()), pids.size()};
    if (node.TryIoctl(LX_DXENUMPROCESSES, args) != 0) return false;
    return std::none_of(pids.begin(), pids.begin() + static_cast<ptrdiff_t>(args.buffer_count),
                        [&](uint32_t pid) { return killed.count(static_cast<pid_t>(pid)) != 0; });
  })) << "a killed client is still listed";
}

}  // namespace
}  // namespace dxg::conformance
