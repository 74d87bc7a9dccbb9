#include "link/vmbus/ring_channel.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "base/mutex.h"
#include "base/relay.h"
#include "base/unique_fd.h"
#include "link/vmbus/ring.h"

namespace dxg::vmbus {
namespace {

// Of the incoming ring, at most this part waits to be given back while a packet is handled: it saves the peer
// and us a look at each other's memory for every packet.
constexpr size_t kHeldPart = 8;

class RingChannel final : public Channel {
 public:
  RingChannel(OutgoingRing outgoing, IncomingRing incoming, size_t held_bytes_max,
              std::unique_ptr<Signal> signal, std::shared_ptr<const void> keep, UniqueFd epoll,
              UniqueFd ended)
      : keep_(std::move(keep)),
        signal_(std::move(signal)),
        epoll_(std::move(epoll)),
        ended_event_(std::move(ended)),
        outgoing_(std::move(outgoing)),
        incoming_(std::move(incoming)),
        held_bytes_max_(held_bytes_max) {}

  Sent Send(const Packet& packet) override {
    bool signal = false;
    {
      MutexLock lock(sending_);
      if (over_.load(std::memory_order_relaxed)) return Sent::kLost;
      const OutgoingRing::Put put = outgoing_.Add(packet);
      if (put == OutgoingRing::Put::kFull) return Sent::kFull;
      if (put == OutgoingRing::Put::kTooLong) {
        return End(Status::Refuse(
            EMSGSIZE, "a payload of {} bytes to send, expected at most {}: the channel is at its end",
            packet.payload.size(), outgoing_.payload_bytes_max()));
      }
      if (put == OutgoingRing::Put::kCorrupt) return End(outgoing_.corruption());
      signal = outgoing_.Publish();
    }
    if (signal) signal_->Ring();
    return Sent::kYes;
  }

  Status Run(const std::function<void(const Packet&)>& handle) override {
    while (!over_.load(std::memory_order_relaxed)) {
      incoming_.Mask();
      const bool fine = Drain(handle);
      if (Relay::Lost()) return Status::Ok();
      incoming_.Unmask();
      if (!fine) break;
      if (revoked_) {
        MutexLock lock(sending_);
        (void)End(Status::Refuse(ENODEV, "the host has revoked the channel"));
        break;
      }
      if (incoming_.HasNext()) continue;
      epoll_event event = {};
      if (epoll_wait(epoll_.get(), &event, 1, -1) == 1 && event.data.fd == signal_->fd())
        revoked_ = !signal_->Take();
    }
    MutexLock lock(sending_);
    return why_;
  }

  void Close() override {
    MutexLock lock(sending_);
    (void)End(Status::Ok());
  }

 private:
  // Handles what there is. False: the ring is corrupt, the channel over, or another thread at it.
  bool Drain(const std::function<void(const Packet&)>& handle) {
    Packet packet;
    IncomingRing::Got got;
    while ((got = incoming_.Next(&packet)) == IncomingRing::Got::kPacket) {
      if (incoming_.held_bytes() > held_bytes_max_) Return();
      handle(packet);
      if (Relay::Lost() || over_.load(std::memory_order_relaxed)) return false;
    }
    if (got == IncomingRing::Got::kCorrupt) {
      MutexLock lock(sending_);
      (void)End(incoming_.corruption());
      return false;
    }
    Return();
    return true;
  }

  void Return() {
    if (incoming_.Return()) signal_->Ring();
  }

  // The first reason is the one that Run returns.
  Sent End(Status why) DXG_REQUIRES(sending_) {
    if (over_.exchange(true, std::memory_order_relaxed)) return Sent::kLost;
    why_ = std::move(why);
    const uint64_t one = 1;
    (void)!write(ended_event_.get(), &one, sizeof(one));  // never read: a Run that begins later ends as well
    return Sent::kLost;
  }

  const std::shared_ptr<const void> keep_;
  const std::unique_ptr<Signal> signal_;
  const UniqueFd epoll_, ended_event_;

  Mutex sending_;
  OutgoingRing outgoing_ DXG_GUARDED_BY(sending_);
  Status why_ DXG_GUARDED_BY(sending_);
  std::atomic<bool> over_ = false;  // changes with sending_ held

  IncomingRing incoming_;  // Run's
  const size_t held_bytes_max_;
  bool revoked_ = false;  // Run's: whoever takes it over is not told again
};

Status Watch(int epoll, int fd, uint32_t events) {
  epoll_event event = {};
  event.events = events;
  event.data.fd = fd;
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0) return Status::Ok();
  return Status::Refuse(errno, "cannot wait for signals of the channel: {}", std::strerror(errno));
}

Status CheckLongEnough(std::span<std::byte> ring, const char* name) {
  const size_t data_bytes = ring.size() - std::min(ring.size(), kRingControlBytes);
  if (data_bytes > RingBytesOf(kMessageBytesMax)) return Status::Ok();
  return Status::Refuse(
      EINVAL,
      "the {} ring has {} bytes for packets, expected more than {}, which a message of {} bytes takes", name,
      data_bytes, RingBytesOf(kMessageBytesMax), kMessageBytesMax);
}

}  // namespace

Result<std::unique_ptr<Channel>> MakeRingChannel(std::span<std::byte> outgoing, std::span<std::byte> incoming,
                                                 std::unique_ptr<Signal> signal,
                                                 std::shared_ptr<const void> keep) {
  DXG_TRY(CheckLongEnough(outgoing, "outgoing"));
  DXG_TRY(CheckLongEnough(incoming, "incoming"));
  DXG_ASSIGN(OutgoingRing out, OutgoingRing::Create(outgoing));
  DXG_ASSIGN(IncomingRing in, IncomingRing::Create(incoming));
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC)), ended(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!epoll.valid() || !ended.valid()) {
    return Status::Refuse(errno, "cannot make what a channel waits with: {}", std::strerror(errno));
  }
  DXG_TRY(Watch(epoll.get(), signal->fd(), EPOLLIN | EPOLLET));
  DXG_TRY(Watch(epoll.get(), ended.get(), EPOLLIN));
  return std::unique_ptr<Channel>(
      std::make_unique<RingChannel>(std::move(out), std::move(in), incoming.size() / kHeldPart,
                                    std::move(signal), std::move(keep), std::move(epoll), std::move(ended)));
}

}  // namespace dxg::vmbus
