#include "hostsim/machine/faults.h"

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include "tests/hostsim/gpu_rig.h"

namespace dxg::hostsim {
namespace {

FaultRule Rule(const std::string& text) {
  FaultRule rule;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &rule)) << text;
  return rule;
}

// -- The points.

TEST(FaultPoints, AreInOrderAndCoverAllKindsOfTrouble) {
  std::set<std::string> names;
  std::set<uint32_t> numbers;
  uint32_t last = 0;
  for (size_t i = 0; i < FaultPoints().size(); ++i) {
    const FaultPointInfo& info = FaultPoints()[i];
    EXPECT_EQ(static_cast<size_t>(info.point), i) << info.name;
    EXPECT_GE(info.number, last) << info.name;
    last = info.number;
    numbers.insert(info.number);
    EXPECT_TRUE(names.insert(info.name).second) << info.name;
    EXPECT_EQ(std::string(info.name).find_first_not_of("abcdefghijklmnopqrstuvwxyz-"), std::string::npos)
        << info.name;
    EXPECT_EQ((info.takes & kTakesDelay) != 0, info.delay_ns != 0) << info.name;
  }
  EXPECT_EQ(numbers.size(), 30u);
  EXPECT_EQ(*numbers.begin(), 1u);
  EXPECT_EQ(last, 30u);
}

TEST(FaultPoints, ThePageHasEachWithACommand) {
  std::ifstream file(DXG_FAULTS_PAGE);
  ASSERT_TRUE(file) << DXG_FAULTS_PAGE;
  std::stringstream page;
  page << file.rdbuf();
  for (const FaultPointInfo& info : FaultPoints()) {
    const std::string row = "| " + std::to_string(info.number) + " | `" + info.name;
    EXPECT_NE(page.str().find(row), std::string::npos) << "no row that begins with " << row;
  }
}

// -- Rules.

struct BadRule {
  const char* text;
  const char* field;
};
class Refused : public testing::TestWithParam<BadRule> {};

TEST_P(Refused, NamesTheField) {
  const auto complaint = CheckFaultRule(Rule(GetParam().text));
  ASSERT_TRUE(complaint);
  EXPECT_STREQ(complaint->field, GetParam().field);
  EXPECT_NE(complaint->what, "");
}
INSTANTIATE_TEST_SUITE_P(FaultRule, Refused,
                         testing::Values(BadRule{"", "point"}, BadRule{"point: 'no-such'", "point"},
                                         BadRule{"point: 'engine-hang' nth: 0", "nth"},
                                         BadRule{"point: 'engine-hang' every: 0", "every"},
                                         BadRule{"point: 'engine-hang' probability: 0", "probability"},
                                         BadRule{"point: 'engine-hang' probability: -1", "probability"},
                                         BadRule{"point: 'engine-hang' probability: 1.01", "probability"},
                                         BadRule{"point: 'engine-hang' probability: nan", "probability"},
                                         BadRule{"point: 'engine-hang' seed: 3", "seed"},
                                         BadRule{"point: 'engine-hang' command: 'CREATEDEVICE'", "command"},
                                         BadRule{"point: 'engine-hang' delay_ns: 1", "delay_ns"},
                                         BadRule{"point: 'engine-hang' value: 1", "value"},
                                         BadRule{"point: 'engine-hang' type: 1", "type"},
                                         BadRule{"point: 'event-lost' adapter: 1", "adapter"},
                                         BadRule{"point: 'adapter-return' process: 1", "process"},
                                         BadRule{"point: 'lock-full' node: 1", "point"},
                                         BadRule{"point: 'aperture-full' node: 1", "node"},
                                         BadRule{"point: 'ring-full' command: 'createdevice'", "command"},
                                         BadRule{"point: 'device-error' value: 1", "value"},
                                         BadRule{"point: 'device-error' value: 8", "value"},
                                         BadRule{"point: 'gpu-slow' delay_ns: 3600000000001", "delay_ns"}));

TEST(FaultRule, EveryPointTakesWhatItSays) {
  for (const FaultPointInfo& info : FaultPoints()) {
    FaultRule rule;
    rule.set_point(info.name);
    if ((info.takes & kTakesProcess) != 0) rule.set_process(1);
    if ((info.takes & kTakesAdapter) != 0) rule.set_adapter(1);
    if ((info.takes & kTakesNode) != 0) rule.set_node(1);
    if ((info.takes & kTakesCommand) != 0) rule.set_command("CREATEDEVICE");
    if ((info.takes & kTakesType) != 0) rule.set_type(1);
    if ((info.takes & kTakesDelay) != 0) rule.set_delay_ns(kFaultDelayNsMax);
    if ((info.takes & kTakesValue) != 0) rule.set_value(2);
    EXPECT_FALSE(CheckFaultRule(rule)) << info.name;
  }
}

// Which of 24 passages are struck: "x" for each that is, "." for each that is not.
std::string Pattern(const std::string& when) {
  FaultPlan plan;
  plan.Arm(Rule("point: 'aperture-full' " + when), 0);
  std::string pattern;
  for (int i = 0; i < 24; ++i) pattern += plan.Strike({.point = FaultPoint::kApertureFull}, 0) ? 'x' : '.';
  return pattern;
}

TEST(FaultPlan, StrikesByCount) {
  EXPECT_EQ(Pattern(""), "x.......................");
  EXPECT_EQ(Pattern("nth: 3"), "..x.....................");
  EXPECT_EQ(Pattern("nth: 3 times: 2"), "..xx....................");
  EXPECT_EQ(Pattern("nth: 20 times: 0"), "...................xxxxx");
  EXPECT_EQ(Pattern("every: 5"), "....x....x....x....x....");
  EXPECT_EQ(Pattern("every: 5 nth: 1"), "x....x....x....x....x...");
  EXPECT_EQ(Pattern("every: 5 nth: 7 times: 2"), "......x....x............");
  EXPECT_EQ(Pattern("every: 1"), "xxxxxxxxxxxxxxxxxxxxxxxx");
  EXPECT_EQ(Pattern("every: 1 times: 4"), "xxxx....................");
  EXPECT_EQ(Pattern("nth: 25"), "........................");
}

TEST(FaultPlan, StrikesByChanceAsTheSeedSays) {
  const std::string one = Pattern("probability: 0.5 seed: 1");
  EXPECT_EQ(Pattern("probability: 0.5 seed: 1"), one);
  EXPECT_NE(Pattern("probability: 0.5 seed: 2"), one);
  EXPECT_NE(one.find('x'), std::string::npos);
  EXPECT_NE(one.find('.'), std::string::npos);
  EXPECT_EQ(Pattern("probability: 1"), Pattern("every: 1"));
  const std::string some = Pattern("probability: 0.5 seed: 1 times: 3");
  EXPECT_EQ(std::count(some.begin(), some.end(), 'x'), 3);
  EXPECT_EQ(some.substr(0, some.rfind('x') + 1), one.substr(0, some.rfind('x') + 1));

  FaultPlan plan;
  plan.Arm(Rule("point: 'aperture-full' probability: 0.1 seed: 7"), 0);
  int struck = 0;
  for (int i = 0; i < 10'000; ++i) struck += plan.Strike({.point = FaultPoint::kApertureFull}, 0).has_value();
  EXPECT_GT(struck, 900);
  EXPECT_LT(struck, 1100);
}

// What one rule does is the same whatever other rules there are.
TEST(FaultPlan, RulesDoNotDisturbEachOther) {
  FaultPlan plan;
  plan.Arm(Rule("point: 'client-memory-gone' every: 2"), 0);
  plan.Arm(Rule("point: 'client-memory-gone' every: 3"), 0);
  std::string pattern;
  for (int i = 0; i < 12; ++i)
    pattern += plan.Strike({.point = FaultPoint::kClientMemoryGone}, 0) ? 'x' : '.';
  EXPECT_EQ(pattern, ".xxx.x.xxx.x");
  EXPECT_EQ(plan.Count(FaultPoint::kClientMemoryGone).passed, 12u);
  EXPECT_EQ(plan.Count(FaultPoint::kClientMemoryGone).struck, 8u);
  ASSERT_EQ(plan.Armed().size(), 2u);
  EXPECT_EQ(plan.Armed()[0].struck, 6u);
  EXPECT_EQ(plan.Armed()[1].passed, 12u);
}

TEST(FaultPlan, ARuleDrawsAlsoWhereAnotherOneStrikes) {
  FaultPlan plan;
  plan.Arm(Rule("point: 'aperture-full' every: 1 times: 5"), 0);
  plan.Arm(Rule("point: 'aperture-full' probability: 0.5 seed: 1"), 0);
  std::string pattern;
  for (int i = 0; i < 24; ++i) pattern += plan.Strike({.point = FaultPoint::kApertureFull}, 0) ? 'x' : '.';
  EXPECT_EQ(pattern, "xxxxx" + Pattern("probability: 0.5 seed: 1").substr(5));
}

TEST(FaultPlan, CountsOnlyPassagesAfterItsTime) {
  FaultPlan plan;
  plan.Arm(Rule("point: 'ring-full' after_ns: 100 nth: 2"), 1000);
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(plan.Strike({.point = FaultPoint::kRingFull}, 1099));
  EXPECT_FALSE(plan.Strike({.point = FaultPoint::kRingFull}, 1100));
  EXPECT_TRUE(plan.Strike({.point = FaultPoint::kRingFull}, 1100));
  plan.Arm(Rule("point: 'ring-full' after_ns: 18446744073709551615"), 1000);
  EXPECT_FALSE(plan.Strike({.point = FaultPoint::kRingFull}, ~0ull - 1))
      << "a time beyond all times is not early";
}

TEST(FaultPlan, StrikesOnlyInItsScope) {
  const struct {
    const char* scope;
    Passage in, out;
  } cases[] = {
      {"process: 7", {.process = 7}, {.process = 8}},
      {"adapter: 7", {.adapter = 7}, {.adapter = 8}},
      {"command: 'MAKERESIDENT'", {.command = "MAKERESIDENT"}, {.command = "EVICT"}},
  };
  for (const auto& c : cases) {
    FaultPlan plan;
    plan.Arm(Rule(std::string("point: 'host-slow' ") + c.scope), 0);
    auto strikes = [&plan](Passage passage) {
      passage.point = FaultPoint::kHostSlow;
      return plan.Strike(passage, 0).has_value();
    };
    EXPECT_FALSE(strikes(c.out)) << c.scope;
    EXPECT_FALSE(strikes({})) << c.scope << ": what is not known is not covered";
    EXPECT_EQ(plan.Armed()[0].passed, 0u);
    EXPECT_TRUE(strikes(c.in)) << c.scope;
  }
  FaultPlan plan;
  plan.Arm(Rule("point: 'gpu-slow' node: 1"), 0);
  EXPECT_FALSE(plan.Strike({.point = FaultPoint::kGpuSlow, .node = 0}, 0));
  EXPECT_TRUE(plan.Strike({.point = FaultPoint::kGpuSlow, .node = 1}, 0));
  plan.Arm(Rule("point: 'query-refused' type: 3"), 0);
  EXPECT_FALSE(plan.Strike({.point = FaultPoint::kQueryRefused, .type = 4}, 0));
  EXPECT_TRUE(plan.Strike({.point = FaultPoint::kQueryRefused, .type = 3}, 0));
}

TEST(FaultPlan, SaysDelayAndValueOfTheRuleOrThePoint) {
  FaultPlan plan;
  plan.Arm(Rule("point: 'gpu-slow'"), 0);
  EXPECT_EQ(plan.Strike({.point = FaultPoint::kGpuSlow}, 0)->delay_ns, InfoOf(FaultPoint::kGpuSlow).delay_ns);
  plan.Arm(Rule("point: 'gpu-slow' delay_ns: 5"), 0);
  EXPECT_EQ(plan.Strike({.point = FaultPoint::kGpuSlow}, 0)->delay_ns, 5u);
  plan.Arm(Rule("point: 'page-fault'"), 0);
  EXPECT_EQ(plan.Strike({.point = FaultPoint::kPageFault}, 0)->value, InfoOf(FaultPoint::kPageFault).value);
  plan.Arm(Rule("point: 'page-fault' value: 0"), 0);
  EXPECT_EQ(plan.Strike({.point = FaultPoint::kPageFault}, 0)->value, 0u);
  std::set<uint64_t> delays;
  plan.Arm(Rule("point: 'gpu-jitter' delay_ns: 9 every: 1"), 0);
  for (int i = 0; i < 200; ++i) delays.insert(plan.Strike({.point = FaultPoint::kGpuJitter}, 0)->delay_ns);
  EXPECT_EQ(delays.size(), 10u) << "0 to 9";
}

TEST(FaultPlan, ASpentRuleStaysInTheListAndCostsNothing) {
  FaultPlan plan;
  EXPECT_FALSE(plan.any_armed());
  plan.Arm(Rule("point: 'ring-full'"), 0);
  EXPECT_TRUE(plan.armed(FaultPoint::kRingFull));
  EXPECT_FALSE(plan.armed(FaultPoint::kHostSlow));
  EXPECT_TRUE(plan.Strike({.point = FaultPoint::kRingFull}, 0));
  EXPECT_FALSE(plan.any_armed());
  ASSERT_EQ(plan.Armed().size(), 1u);
  EXPECT_TRUE(plan.Armed()[0].spent);
}

TEST(FaultPlan, ClearsAPointAnAdapterOrAll) {
  FaultPlan plan;
  plan.Arm(Rule("point: 'ring-full' every: 1"), 0);
  plan.Arm(Rule("point: 'ring-full' adapter: 5"), 0);
  plan.Arm(Rule("point: 'host-slow' adapter: 5"), 0);
  plan.ClearAdapter(5);
  EXPECT_EQ(plan.armed_count(), 1u);
  EXPECT_EQ(plan.Clear(FaultPoint::kHostSlow), 0u);
  EXPECT_EQ(plan.Clear(FaultPoint::kRingFull), 1u);
  EXPECT_FALSE(plan.Strike({.point = FaultPoint::kRingFull}, 0));
  plan.Arm(Rule("point: 'ring-full'"), 0);
  EXPECT_EQ(plan.ClearAll(), 1u);
  EXPECT_FALSE(plan.any_armed());
}

TEST(FaultPlan, CountsExactlyFromSeveralThreads) {
  FaultPlan plan;
  plan.Arm(Rule("point: 'ring-full' every: 10"), 0);
  std::atomic<int> struck{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) struck += plan.Strike({.point = FaultPoint::kRingFull}, 0).has_value();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(struck, 400);
}

// -- In the host.

class HostFaults : public testing::Test {
 protected:
  void Arm(const std::string& rule) {
    const auto complaint = rig_.host().ArmFault(Rule(rule));
    EXPECT_FALSE(complaint) << rule << ": " << complaint->field << ": " << complaint->what;
  }
  uint32_t StateOf(uint32_t device) { return std::get<1>(rig_.State(rig_.caller, device)); }
  int32_t Offer(uint32_t allocation) {
    host::OfferAllocations::Request request;
    request.set_device(rig_.device);
    request.set_priority(3);
    request.set_allocation_count(1);
    request.add_allocations(allocation);
    return rig_.Ask<host::OfferAllocations>(rig_.caller, request).reply.status();
  }
  uint32_t Reclaim(uint32_t allocation) {
    host::ReclaimAllocations::Request request;
    request.set_paging_queue(rig_.queue.handle);
    request.set_allocation_count(1);
    request.add_allocations(allocation);
    request.set_write_results(1);
    const auto reply = rig_.Ask<host::ReclaimAllocations>(rig_.caller, request).reply;
    EXPECT_EQ(reply.results_size(), 1);
    return reply.results_size() == 1 ? reply.results(0) : 99;
  }
  host::QueryClockCalibration::Reply Clock() {
    host::QueryClockCalibration::Request request;
    request.set_adapter(rig_.adapter().host_handle);
    return rig_.Ask<host::QueryClockCalibration>(rig_.caller, request).reply;
  }

  MemoryRig rig_;
};

TEST_F(HostFaults, RefusesARuleThatIsWrongAndOneTooMany) {
  EXPECT_TRUE(rig_.host().ArmFault(Rule("point: 'x'")));
  for (size_t i = 0; i < kFaultRulesMax; ++i) Arm("point: 'ring-full'");
  EXPECT_TRUE(rig_.host().ArmFault(Rule("point: 'ring-full'")));
  rig_.host().faults().ClearAll();
  Arm("point: 'ring-full'");
}

TEST_F(HostFaults, NoMemoryAtTheNthDeviceOfOneProcess) {
  const Caller other = {rig_.NewProcess(200), rig_.adapter().address};
  Arm("point: 'no-memory-create' command: 'CREATEDEVICE' process: 200 nth: 2");
  rig_.NewDevice(rig_.caller);
  rig_.NewDevice(other);
  rig_.NewDevice(rig_.caller);
  EXPECT_EQ(rig_.TryDevice(other), 0u);
  rig_.NewDevice(other);
}

TEST_F(HostFaults, AdapterIsGoneAtTheNthCommandAndReturns) {
  const AdapterInfo before = rig_.adapter();
  Arm("point: 'adapter-removal' nth: 2 command: 'CREATEDEVICE'");
  Arm("point: 'adapter-return' delay_ns: 1000");
  rig_.NewDevice(rig_.caller, 42);
  EXPECT_EQ(rig_.TryDevice(rig_.caller), 0u);
  EXPECT_EQ(rig_.recorded.removed, std::vector<uint64_t>{before.address});
  EXPECT_EQ(rig_.recorded.changes.size(), 2u) << "both devices stopped";
  EXPECT_TRUE(rig_.host().Adapters().empty());
  rig_.clock.AdvanceNs(999);
  EXPECT_TRUE(rig_.host().Adapters().empty());
  rig_.clock.AdvanceNs(1);
  ASSERT_EQ(rig_.recorded.arrived.size(), 1u);
  EXPECT_NE(rig_.adapter().luid, before.luid);
  EXPECT_EQ(rig_.adapter().name, before.name);
  EXPECT_EQ(rig_.TryDevice(rig_.caller), 0u) << "the old one stays dead";
  rig_.NewDevice({rig_.caller.process, rig_.adapter().address});
  rig_.EndAndExpectNothing();
}

TEST_F(HostFaults, AdapterIsGoneAtATimeByItself) {
  Arm("point: 'adapter-removal' after_ns: 1000000");
  rig_.NewDevice(rig_.caller);
  rig_.clock.AdvanceNs(999'999);
  EXPECT_EQ(rig_.host().Adapters().size(), 1u);
  rig_.clock.AdvanceNs(1);
  EXPECT_TRUE(rig_.host().Adapters().empty());
  rig_.EndAndExpectNothing();
}

TEST_F(HostFaults, WhatWasClearedDoesNotComeAtItsTime) {
  Arm("point: 'adapter-removal' after_ns: 1000");
  rig_.host().faults().ClearAll();
  rig_.clock.AdvanceNs(2000);
  EXPECT_EQ(rig_.host().Adapters().size(), 1u);
}

TEST_F(HostFaults, DeviceErrorIsTheCallersOnly) {
  const Caller other = rig_.NewCaller();
  const uint32_t others = rig_.NewDevice(other);
  Arm("point: 'device-error' command: 'CREATECONTEXTVIRTUAL' value: 5");
  EXPECT_EQ(rig_.TryContext(rig_.caller, rig_.device), 0u);
  EXPECT_EQ(StateOf(rig_.device), 5u);
  EXPECT_EQ(std::get<1>(rig_.State(other, others)), 1u);
}

TEST_F(HostFaults, AdapterResetEndsAllDevicesAndTakesNewOnes) {
  const Caller other = rig_.NewCaller();
  const uint32_t others = rig_.NewDevice(other);
  Arm("point: 'adapter-reset' command: 'CREATECONTEXTVIRTUAL'");
  EXPECT_EQ(rig_.TryContext(rig_.caller, rig_.device), 0u);
  EXPECT_EQ(StateOf(rig_.device), 2u);
  EXPECT_EQ(std::get<1>(rig_.State(other, others)), 2u);
  rig_.NewContext(rig_.caller, rig_.NewDevice(rig_.caller));
}

TEST_F(HostFaults, TheSixthResetIsOneTooMany) {
  Arm("point: 'too-many-timeouts' nth: 6");
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(rig_.host().ResetAdapter(rig_.adapter().address));
  EXPECT_EQ(rig_.host().Adapters().size(), 1u);
  EXPECT_TRUE(rig_.host().ResetAdapter(rig_.adapter().address));
  EXPECT_TRUE(rig_.host().Adapters().empty());
}

TEST_F(HostFaults, ResidencyFailsInEachWay) {
  const uint32_t allocation = rig_.New(kMiB);
  Arm("point: 'no-memory-resident'");
  EXPECT_EQ(rig_.MakeResident({allocation}).num_bytes_to_trim(), kMiB);
  Arm("point: 'budget-shrinks' every: 1 value: 4096");
  EXPECT_EQ(rig_.MakeResident({allocation}).num_bytes_to_trim(), kMiB - 4096);
  EXPECT_EQ(rig_.MakeResident({allocation}).num_bytes_to_trim(), kMiB - 4096) << "and at every retry";
  EXPECT_EQ(rig_.MakeResident({allocation}, 1).status(), kStatusPending)
      << "until it says that it cannot trim further";
  rig_.host().faults().ClearAll();
  EXPECT_EQ(StateOf(rig_.device), 1u);
  Arm("point: 'must-succeed-fails'");
  rig_.MakeResident({allocation});
  EXPECT_EQ(StateOf(rig_.device), 1u) << "not asked for";
  EXPECT_EQ(rig_.MakeResident({allocation}, 3).status(), kStatusNoMemory);
  EXPECT_EQ(StateOf(rig_.device), 5u) << "out of memory";
  rig_.EndAndExpectNothing();
}

TEST_F(HostFaults, PagingStallsOneQueueForItsTime) {
  const auto other = rig_.NewQueue();
  Arm("point: 'paging-stall' delay_ns: 50000000");
  EXPECT_EQ(rig_.MakeResident({rig_.New(kPage)}).status(), kStatusPending);
  EXPECT_EQ(rig_.MakeResidentOn(rig_.caller, other, {rig_.New(kPage)}).status(), kStatusPending);
  rig_.clock.AdvanceNs(49 * kMs);
  EXPECT_EQ(rig_.FenceOf(rig_.queue), 0u);
  EXPECT_EQ(rig_.FenceOf(other), 1u);
  rig_.clock.AdvanceNs(2 * kMs);
  EXPECT_EQ(rig_.FenceOf(rig_.queue), 1u);
}

TEST_F(HostFaults, PagingIsAllImmediate) {
  Arm("point: 'paging-immediate' every: 1");
  EXPECT_EQ(rig_.MakeResident({rig_.New(kMiB)}).status(), kStatusSuccess);
  EXPECT_EQ(rig_.TryMap(rig_.MapRequest(rig_.New(kPage), 1)).status(), kStatusSuccess);
}

TEST(HostFault, PagingIsAllPending) {
  AdapterProfile profile = Shipped("discrete");
  profile.mutable_paging()->set_immediate(true);
  auto* rule = profile.add_faults();
  *rule = Rule("point: 'paging-pending' every: 1");
  MemoryRig rig(profile);
  EXPECT_EQ(rig.MakeResident({rig.New(kMiB)}).status(), kStatusPending);
  EXPECT_EQ(rig.TryMap(rig.MapRequest(rig.New(kPage), 1)).status(), kStatusPending);
  rig.Settle();
  EXPECT_EQ(rig.FenceOf(rig.queue), 2u);
}

TEST_F(HostFaults, AFaultOfPagingResetsTheAdapter) {
  Arm("point: 'paging-fault'");
  EXPECT_EQ(rig_.MakeResident({rig_.New(kPage)}).status(), kStatusPending);
  EXPECT_EQ(StateOf(rig_.device), 2u);
  EXPECT_EQ(rig_.FenceOf(rig_.queue), ~0ull) << "nobody waits for ever";
  rig_.NewDevice(rig_.caller);
  rig_.EndAndExpectNothing();
}

TEST_F(HostFaults, OffersLoseContentOrMemory) {
  const uint32_t allocation = rig_.New(kPage);
  EXPECT_EQ(Offer(allocation), kStatusSuccess);
  EXPECT_EQ(Reclaim(allocation), 0u);
  Arm("point: 'offer-discard'");
  EXPECT_EQ(Offer(allocation), kStatusSuccess);
  EXPECT_EQ(Reclaim(allocation), 1u);
  Arm("point: 'offer-decommit'");
  EXPECT_EQ(Offer(allocation), kStatusSuccess);
  EXPECT_EQ(Reclaim(allocation), 2u);
  rig_.EndAndExpectNothing();
}

TEST_F(HostFaults, NoPlaceForALockNorForAddresses) {
  const uint32_t allocation = rig_.New(kPage);
  Arm("point: 'aperture-full'");
  EXPECT_EQ(rig_.Lock(allocation).status(), kStatusGraphicsAllocationBusy);
  EXPECT_EQ(rig_.Lock(allocation).status(), kStatusSuccess);
  Arm("point: 'address-space-full' times: 2");
  EXPECT_EQ(rig_.TryMap(rig_.MapRequest(allocation, 1)).status(), kStatusNoMemory);
  EXPECT_EQ(rig_.TryReserve(kMiB).virtual_address(), 0u);
  rig_.Reserve(kMiB);
}

TEST_F(HostFaults, AFreedIndexComesBackAtOnceWithAnotherHandle) {
  const uint32_t old = rig_.NewDevice(rig_.caller);
  rig_.DestroyDevice(rig_.caller, old);
  Arm("point: 'handle-reuse'");
  const uint32_t reused = rig_.NewDevice(rig_.caller);
  constexpr uint32_t kIndex = 0x3FFFFFC0;
  EXPECT_EQ(reused & kIndex, old & kIndex);
  EXPECT_NE(reused, old);
  EXPECT_EQ(rig_.DestroyDevice(rig_.caller, old), kStatusInvalidParameter) << "the stale handle is dead";
  EXPECT_EQ(rig_.DestroyDevice(rig_.caller, reused), kStatusSuccess);
}

TEST_F(HostFaults, QueriesFailByType) {
  std::string data(4, '\0');
  Arm("point: 'query-refused' type: 13");
  Arm("point: 'query-not-found' type: 15");
  EXPECT_EQ(rig_.Query(rig_.caller, 13, &data), kStatusInvalidParameter);
  EXPECT_EQ(rig_.Query(rig_.caller, 13, &data), kStatusSuccess);
  EXPECT_EQ(rig_.Query(rig_.caller, 15, &data), kStatusObjectNameNotFound);
  EXPECT_EQ(rig_.Query(rig_.caller, 15, &data), kStatusSuccess);
}

TEST_F(HostFaults, ClocksJumpAheadButNeverBack) {
  const auto before = Clock();
  Arm("point: 'clock-jump' delay_ns: 2000000000 nth: 1");
  const auto after = Clock();
  EXPECT_EQ(after.cpu_clock_counter() - before.cpu_clock_counter(), 20'000'000u) << "two seconds at 10 MHz";
  EXPECT_GT(after.gpu_clock_counter(), before.gpu_clock_counter());
  EXPECT_EQ(Clock().cpu_clock_counter(), after.cpu_clock_counter()) << "it stays ahead";
  Arm("point: 'gpu-frequency-change' value: 25");
  EXPECT_EQ(Clock().gpu_frequency(), before.gpu_frequency() / 4);
  EXPECT_EQ(Clock().gpu_frequency(), before.gpu_frequency());
}

TEST(HostFault, PagesOfAClientAreGoneForOneAccess) {
  FakeGuest guest;
  guest.runs[3] = std::string(kPage, 'a');
  MemoryRig rig(Shipped("discrete"), nullptr, &guest);
  host::CreateAllocation::Request create =
      MemoryRig::CreateRequest(rig.device, {PrivateData(kPage)}, kExistingSysmemFlag | kResourceFlag);
  const auto made = rig.Ask<host::CreateAllocation>(rig.caller, create);
  ASSERT_TRUE(made.accepted);
  const uint32_t allocation = made.reply.allocations(0).allocation();
  host::SetExistingSysmemStore::Request store;
  store.set_device(rig.device);
  store.set_allocation(allocation);
  store.set_gpadl(3);
  ASSERT_EQ(rig.Ask<host::SetExistingSysmemStore>(rig.caller, store).reply.status(), kStatusSuccess);
  rig.BringIn({allocation});
  const uint64_t address = rig.Map(allocation, 1);
  ASSERT_EQ(rig.GpuRead(address), 0x6161616161616161u);
  EXPECT_FALSE(rig.host().ArmFault(Rule("point: 'client-memory-gone' nth: 2")));
  EXPECT_EQ(rig.GpuRead(address), 0x6161616161616161u);
  const uint64_t lost = rig.host().Account().lost_accesses;
  rig.GpuRead(address);
  EXPECT_EQ(rig.host().Account().lost_accesses, lost + 1);
  EXPECT_EQ(rig.GpuRead(address), 0x6161616161616161u);
}

// -- Signals.

class SignalFaults : public testing::Test {
 protected:
  void Arm(const std::string& rule) { EXPECT_FALSE(rig_.host().ArmFault(Rule(rule))) << rule; }

  GpuRig rig_;
};

TEST_F(SignalFaults, AFenceJumpsAndWaitsBelowEnd) {
  const auto fence = rig_.NewFence();
  rig_.Wait(fence.handle, 1000, 1);
  rig_.Wait(fence.handle, ~0ull, 2);
  Arm("point: 'fence-jump'");
  EXPECT_EQ(rig_.Signal(fence.handle, 1), kStatusSuccess);
  EXPECT_EQ(rig_.ValueOf(fence), ~0ull - 1);
  EXPECT_EQ(rig_.Happened(), GpuRig::Numbers{1});
}

TEST_F(SignalFaults, AFenceGoesBackBehindTheWaitsThatEnd) {
  const auto fence = rig_.NewFence();
  rig_.Wait(fence.handle, 5, 1);
  rig_.Wait(fence.handle, 6, 2);
  Arm("point: 'fence-rewind' value: 2");
  EXPECT_EQ(rig_.Signal(fence.handle, 5), kStatusSuccess);
  EXPECT_EQ(rig_.ValueOf(fence), 2u);
  EXPECT_EQ(rig_.Happened(), GpuRig::Numbers{1});
  rig_.Signal(fence.handle, 6);
  EXPECT_EQ(rig_.Happened(), GpuRig::Numbers{2});
}

TEST_F(SignalFaults, AStormEndsNoWaitTwiceOrTooEarly) {
  const auto fence = rig_.NewFence();
  rig_.Wait(fence.handle, 5, 1);
  rig_.Wait(fence.handle, 6, 2);
  Arm("point: 'signal-storm' value: 1000");
  EXPECT_EQ(rig_.Signal(fence.handle, 5), kStatusSuccess);
  EXPECT_EQ(rig_.ValueOf(fence), 5u);
  EXPECT_EQ(rig_.Happened(), GpuRig::Numbers{1});
}

// A client that wants them there asks its queue for such signals.
TEST_F(SignalFaults, SignalsOfQueuesDoNotPass) {
  const auto fence = rig_.NewFence();
  for (const char* point : {"fence-jump", "fence-rewind", "signal-storm"})
    Arm("every: 1 point: '" + std::string(point) + "'");
  EXPECT_EQ(rig_.GpuSignal({rig_.context}, {{fence.handle, 7}}), kStatusSuccess);
  rig_.Settle();
  EXPECT_EQ(rig_.ValueOf(fence), 7u);
  for (const FaultPoint point :
       {FaultPoint::kFenceJump, FaultPoint::kFenceRewind, FaultPoint::kSignalStorm}) {
    EXPECT_EQ(rig_.host().faults().Count(point).passed, 0u) << InfoOf(point).name;
  }
}

TEST_F(SignalFaults, AQueueDoesTheSameWithoutAFault) {
  const auto fence = rig_.NewFence();
  rig_.Wait(fence.handle, 1000, 1);
  rig_.Wait(fence.handle, ~0ull, 2);
  rig_.GpuSignal({rig_.context}, {{fence.handle, ~0ull - 1}});
  rig_.GpuSignal({rig_.context}, {{fence.handle, 3}}, GpuRig::kRewind);
  for (int i = 0; i < 1000; ++i) rig_.GpuSignal({rig_.context}, {{fence.handle, 3}});
  rig_.Settle();
  EXPECT_EQ(rig_.ValueOf(fence), 3u);
  EXPECT_EQ(rig_.Happened(), GpuRig::Numbers{1});
}

// -- In profiles.

TEST(ProfileFaults, AreForTheirAdapterAndGoWithIt) {
  AdapterProfile first = Shipped("discrete");
  *first.add_faults() = Rule("point: 'no-memory-create' command: 'CREATEDEVICE' every: 1");
  Rig rig({first, Shipped("discrete")});
  EXPECT_EQ(rig.TryDevice(rig.NewCaller(0)), 0u);
  rig.NewDevice(rig.NewCaller(1));
  EXPECT_EQ(rig.host().faults().armed_count(), 1u);
  EXPECT_TRUE(rig.host().RemoveAdapter(rig.adapter(0).address));
  EXPECT_EQ(rig.host().faults().armed_count(), 0u);
  AdapterInfo info;
  EXPECT_TRUE(rig.host().AddAdapter(first, &info));
  EXPECT_EQ(rig.TryDevice({rig.NewProcess(), info.address}), 0u);
}

TEST(ProfileFaults, WhatTookAnAdapterAwayDoesNotReturnWithIt) {
  AdapterProfile profile = Shipped("discrete");
  *profile.add_faults() = Rule("point: 'adapter-removal' command: 'CREATEDEVICE'");
  *profile.add_faults() = Rule("point: 'adapter-return' delay_ns: 1000");
  *profile.add_faults() = Rule("point: 'aperture-full' every: 1");
  Rig rig({profile});
  EXPECT_EQ(rig.TryDevice(rig.NewCaller()), 0u);
  EXPECT_TRUE(rig.host().Adapters().empty());
  rig.clock.AdvanceNs(1000);
  ASSERT_EQ(rig.host().Adapters().size(), 1u);
  EXPECT_NE(rig.TryDevice(rig.NewCaller()), 0u);
  EXPECT_EQ(rig.host().faults().armed_count(), 1u) << "what may strike for ever returns with it";
}

TEST(ProfileFaults, WrongOnesAreRefusedWithTheirLine) {
  const std::string text =
      R"(name: "a" description: "A" memory { dedicated_video_bytes: 0x100000 } nodes { engine: COPY }
faults { point: "engine-hang" }
faults { point: "engine-hang"
         nth: 0 }
faults { point: "gpu-slow" adapter: 3 })";
  const auto profile = ParseProfile(text, "p");
  EXPECT_FALSE(profile.ok());
  const std::string error = profile.status().why();
  EXPECT_NE(error.find("p:4: faults[1].nth: "), std::string::npos) << error;
  EXPECT_NE(error.find("p:5: faults[2].adapter: "), std::string::npos) << error;
}

}  // namespace
}  // namespace dxg::hostsim
