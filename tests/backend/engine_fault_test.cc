#include <gtest/gtest.h>

#include <chrono>

#include "hostsim/machine/world.h"
#include "proto/abi/interface.h"
#include "tests/backend/backend_client.h"

// What faults of engines do to real work, as a client of the back-end sees it.

namespace dxg {
namespace {

using hostsim::CommandWriter;
using hostsim::FaultPoint;

constexpr uint32_t kActive = 1, kReset = 2, kHung = 3, kPageFaulted = 7;
constexpr uint64_t kMs = 1'000'000;
// Long enough that a command which does not hang is over by then, however busy the machine is.
constexpr uint32_t kTimeoutMs = 200;

// One device, with a queue on one node.
struct Worker {
  explicit Worker(BackendClient& the_client, uint32_t node = 0)
      : client(the_client),
        device(client.NewDevice()),
        context(client.NewContext(device, node)),
        fence(client.NewFence(device)),
        memory(client.NewMemory(&device)) {
    EXPECT_NE(device.paging_queue, 0u);
    EXPECT_NE(context, 0u);
    EXPECT_NE(fence.handle, 0u);
    EXPECT_NE(memory.window, 0u);
  }
  // Writes the value to the memory and brings the fence there; the event of that number comes then.
  bool Write(uint64_t value, uint64_t event) {
    return client.Work(device, context, &memory, CommandWriter().Write64(memory.gpu, value), fence, value,
                       event);
  }
  void WriteAndExpectDone(uint64_t value, uint64_t event) {
    ASSERT_TRUE(Write(value, event));
    client.AwaitEvent(event);
    EXPECT_EQ(client.ValueOf(fence), value);
    EXPECT_EQ(client.Peek(memory.window), value);
  }

  BackendClient& client;
  BackendClient::Device device;
  uint32_t context;
  BackendClient::Fence fence;
  BackendClient::Memory memory;
};

class EngineFault : public testing::Test {
 protected:
  explicit EngineFault(uint32_t timeout_ms = 0) : client_(timeout_ms) { client_.OpenProcess(); }
  void TearDown() override {
    client_.EndProcess();
    client_.ExpectNothingLeft();
  }

  BackendClient client_;
};
class HangingEngine : public EngineFault {
 protected:
  HangingEngine() : EngineFault(kTimeoutMs) {}
};

TEST_F(HangingEngine, IsResetAndTakesTheGuiltyDeviceAlone) {
  Worker guilty(client_), elsewhere(client_, 1), behind(client_);
  client_.Arm("point: 'engine-hang' node: 0");
  ASSERT_TRUE(guilty.Write(1, 1));
  ASSERT_TRUE(behind.Write(2, 2));
  elsewhere.WriteAndExpectDone(3, 3);
  client_.AwaitEvent(1);
  EXPECT_EQ(client_.Struck(FaultPoint::kEngineHang), 1u);
  EXPECT_EQ(client_.StateOf(guilty.device), kHung);
  EXPECT_EQ(client_.ValueOf(guilty.fence), kFenceLost);
  EXPECT_EQ(client_.Peek(guilty.memory.window), 0u) << "what hangs does nothing";
  EXPECT_FALSE(guilty.Write(4, 4)) << "the device takes no more work";
  client_.AwaitEvent(2);
  EXPECT_EQ(client_.Peek(behind.memory.window), 2u);
  EXPECT_EQ(client_.StateOf(behind.device), kActive);
  EXPECT_EQ(client_.StateOf(elsewhere.device), kActive);
  Worker(client_).WriteAndExpectDone(5, 5);
}

TEST_F(HangingEngine, ThatCannotBeResetTakesTheWholeAdapter) {
  Worker guilty(client_), innocent(client_, 1);
  innocent.WriteAndExpectDone(1, 1);
  client_.Arm("point: 'engine-reset-fails'");
  client_.Arm("point: 'engine-hang' node: 0");
  ASSERT_TRUE(client_.Wait(innocent.device, innocent.fence, 100, 2));
  ASSERT_TRUE(guilty.Write(1, 3));
  client_.AwaitEvent(3);
  client_.AwaitEvent(2);
  EXPECT_EQ(client_.Struck(FaultPoint::kEngineResetFails), 1u);
  EXPECT_EQ(client_.StateOf(guilty.device), kHung);
  EXPECT_EQ(client_.StateOf(innocent.device), kReset);
  EXPECT_EQ(client_.ValueOf(innocent.fence), kFenceLost);
  EXPECT_EQ(client_.Peek(innocent.memory.window), 0u) << "a reset adapter has forgotten its memory";
  EXPECT_FALSE(innocent.Write(4, 4));
  Worker(client_).WriteAndExpectDone(5, 5);
}

// The other device hangs later and is found hanging: by then the first one would have been, too.
TEST_F(HangingEngine, WithoutTimeoutHangsUntilItsProcessEnds) {
  Worker forgotten(client_), found(client_, 1);
  forgotten.WriteAndExpectDone(1, 1);  // so that its paging is done and the next command begins at once
  client_.Arm("point: 'hang-without-timeout' node: 0");
  client_.Arm("point: 'engine-hang' node: 1");
  ASSERT_TRUE(forgotten.Write(2, 2));
  ASSERT_TRUE(found.Write(3, 3));
  client_.AwaitEvent(3);
  EXPECT_EQ(client_.StateOf(found.device), kHung);
  EXPECT_EQ(client_.Struck(FaultPoint::kHangWithoutTimeout), 1u);
  EXPECT_EQ(client_.StateOf(forgotten.device), kActive);
  EXPECT_EQ(client_.ValueOf(forgotten.fence), 1u);
  EXPECT_EQ(client_.events(2), 0);
}

TEST_F(EngineFault, PageFaultIsOfTheRulesAddressAndOfOneDevice) {
  Worker guilty(client_), innocent(client_);
  client_.Arm("point: 'page-fault' value: 0x123456000");
  ASSERT_TRUE(guilty.Write(1, 1));
  client_.AwaitEvent(1);
  EXPECT_EQ(client_.Struck(FaultPoint::kPageFault), 1u);
  EXPECT_EQ(client_.StateOf(guilty.device), kPageFaulted);
  EXPECT_EQ(client_.FaultedAddressOf(guilty.device), 0x123456000u);
  EXPECT_EQ(client_.ValueOf(guilty.fence), kFenceLost);
  EXPECT_FALSE(guilty.Write(2, 2));
  innocent.WriteAndExpectDone(3, 3);
}

// -- Work that takes its time. What it takes at least is certain; on a busy machine it may be more.

class Stopwatch {
 public:
  uint64_t ns() const {
    return static_cast<uint64_t>(std::chrono::nanoseconds(std::chrono::steady_clock::now() - from_).count());
  }

 private:
  const std::chrono::steady_clock::time_point from_ = std::chrono::steady_clock::now();
};

TEST_F(EngineFault, SlowWorkEndsLaterAndInOrder) {
  Worker worker(client_);
  client_.Arm("point: 'gpu-slow' times: 2 delay_ns: 20000000");
  const Stopwatch watch;
  ASSERT_TRUE(worker.Write(1, 1));
  ASSERT_TRUE(worker.Write(2, 2));
  client_.AwaitEvent(1);
  EXPECT_GE(watch.ns(), 20 * kMs);
  EXPECT_LE(client_.ValueOf(worker.fence), 2u);
  client_.AwaitEvent(2);
  EXPECT_GE(watch.ns(), 40 * kMs);
  EXPECT_EQ(client_.Struck(FaultPoint::kGpuSlow), 2u);
  EXPECT_EQ(client_.Peek(worker.memory.window), 2u);
  EXPECT_EQ(client_.StateOf(worker.device), kActive) << "slow is not hung";
}

TEST_F(EngineFault, JitterIsAsTheSeedSays) {
  constexpr uint64_t kDelayNs = 40 * kMs;
  constexpr uint64_t kSeed = 2;
  hostsim::Rng rng(kSeed);
  const uint64_t first = rng.Below(kDelayNs + 1), second = rng.Below(kDelayNs + 1);
  ASSERT_GT(std::min(first, second), 10 * kMs) << "another seed: this one shows nothing";
  ASSERT_NE(first, second);
  Worker worker(client_);
  client_.Arm("point: 'gpu-jitter' every: 1 seed: 2 delay_ns: 40000000");
  for (const uint64_t delay_ns : {first, second}) {
    const Stopwatch watch;
    const uint64_t number = delay_ns == first ? 1 : 2;
    worker.WriteAndExpectDone(number, number);
    EXPECT_GE(watch.ns(), delay_ns);
  }
  EXPECT_EQ(client_.Struck(FaultPoint::kGpuJitter), 2u);
}

TEST_F(EngineFault, AStarvedEngineServesNobodyMeanwhile) {
  Worker starved(client_), behind(client_);
  client_.Arm("point: 'gpu-starvation' delay_ns: 30000000");
  const Stopwatch watch;
  ASSERT_TRUE(starved.Write(1, 1));
  behind.WriteAndExpectDone(2, 2);
  EXPECT_GE(watch.ns(), 30 * kMs);
  client_.AwaitEvent(1);
  EXPECT_EQ(client_.Struck(FaultPoint::kGpuStarvation), 1u);
  EXPECT_EQ(client_.Peek(starved.memory.window), 1u);
}

TEST_F(EngineFault, PagesThatAreGoneTakeNoWrites) {
  Worker worker(client_);
  const auto pages = std::make_shared<TestPages>(kPage);
  const auto own = client_.NewMemoryOf(&worker.device, pages);
  ASSERT_NE(own.gpu, 0u);
  client_.Arm("point: 'client-memory-gone'");
  for (const uint64_t number : {1, 2}) {
    ASSERT_TRUE(client_.Work(worker.device, worker.context, &worker.memory,
                             CommandWriter().Write64(own.gpu, number), worker.fence, number, number));
    client_.AwaitEvent(number);
    EXPECT_EQ(pages->Word(0), number == 1 ? 0 : number);
  }
  EXPECT_EQ(client_.Struck(FaultPoint::kClientMemoryGone), 1u);
  EXPECT_EQ(client_.StateOf(worker.device), kActive);
}

}  // namespace
}  // namespace dxg
