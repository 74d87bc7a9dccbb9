#include "hostsim/sync/sync_domain.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <thread>

#include "hostsim/machine/world.h"
#include "proto/abi/interface.h"

// What holds for waits and signals whoever makes them: queues, CPUs, GPUs. Numbers: the rules of
// synchronization objects [SYN].

namespace dxg::hostsim {
namespace {

class SyncDomainTest : public ::testing::Test {
 protected:
  std::shared_ptr<SyncObject> New(SyncType type, uint64_t initial = 0, uint64_t count_max = 0) {
    SyncTraits traits;
    traits.type = type;
    traits.initial = initial;
    traits.count_max = count_max;
    traits.event = {1, 77};
    return std::make_shared<SyncObject>(domain, traits, objects);
  }
  uint64_t Wait(const std::vector<SyncPoint>& points, int name, bool any = false, uint64_t queue = 1) {
    return domain.Wait(points, any, queue, [this, name] { released.push_back(name); });
  }
  void Run(Aftermath& aftermath) {
    for (const GuestEvent& event : aftermath.events) events.push_back(event.event);
    for (const auto& call : aftermath.calls) call();
  }
  void Signal(const std::vector<SyncPoint>& points) {
    Aftermath aftermath;
    domain.Signal(points, false, &aftermath);
    Run(aftermath);
  }
  bool Signal(const std::vector<SyncPoint>& points, bool rewind, bool by_cpu) {
    Aftermath aftermath;
    bool done = true;
    if (by_cpu) {
      done = domain.SignalFromCpu(points, rewind, &aftermath);
    } else {
      domain.Signal(points, rewind, &aftermath);
    }
    Run(aftermath);
    return done;
  }
  void End(SyncObject& object) {
    Aftermath aftermath;
    EXPECT_TRUE(domain.Drop(object, true, &aftermath));
    Run(aftermath);
  }
  using Names = std::vector<int>;
  Names Released() { return std::exchange(released, {}); }

  std::atomic<uint64_t> objects{0};
  std::atomic<uint64_t> waits{0};
  SyncDomain domain{waits};
  Names released;
  std::vector<uint64_t> events;
};

// [SYN] 155
TEST_F(SyncDomainTest, SemaphoreLetsSoManyPass) {
  const auto semaphore = New(SyncType::kSemaphore, 2, 3);
  EXPECT_EQ(Wait({{semaphore}}, 1), 0u);
  EXPECT_EQ(Wait({{semaphore}}, 2), 0u);
  for (int name = 3; name <= 5; ++name) EXPECT_NE(Wait({{semaphore}}, name), 0u);
  Signal({{semaphore}});
  EXPECT_EQ(Released(), Names{3}) << "one signal, one wait";
  Signal({{semaphore}, {semaphore}});
  EXPECT_EQ(Released(), (Names{4, 5}));
  for (int i = 0; i < 10; ++i) Signal({{semaphore}});
  EXPECT_EQ(semaphore->value(), 3u) << "no more than its maximum";
  EXPECT_NE(Wait({{semaphore}, {semaphore}, {semaphore}, {semaphore}}, 6), 0u) << "all or none";
  EXPECT_EQ(semaphore->value(), 3u);
  Signal({{semaphore}});
  EXPECT_EQ(Released(), Names{}) << "it will never be";
  EXPECT_EQ(Wait({{semaphore}, {semaphore}, {semaphore}}, 7), 0u);
  EXPECT_EQ(semaphore->value(), 0u);
}

// [SYN] 156
TEST_F(SyncDomainTest, MutexHasOneOwner) {
  const auto mutex = New(SyncType::kMutex);
  EXPECT_EQ(Wait({{mutex}}, 1, false, 10), 0u);
  EXPECT_NE(Wait({{mutex}}, 2, false, 20), 0u);
  EXPECT_NE(Wait({{mutex}}, 3, false, 30), 0u);
  Signal({{mutex}});
  EXPECT_EQ(Released(), Names{2});
  Aftermath of_another;
  domain.ReleaseOwner(10, &of_another);
  EXPECT_TRUE(of_another.calls.empty()) << "it has it no more";
  Aftermath aftermath;
  domain.ReleaseOwner(20, &aftermath);
  Run(aftermath);
  EXPECT_EQ(Released(), Names{3}) << "a queue that ends frees its own";
  const auto owned = New(SyncType::kMutex, 1);
  EXPECT_NE(Wait({{owned}}, 4), 0u) << "from the start";
  Signal({{owned}});
  EXPECT_EQ(Released(), Names{4});
}

TEST_F(SyncDomainTest, TakesAllOrNone) {
  const auto mutex = New(SyncType::kMutex);
  const auto semaphore = New(SyncType::kSemaphore, 1, 1);
  const auto fence = New(SyncType::kFence);
  EXPECT_NE(Wait({{mutex}, {semaphore}, {fence, 1}}, 1, false, 10), 0u);
  EXPECT_EQ(Wait({{mutex}}, 2, false, 20), 0u) << "nothing was taken";
  EXPECT_EQ(Wait({{semaphore}}, 3), 0u);
  Signal({{fence, 1}});
  Signal({{mutex}});
  EXPECT_EQ(Released(), Names{});
  Signal({{semaphore}});
  EXPECT_EQ(Released(), Names{1});
  EXPECT_EQ(mutex->value(), 1u);
  EXPECT_EQ(semaphore->value(), 0u);
}

TEST_F(SyncDomainTest, NotificationsHappen) {
  const auto notification = New(SyncType::kCpuNotification);
  Signal({{notification}});
  Signal({{notification}});
  EXPECT_EQ(events, (std::vector<uint64_t>{77, 77}));
  EXPECT_NE(Wait({{notification}}, 1), 0u);
  Signal({{notification}});
  EXPECT_EQ(Released(), Names{}) << "they are not there to be waited for";
}

// [SYN] 160
TEST_F(SyncDomainTest, AnObjectThatHasEndedHoldsNobodyUp) {
  for (const SyncType type : {SyncType::kMutex, SyncType::kSemaphore, SyncType::kFence,
                              SyncType::kMonitoredFence, SyncType::kCpuNotification}) {
    const auto object = New(type, type == SyncType::kMutex ? 1 : 0, 5);
    EXPECT_NE(Wait({{object, ~0ull}}, 1), 0u);
    EXPECT_EQ(Released(), Names{});
    End(*object);
    EXPECT_EQ(Released(), Names{1});
    const uint64_t value = object->value();
    EXPECT_EQ(Wait({{object, ~0ull}}, 2), 0u);
    Signal({{object, 50}});
    EXPECT_EQ(object->value(), value) << "a signal means nothing any more";
    EXPECT_FALSE(domain.Retain(*object));
  }
  EXPECT_TRUE(events.empty());
}

TEST_F(SyncDomainTest, StopWaitingTakesAnyWaitBack) {
  const auto a = New(SyncType::kFence);
  const auto b = New(SyncType::kFence);
  const uint64_t numbers[] = {Wait({{a, 1}}, 1), Wait({{a, 1}, {b, 1}}, 2), Wait({{a, 1}, {b, 1}}, 3, true)};
  Wait({{a, 1}}, 4);
  for (const uint64_t number : numbers) domain.StopWaiting(number);
  domain.StopWaiting(numbers[0]);
  domain.StopWaiting(12345);
  EXPECT_EQ(waits, 1u);
  Signal({{a, 1}, {b, 1}});
  EXPECT_EQ(Released(), Names{4});
  EXPECT_EQ(a.use_count() + b.use_count(), 2) << "nothing is left";
}

// [SYN] 145, 147, 152: against a list that is looked through from the beginning each time.
class FenceModel {
 public:
  struct Wait {
    int name;
    bool any;
    std::vector<std::pair<size_t, uint64_t>> points;
  };
  explicit FenceModel(size_t fences) : values(fences) {}

  bool Satisfied(const Wait& wait) const {
    auto met = [this](const auto& point) { return values[point.first] >= point.second; };
    return wait.any ? std::any_of(wait.points.begin(), wait.points.end(), met)
                    : std::all_of(wait.points.begin(), wait.points.end(), met);
  }
  std::vector<int> TakeSatisfied() {
    std::vector<int> names;
    std::erase_if(waits, [&](const Wait& wait) {
      if (!Satisfied(wait)) return false;
      names.push_back(wait.name);
      return true;
    });
    return names;
  }

  std::vector<uint64_t> values;
  std::vector<Wait> waits;  // in the order of registration
};

class RandomWaits : public SyncDomainTest, public ::testing::WithParamInterface<uint64_t> {};

TEST_P(RandomWaits, EndAsTheModelSays) {
  constexpr size_t kFences = 5;
  Rng rng(GetParam());
  FenceModel model(kFences);
  std::vector<std::shared_ptr<SyncObject>> fences;
  for (size_t i = 0; i < kFences; ++i) fences.push_back(New(SyncType::kMonitoredFence));
  std::map<int, uint64_t> numbers;
  for (int step = 0; step < 3000; ++step) {
    const uint64_t action = rng.Below(10);
    if (action < 5) {
      FenceModel::Wait wait{.name = step, .any = rng.Below(2) == 0, .points = {}};
      std::vector<SyncPoint> points;
      for (uint64_t i = 1 + rng.Below(4); i != 0; --i) {
        const size_t fence = rng.Below(kFences);
        wait.points.emplace_back(fence, model.values[fence] + rng.Below(6));
        points.push_back({fences[fence], wait.points.back().second});
      }
      numbers[step] = Wait(points, step, wait.any);
      ASSERT_EQ(numbers[step] == 0, model.Satisfied(wait)) << "step " << step;
      if (numbers[step] != 0) model.waits.push_back(wait);
    } else if (action < 6 && !model.waits.empty()) {
      const size_t taken_back = rng.Below(model.waits.size());
      domain.StopWaiting(numbers[model.waits[taken_back].name]);
      model.waits.erase(model.waits.begin() + static_cast<ptrdiff_t>(taken_back));
    } else {
      const bool rewind = rng.Below(4) == 0;
      const bool by_cpu = rng.Below(2) == 0;
      const std::vector<uint64_t> before = model.values;
      bool lowers = false;
      std::vector<SyncPoint> points;
      for (uint64_t i = 1 + rng.Below(3); i != 0; --i) {
        const size_t fence = rng.Below(kFences);
        uint64_t& value = model.values[fence];
        const uint64_t next = value + rng.Below(8) - std::min<uint64_t>(value, 3);
        points.push_back({fences[fence], next});
        lowers |= next < before[fence];
        value = rewind ? next : std::max(value, next);
      }
      if (by_cpu && lowers && !rewind) model.values = before;
      ASSERT_EQ(Signal(points, rewind, by_cpu), !by_cpu || !lowers || rewind) << "step " << step;
      for (size_t i = 0; i < kFences; ++i) ASSERT_EQ(fences[i]->value(), model.values[i]) << "step " << step;
      ASSERT_EQ(Released(), model.TakeSatisfied()) << "step " << step;
    }
    ASSERT_EQ(Released(), Names{});
    ASSERT_EQ(waits, model.waits.size());
  }
  for (size_t i = 0; i < kFences; ++i) Signal({{fences[i], kFenceLost}});
  EXPECT_EQ(waits, 0u);
  EXPECT_EQ(Released().size(), model.waits.size());
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomWaits, ::testing::Range<uint64_t>(1, 41));

TEST_F(SyncDomainTest, AWaitForOneObjectIsSmall) {
  constexpr int kWaits = 100'000;
  const auto fence = New(SyncType::kMonitoredFence);
  CpuWaitBudget budget;
  CpuWaits cpu(budget);
  const auto bytes = [] { return mallinfo2().uordblks + mallinfo2().hblkhd; };
  const size_t before = bytes();
  Aftermath aftermath;
  const SyncPoint point{fence, 1};
  for (int i = 0; i < kWaits; ++i) {
    ASSERT_TRUE(domain.WaitOnCpu({&point, 1}, false, {1, static_cast<uint64_t>(i)}, cpu, &aftermath));
  }
  const size_t each = (bytes() - before) / kWaits;
  RecordProperty("bytes_of_a_wait", static_cast<int>(each));
  EXPECT_LT(each, 300u);
  domain.EndCpuWaits(cpu, &aftermath);
  EXPECT_EQ(aftermath.events.size(), static_cast<size_t>(kWaits));
  EXPECT_TRUE(std::is_sorted(aftermath.events.begin(), aftermath.events.end(),
                             [](const auto& a, const auto& b) { return a.event < b.event; }));
  EXPECT_EQ(budget.pending, 0u);
}

// Without looking at those whom it does not release: a million signals among 300,000 waits would not end.
TEST_F(SyncDomainTest, ASignalFindsItsWaitsAmongMany) {
  const auto quiet = New(SyncType::kMonitoredFence);
  const auto busy = New(SyncType::kMonitoredFence);
  for (int i = 0; i < 100'000; ++i) {
    Wait({{quiet, 1}}, i);
    Wait({{busy, kFenceLost}}, i);
    Wait({{busy, 1}, {quiet, 1}}, i);
  }
  for (uint64_t value = 1; value <= 1'000'000; ++value) {
    Aftermath aftermath;
    domain.Raise(*busy, value, &aftermath);
    ASSERT_TRUE(aftermath.calls.empty());
  }
  EXPECT_EQ(waits, 300'000u);
}

// For the thread sanitizer, and for what every interleaving has to keep: each wait ends once, and none is
// left.
TEST_F(SyncDomainTest, ThreadsMayDoEverythingAtOnce) {
  constexpr int kThreads = 6;
  constexpr int kRounds = 2000;
  std::vector<std::shared_ptr<SyncObject>> fences;
  for (int i = 0; i < 4; ++i) fences.push_back(New(SyncType::kMonitoredFence));
  std::atomic<int> noted{0};
  std::atomic<int> ended{0};
  std::atomic<int> wrong{0};  // ends of waits that were taken back
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&, thread] {
        Rng rng(static_cast<uint64_t>(thread));
        CpuWaitBudget budget;
        CpuWaits cpu(budget);
        Aftermath aftermath;
        for (int round = 0; round < kRounds; ++round) {
          const auto& a = fences[rng.Below(fences.size())];
          const auto& b = fences[rng.Below(fences.size())];
          const SyncPoint points[] = {{a, a->value() + rng.Below(3)}, {b, b->value() + rng.Below(3)}};
          const uint64_t number = domain.Wait(points, rng.Below(2) == 0, 1, [&ended] { ++ended; });
          if (number != 0) ++noted;
          domain.WaitOnCpu(points, false, {1, 1}, cpu, &aftermath);
          auto own = New(SyncType::kMonitoredFence);
          if (domain.Wait({{{own, 1}, {a, kFenceLost}}}, false, 1, [&ended] { ++ended; }) != 0) ++noted;
          domain.Raise(*a, a->value() + 1, &aftermath);
          domain.Signal(points, rng.Below(8) == 0, &aftermath);
          domain.Drop(*own, true, &aftermath);
          const uint64_t back = domain.Wait({{{b, kFenceLost}}}, false, 1, [&wrong] { ++wrong; });
          domain.StopWaiting(back);
          for (const auto& call : aftermath.calls) call();
          aftermath.calls.clear();
        }
        domain.EndCpuWaits(cpu, &aftermath);
        for (const auto& call : aftermath.calls) call();
      });
    }
  }
  for (const auto& fence : fences) {
    Aftermath aftermath;
    domain.Drop(*fence, true, &aftermath);
    for (const auto& call : aftermath.calls) call();
  }
  EXPECT_EQ(waits, 0u);
  EXPECT_EQ(ended, noted);
  EXPECT_EQ(wrong, 0);
  fences.clear();
  EXPECT_EQ(objects, 0u);
}

}  // namespace
}  // namespace dxg::hostsim
