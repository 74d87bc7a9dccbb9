#include "hostsim/serve/port.h"

#include <chrono>
#include <utility>

namespace dxg::hostsim::serve {
namespace {

using vmbus::Channel;
using vmbus::Packet;

constexpr std::chrono::milliseconds kTryAgain{1};

}  // namespace

Port::Port(std::unique_ptr<Channel> channel, std::function<void(const Packet&)> handle,
           std::function<void(const Status&)> lost)
    : channel_(std::move(channel)), thread_([this, handle = std::move(handle), lost = std::move(lost)] {
        const Status why = channel_->Run(handle);
        if (!why.ok()) lost(why);
      }) {}

void Port::End() {
  std::call_once(end_, [this] {
    channel_->Close();
    std::thread retrier;
    {
      std::lock_guard lock(mutex_);
      ended_ = true;
      changed_.notify_all();
      retrier = std::move(retrier_);
    }
    thread_.join();
    if (retrier.joinable()) retrier.join();
  });
}

void Port::Send(const Packet& packet) {
  std::lock_guard lock(mutex_);
  if (ended_ || (kept_.empty() && channel_->Send(packet) != Channel::Sent::kFull)) return;
  const size_t bytes = sizeof(Kept) + packet.payload.size();
  if (kept_bytes_ + bytes > kKeptBytesMax) return channel_->Close();
  kept_bytes_ += bytes;
  kept_.push_back({packet, {packet.payload.begin(), packet.payload.end()}});
  if (!retrier_.joinable()) retrier_ = std::thread([this] { KeepTrying(); });
  changed_.notify_all();
}

void Port::KeepTrying() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return ended_ || !kept_.empty(); });
    changed_.wait_for(lock, kTryAgain, [this] { return ended_; });
    if (ended_) return;
    while (!kept_.empty()) {
      Kept& first = kept_.front();
      first.packet.payload = first.payload;
      if (channel_->Send(first.packet) == Channel::Sent::kFull) break;
      kept_bytes_ -= sizeof(Kept) + first.payload.size();
      kept_.pop_front();
    }
  }
}

}  // namespace dxg::hostsim::serve
