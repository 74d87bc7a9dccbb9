#include "link/vmbus/port.h"

#include <utility>

namespace dxg::vmbus {

Port::Port(std::unique_ptr<Channel> channel, Handlers handlers, Limits limits)
    : channel_(std::move(channel)), handlers_(std::move(handlers)), limits_(limits), thread_([this] {
        const Status why = channel_->Run(handlers_.handle);
        handlers_.over(why);
      }) {}

void Port::Close() {
  channel_->Close();
  std::vector<Settled> lost;
  {
    MutexLock lock(mutex_);
    ended_ = true;
    for (const Kept& each : kept_)
      lost.push_back({each.packet.transaction, each.completion, Channel::Sent::kLost});
    kept_.clear();
    kept_bytes_ = 0;
    changed_.NotifyAll();
  }
  Tell(lost);
}

void Port::End() {
  std::call_once(end_, [this] {
    Close();
    thread_.join();
    std::thread retrier;
    {
      MutexLock lock(mutex_);
      retrier = std::move(retrier_);
    }
    if (retrier.joinable()) retrier.join();
  });
}

void Port::Tell(const std::vector<Settled>& settled) const {
  if (!handlers_.settled) return;
  for (const Settled& each : settled) {
    if (each.transaction != 0 || each.completion.run != nullptr)
      handlers_.settled(each.transaction, each.completion, each.how);
  }
}

Channel::Sent Port::Send(const Packet& packet, int tries, Completion completion) {
  MutexLock lock(mutex_);
  if (ended_) return Channel::Sent::kLost;
  if (kept_.empty()) {
    const Channel::Sent sent = channel_->Send(packet);
    if (sent != Channel::Sent::kFull) return sent;
  }
  Kept kept{packet, {packet.payload.begin(), packet.payload.end()}, completion, tries};
  if (BytesOf(kept) > limits_.kept_bytes_max - kept_bytes_) {
    channel_->Close();
    return Channel::Sent::kLost;
  }
  kept_bytes_ += BytesOf(kept);
  kept_.push_back(std::move(kept));
  if (!retrier_.joinable()) retrier_ = std::thread([this] { KeepTrying(); });
  changed_.NotifyAll();
  return Channel::Sent::kFull;
}

// As many as there is room for. One try less for those that are left.
std::vector<Port::Settled> Port::TryKept() {
  std::vector<Settled> settled;
  const auto settle = [&](const Kept& kept, Channel::Sent how) DXG_REQUIRES(mutex_) {
    settled.push_back({kept.packet.transaction, kept.completion, how});
    kept_bytes_ -= BytesOf(kept);
  };
  while (!kept_.empty()) {
    Kept& first = kept_.front();
    first.packet.payload = first.payload;
    const Channel::Sent sent = channel_->Send(first.packet);
    if (sent == Channel::Sent::kFull) break;
    settle(first, sent);
    kept_.pop_front();
  }
  std::erase_if(kept_, [&](Kept& each) DXG_REQUIRES(mutex_) {
    if (each.tries == kTriesWithoutEnd || --each.tries > 0) return false;
    settle(each, Channel::Sent::kFull);
    return true;
  });
  return settled;
}

void Port::KeepTrying() {
  MutexLock lock(mutex_);
  while (!ended_) {
    if (kept_.empty()) {
      changed_.Wait(mutex_);
      continue;
    }
    const auto then = std::chrono::steady_clock::now() + limits_.try_again;
    while (!ended_ && changed_.WaitUntil(mutex_, then)) {
    }
    if (ended_) return;
    const std::vector<Settled> settled = TryKept();
    lock.Unlock();
    Tell(settled);
    lock.Lock();
  }
}

}  // namespace dxg::vmbus
