#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <new>
#include <ostream>
#include <string>
#include <thread>

#include "base/memory_reserve.h"
#include "tests/guest/counted_memory.h"
#include "tests/hostsim/gpu_rig.h"

// What engines, queues and fences do between two commands of a guest, where the machine has no memory: at the
// first allocation of it, at the second, and so on. Nobody could be told that a step was refused, so none is:
// no engine stops, no queue is forgotten, no completion is lost. A command of a guest is refused, or carried
// out whole.

namespace dxg::hostsim {
namespace {

constexpr uint32_t kStateActive = 1, kStateHung = 3, kStateDmaFault = 6;
constexpr uint64_t kHangsAfterNs = 2000 * kMs;
constexpr uint64_t kVictimsEvent = 7;

// A device on which memory runs out, and another one on the same engine, which must not notice.
struct StarvedScene {
  StarvedScene()
      : victim(rig.NewDevice(rig.caller, 1)),
        context(rig.NewContext(rig.caller, victim)),
        fence(rig.TryFor(rig.caller, victim, 5, 0)),
        gate(rig.TryFor(rig.caller, victim, 5, 0)) {}

  int32_t Submit(const CommandWriter& commands) { return rig.SubmitTo({context}, commands); }
  void ExpectError(uint32_t state) const {
    EXPECT_EQ(rig.StateOf(victim), state);
    ASSERT_EQ(rig.recorded.changes.size(), 1u) << "told once";
    EXPECT_EQ(rig.recorded.changes[0].state, state);
    EXPECT_EQ(rig.ValueOf(fence), kFenceLost);
    EXPECT_EQ(rig.Happened(), GpuRig::Numbers{kVictimsEvent}) << "who waited goes on";
  }

  mutable GpuRig rig;
  uint32_t victim;
  uint32_t context;
  SyncRig::Sync fence;  // a wait of the CPU stands on it, for 1
  SyncRig::Sync gate;
};

// What is done before, the moment without memory, and what is to be seen of it. The moment is one command, or
// a time that comes: -1 in `accepted` is a command that was refused.
struct Moment {
  const char* name;
  std::function<void(StarvedScene&)> before;
  std::function<int32_t(StarvedScene&)> act;
  std::function<void(StarvedScene&)> carried_out;
  bool refusable;
};

int32_t Pass(StarvedScene& s, uint64_t ns) {
  // The clock is of the test's, what it calls is not.
  s.rig.around([&] { s.rig.clock.AdvanceNs(ns); });
  return 0;
}

void Await(StarvedScene& s) {
  EXPECT_EQ(s.rig.WaitFor(s.rig.caller, s.victim, {{s.fence.handle, 1}}, kVictimsEvent), 0);
}
void SignalBehind(StarvedScene& s) { EXPECT_EQ(s.rig.GpuSignal({s.context}, {{s.fence.handle, 1}}), 0); }

void ExpectDone(StarvedScene& s) {
  s.rig.Settle();
  EXPECT_EQ(s.rig.StateOf(s.victim), kStateActive);
  EXPECT_EQ(s.rig.ValueOf(s.fence), 1u);
  EXPECT_EQ(s.rig.Happened(), GpuRig::Numbers{kVictimsEvent});
}

void FillQueue(StarvedScene& s) {
  Await(s);
  s.Submit(CommandWriter().Hang());
  for (int i = 0; i < 20; ++i) s.Submit(CommandWriter().Marker(1));
  SignalBehind(s);
}

const Moment kMoments[] = {
    {"ACommandBegins", Await, [](StarvedScene& s) { return s.Submit(CommandWriter().Delay(kMs)); },
     [](StarvedScene& s) {
       SignalBehind(s);
       ExpectDone(s);
     },
     true},
    {"ACommandEnds",
     [](StarvedScene& s) {
       Await(s);
       s.Submit(CommandWriter().Delay(kMs));
       SignalBehind(s);
     },
     [](StarvedScene& s) { return Pass(s, 10 * kMs); }, ExpectDone, false},
    {"OneCommandEndsAndTheNextBegins",
     [](StarvedScene& s) {
       Await(s);
       for (int i = 0; i < 3; ++i) s.Submit(CommandWriter().Delay(kMs).Nop());
       SignalBehind(s);
     },
     [](StarvedScene& s) { return Pass(s, 10 * kMs); }, ExpectDone, false},
    {"ACommandFaults",
     [](StarvedScene& s) {
       Await(s);
       s.Submit(CommandWriter().Delay(kMs).Fault(5));
       s.Submit(CommandWriter().Marker(1));
       SignalBehind(s);
     },
     [](StarvedScene& s) { return Pass(s, 10 * kMs); },
     [](StarvedScene& s) { s.ExpectError(kStateDmaFault); }, false},
    {"ACommandHangs",
     [](StarvedScene& s) {
       Await(s);
       s.Submit(CommandWriter().Hang());
       s.Submit(CommandWriter().Marker(1));
       SignalBehind(s);
     },
     [](StarvedScene& s) { return Pass(s, kHangsAfterNs); },
     [](StarvedScene& s) { s.ExpectError(kStateHung); }, false},
    {"AWaitIsOver",
     [](StarvedScene& s) {
       Await(s);
       EXPECT_EQ(s.rig.GpuWait(s.context, {{s.gate.handle, 1}}), 0);
       s.Submit(CommandWriter().Delay(kMs));
       SignalBehind(s);
     },
     [](StarvedScene& s) {
       return s.rig.SignalFor(s.rig.caller, s.victim, {{s.gate.handle, 1}});
     },
     ExpectDone, true},
    {"AWaitBegins", Await,
     [](StarvedScene& s) {
       return s.rig.GpuWait(s.context, {{s.gate.handle, 1}});
     },
     [](StarvedScene& s) {
       SignalBehind(s);
       EXPECT_EQ(s.rig.ValueOf(s.fence), 0u);
       EXPECT_EQ(s.rig.SignalFor(s.rig.caller, s.victim, {{s.gate.handle, 1}}), 0);
       ExpectDone(s);
     },
     true},
    {"TheCpuWaits", [](StarvedScene&) {},
     [](StarvedScene& s) {
       return s.rig.WaitFor(s.rig.caller, s.victim, {{s.fence.handle, 1}, {s.gate.handle, 1}}, kVictimsEvent);
     },
     [](StarvedScene& s) {
       EXPECT_EQ(s.rig.SignalFor(s.rig.caller, s.victim, {{s.gate.handle, 1}}), 0);
       EXPECT_TRUE(s.rig.Happened().empty());
       SignalBehind(s);
       ExpectDone(s);
     },
     true},
    {"ADeviceIsGivenUp",
     [](StarvedScene& s) {
       Await(s);
       s.Submit(CommandWriter().Hang());
       for (int i = 0; i < 20; ++i) s.Submit(CommandWriter().Marker(1));
       SignalBehind(s);
     },
     [](StarvedScene& s) { return s.rig.MarkAsError(s.rig.caller, s.victim); },
     [](StarvedScene& s) { s.ExpectError(kStateDmaFault); }, true},
    {"ADeviceIsFailedFromOutside", FillQueue,
     [](StarvedScene& s) {
       s.rig.around([&s] {
         EXPECT_TRUE(s.rig.host().FailDevice(s.rig.caller.process, s.victim, ExecutionState::kHung));
       });
       return 0;
     },
     [](StarvedScene& s) { s.ExpectError(kStateHung); }, false},
    {"ADeviceEnds", FillQueue, [](StarvedScene& s) { return s.rig.DestroyDevice(s.rig.caller, s.victim); },
     [](StarvedScene& s) { EXPECT_EQ(s.rig.Happened(), GpuRig::Numbers{kVictimsEvent}); }, false},
    {"AContextEnds", FillQueue, [](StarvedScene& s) { return s.rig.DestroyContext(s.rig.caller, s.context); },
     [](StarvedScene& s) {
       EXPECT_EQ(s.rig.SignalFor(s.rig.caller, s.victim, {{s.fence.handle, 1}}), 0);
       ExpectDone(s);
     },
     false},
    {"AFenceEnds", FillQueue, [](StarvedScene& s) { return s.rig.DestroySync(s.fence.handle); },
     [](StarvedScene& s) { EXPECT_EQ(s.rig.Happened(), GpuRig::Numbers{kVictimsEvent}); }, false},
};

void PrintTo(const Moment& moment, std::ostream* out) { *out << moment.name; }

class WithoutMemory : public testing::TestWithParam<Moment> {
 protected:
  WithoutMemory() { MemoryReserve::Keep(); }
  ~WithoutMemory() override { std::set_new_handler(nullptr); }
};
INSTANTIATE_TEST_SUITE_P(Engines, WithoutMemory, testing::ValuesIn(kMoments),
                         [](const auto& info) { return info.param.name; });

TEST_P(WithoutMemory, NothingIsLost) {
  constexpr uint64_t kMax = 1000;
  uint64_t nth = 1, refused = 0;
  for (bool failed = true; failed; ++nth) {
    ASSERT_LT(nth, kMax) << "it never succeeds";
    SCOPED_TRACE("allocation " + std::to_string(nth));
    StarvedScene scene;
    GetParam().before(scene);
    failed = false;
    scene.rig.around = [&](const std::function<void()>& act) {
      guest::FailAllocation(nth);
      EXPECT_NO_THROW(act());
      failed = guest::AllocationsSince() >= nth;
      guest::FailAllocation(0);
    };
    const int32_t status = GetParam().act(scene);
    scene.rig.around = nullptr;
    if (status < 0) {
      EXPECT_TRUE(failed && GetParam().refusable) << status;
      ++refused;
      EXPECT_EQ(GetParam().act(scene), 0) << "with memory";
    }
    GetParam().carried_out(scene);
    // The other one's work, on the same engine.
    EXPECT_EQ(scene.rig.Submit(CommandWriter().Marker(99)), 0);
    scene.rig.clock.AdvanceNs(2 * kHangsAfterNs);
    scene.rig.Settle();
    EXPECT_EQ(scene.rig.Marks().back(), 99u);
    EXPECT_EQ(scene.rig.StateOf(scene.rig.device), kStateActive);
    scene.rig.EndAndExpectNothing();
    if (HasFailure()) return;
  }
  EXPECT_GT(nth, 2u) << "nothing of it can fail";
  EXPECT_LT(refused, nth) << "it is never carried out while memory is short";
}

// Memory runs out on an engine's own thread, from when that begins a command to when it begins one of
// `until`.
class Starves final : public WorkObserver {
 public:
  explicit Starves(uint64_t nth) : nth_(nth) {}
  void OnWork(const WorkEvent& event) override {
    if (std::this_thread::get_id() == tests_) return;
    if (!begun_.exchange(true)) {
      guest::FailAllocation(nth_);
    } else if (!enough_) {
      allocations_ = guest::AllocationsSince();
      enough_ = event.kind == WorkEvent::Kind::kBegan && event.of.object == until;
      if (enough_) guest::FailAllocation(0);
    }
  }
  uint32_t until = 0;  // a context
  bool begun() const { return begun_; }
  bool failed() const { return allocations_ >= nth_; }

 private:
  const uint64_t nth_;
  const std::thread::id tests_ = std::this_thread::get_id();
  std::atomic<bool> begun_{false};
  std::atomic<bool> enough_{false};
  std::atomic<uint64_t> allocations_{0};
};

// What a command itself needs costs its device at most, and all others nothing.
TEST(WithoutMemoryOnAThread, AnEngineGoesOn) {
  constexpr uint64_t kLong = 256 * 1024;  // bytes that nobody else's thread writes for an engine
  constexpr uint64_t kCommands = 4;
  MemoryReserve::Keep();
  uint64_t errors = 0, tries = 0;
  for (bool failed = true; failed && !testing::Test::HasFailure(); ++tries) {
    SCOPED_TRACE("allocation " + std::to_string(tries + 1));
    Starves starves(tries + 1);
    GpuRig rig(Shipped("discrete"), nullptr, nullptr, true, kObjectsPerProcessMax, {}, &starves);
    const uint32_t victim = rig.NewDevice(rig.caller), context = rig.NewContext(rig.caller, victim);
    const auto fence = rig.TryFor(rig.caller, victim, 5, 0);
    starves.until = rig.context;
    for (uint64_t i = 1; i <= kCommands; ++i) {
      // Refused where the device is in error by now.
      rig.SubmitTo({context}, CommandWriter().Fill(rig.data, kLong, static_cast<uint32_t>(i)));
      rig.GpuSignal({context}, {{fence.handle, i}});
    }
    while (rig.ValueOf(fence) < kCommands) std::this_thread::yield();
    const auto others = rig.NewFence();
    EXPECT_EQ(rig.Submit(CommandWriter().Write64(rig.data + kLong, 5)), 0);
    EXPECT_EQ(rig.GpuSignal({rig.context}, {{others.handle, 1}}), 0);
    while (rig.ValueOf(others) == 0) std::this_thread::yield();
    EXPECT_EQ(rig.DataAt(kLong), 5u) << "the other one's";
    if (rig.StateOf(victim) == kStateActive) {
      EXPECT_EQ(rig.ValueOf(fence), kCommands);
      EXPECT_EQ(rig.DataAt(kLong - 8), kCommands * 0x100000001u);
    } else {
      ++errors;
      EXPECT_EQ(rig.StateOf(victim), kStateDmaFault);
      EXPECT_EQ(rig.ValueOf(fence), kFenceLost);
    }
    rig.EndAndExpectNothing();
    EXPECT_TRUE(starves.begun() || tries != 0) << "the engine's thread had nothing to do";
    failed = starves.failed();
  }
  EXPECT_GT(tries, 2 * errors) << "the engine itself needs no memory";
  std::set_new_handler(nullptr);
}

// A process ends with all that it has.
TEST(WithoutMemoryAtAnEnd, AProcessLeavesNothing) {
  MemoryReserve::Keep();
  bool failed = true;
  for (uint64_t nth = 1; failed && !testing::Test::HasFailure(); ++nth) {
    SCOPED_TRACE("allocation " + std::to_string(nth));
    StarvedScene scene;
    FillQueue(scene);
    scene.rig.around = [&](const std::function<void()>& act) {
      guest::FailAllocation(nth);
      EXPECT_NO_THROW(act());
      failed = guest::AllocationsSince() >= nth;
      guest::FailAllocation(0);
    };
    scene.rig.EndProcess(scene.rig.caller);
    scene.rig.around = nullptr;
    scene.rig.ExpectNothingLeft();
  }
  std::set_new_handler(nullptr);
}

}  // namespace
}  // namespace dxg::hostsim
