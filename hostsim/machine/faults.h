#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "hostsim/machine/world.h"
#include "proto/dxg/fault.pb.h"

// Trouble on demand. Code that something can befall asks at its *point*; rules decide. docs/faults.md is the
// users' page.

namespace dxg::hostsim {

enum class FaultPoint : uint8_t {
#define DXG_FAULT_POINT(point, ...) point,
#include "hostsim/machine/fault_points.inc"
#undef DXG_FAULT_POINT
  kCount,
};

// What rules of a point may give, besides when.
enum FaultTakes : uint32_t {
  kTakesProcess = 1u << 0,
  kTakesAdapter = 1u << 1,
  kTakesNode = 1u << 2,
  kTakesCommand = 1u << 3,
  kTakesType = 1u << 4,
  kTakesDelay = 1u << 5,
  kTakesValue = 1u << 6,
};

struct FaultPointInfo {
  FaultPoint point;
  uint32_t number;  // of the kind of trouble, 1 to 30
  const char* name;
  const char* passage;    // what counts
  const char* effect;     // what happens to what is struck
  uint32_t takes;         // FaultTakes
  uint64_t delay_ns = 0;  // where a rule leaves them out
  uint64_t value = 0;
};

// In the order of FaultPoint, which is the order of the numbers.
std::span<const FaultPointInfo> FaultPoints();
const FaultPointInfo& InfoOf(FaultPoint point);

inline constexpr uint64_t kFaultDelayNsMax = 3'600'000'000'000;  // an hour
inline constexpr size_t kFaultRulesMax = 256;                    // that a control socket may arm

// What is wrong with a rule: the field, why, and what would be right. Nothing: it can be armed.
struct FaultComplaint {
  const char* field;
  std::string what;
};
std::optional<FaultComplaint> CheckFaultRule(const FaultRule& rule);

// One passage of a point: who passes, as rules name it. What is not known is covered by no rule that asks for
// it.
struct Passage {
  FaultPoint point;
  std::optional<uint64_t> process;  // process id of the client
  std::optional<uint64_t> adapter;  // guest LUID
  std::optional<uint32_t> node;
  std::string_view command;  // of the host
  std::optional<uint32_t> type;
  bool by_command_only = false;  // rules that name no command do not cover it
};

// A passage that is struck, with what the rule or the point says.
struct Fault {
  uint64_t delay_ns = 0;
  uint64_t value = 0;
};

struct ArmedFault {
  FaultRule rule;
  uint64_t passed = 0;  // passages in its scope since it was armed
  uint64_t struck = 0;
  bool spent = false;  // will not strike any more
};

struct FaultCount {
  uint64_t passed = 0;  // while some rule of the point was armed
  uint64_t struck = 0;
};

// The rules that are armed. The same rules and the same passages strike the same way on every run: each rule
// has its own counter and its own generator. From any thread; where nothing is armed a passage costs one
// relaxed load. Its lock is a leaf.
class FaultPlan {
 public:
  // The rule has passed CheckFaultRule. `now_ns` is the host's time.
  void Arm(const FaultRule& rule, uint64_t now_ns);
  // Disarms the rules of a point, or all, and forgets their counts. How many there were.
  size_t Clear(FaultPoint point);
  size_t ClearAll();
  // Of rules that are for that adapter only.
  void ClearAdapter(uint64_t guest_luid);

  bool armed(FaultPoint point) const {
    return (armed_.load(std::memory_order_relaxed) >> Index(point) & 1) != 0;
  }
  bool any_armed() const { return armed_.load(std::memory_order_relaxed) != 0; }

  // Counts a passage; the fault, if it is struck. Where several rules strike, the one armed first.
  std::optional<Fault> Strike(const Passage& passage, uint64_t now_ns);

  std::vector<ArmedFault> Armed();  // also spent rules, in the order of arming
  size_t armed_count();
  FaultCount Count(FaultPoint point);

  // For tests: from now on the n-th passage is struck, once, of that command where it is given. Replaces the
  // point's rules.
  void FailAt(FaultPoint point, uint64_t nth, const char* command = nullptr);

 private:
  struct Entry {
    ArmedFault armed;
    FaultPoint point;
    uint64_t from_ns;
    Rng rng;
  };
  static_assert(static_cast<size_t>(FaultPoint::kCount) <= 64, "one bit each in armed_");
  static constexpr size_t Index(FaultPoint point) { return static_cast<size_t>(point); }
  template <class Condition>
  size_t Remove(Condition condition);
  void UpdateArmed() DXG_REQUIRES(mutex_);

  std::atomic<uint64_t> armed_{0};  // a bit for each point with a rule that may strike yet
  Mutex mutex_;
  std::vector<Entry> entries_ DXG_GUARDED_BY(mutex_);
  FaultCount counts_[static_cast<size_t>(FaultPoint::kCount)] DXG_GUARDED_BY(mutex_);
};

}  // namespace dxg::hostsim
