#include "hostsim/work/eu/dispatch.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace dxg::hostsim::eu {
namespace {

// What a thread does in its turn, in one Run, and from one look at whether it was cancelled to the next, in
// instructions and what takes the host as long. A slice is some milliseconds.
constexpr uint64_t kTurnInstructions = 64 * 1024;
constexpr uint64_t kSliceInstructions = 256 * 1024;
constexpr uint64_t kLookInstructions = 4 * 1024;
// What the end of a thread and the begin of the next one cost beside their instructions.
constexpr uint64_t kThreadCost = 32;
constexpr uint64_t kTranslationCost = 64;

constexpr uint32_t kScratchUnit = 1024;

}  // namespace

uint64_t DispatchOrder::groups() const {
  uint64_t all = 1;
  for (int i = 0; i < 3; ++i) {
    const uint64_t here = end[i] > first[i] ? end[i] - first[i] : 0;
    if (here != 0 && all > ~0ull / here) return ~0ull;
    all *= here;
  }
  return all;
}

std::string Dispatch::Refusal(const DispatchOrder& order) {
  if (order.lanes > kLanesMax) return fmt::format("threads of {} lanes", order.lanes);
  if (order.threads == 0 || order.threads > kThreadsMax)
    return fmt::format("{} threads in a group; expected 1 to {}", order.threads, kThreadsMax);
  if (order.local_bytes > kLocalBytesMax)
    return fmt::format("{} bytes of local memory; expected at most {}", order.local_bytes, kLocalBytesMax);
  const uint64_t registers = 1ull + order.common_registers + order.own_registers;
  if (registers > kRegisters) return fmt::format("a payload of {} registers", registers);
  return {};
}

Dispatch::Dispatch(DispatchOrder order, std::shared_ptr<const Kernel> kernel, uint64_t instructions_max,
                   std::function<bool(uint64_t)> has_room)
    : order_(std::move(order)),
      kernel_(std::move(kernel)),
      instructions_max_(instructions_max),
      has_room_(std::move(has_room)),
      messages_(order_.bases),
      next_{order_.first[0], order_.first[1], order_.first[2]},
      more_(order_.groups() != 0) {
  for (uint32_t id = kThreadsMax; id-- > 0;) free_ids_.push_back(id);  // the lowest is taken first
}

uint64_t Dispatch::TakeTimeNs(uint64_t frequency_hz) {
  const uint64_t at_once = std::clamp<uint64_t>(
      order_.groups() > kExecutionUnits ? kExecutionUnits : order_.groups() * order_.threads, 1,
      kExecutionUnits);
  const auto cycles =
      static_cast<double>(std::max((instructions_ - counted_) * kCyclesPerInstruction / at_once,
                                   (started_ - counted_started_) * kCyclesPerThread));
  counted_ = instructions_;
  counted_started_ = started_;
  return static_cast<uint64_t>(cycles * 1e9 / static_cast<double>(std::max<uint64_t>(frequency_hz, 1)));
}

bool Dispatch::HasRoom() const {
  const uint64_t local_bytes = (groups_.size() + 1) * uint64_t{order_.local_bytes};
  if (!more_ || free_ids_.size() < order_.threads || local_bytes > kAllLocalBytesMax) return false;
  const uint64_t threads = std::max(threads_made_, threads_made_ - free_threads_.size() + order_.threads);
  return has_room_(order_.payload.size() + local_bytes + threads * sizeof(Thread));
}

// The next group comes in.
void Dispatch::Admit() {
  auto group = std::make_unique<ThreadGroup>();
  std::copy_n(next_, 3, group->place);
  group->local.resize(order_.local_bytes);
  group->members.resize(order_.threads);
  group->running = order_.threads;
  for (uint32_t i = 0; i < order_.threads; ++i) Start(*group, group->members[i], i);
  groups_.push_back(std::move(group));
  more_ = false;
  for (int i = 0; i < 3 && !more_; ++i) {
    more_ = ++next_[i] < order_.end[i];
    if (!more_) next_[i] = order_.first[i];
  }
}

// Registers: r0, then what the thread has for itself (its local ids), then what all threads have.
void Dispatch::Start(ThreadGroup& group, ThreadGroup::Member& member, uint32_t index) {
  if (free_threads_.empty()) {
    member.thread = std::make_unique<Thread>();
    ++threads_made_;
  } else {
    member.thread = std::move(free_threads_.back());
    free_threads_.pop_back();
  }
  ++started_;
  Thread& thread = *member.thread;
  thread = Thread{};
  member.id = free_ids_.back();
  free_ids_.pop_back();
  const uint64_t scratch = order_.scratch + member.id * (uint64_t{kScratchUnit} << order_.scratch_code);
  const uint32_t header[8] = {0,
                              group.place[0],
                              0,
                              order_.samplers | order_.scratch_code,
                              order_.binding_table,
                              (static_cast<uint32_t>(scratch) & ~0x3FFu) | member.id,
                              group.place[1],
                              group.place[2]};
  std::memcpy(thread.grf, header, sizeof header);
  const uint64_t common = uint64_t{order_.common_registers} * kRegisterBytes;
  const uint64_t own = uint64_t{order_.own_registers} * kRegisterBytes;
  const uint8_t* const payload = order_.payload.data();
  if (own != 0) std::memcpy(thread.grf + kRegisterBytes, payload + common + index * own, own);
  if (common != 0) std::memcpy(thread.grf + kRegisterBytes + own, payload, common);
  thread.dispatch_mask = order_.lanes >= 32 ? ~0u : (1u << order_.lanes) - 1;
  if (index + 1 == order_.threads) thread.dispatch_mask &= order_.last_mask;
  thread.control[0] = order_.rounding << 4;
}

Dispatch::Stop Dispatch::Run(CommandEnvironment& environment, const std::atomic<bool>& cancelled) {
  PageCache pages(environment);
  pages_ = &pages;
  Stop stop;
  left_ = kSliceInstructions;
  while (true) {
    if (group_ == groups_.size()) {  // a round of turns is over
      if (HasRoom()) {
        group_ = groups_.size();
        Admit();
      } else if (groups_.empty()) {
        if (more_) {
          stop.kind = Stop::kRefused;
          stop.why = "the process has no room for the threads of a group";
        }
        return stop;
      } else if (!progress_) {  // all that run wait for something that never comes
        stop.kind = Stop::kHang;
        return stop;
      } else {
        group_ = 0;
      }
      member_ = 0;
      progress_ = false;
    }
    ThreadGroup& group = *groups_[group_];
    messages_.Enter(&group, &pages);
    for (; member_ < group.members.size(); ++member_) {
      ThreadGroup::Member& member = group.members[member_];
      if (!member.thread || member.thread->waits_at_barrier) continue;
      if (cancelled || left_ == 0) {
        stop.kind = cancelled ? Stop::kCancelled : Stop::kSlice;
        return stop;
      }
      if (!Turn(group, member, cancelled, &stop)) return stop;
    }
    member_ = 0;
    if (group.running == 0) {
      groups_.erase(groups_.begin() + static_cast<ptrdiff_t>(group_));
    } else if (!group_progress_ || long_turn_) {
      ++group_;  // else it is on its way from one barrier to the next one
    }
    group_progress_ = long_turn_ = false;
  }
}

bool Dispatch::Turn(ThreadGroup& group, ThreadGroup::Member& member, const std::atomic<bool>& cancelled,
                    Stop* stop) {
  Thread& thread = *member.thread;
  const uint64_t before = thread.executed;
  const uint64_t turn = std::min(kTurnInstructions, left_);
  uint64_t spent = 0;
  ThreadStop thread_stop;
  do {
    const uint64_t cost = thread.cost, translations = pages_->translations();
    thread_stop = eu::Run(thread, *kernel_, messages_, std::min(kLookInstructions, turn - spent));
    spent += thread.cost - cost + (pages_->translations() - translations) * kTranslationCost;
  } while (thread_stop.kind == ThreadStop::kSlice && spent < turn && !cancelled);
  const uint64_t done = thread.executed - before;
  instructions_ += done;
  since_end_ += done;
  left_ -= std::min(left_, spent);
  if (done != 0) progress_ = group_progress_ = true;
  if (spent >= kTurnInstructions) long_turn_ = true;
  stop->offset = thread_stop.offset;
  switch (thread_stop.kind) {
    case ThreadStop::kEnded:
      free_ids_.push_back(member.id);
      free_threads_.push_back(std::move(member.thread));
      --group.running;
      since_end_ = 0;
      progress_ = group_progress_ = true;
      left_ -= std::min(left_, kThreadCost);
      return true;
    case ThreadStop::kBarrier:
    case ThreadStop::kSlice:
    case ThreadStop::kAgain:
      if (since_end_ < instructions_max_) return true;
      stop->kind = Stop::kHang;
      return false;
    case ThreadStop::kFault:
      stop->kind = Stop::kPageFault;
      stop->fault = thread_stop.fault;
      stop->why = thread_stop.text;
      return false;
    case ThreadStop::kNoCode:
      stop->kind = Stop::kPageFault;
      stop->fault = {GpuFault::kUnmapped,
                     GpuAddress(order_.kernel + static_cast<int64_t>(thread_stop.offset)), false};
      stop->why = "instruction fetch";
      return false;
    case ThreadStop::kRefused:
      stop->kind = Stop::kRefused;
      stop->why = fmt::format("{}: {}", thread_stop.text, thread_stop.why);
      return false;
  }
  return false;
}

}  // namespace dxg::hostsim::eu
