#include "link/vmbus/port.h"

#include <utility>

namespace dxg::vmbus {

Port::Port(std::unique_ptr<Channel> channel, Handlers handlers, Limits limits)
    : channel_(std::move(channel)), handlers_(std::move(handlers)), limits_(limits) {
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
  for (const Kept& each : kept_) Settle(each, Channel::Sent::kLost);
  kept_.clear();
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
  Kept kept{packet, {packet.payload.begin(), packet.payload.end()}, completion, tries};
  if (BytesOf(kept) > limits_.kept_bytes_max - kept_bytes_) {
    channel_->Close();
    return Channel::Sent::kLost;
  }
  kept_bytes_ += BytesOf(kept);
  kept_.push_back(std::move(kept));
  (void)StartKeeper();  // without a thread it waits for the next packet that finds no room
  changed_.NotifyAll();
  return Channel::Sent::kFull;
}

bool Port::StartKeeper() {
  if (!keeps_ && !ended_) keeps_ = keeper_.Start([this] { return KeepTrying(); });
  return keeps_;
}

void Port::Later(std::function<void()> errand) {
  {
    MutexLock lock(mutex_);
    if (StartKeeper()) {
      errands_.push_back(std::move(errand));
      changed_.NotifyAll();
      return;
    }
  }
  errand();
}

void Port::Settle(const Kept& kept, Channel::Sent how) {
  kept_bytes_ -= BytesOf(kept);
  const uint64_t transaction = kept.packet.transaction;
  const Completion& completion = kept.completion;
  if (!handlers_.settled || (transaction == 0 && completion.run == nullptr)) return;
  errands_.push_back(
      [this, transaction, completion, how] { handlers_.settled(transaction, completion, how); });
}

// As many as there is room for. One try less for those that are left.
void Port::TryKept() {
  while (!kept_.empty()) {
    Kept& first = kept_.front();
    first.packet.payload = first.payload;
    const Channel::Sent sent = channel_->Send(first.packet);
    if (sent == Channel::Sent::kFull) break;
    Settle(first, sent);
    kept_.pop_front();
  }
  std::erase_if(kept_, [&](Kept& each) DXG_REQUIRES(mutex_) {
    if (each.tries == kTriesWithoutEnd || --each.tries > 0) return false;
    Settle(each, Channel::Sent::kFull);
    return true;
  });
}

// One by one: where this thread is gone in one, another one has the rest.
void Port::RunErrands() {
  while (!errands_.empty()) {
    const std::function<void()> next = std::move(errands_.front());
    errands_.pop_front();
    mutex_.Unlock();
    next();
    mutex_.Lock();
    if (Relay::Lost()) return;
  }
}

// True: another thread goes on with it.
bool Port::KeepTrying() {
  MutexLock lock(mutex_);
  for (;;) {
    RunErrands();
    if (Relay::Lost()) return true;
    if (ended_) {
      keeps_ = false;
      return false;
    }
    if (kept_.empty()) {
      changed_.Wait(mutex_);
      continue;
    }
    const auto then = std::chrono::steady_clock::now() + limits_.try_again;
    while (!ended_ && errands_.empty() && changed_.WaitUntil(mutex_, then)) {
    }
    if (!ended_ && std::chrono::steady_clock::now() >= then) TryKept();
  }
}

}  // namespace dxg::vmbus
