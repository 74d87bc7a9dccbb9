#pragma once

#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/relay.h"
#include "link/vmbus/channel.h"

// A channel whose other side is the test.

namespace dxg::vmbus {

using PacketBytes = std::vector<std::byte>;

struct SentPacket {
  uint16_t type, flags;
  uint64_t transaction;
  PacketBytes payload;
};

// What a test keeps of it; the channel itself belongs to whom it tests.
class FakeChannelState {
 public:
  // Called for each packet that is sent, on its sender's thread; says whether it goes. None: all go.
  using OnSend = std::function<Channel::Sent(const SentPacket&)>;

  explicit FakeChannelState(OnSend on_send = nullptr) : on_send_(std::move(on_send)) {}

  // -- The test's
  void Deliver(uint16_t type, uint64_t transaction, PacketBytes payload) {
    std::lock_guard lock(mutex_);
    arriving_.push_back({type, 0, transaction, std::move(payload)});
    changed_.notify_all();
  }
  void Answer(uint64_t transaction, PacketBytes payload) {
    Deliver(kCompletion, transaction, std::move(payload));
  }
  // As when the host goes: once what was delivered is handled.
  void Lose() {
    std::lock_guard lock(mutex_);
    lost_ = true;
    changed_.notify_all();
  }
  void SetFull(bool full) {
    std::lock_guard lock(mutex_);
    full_ = full;
  }
  // Waits until so many packets have gone, and gives the last of them.
  SentPacket WaitForSent(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return sent_.size() >= count; });
    return sent_[count - 1];
  }
  size_t tries() {
    std::lock_guard lock(mutex_);
    return tries_;
  }
  std::vector<SentPacket> sent() {
    std::lock_guard lock(mutex_);
    return sent_;
  }
  bool closed() {
    std::lock_guard lock(mutex_);
    return closed_;
  }

  // -- The channel's
  Channel::Sent Send(const Packet& packet) {
    const SentPacket sent{
        packet.type, packet.flags, packet.transaction, {packet.payload.begin(), packet.payload.end()}};
    {
      std::lock_guard lock(mutex_);
      ++tries_;
      if (closed_ || lost_) return Channel::Sent::kLost;
      if (full_) return Channel::Sent::kFull;
    }
    const Channel::Sent how = on_send_ ? on_send_(sent) : Channel::Sent::kYes;
    if (how != Channel::Sent::kYes) return how;
    std::lock_guard lock(mutex_);
    sent_.push_back(sent);
    changed_.notify_all();
    return how;
  }
  Status Run(const std::function<void(const Packet&)>& handle) {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return closed_ || lost_ || !arriving_.empty(); });
      if (closed_) return Status::Ok();
      if (arriving_.empty()) return Status::Refuse(ENODEV, "the test took it away");
      const SentPacket packet = std::move(arriving_.front());
      arriving_.pop_front();
      lock.unlock();
      handle({packet.type, packet.flags, packet.transaction, packet.payload});
      if (Relay::Lost()) return Status::Ok();
      lock.lock();
    }
  }
  void Close() {
    std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }

 private:
  const OnSend on_send_;
  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  std::vector<SentPacket> sent_;
  std::deque<SentPacket> arriving_;
  size_t tries_ = 0;
  bool closed_ = false, lost_ = false, full_ = false;
};

class FakeChannel final : public Channel {
 public:
  explicit FakeChannel(std::shared_ptr<FakeChannelState> state, std::function<void()> at_end = nullptr)
      : state_(std::move(state)), at_end_(std::move(at_end)) {}
  ~FakeChannel() override {
    if (at_end_) at_end_();
  }
  Sent Send(const Packet& packet) override { return state_->Send(packet); }
  Status Run(const std::function<void(const Packet&)>& handle) override { return state_->Run(handle); }
  void Close() override { state_->Close(); }

 private:
  const std::shared_ptr<FakeChannelState> state_;
  const std::function<void()> at_end_;
};

}  // namespace dxg::vmbus
