#include "tests/simulation/work_run.h"

// Rules of the fault plan, armed at random. Which passage of a point is struck depends on what the model does
// not know: who is scheduled when. So it is told that a rule has struck, and knows what must come of that,
// and that nothing else may.

namespace dxg::simulation {

using hostsim::FaultPoint;

namespace {

constexpr uint64_t kDelayNsMax = 5'000'000;  // far from any timeout
constexpr uint64_t kLongerThanTimeouts = 5'000'000'000;

struct FaultKind {
  FaultPoint point;
  bool kills;  // a device, or all
};
constexpr FaultKind kFaultKinds[] = {
    {FaultPoint::kEngineHang, true},         {FaultPoint::kPageFault, true},
    {FaultPoint::kDeviceError, true},        {FaultPoint::kEngineResetFails, true},
    {FaultPoint::kAdapterReset, true},       {FaultPoint::kAdapterRemoval, true},
    {FaultPoint::kHangWithoutTimeout, true}, {FaultPoint::kFenceJump, false},
    {FaultPoint::kGpuSlow, false},           {FaultPoint::kGpuJitter, false},
    {FaultPoint::kGpuStarvation, false},     {FaultPoint::kSignalStorm, false},
    {FaultPoint::kNoMemoryCreate, false},    {FaultPoint::kNoMemoryCreate, false},
};

// Commands whose callers cope with the loss of the device before them. A signal is none: sent without asking
// for an answer it seems to have happened.
constexpr const char* kStruckCommands[] = {"SUBMITCOMMAND", "SUBMITCOMMANDTOHWQUEUE", "CREATECONTEXTVIRTUAL"};
// Where nothing else is tried on the adapter before it is back.
constexpr const char* kSubmissions[] = {"SUBMITCOMMAND", "SUBMITCOMMANDTOHWQUEUE"};
constexpr const char* kCreatingCommands[] = {"CREATECONTEXTVIRTUAL", "CREATEHWQUEUE", "CREATESYNCOBJECT",
                                             "OPENSYNCOBJECT"};

// How often a rule that goes by count has struck by now.
uint64_t StruckByCount(const FaultRule& rule, uint64_t passed) {
  const uint64_t every = rule.has_every() ? rule.every() : 1;
  const uint64_t first = rule.has_nth() ? rule.nth() : every;
  const uint64_t struck = passed < first ? 0 : (passed - first) / every + 1;
  const uint64_t times = rule.has_times() ? rule.times() : rule.has_every() ? 0 : 1;
  return times == 0 ? struck : std::min(struck, times);
}

}  // namespace

void WorkRun::ArmRule() {
  const FaultKind& kind = kFaultKinds[Below(std::size(kFaultKinds))];
  if (kind.kills && lost_ > 4) return;
  const hostsim::FaultPointInfo& info = hostsim::InfoOf(kind.point);
  FaultRule rule;
  rule.set_point(info.name);
  switch (Below(3)) {
    case 0:
      rule.set_nth(1 + Below(6));
      break;
    case 1:
      rule.set_every(1 + Below(4));
      if (Chance(50)) rule.set_nth(1 + Below(6));
      break;
    default:
      rule.set_probability(0.05 + 0.05 * static_cast<double>(Below(8)));
      rule.set_seed(Below(1000));
      break;
  }
  if (kind.kills) {
    rule.set_times(1);
  } else if (Chance(50)) {
    rule.set_times(1 + Below(5));
  }
  ModelRule model;
  const bool for_one = kind.point == FaultPoint::kHangWithoutTimeout ||
                       Chance(50);  // of that one it has to be known whose end ends it
  if ((info.takes & hostsim::kTakesProcess) != 0 && for_one)
    rule.set_process(static_cast<uint64_t>(100 + (model.client = current_)));
  if ((info.takes & hostsim::kTakesNode) != 0 && Chance(40))
    rule.set_node(static_cast<uint32_t>(Below(kNodes)));
  if ((info.takes & hostsim::kTakesDelay) != 0) rule.set_delay_ns(Below(kDelayNsMax));
  if (kind.point == FaultPoint::kPageFault) rule.set_value(kNowhere);
  if (kind.point == FaultPoint::kDeviceError) rule.set_value(5 + Below(2));
  if (kind.point == FaultPoint::kSignalStorm) rule.set_value(Below(4));
  if (kind.point == FaultPoint::kDeviceError || kind.point == FaultPoint::kAdapterReset)
    rule.set_command(kStruckCommands[Below(std::size(kStruckCommands))]);
  if (kind.point == FaultPoint::kAdapterRemoval)
    rule.set_command(kSubmissions[Below(std::size(kSubmissions))]);
  if (kind.point == FaultPoint::kNoMemoryCreate)
    rule.set_command(kCreatingCommands[Below(std::size(kCreatingCommands))]);
  // One rule of a point at a time: so who is struck is known from the point's count.
  hostsim::FaultPlan& plan = machine_.host().faults();
  plan.Clear(kind.point);
  model.state = static_cast<uint32_t>(rule.value());
  model.struck = plan.Count(kind.point).struck;
  rules_[kind.point] = model;
  True(!machine_.host().ArmFault(rule), "a rule cannot be armed");
  Say("armed: {}", rule.ShortDebugString());
}

void WorkRun::ClearRules() {
  machine_.host().faults().ClearAll();
  rules_.clear();
}

// How often since the last time that somebody asked.
uint64_t WorkRun::Struck(FaultPoint point) {
  const auto rule = rules_.find(point);
  if (rule == rules_.end()) return 0;
  const uint64_t struck = machine_.host().faults().Count(point).struck;
  const uint64_t times = struck - std::exchange(rule->second.struck, struck);
  if (times != 0) Say("{} has struck", hostsim::InfoOf(point).name);
  return times;
}

// Before what has been lost is looked at.
void WorkRun::NoteStrikes() {
  const auto note = [this](FaultPoint point, uint32_t state, bool all) {
    for (uint64_t times = Struck(point); times != 0; --times) {
      const int client = point == FaultPoint::kEngineResetFails || point == FaultPoint::kAdapterReset
                             ? -1
                             : rules_[point].client;
      strikes_.push_back({state, client, all, ended_ + lost_});
    }
  };
  if (rules_.empty()) return;
  note(FaultPoint::kEngineHang, kHung, false);
  note(FaultPoint::kPageFault, kDmaPageFault, false);
  note(FaultPoint::kEngineResetFails, kReset, true);
  note(FaultPoint::kAdapterReset, kReset, true);
  const auto error = rules_.find(FaultPoint::kDeviceError);
  // Also of whoever has no process in the rule: then it was the caller.
  for (uint64_t times = Struck(FaultPoint::kDeviceError); times != 0; --times)
    strikes_.push_back({error->second.state, current_, true, ended_ + lost_});
}

// Whether a strike may have brought a device into that state. One of a single device has done so then.
bool WorkRun::StruckInto(const ModelDevice& device, uint32_t state) {
  for (Strike& strike : strikes_) {
    if (strike.state != state || strike.spent || (strike.client >= 0 && strike.client != device.client))
      continue;
    strike.spent = !strike.all;
    return true;
  }
  return false;
}

// Nothing but its device's end ends it, and which that is the model does not know: so all of that client's.
// True: time has gone by with that.
bool WorkRun::EndHangs() {
  if (Struck(FaultPoint::kHangWithoutTimeout) == 0 || adapter_is_gone_) return false;
  EndPeriodic();  // there would be a thousand of their events
  const uint64_t until_ns = machine_.clock().NowNs() + kLongerThanTimeouts;
  while (machine_.clock().NowNs() < until_ns && machine_.clock().AdvanceToNext()) Observe();
  const int current = std::exchange(current_, rules_[FaultPoint::kHangWithoutTimeout].client);
  const auto devices = Now().devices;
  for (const auto& device : devices) DestroyDevice(device);
  CreateDevice();
  current_ = current;
  return true;
}

// What strikes all has done so at once.
void WorkRun::JudgeStrikes() {
  for (const Strike& strike : strikes_) {
    if (!strike.all) continue;
    for (const auto& device : model_.devices) {
      if (device->active() && (strike.client < 0 || strike.client == device->client))
        throw Broken{
            fmt::format("device {} has survived what brought all into state {}", device->id, strike.state)};
    }
  }
  std::erase_if(strikes_, [](const Strike& strike) { return strike.all; });
}

// A command that was struck has taken its device with it, unless somebody else has taken the command.
void WorkRun::JudgeRulesAtRest() {
  for (const Strike& strike : strikes_) {
    if (!strike.spent && strike.before == ended_ + lost_)
      throw Broken{fmt::format("a command was struck, and no device went to state {}", strike.state)};
  }
  strikes_.clear();
  for (const hostsim::ArmedFault& armed : machine_.host().faults().Armed()) {
    if (!armed.rule.has_probability())
      Equal(armed.struck, StruckByCount(armed.rule, armed.passed), "how often a rule has struck");
  }
}

}  // namespace dxg::simulation
