#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "base/mutex.h"
#include "link/simulated_bus/protocol.h"
#include "link/vmbus/channel.h"

// An open channel of a simulated bus, at the guest's end, and what the host is told when it ends.

namespace dxg::vmbus {

// Tells a channel's user of messages that did not get to the host, on the thread of the bus.
class SendFailures {
 public:
  // Null: nobody is told.
  void Begin(const std::function<void(const Packet&)>* handle) DXG_EXCLUDES(mutex_);
  void Tell(uint64_t transaction, uint32_t error) DXG_EXCLUDES(mutex_);

 private:
  Mutex mutex_;  // held while the handler runs, which waits for nothing: it is gone after Run
  const std::function<void(const Packet&)>* handle_ DXG_GUARDED_BY(mutex_) = nullptr;
};

// The memory of a channel's rings as the host knows it, until it need not any more.
struct ShownRings {
  ShownRings(std::shared_ptr<link::Socket> with, uint32_t of, uint64_t at)
      : socket(std::move(with)), relid(of), address(at) {}
  ~ShownRings();

  const std::shared_ptr<link::Socket> socket;
  const uint32_t relid;
  const uint64_t address;
  uint32_t gpadl = 0;  // once there is one
};

// Its end is told to the host.
class SimulatedChannel final : public Channel {
 public:
  // `shown`: null where it has no rings. It ends after the host was told of the close.
  SimulatedChannel(std::shared_ptr<Channel> channel, std::shared_ptr<link::Socket> socket, uint32_t relid,
                   std::unique_ptr<ShownRings> shown)
      : channel_(std::move(channel)), socket_(std::move(socket)), relid_(relid), shown_(std::move(shown)) {}
  ~SimulatedChannel() override;
  std::shared_ptr<SendFailures> failures() const { return failures_; }

  Sent Send(const Packet& packet) override { return channel_->Send(packet); }
  Status Run(const std::function<void(const Packet&)>& handle) override;
  void Close() override { channel_->Close(); }

 private:
  const std::shared_ptr<Channel> channel_;
  const std::shared_ptr<link::Socket> socket_;
  const uint32_t relid_;
  const std::unique_ptr<ShownRings> shown_;
  const std::shared_ptr<SendFailures> failures_ = std::make_shared<SendFailures>();
};

}  // namespace dxg::vmbus
