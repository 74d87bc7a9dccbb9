#include "hostsim/machine/faults.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "proto/contract/contract.h"

namespace dxg::hostsim {
namespace {

constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kStormMax = 100'000;  // signals that one command may cost

// What most of a kind take.
constexpr uint32_t kCaller = kTakesProcess | kTakesAdapter;
constexpr uint32_t kPacket = kCaller | kTakesNode;
constexpr uint32_t kMessage = kCaller | kTakesCommand;
constexpr uint32_t kEvent = 0;

constexpr FaultPointInfo kPoints[] = {
#define DXG_FAULT_POINT(point, ...) {FaultPoint::point, __VA_ARGS__},
#include "hostsim/machine/fault_points.inc"
#undef DXG_FAULT_POINT
};

const FaultPointInfo* FindPoint(std::string_view name) {
  const auto* found = std::find_if(std::begin(kPoints), std::end(kPoints),
                                   [name](const FaultPointInfo& info) { return info.name == name; });
  return found == std::end(kPoints) ? nullptr : found;
}

bool IsCommand(std::string_view name) {
  const auto commands = contract::HostCommands();
  return std::any_of(commands.begin(), commands.end(),
                     [name](const auto& command) { return command.name == name; });
}

// A field that the point does not take would narrow nothing, and its giver would be misled.
std::optional<FaultComplaint> CheckTakes(const FaultRule& rule, const FaultPointInfo& info) {
  const struct {
    const char* field;
    bool given;
    uint32_t takes;
  } fields[] = {
      {"process", rule.has_process(), kTakesProcess}, {"adapter", rule.has_adapter(), kTakesAdapter},
      {"node", rule.has_node(), kTakesNode},          {"command", rule.has_command(), kTakesCommand},
      {"type", rule.has_type(), kTakesType},          {"delay_ns", rule.has_delay_ns(), kTakesDelay},
      {"value", rule.has_value(), kTakesValue},
  };
  for (const auto& field : fields) {
    if (field.given && (info.takes & field.takes) == 0)
      return FaultComplaint{field.field, fmt::format("{} has none; leave it out", info.name)};
  }
  return std::nullopt;
}

std::optional<FaultComplaint> CheckWhen(const FaultRule& rule, const FaultPointInfo& info) {
  if (rule.has_nth() && rule.nth() == 0)
    return FaultComplaint{"nth", "passages are counted from 1; give 1 or more"};
  if (rule.has_every() && rule.every() == 0)
    return FaultComplaint{"every", "0 strikes nothing; give 1 or more, 1 is every passage"};
  // Negated, so that NaN is refused.
  if (rule.has_probability() && !(rule.probability() > 0 && rule.probability() <= 1))
    return FaultComplaint{"probability",
                          fmt::format("{} is no chance; give more than 0 and at most 1", rule.probability())};
  if (rule.has_seed() && !rule.has_probability() && info.point != FaultPoint::kGpuJitter)
    return FaultComplaint{"seed", "is for a probability; give one, or leave it out"};
  return std::nullopt;
}

uint64_t FirstPassage(const FaultRule& rule) {
  if (rule.has_nth()) return rule.nth();
  return rule.has_every() ? rule.every() : 1;
}

uint64_t TimesMax(const FaultRule& rule) {
  if (rule.has_times()) return rule.times();
  return rule.has_every() || rule.has_probability() ? 0 : 1;
}

// A scope that the rule leaves open covers everything; what a passage does not know is covered by no other.
template <class Wanted, class Known>
bool Covers(bool given, const Wanted& wanted, const std::optional<Known>& known) {
  return !given || (known && *known == wanted);
}

bool Covers(const FaultRule& rule, const Passage& passage) {
  return Covers(rule.has_process(), rule.process(), passage.process) &&
         Covers(rule.has_adapter(), rule.adapter(), passage.adapter) &&
         Covers(rule.has_node(), rule.node(), passage.node) &&
         Covers(rule.has_type(), rule.type(), passage.type) &&
         (rule.has_command() ? rule.command() == passage.command : !passage.by_command_only);
}

bool Chance(Rng& rng, double probability) {
  constexpr double kUnit = 0x1p-53;  // of 53 random bits, as many as a double holds exactly
  return static_cast<double>(rng.Next() >> 11) * kUnit < probability;
}

}  // namespace

std::span<const FaultPointInfo> FaultPoints() { return kPoints; }

const FaultPointInfo& InfoOf(FaultPoint point) { return kPoints[static_cast<size_t>(point)]; }

std::optional<FaultComplaint> CheckFaultRule(const FaultRule& rule) {
  const FaultPointInfo* info = FindPoint(rule.point());
  if (!info)
    return FaultComplaint{
        "point", fmt::format("'{}' is no fault point; `cuse-dxg ctl fault list` names them", rule.point())};
  if (auto complaint = CheckTakes(rule, *info)) return complaint;
  if (auto complaint = CheckWhen(rule, *info)) return complaint;
  if (rule.has_command() && !IsCommand(rule.command()))
    return FaultComplaint{
        "command",
        fmt::format("'{}' is no command of the host; give one such as CREATEDEVICE", rule.command())};
  if (info->point == FaultPoint::kDeviceError && rule.has_value() && (rule.value() < 2 || rule.value() > 7))
    return FaultComplaint{"value",
                          fmt::format("{} is no state of a device in error; give 2 to 7", rule.value())};
  if (info->point == FaultPoint::kSignalStorm && rule.value() > kStormMax)
    return FaultComplaint{"value", fmt::format("{} is out of range; give 0 to {}", rule.value(), kStormMax)};
  if (rule.delay_ns() > kFaultDelayNsMax)
    return FaultComplaint{"delay_ns",
                          fmt::format("{} is out of range; give 0 to {}", rule.delay_ns(), kFaultDelayNsMax)};
  return std::nullopt;
}

void FaultPlan::Arm(const FaultRule& rule, uint64_t now_ns) {
  const FaultPointInfo* info = FindPoint(rule.point());
  if (!info) return;
  MutexLock lock(mutex_);
  const uint64_t from_ns = rule.after_ns() > ~0ull - now_ns ? ~0ull : now_ns + rule.after_ns();
  entries_.push_back({{rule}, info->point, from_ns, Rng(rule.seed())});
  UpdateArmed();
}

void FaultPlan::UpdateArmed() {
  uint64_t armed = 0;
  for (const Entry& entry : entries_)
    armed |= static_cast<uint64_t>(!entry.armed.spent) << Index(entry.point);
  armed_.store(armed, std::memory_order_relaxed);
}

template <class Condition>
size_t FaultPlan::Remove(Condition condition) {
  MutexLock lock(mutex_);
  const size_t removed = std::erase_if(entries_, condition);
  UpdateArmed();
  return removed;
}

size_t FaultPlan::Clear(FaultPoint point) {
  return Remove([point](const Entry& entry) { return entry.point == point; });
}

size_t FaultPlan::ClearAll() {
  return Remove([](const Entry&) { return true; });
}

void FaultPlan::ClearAdapter(uint64_t guest_luid) {
  Remove([guest_luid](const Entry& entry) {
    return entry.armed.rule.has_adapter() && entry.armed.rule.adapter() == guest_luid;
  });
}

std::optional<Fault> FaultPlan::Strike(const Passage& passage, uint64_t now_ns) {
  if (!armed(passage.point)) return std::nullopt;
  const FaultPointInfo& info = InfoOf(passage.point);
  std::optional<Fault> struck;
  MutexLock lock(mutex_);
  ++counts_[Index(passage.point)].passed;
  for (Entry& entry : entries_) {
    const FaultRule& rule = entry.armed.rule;
    if (entry.point != passage.point || entry.armed.spent || now_ns < entry.from_ns || !Covers(rule, passage))
      continue;
    const uint64_t count = ++entry.armed.passed;
    const uint64_t first = FirstPassage(rule);
    if (count < first || (rule.has_every() && (count - first) % rule.every() != 0)) continue;
    if (rule.has_probability() && !Chance(entry.rng, rule.probability())) continue;
    if (struck) continue;  // counted and drawn, so that this rule is the same whatever others do
    const uint64_t delay_ns = rule.has_delay_ns() ? rule.delay_ns() : info.delay_ns;
    struck =
        Fault{.delay_ns = passage.point == FaultPoint::kGpuJitter ? entry.rng.Below(delay_ns + 1) : delay_ns,
              .value = rule.has_value() ? rule.value() : info.value};
    ++entry.armed.struck;
    entry.armed.spent = entry.armed.struck == TimesMax(rule);
  }
  if (struck) {
    ++counts_[Index(passage.point)].struck;
    UpdateArmed();
  }
  return struck;
}

std::vector<ArmedFault> FaultPlan::Armed() {
  MutexLock lock(mutex_);
  std::vector<ArmedFault> all;
  for (const Entry& entry : entries_) all.push_back(entry.armed);
  return all;
}

size_t FaultPlan::armed_count() {
  MutexLock lock(mutex_);
  return entries_.size();
}

FaultCount FaultPlan::Count(FaultPoint point) {
  MutexLock lock(mutex_);
  return counts_[Index(point)];
}

void FaultPlan::FailAt(FaultPoint point, uint64_t nth, const char* command) {
  Clear(point);
  FaultRule rule;
  rule.set_point(InfoOf(point).name);
  rule.set_nth(nth);
  if (command) rule.set_command(command);
  Arm(rule, 0);
}

}  // namespace dxg::hostsim
