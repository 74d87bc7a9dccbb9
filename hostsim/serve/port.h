#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "link/vmbus/channel.h"

namespace dxg::hostsim::serve {

// The host's end of an open channel: a thread that takes what the guest sends, and a way back that never
// waits.
class Port {
 public:
  // What may be kept while the guest does not read; more of it ends the channel.
  static constexpr size_t kKeptBytesMax = 64u << 20;

  // `lost` is told why it ended, on the port's thread, where the host did not end it.
  Port(std::unique_ptr<vmbus::Channel> channel, std::function<void(const vmbus::Packet&)> handle,
       std::function<void(const Status&)> lost);
  ~Port() { End(); }

  // Any thread. In order; kept where the guest has no room.
  void Send(const vmbus::Packet& packet);
  // Not from inside of `handle`.
  void End();

 private:
  struct Kept {
    vmbus::Packet packet;
    std::vector<std::byte> payload;
  };
  void KeepTrying();

  const std::unique_ptr<vmbus::Channel> channel_;
  std::once_flag end_;
  std::mutex mutex_;  // guards the five below
  std::condition_variable changed_;
  std::deque<Kept> kept_;
  size_t kept_bytes_ = 0;
  std::thread retrier_;
  bool ended_ = false;
  std::thread thread_;  // the last member
};

}  // namespace dxg::hostsim::serve
