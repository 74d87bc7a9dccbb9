#include "cuse-dxg/attach/library/awake_rings.h"

#include <sched.h>

#include <algorithm>
#include <utility>

#include "cuse-dxg/preload/spin.h"

namespace dxg::attach::library {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kLooksPerClock = 16;

bool HasCores() {
  cpu_set_t allowed;
  return sched_getaffinity(0, sizeof(allowed), &allowed) == 0 && CPU_COUNT(&allowed) > 1;
}

}  // namespace

AwakeRings::AwakeRings() : has_cores_(HasCores()) {}

void AwakeRings::Add(const std::shared_ptr<Channel>& channel) {
  begun_ = false;
  Ring& ring = *channel->ring();
  if (std::find(channels_.begin(), channels_.end(), channel) != channels_.end()) return ring.spin.Worked();
  if (!has_cores_ || channels_.size() >= kRingsMax || !ring.spin.May()) return;
  channels_.push_back(channel);
  ring.SetAwake(true);
}

std::shared_ptr<Channel> AwakeRings::Find() {
  for (const auto& channel : channels_)
    if (channel->ring()->HasCall() && !channel->ring()->retired()) return channel;
  return nullptr;
}

std::shared_ptr<Channel> AwakeRings::Wait() {
  if (channels_.empty()) return nullptr;
  auto now = Clock::now();
  if (!std::exchange(begun_, true)) until_ = now + kLook;
  for (const auto glance_until = now + kGlance; now < glance_until; now = Clock::now()) {
    for (int i = 0; i < kLooksPerClock; ++i) {
      if (auto found = Find()) return found;
      preload::node::Pause();
    }
  }
  return now < until_ ? nullptr : Sleep();
}

// Who has not seen that we sleep has not rung. That call is taken here, and it stays awake.
std::shared_ptr<Channel> AwakeRings::Sleep() {
  for (const auto& channel : channels_) channel->ring()->SetAwake(false);
  if (auto found = Find()) {
    for (const auto& channel : channels_)
      if (!channel->ring()->retired()) channel->ring()->SetAwake(true);
    return found;
  }
  for (const auto& channel : channels_) channel->ring()->spin.WasForNothing();
  channels_.clear();
  return nullptr;
}

}  // namespace dxg::attach::library
