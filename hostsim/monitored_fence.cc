#include "hostsim/monitored_fence.h"

#include <algorithm>

namespace dxg::hostsim {

std::shared_ptr<MonitoredFence> MonitoredFence::Create(RegionSet& regions, uint64_t initial,
                                                       std::atomic<uint64_t>& count) {
  Extent page = regions.Allocate(kPageBytes);
  if (!page || !page.Word(0)) return nullptr;
  return std::make_shared<MonitoredFence>(std::move(page), initial, count);
}

MonitoredFence::MonitoredFence(Extent page, uint64_t initial, std::atomic<uint64_t>& count)
    : page_(std::move(page)), shared_(page_.Word(0)), value_(initial), counted_(count) {
  shared_->store(initial, std::memory_order_release);
}

void MonitoredFence::SetValue(uint64_t value, Aftermath* aftermath) {
  value_.store(value, std::memory_order_release);
  shared_->store(value, std::memory_order_release);
  const auto end = waiters_.upper_bound(value);
  for (auto it = waiters_.begin(); it != end; ++it) aftermath->Then(std::move(it->second.second));
  waiters_.erase(waiters_.begin(), end);
}

void MonitoredFence::Signal(uint64_t value, Aftermath* aftermath) {
  MutexLock lock(mutex_);
  SetValue(value, aftermath);
}

void MonitoredFence::Raise(uint64_t value, Aftermath* aftermath) {
  MutexLock lock(mutex_);
  if (value > this->value()) SetValue(value, aftermath);
}

uint64_t MonitoredFence::Wait(uint64_t value, std::function<void()> released) {
  MutexLock lock(mutex_);
  if (reached(value)) return 0;
  waiters_.emplace(value, std::pair(++waiters_ever_, std::move(released)));
  return waiters_ever_;
}

void MonitoredFence::StopWaiting(uint64_t waiter) {
  MutexLock lock(mutex_);
  const auto it = std::find_if(waiters_.begin(), waiters_.end(),
                               [waiter](const auto& entry) { return entry.second.first == waiter; });
  if (it != waiters_.end()) waiters_.erase(it);
}

void MonitoredFence::ReleaseAll(Aftermath* aftermath) {
  MutexLock lock(mutex_);
  for (auto& entry : waiters_) aftermath->Then(std::move(entry.second.second));
  waiters_.clear();
}

}  // namespace dxg::hostsim
