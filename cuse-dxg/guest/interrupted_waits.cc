#include "cuse-dxg/guest/interrupted_waits.h"

#include <algorithm>

namespace dxg::guest {

WaitDigest DigestOf(uint32_t device, uint32_t flags, bool takes, std::span<const uint32_t> objects,
                    std::span<const uint64_t> values) {
  uint64_t sum = 0x243F6A8885A308D3u;
  const auto add = [&sum](uint64_t word) {
    sum = (sum ^ word) * 0x9E3779B97F4A7C15u;
    sum ^= sum >> 29;
  };
  add(uint64_t{device} << 32 | flags);
  add(objects.size());
  for (const uint32_t object : objects) add(object);
  for (const uint64_t value : values) add(value);
  return {(sum & ~WaitDigest::kTakes) | (takes ? WaitDigest::kTakes : 0)};
}

// In the place of the call that was interrupted.
class InterruptedWaits::Wait final : public client::EventFile {
 public:
  Wait(std::weak_ptr<InterruptedWaits> waits, WaitDigest digest, uint64_t event)
      : waits_(std::move(waits)), digest_(digest), event_(event) {}
  void Signal() override {
    if (const auto waits = waits_.lock()) waits->Happened(digest_, event_);
  }

 private:
  const std::weak_ptr<InterruptedWaits> waits_;
  const WaitDigest digest_;
  const uint64_t event_;
};

std::shared_ptr<client::EventFile> InterruptedWaits::Add(WaitDigest digest, uint64_t event) {
  auto wait = std::make_shared<Wait>(weak_from_this(), digest, event);
  if (size() >= kMax) {
    std::optional<std::pair<uint64_t, WaitDigest>> oldest;
    {
      MutexLock lock(mutex_);
      if (!by_event_.empty()) oldest = *by_event_.begin();
    }
    if (oldest) Remove(oldest->second, oldest->first);
  }
  MutexLock lock(mutex_);
  by_event_.emplace(event, digest);  // first: what is only in here is evicted in its time
  waits_.emplace(digest, Entry{event});
  return wait;
}

void InterruptedWaits::Remove(WaitDigest digest, uint64_t event) {
  MutexLock lock(mutex_);
  by_event_.erase(event);
  const auto found = Find(digest, event);
  if (found != waits_.end()) waits_.erase(found);
}

void InterruptedWaits::Left(WaitDigest digest, uint64_t event) {
  MutexLock lock(mutex_);
  const auto found = Find(digest, event);
  if (found != waits_.end()) found->second.left = true;
}

std::optional<InterruptedWaits::Taken> InterruptedWaits::Take(WaitDigest digest) {
  MutexLock lock(mutex_);
  const auto [begin, end] = waits_.equal_range(digest);
  const auto found = std::find_if(begin, end, [](const auto& wait) { return wait.second.left; });
  if (found == end) return std::nullopt;
  const Taken taken{found->second.event, found->second.happened};
  by_event_.erase(taken.event);
  waits_.erase(found);
  return taken;
}

void InterruptedWaits::Happened(WaitDigest digest, uint64_t event) {
  MutexLock lock(mutex_);
  const auto found = Find(digest, event);
  if (found == waits_.end()) return;
  found->second.happened = true;
  if (digest.takes()) return;
  by_event_.erase(event);
  waits_.erase(found);
}

InterruptedWaits::Waits::iterator InterruptedWaits::Find(WaitDigest digest, uint64_t event) {
  const auto [begin, end] = waits_.equal_range(digest);
  const auto found =
      std::find_if(begin, end, [event](const auto& wait) { return wait.second.event == event; });
  return found == end ? waits_.end() : found;
}

size_t InterruptedWaits::size() {
  MutexLock lock(mutex_);
  return waits_.size();
}

}  // namespace dxg::guest
