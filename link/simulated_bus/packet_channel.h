#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "base/mutex.h"
#include "link/backlog.h"
#include "link/simulated_bus/protocol.h"
#include "link/vmbus/channel.h"

namespace dxg::vmbus {

// Packets of one channel that came over a link's socket, until the channel's thread takes them.
class PacketInbox {
 public:
  // What may wait; more of it ends the channel.
  static constexpr size_t kBytesMax = kBacklogBytesMax;

  void Put(const link::Received& received);
  // What Run is to return once the packets before it are handled. The first one counts.
  void End(Status why);
  Status Run(const std::function<void(const Packet&)>& handle);

 private:
  struct Kept {
    link::LinkHeader header;
    std::vector<std::byte> payload;
  };
  Mutex mutex_;
  ConditionVariable changed_;
  std::deque<Kept> kept_ DXG_GUARDED_BY(mutex_);
  size_t bytes_ DXG_GUARDED_BY(mutex_) = 0;
  bool ended_ DXG_GUARDED_BY(mutex_) = false;
  Status why_ DXG_GUARDED_BY(mutex_);
};

// A channel without rings: its packets go over the link's socket.
class PacketChannel final : public Channel {
 public:
  PacketChannel(std::shared_ptr<link::Socket> socket, uint32_t relid)
      : socket_(std::move(socket)), relid_(relid), inbox_(std::make_shared<PacketInbox>()) {}
  std::shared_ptr<PacketInbox> inbox() const { return inbox_; }

  Sent Send(const Packet& packet) override;
  Status Run(const std::function<void(const Packet&)>& handle) override { return inbox_->Run(handle); }
  void Close() override;

 private:
  const std::shared_ptr<link::Socket> socket_;
  const uint32_t relid_;
  const std::shared_ptr<PacketInbox> inbox_;
  std::atomic<bool> closed_{false};
};

}  // namespace dxg::vmbus
