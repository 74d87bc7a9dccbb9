#include "link/simulated_bus/packet_channel.h"

#include <array>
#include <utility>

#include "base/relay.h"

namespace dxg::vmbus {

void PacketInbox::Put(const link::Received& received) {
  MutexLock lock(mutex_);
  if (ended_) return;
  const size_t bytes = sizeof(Kept) + received.payload.size();
  if (bytes_ + bytes > kBytesMax) {
    ended_ = true;
    why_ = Status::Refuse(EPROTO, "more than {} bytes of packets wait to be handled", kBytesMax);
  } else {
    bytes_ += bytes;
    kept_.push_back({received.header, {received.payload.begin(), received.payload.end()}});
  }
  changed_.NotifyAll();
}

void PacketInbox::End(Status why) {
  MutexLock lock(mutex_);
  if (ended_) return;
  ended_ = true;
  why_ = std::move(why);
  changed_.NotifyAll();
}

Status PacketInbox::Run(const std::function<void(const Packet&)>& handle) {
  MutexLock lock(mutex_);
  for (;;) {
    while (!ended_ && kept_.empty()) changed_.Wait(mutex_);
    if (kept_.empty() || (ended_ && why_.ok())) return why_;
    const Kept kept = std::move(kept_.front());
    kept_.pop_front();
    bytes_ -= sizeof(Kept) + kept.payload.size();
    lock.Unlock();
    handle({kept.header.type, kept.header.flags, kept.header.transaction, kept.payload});
    if (Relay::Lost()) return Status::Ok();
    lock.Lock();
  }
}

// Filled up to 8 bytes, as in a ring.
Channel::Sent PacketChannel::Send(const Packet& packet) {
  if (closed_) return Sent::kLost;
  link::LinkHeader header;
  header.channel = relid_;
  header.type = packet.type;
  header.flags = packet.flags;
  header.transaction = packet.transaction;
  if (packet.payload.size() % 8 == 0) return socket_->Send(header, packet.payload);
  std::vector<std::byte> padded(packet.payload.begin(), packet.payload.end());
  padded.resize((padded.size() + 7) / 8 * 8);
  return socket_->Send(header, padded);
}

void PacketChannel::Close() {
  closed_ = true;
  inbox_->End(Status::Ok());
}

}  // namespace dxg::vmbus
