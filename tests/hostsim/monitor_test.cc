#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <vector>

#include "hostsim/machine/recent_amount.h"
#include "proto/abi/qaitype.h"
#include "tests/hostsim/gpu_rig.h"

// What a monitor sees that samples ten times a second, against what its neighbour did.

namespace dxg::hostsim {
namespace {

constexpr uint64_t kSampleNs = 100 * kMs;

uint64_t Overlap(uint64_t from, uint64_t to, uint64_t begin, uint64_t end) {
  return std::max(std::min(to, end), std::max(from, begin)) - std::max(from, begin);
}

// -- The amounts themselves.

TEST(RecentAmount, CountsWhatIsInTheWindow) {
  constexpr uint64_t kSlice = RecentAmount::kSliceNs;
  RecentAmount recent;
  recent.Add(10 * kSlice, 7);
  recent.Add(12 * kSlice + 1, 5);
  recent.Add(13 * kSlice - 1, 1);
  EXPECT_EQ(recent.Over(13 * kSlice, 4).amount, 13u);
  EXPECT_EQ(recent.Over(13 * kSlice, 4).span_ns, 4 * kSlice);
  EXPECT_EQ(recent.Over(14 * kSlice + 9, 4).amount, 13u);
  EXPECT_EQ(recent.Over(14 * kSlice + 9, 4).span_ns, 4 * kSlice + 9);
  EXPECT_EQ(recent.Over(15 * kSlice, 4).amount, 6u);
  EXPECT_EQ(recent.Over(17 * kSlice, 4).amount, 0u);
  EXPECT_EQ(recent.Over(410 * kSlice, 400).amount, 13u);
  EXPECT_EQ(recent.Over(411 * kSlice, 400).amount, 6u);
  EXPECT_EQ(recent.Over(2000 * kSlice, 400).amount, 0u);
}

TEST(RecentAmount, IsEmptyBeforeAnything) {
  const RecentAmount recent;
  EXPECT_EQ(recent.Over(0, 4).permille(), 0u);
  EXPECT_EQ(recent.Over(0, 4).per_second(), 0u);
  EXPECT_EQ(recent.Over(~0ull, 400).amount, 0u);
}

TEST(RecentAmount, ForgetsWhatIsTooLongAgoAndTakesWhatComesLate) {
  constexpr uint64_t kSlice = RecentAmount::kSliceNs;
  RecentAmount recent;
  recent.Add(5 * kSlice, 1);
  recent.Add(1000 * kSlice, 2);
  recent.Add(600 * kSlice, 4);
  recent.Add(599 * kSlice, 8);
  recent.Add(5 * kSlice, 16);
  EXPECT_EQ(recent.Over(1000 * kSlice, 400).amount, 6u);
}

TEST(RecentAmount, TimeIsInTheSlicesThatItWasIn) {
  constexpr uint64_t kSlice = RecentAmount::kSliceNs;
  Rng rng(1);
  RecentAmount recent;
  std::vector<std::pair<uint64_t, uint64_t>> spans;
  uint64_t now = 3 * kSlice;
  for (int i = 0; i < 3000; ++i) {
    now += rng.Below(i % 7 == 0 ? 3 * kSlice : kSlice / 10);
    const uint64_t from = now;
    now += rng.Below(i % 5 == 0 ? 5 * kSlice : kSlice / 3);
    recent.AddTime(from, now);
    spans.emplace_back(from, now);
    if (i == 2000) {
      recent.AddTime(now, now + 1000 * kSlice);
      spans.emplace_back(now, now + 1000 * kSlice);
      now += 1000 * kSlice;
    }
    for (const uint64_t slices : {RecentAmount::kShort, RecentAmount::kLong}) {
      const uint64_t first = now / kSlice < slices ? 0 : (now / kSlice - slices) * kSlice;
      uint64_t expected = 0;
      for (const auto& [begin, end] : spans) expected += Overlap(first, now, begin, end);
      ASSERT_EQ(recent.Over(now, slices).amount, expected) << "after " << i;
      ASSERT_EQ(recent.Over(now, slices).span_ns, slices * kSlice + now % kSlice);
    }
  }
}

// -- A client at work, and somebody who looks.

struct NodeSample {
  uint64_t running_us;
  uint32_t switches, submitted, completed;
  uint64_t clock_hz;
  uint32_t voltage_mv;
};

class Monitored : public GpuRig {
 public:
  Monitored() : watcher(NewCaller()) {
    clock.AdvanceNs(kSampleNs - clock.NowNs() % kSampleNs);
    start_ns = clock.NowNs();
  }

  std::string Statistics(const Caller& of, uint32_t type, uint32_t selector = 0) {
    host::QueryStatistics::Request request;
    request.set_type(type);
    request.set_adapter_luid(adapter().host_luid);
    request.set_selector(selector);
    const auto reply = Ask<host::QueryStatistics>(of, request).reply;
    EXPECT_EQ(reply.status(), kStatusSuccess) << "type " << type;
    return reply.result();
  }
  static NodeSample Parse(const std::string& text, size_t perf_at = 544) {
    const ConstBytes bytes = BytesOf(std::string_view(text));
    return {Get<uint64_t>(bytes, 0),  Get<uint32_t>(bytes, 8),           Get<uint32_t>(bytes, 76),
            Get<uint32_t>(bytes, 80), Get<uint64_t>(bytes, perf_at + 8), Get<uint32_t>(bytes, perf_at + 32)};
  }
  NodeSample OfNode(uint32_t node) { return Parse(Statistics(watcher, 5, node)); }
  NodeSample OfProcessOnNode(const Caller& of, uint32_t node) { return Parse(Statistics(of, 6, node)); }
  std::string AdapterPerf() {
    std::string data(64, '\0');
    EXPECT_EQ(Query(watcher, KMTQAITYPE_ADAPTERPERFDATA, &data), kStatusSuccess);
    EXPECT_EQ(data, Statistics(watcher, 10).substr(0, 64)) << "both ways to ask say the same";
    return data;
  }
  uint64_t SegmentResident(uint32_t segment) {
    return Get<uint64_t>(BytesOf(std::string_view(Statistics(watcher, 3, segment))), 16);
  }

  const Caller watcher;
  uint64_t start_ns;
};

struct Interval {
  uint64_t begin, end;
};

uint64_t BusyIn(const std::vector<Interval>& intervals, uint64_t from, uint64_t to) {
  uint64_t busy = 0;
  for (const Interval& each : intervals) busy += Overlap(from, to, each.begin, each.end);
  return busy;
}

// From the idle part of a scale up to its end, as docs/simulated-gpu.md says.
uint64_t Scaled(uint64_t high, uint64_t idle_percent, uint64_t permille) {
  return high * (idle_percent * 1000 + (100 - idle_percent) * permille) / 100'000;
}

// Two engines and their work: when it is submitted, and how long it takes.
struct Work {
  uint64_t at_ms;
  uint32_t node;
  uint64_t length_ms;
};
constexpr Work kWork[] = {{130, 0, 30},  {180, 1, 470},  {210, 0, 250},  {220, 0, 5},
                          {905, 0, 120}, {1000, 1, 100}, {1900, 0, 700}, {2333, 1, 1}};

// [MSC] 181
TEST(Monitor, SamplesOfTheEnginesAreWhatTheClientDid) {
  Monitored rig;
  const uint32_t contexts[] = {rig.context, rig.TryContext(rig.caller, rig.device, 1)};
  std::vector<Interval> done[2];  // by node: what the engine did
  const AdapterProfile profile = Shipped("discrete");
  const uint64_t clock_hz[] = {profile.nodes(0).frequency_hz(), profile.nodes(1).frequency_hz()};
  size_t next = 0;
  for (uint64_t at_ms = 0; at_ms <= 3500; ++at_ms) {
    const uint64_t now = rig.start_ns + at_ms * kMs;
    rig.clock.AdvanceNs(now - rig.clock.NowNs());
    for (; next < std::size(kWork) && kWork[next].at_ms == at_ms; ++next) {
      const Work& work = kWork[next];
      ASSERT_EQ(rig.SubmitTo({contexts[work.node]}, CommandWriter().Delay(work.length_ms * kMs)),
                kStatusSuccess);
      auto& intervals = done[work.node];
      const uint64_t begin = intervals.empty() ? now : std::max(now, intervals.back().end);
      intervals.push_back({begin, begin + work.length_ms * kMs});
    }
    if (at_ms % 100 != 0) continue;
    uint64_t load = 0, warm = 0;
    for (uint32_t node = 0; node < 2; ++node) {
      const uint64_t busy = BusyIn(done[node], rig.start_ns, now);
      const auto ended = std::count_if(done[node].begin(), done[node].end(),
                                       [now](const Interval& each) { return each.end <= now; });
      const uint64_t lately = BusyIn(done[node], now - kSampleNs, now) * 1000 / kSampleNs;
      const NodeSample sample = rig.OfNode(node);
      EXPECT_EQ(sample.running_us, busy / 1000) << "node " << node << " at " << at_ms << " ms";
      EXPECT_EQ(sample.submitted, done[node].size()) << at_ms;
      EXPECT_EQ(sample.completed, static_cast<uint32_t>(ended)) << at_ms;
      EXPECT_EQ(sample.clock_hz, Scaled(clock_hz[node], 40, lately)) << at_ms;
      EXPECT_EQ(sample.voltage_mv, Scaled(profile.performance().voltage_mv(), 70, lately)) << at_ms;
      const NodeSample own = rig.OfProcessOnNode(rig.caller, node);
      EXPECT_EQ(own.running_us, busy / 1000) << "nobody else had the engine";
      EXPECT_EQ(own.completed, sample.completed);
      EXPECT_EQ(rig.OfProcessOnNode(rig.watcher, node).running_us, 0u);
      load = std::max(load, lately);
      warm = std::max(warm, BusyIn(done[node], rig.start_ns, now) * 1000 / (10'000 * kMs));
    }
    EXPECT_EQ(rig.OfNode(2).running_us, 0u);
    const std::string text = rig.AdapterPerf();
    const ConstBytes perf = BytesOf(std::string_view(text));
    EXPECT_EQ(Get<uint64_t>(perf, 8), Scaled(profile.performance().memory_frequency_hz(), 50, load)) << at_ms;
    EXPECT_EQ(Get<uint32_t>(perf, 52), Scaled(1000, 10, load)) << "power at " << at_ms;
    EXPECT_EQ(Get<uint32_t>(perf, 48), Scaled(profile.performance().fan_rpm(), 30, warm)) << at_ms;
    EXPECT_EQ(Get<uint32_t>(perf, 56),
              Scaled(profile.performance().temperature_warning_decicelsius(), 50, warm))
        << at_ms;
  }
  EXPECT_EQ(next, std::size(kWork));
  rig.clock.AdvanceNs(20'000 * kMs);
  EXPECT_EQ(rig.OfNode(0).clock_hz, Scaled(clock_hz[0], 40, 0)) << "idle again";
}

// [MSC] 181: also of a command that runs still, whoever it is of.
TEST(Monitor, ProcessesAddUpToTheNode) {
  Monitored rig;
  Monitored* const at = &rig;
  const Caller other = rig.NewCaller();
  const uint32_t others_device = rig.NewDevice(other);
  const uint32_t others_context = rig.TryContext(other, others_device);
  uint64_t own = 0;
  for (int i = 0; i < 8; ++i) rig.Submit(CommandWriter().Delay(70 * kMs));
  // A command of the other process needs memory of its own; a null command takes its time without any.
  auto nothing = rig.SubmitRequest({others_context}, 0x10000, 8);
  nothing.set_flags(DXG_SUBMIT_NULL_RENDERING);
  for (int i = 0; i < 8; ++i) {
    ASSERT_EQ(at->Ask<host::SubmitCommand>(other, nothing).reply.status(), kStatusSuccess);
    at->clock.AdvanceNs(kSampleNs);
    const NodeSample all = rig.OfNode(0), mine = rig.OfProcessOnNode(rig.caller, 0),
                     theirs = rig.OfProcessOnNode(other, 0);
    EXPECT_LE(all.running_us - mine.running_us - theirs.running_us, 1u) << "but for parts of a microsecond";
    EXPECT_EQ(all.submitted, mine.submitted + theirs.submitted);
    EXPECT_EQ(all.completed, mine.completed + theirs.completed);
    EXPECT_GE(mine.running_us, own) << "never less";
    own = mine.running_us;
  }
  EXPECT_EQ(own, 560'000u);
  EXPECT_GT(rig.OfProcessOnNode(other, 0).completed, 0u);
}

TEST(Monitor, ACommandThatHangsHasTheEngineUntilItIsReset) {
  Monitored rig;
  const uint64_t timeout_ms = Shipped("discrete").engines().timeout_ms();
  rig.Submit(CommandWriter().Hang());
  rig.clock.AdvanceNs(timeout_ms * kMs / 2);
  EXPECT_EQ(rig.OfNode(0).running_us, timeout_ms * 1000 / 2);
  EXPECT_EQ(rig.OfNode(0).completed, 0u);
  rig.clock.AdvanceNs(2 * timeout_ms * kMs);
  EXPECT_EQ(rig.OfNode(0).running_us, timeout_ms * 1000);
  EXPECT_EQ(rig.OfNode(0).completed, 1u);
}

TEST(Monitor, SamplesOfMemoryAreWhatTheClientDid) {
  Monitored rig;
  const uint64_t before = rig.Usage(), resident_before = rig.SegmentResident(0);
  const uint64_t other_before = rig.MemoryRig::Memory(rig.watcher).current_usage();
  std::map<uint64_t, uint64_t> bytes_at;  // from that many ms on
  bytes_at[0] = 0;
  std::vector<uint32_t> made;
  for (uint64_t at_ms = 0; at_ms <= 1500; at_ms += 50) {
    rig.clock.AdvanceNs(rig.start_ns + at_ms * kMs - rig.clock.NowNs());
    if (at_ms == 150 || at_ms == 450 || at_ms == 750) {
      made.push_back(rig.New(at_ms / 50 * kMiB));
      EXPECT_GE(rig.MakeResident({made.back()}).status(), 0);
      bytes_at[at_ms] = std::prev(bytes_at.end())->second + at_ms / 50 * kMiB;
    } else if (at_ms == 950) {
      EXPECT_TRUE(rig.Evict({made[1]}).accepted);
      bytes_at[at_ms] = std::prev(bytes_at.end())->second - 9 * kMiB;
    } else if (at_ms == 1250) {
      EXPECT_EQ(rig.Destroy({made[2]}), kStatusSuccess);
      bytes_at[at_ms] = std::prev(bytes_at.end())->second - 15 * kMiB;
    }
    if (at_ms % 100 != 0) continue;
    const uint64_t expected = std::prev(bytes_at.upper_bound(at_ms))->second;
    EXPECT_EQ(rig.Usage(), before + expected) << at_ms;
    EXPECT_EQ(rig.SegmentResident(0), resident_before + expected) << at_ms;
    const std::string segment = rig.Statistics(rig.caller, 4, 0), group = rig.Statistics(rig.caller, 9, 0);
    EXPECT_EQ(Get<uint64_t>(BytesOf(std::string_view(segment)), 0), before + expected) << at_ms;
    EXPECT_EQ(Get<uint64_t>(BytesOf(std::string_view(group)), 8), before + expected) << at_ms;
    EXPECT_EQ(rig.MemoryRig::Memory(rig.watcher).current_usage(), other_before) << "each process has its own";
  }
  EXPECT_EQ(std::prev(bytes_at.end())->second, 3 * kMiB);
}

TEST(Monitor, RatesAreOfTheBytesThatWereMoved) {
  Monitored rig;
  const auto rates = [&rig] {
    const std::string text = rig.AdapterPerf();
    const ConstBytes perf = BytesOf(std::string_view(text));
    return std::pair(Get<uint64_t>(perf, 32), Get<uint64_t>(perf, 40));
  };
  rig.clock.AdvanceNs(10 * kSampleNs);
  EXPECT_EQ(rates(), std::pair(uint64_t{0}, uint64_t{0})) << "nothing has been moved of late";
  EXPECT_GE(rig.MakeResident({rig.New(8 * kMiB)}).status(), 0);
  rig.clock.AdvanceNs(kSampleNs);
  EXPECT_EQ(rates(), std::pair(uint64_t{0}, 80 * kMiB)) << "8 MiB in a tenth of a second, by paging";
  rig.clock.AdvanceNs(2 * kSampleNs);
  EXPECT_EQ(rates().second, 0u);
  const CommandWriter copy = CommandWriter().Copy(rig.data, rig.data + kMiB / 2, kMiB / 2);
  rig.Submit(copy);
  rig.clock.AdvanceNs(kSampleNs);
  const uint64_t reached = 10 * (kMiB + copy.bytes().size());
  EXPECT_GE(rates().first, 10 * kMiB) << "what is read and what is written";
  EXPECT_LE(rates().first, reached + reached / 100) << "and the command itself";
  EXPECT_EQ(rates().second, 0u);
}

}  // namespace
}  // namespace dxg::hostsim
