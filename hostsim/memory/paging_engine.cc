#include "hostsim/memory/paging_engine.h"

#include <algorithm>

#include "hostsim/machine/machine.h"

namespace dxg::hostsim {

PagingEngine::PagingEngine(Machine& machine, const AdapterProfile::Paging& profile)
    : machine_(machine),
      bytes_per_second_(profile.bytes_per_second()),
      operation_ns_(profile.operation_ns()),
      immediate_(profile.immediate()),
      stalled_until_ns_(profile.stalled() ? kForever : 0) {}

std::shared_ptr<PagingLane> PagingEngine::AddLane(int32_t priority) {
  auto lane = std::make_shared<PagingLane>(priority);
  MutexLock lock(mutex_);
  lanes_.push_back(lane);
  return lane;
}

void PagingEngine::Close(PagingLane& lane, Aftermath* aftermath) {
  MutexLock lock(mutex_);
  if (lane.closed_) return;
  lane.closed_ = true;
  if (current_ && current_->lane.get() == &lane) {
    current_->operation.done(false, aftermath);
    current_.reset();
  }
  for (PagingLane::Entry& entry : lane.waiting_) {
    if (entry.waiter != 0) entry.operation.after->domain().StopWaiting(entry.waiter);
    entry.operation.done(false, aftermath);
  }
  lane.waiting_.clear();
  std::erase_if(lanes_, [&lane](const auto& other) { return other.get() == &lane; });
  aftermath->Then(RunLater());
}

void PagingEngine::Enqueue(const std::shared_ptr<PagingLane>& lane, PagingOperation operation,
                           Aftermath* aftermath) {
  MutexLock lock(mutex_);
  if (lane->closed_) return operation.done(false, aftermath);
  lane->waiting_.push_back({std::move(operation), ++arrivals_, 0, nullptr});
  aftermath->Then(RunLater());
}

bool PagingEngine::Prompt(const PagingLane& lane) {
  MutexLock lock(mutex_);
  const uint64_t now_ns = machine_.NowNs();
  return immediate_ && lane.waiting_.empty() && (!current_ || current_->lane.get() != &lane) &&
         ending_.get() != &lane && stalled_until_ns_ <= now_ns && lane.stalled_until_ns_ <= now_ns;
}

size_t PagingEngine::Outstanding(const PagingLane& lane) {
  MutexLock lock(mutex_);
  return lane.waiting_.size() + (current_ && current_->lane.get() == &lane ? 1 : 0) +
         (ending_.get() == &lane ? 1 : 0);
}

uint64_t PagingEngine::Duration(uint64_t bytes) const {
  if (immediate_) return 0;
  constexpr uint64_t kNsPerSecond = 1'000'000'000;
  const uint64_t seconds = bytes / bytes_per_second_;
  const auto rest = static_cast<double>(bytes % bytes_per_second_) / static_cast<double>(bytes_per_second_);
  return operation_ns_ + seconds * kNsPerSecond + static_cast<uint64_t>(rest * kNsPerSecond);
}

void PagingEngine::NoteMoved(uint64_t bytes) {
  MutexLock lock(mutex_);
  moved_bytes_.Add(machine_.NowNs(), bytes);
}

uint64_t PagingEngine::BytesPerSecond() {
  MutexLock lock(mutex_);
  return moved_bytes_.Over(machine_.NowNs(), RecentAmount::kShort).per_second();
}

void PagingEngine::Stall(PagingLane* lane, uint64_t until_ns, Aftermath* aftermath) {
  {
    MutexLock lock(mutex_);
    (lane ? lane->stalled_until_ns_ : stalled_until_ns_) = until_ns;
  }
  if (until_ns != 0 && until_ns != kForever) RunAt(until_ns);
  aftermath->Then(RunLater());
}

std::function<void()> PagingEngine::RunLater() {
  return [engine = weak_from_this()] {
    if (const auto alive = engine.lock()) alive->Run();
  };
}

void PagingEngine::RunAt(uint64_t at_ns) { machine_.CallAt(at_ns, RunLater()); }

// Operations that take no time follow each other here, and the end of one may come back to here: one thread
// at a time goes round, and the others tell it to look once more.
void PagingEngine::Run() {
  {
    MutexLock lock(mutex_);
    again_ = true;
    if (running_) return;
    running_ = true;
  }
  while (const std::optional<Current> ended = NextEnded()) {
    Aftermath aftermath;
    ended->operation.done(true, &aftermath);
    {
      MutexLock lock(mutex_);
      ending_ = nullptr;
    }
    machine_.Deliver(std::move(aftermath));
  }
}

// The next operation whose time is over; its end is to be told under no lock. Nothing: there is no more to do
// now, and this thread has stopped.
std::optional<PagingEngine::Current> PagingEngine::NextEnded() {
  MutexLock lock(mutex_);
  while (again_) {
    again_ = false;
    const uint64_t now_ns = machine_.NowNs();
    if (current_ && current_->due_ns <= now_ns) {
      Current ended = std::move(*current_);
      current_.reset();
      ending_ = ended.lane;
      again_ = true;
      return ended;
    }
    if (StartNext(now_ns)) again_ = true;
  }
  running_ = false;
  return std::nullopt;
}

// True: an operation has begun that ends at once.
bool PagingEngine::StartNext(uint64_t now_ns) {
  if (current_ || stalled_until_ns_ > now_ns) return false;
  std::shared_ptr<PagingLane> next;
  for (const auto& lane : lanes_) {
    if (!Ready(*lane, now_ns)) continue;
    const bool first = !next || lane->priority_ > next->priority_ ||
                       (lane->priority_ == next->priority_ &&
                        lane->waiting_.front().arrival < next->waiting_.front().arrival);
    if (first) next = lane;
  }
  if (!next) return false;
  PagingOperation operation = std::move(next->waiting_.front().operation);
  next->waiting_.pop_front();
  const uint64_t due_ns = now_ns + operation.duration_ns;
  current_ = Current{std::move(next), std::move(operation), due_ns};
  if (due_ns > now_ns) RunAt(due_ns);
  return due_ns <= now_ns;
}

bool PagingEngine::Ready(PagingLane& lane, uint64_t now_ns) {
  if (lane.waiting_.empty() || lane.stalled_until_ns_ > now_ns) return false;
  PagingLane::Entry& entry = lane.waiting_.front();
  if (!entry.operation.after) return true;
  if (entry.released) return entry.released->load();
  auto released = std::make_shared<std::atomic<bool>>(false);
  const SyncPoint point{entry.operation.after, entry.operation.after_value};
  entry.waiter = point.object->domain().Wait({&point, 1}, false, 0, [released, run = RunLater()] {
    released->store(true);
    run();
  });
  if (entry.waiter == 0) released->store(true);
  entry.released = std::move(released);
  return entry.released->load();
}

}  // namespace dxg::hostsim
