#include "link/vmbus/port.h"

#include <new>
#include <optional>
#include <utility>

namespace dxg::vmbus {

Port::Port(std::unique_ptr<Channel> channel, Handlers handlers, Limits limits)
    : channel_(std::move(channel)), handlers_(std::move(handlers)), limits_(limits) {
  {
    MutexLock lock(mutex_);
    keeps_ = keeper_.Start([this] { return KeepTrying(); });
    if (!keeps_) return;
  }
  started_ = reader_.Start([this] {
    const Status why = channel_->Run(handlers_.handle);
    if (!Relay::Lost()) handlers_.over(why);
    return Relay::Lost();
  });
}

void Port::Close() {
  channel_->Close();
  MutexLock lock(mutex_);
  ended_ = true;
  while (!kept_.empty()) Settle(kept_.begin(), Channel::Sent::kLost);
  changed_.NotifyAll();
  if (!keeps_) RunErrands();
}

void Port::End() {
  std::call_once(end_, [this] {
    Close();
    reader_.Stop();
    keeper_.Stop();
  });
}

bool Port::EndFor(std::chrono::milliseconds time_max) {
  Close();
  if (!reader_.StopFor(time_max) || !keeper_.StopFor(time_max)) return false;
  End();
  return true;
}

Channel::Sent Port::Send(const Packet& packet, int tries, Completion completion) {
  MutexLock lock(mutex_);
  if (ended_) return Channel::Sent::kLost;
  if (kept_.empty()) {
    const Channel::Sent sent = channel_->Send(packet);
    if (sent != Channel::Sent::kFull) return sent;
  }
  std::list<Kept> kept;
  kept.push_back({packet, {packet.payload.begin(), packet.payload.end()}, completion, tries});
  const size_t bytes = BytesOf(kept.front());
  if (bytes > limits_.kept_bytes_max - kept_bytes_) {
    channel_->Close();
    return Channel::Sent::kLost;
  }
  kept_bytes_ += bytes;
  kept_.splice(kept_.end(), kept);
  changed_.NotifyAll();
  return Channel::Sent::kFull;
}

void Port::Later(std::function<void()> errand) {
  std::list<std::function<void()>> errands;
  errands.push_back(std::move(errand));
  {
    MutexLock lock(mutex_);
    if (keeps_) {
      errands_.splice(errands_.end(), errands);
      changed_.NotifyAll();
      return;
    }
  }
  errands.front()();
}

void Port::Settle(std::list<Kept>::iterator kept, Channel::Sent how) {
  kept_bytes_ -= BytesOf(*kept);
  if (!handlers_.settled || (kept->packet.transaction == 0 && kept->completion.run == nullptr)) {
    kept_.erase(kept);
    return;
  }
  kept->how = how;
  settled_.splice(settled_.end(), kept_, kept);
}

// As many as there is room for. One try less for those that are left.
void Port::TryKept() {
  while (!kept_.empty()) {
    Kept& first = kept_.front();
    first.packet.payload = first.payload;
    const Channel::Sent sent = channel_->Send(first.packet);
    if (sent == Channel::Sent::kFull) break;
    Settle(kept_.begin(), sent);
  }
  for (auto next = kept_.begin(); next != kept_.end();) {
    const auto each = next++;
    if (each->tries != kTriesWithoutEnd && --each->tries <= 0) Settle(each, Channel::Sent::kFull);
  }
}

// One by one: where this thread is gone in one, another one has the rest.
void Port::RunErrands() {
  while (!settled_.empty() || !errands_.empty()) {
    std::list<Kept> settled;
    std::list<std::function<void()>> errand;
    if (!settled_.empty()) {
      settled.splice(settled.end(), settled_, settled_.begin());
    } else {
      errand.splice(errand.end(), errands_, errands_.begin());
    }
    mutex_.Unlock();
    for (const Kept& each : settled) handlers_.settled(each.packet.transaction, each.completion, each.how);
    for (const auto& each : errand) each();
    mutex_.Lock();
    if (Relay::Lost()) return;
  }
}

// True: another thread goes on with it.
bool Port::KeepTrying() {
  std::optional<std::chrono::steady_clock::time_point> next_try;  // while something is kept
  MutexLock lock(mutex_);
  for (;;) {
    RunErrands();
    if (Relay::Lost()) return true;
    if (ended_) {
      keeps_ = false;
      return false;
    }
    if (kept_.empty()) {
      next_try.reset();
      changed_.Wait(mutex_);
      continue;
    }
    if (!next_try) next_try = std::chrono::steady_clock::now() + limits_.try_again;
    while (!ended_ && errands_.empty() && changed_.WaitUntil(mutex_, *next_try)) {
    }
    if (ended_ || std::chrono::steady_clock::now() < *next_try) continue;
    try {
      TryKept();
    } catch (const std::bad_alloc&) {
      // There is no memory for a packet now. It stays kept.
    }
    next_try.reset();
  }
}

}  // namespace dxg::vmbus
