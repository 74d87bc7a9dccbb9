#include "link/socket/connection.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include "base/unix_socket.h"
#include "link/socket/packets.h"

namespace dxg::socket {
namespace {

constexpr size_t kLengthBytes = sizeof(uint32_t);
constexpr size_t kRoomBytes = 64 * 1024;    // that are received at once
constexpr size_t kDescriptorsKeptMax = 64;  // that came and were not taken yet
constexpr int kPeersWaiting = 64;

uint32_t LengthAt(const std::byte* bytes) {
  uint32_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) length |= std::to_integer<uint32_t>(bytes[i]) << (8 * i);
  return length;
}

vmbus::Packet PacketOf(std::string_view frame) {
  return {vmbus::kInBand, 0, 0, std::as_bytes(std::span(frame))};
}

}  // namespace

// -- FrameReader ----------------------------------------------------------------------------------

std::span<std::byte> FrameReader::Room() {
  if (begin_ == end_) begin_ = end_ = 0;
  if (buffer_.size() - end_ < kRoomBytes && begin_ != 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= std::exchange(begin_, 0);
  }
  if (buffer_.size() - end_ < kRoomBytes) buffer_.resize(end_ + kRoomBytes);
  return {buffer_.data() + end_, buffer_.size() - end_};
}

std::optional<std::span<const std::byte>> FrameReader::Next() {
  if (broken_ || end_ - begin_ < kLengthBytes) return std::nullopt;
  const uint32_t length = LengthAt(buffer_.data() + begin_);
  broken_ = length > kFrameBytesMax;
  if (broken_ || end_ - begin_ - kLengthBytes < length) return std::nullopt;
  const std::span<const std::byte> frame(buffer_.data() + begin_ + kLengthBytes, length);
  begin_ += kLengthBytes + length;
  return frame;
}

// -- Connection --------------------------------------------------------------------------------------

Connection::Connection(UniqueFd socket, int other)
    : socket_(std::move(socket)),
      kept_event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      epoll_(epoll_create1(EPOLL_CLOEXEC)) {
  Watch(socket_.get(), EPOLLIN, EPOLL_CTL_ADD);
  Watch(kept_event_.get(), EPOLLIN, EPOLL_CTL_ADD);
  if (other >= 0) Watch(other, EPOLLIN, EPOLL_CTL_ADD);
}

void Connection::Watch(int descriptor, uint32_t events, int operation) {
  epoll_event event = {};
  event.events = events;
  event.data.fd = descriptor;
  epoll_ctl(epoll_.get(), operation, descriptor, &event);
}

bool Connection::Keep(std::string bytes, size_t sent, std::span<const int> descriptors) {
  const size_t left = bytes.size() - sent;
  if (kept_bytes_ + left > kKeptBytesMax || kept_descriptors_ + descriptors.size() > kKeptDescriptorsMax)
    return false;
  Kept kept{std::move(bytes), sent, {}};
  for (const int descriptor : descriptors) {
    if (!kept.descriptors.emplace_back(fcntl(descriptor, F_DUPFD_CLOEXEC, 0)).valid()) return false;
  }
  kept_.push_back(std::move(kept));
  kept_bytes_ += left;
  kept_descriptors_ += descriptors.size();
  const uint64_t one = 1;
  (void)!write(kept_event_.get(), &one, sizeof(one));
  return true;
}

bool Connection::EndSending() {
  closed_ = true;
  shutdown(socket_.get(), SHUT_RDWR);
  return false;
}

bool Connection::ByRings(size_t bytes, std::span<const int> descriptors) const {
  return rings_ && descriptors.empty() && bytes <= rings_->outgoing.payload_bytes_max();
}

Connection::Taken Connection::PutIntoRing(const vmbus::Packet& packet) {
  using Put = vmbus::OutgoingRing::Put;
  const Put put = rings_->outgoing.Add(packet);
  if (put != Put::kYes) return put == Put::kFull ? Taken::kNoRoom : Taken::kOver;
  if (rings_->outgoing.Publish()) rings_->Ring();
  return Taken::kYes;
}

// From *sent on; the descriptors go with the first byte.
Connection::Taken Connection::SendNow(std::string& bytes, std::span<const int> descriptors, size_t* sent) {
  iovec piece = PieceOf(std::as_bytes(std::span(bytes)).subspan(*sent));
  const ssize_t more = SendPieces(socket_.get(), std::span(&piece, 1), descriptors, false);
  if (more == -EAGAIN) return Taken::kNoRoom;
  if (more < 0) return Taken::kOver;
  *sent += static_cast<size_t>(more);
  return *sent == bytes.size() ? Taken::kYes : Taken::kNoRoom;
}

bool Connection::Send(const google::protobuf::MessageLite& message, std::span<const int> descriptors) {
  const size_t size = message.ByteSizeLong();
  if (size > kFrameBytesMax || descriptors.size() > kDescriptorsMax) {
    MutexLock lock(sending_);
    return EndSending();
  }
  static thread_local std::string
      bytes;  // keeps its memory from one frame to the next, unless that is kept for later
  bytes.resize(kLengthBytes + size);
  for (size_t i = 0; i < kLengthBytes; ++i) bytes[i] = static_cast<char>(size >> (8 * i));
  message.SerializeWithCachedSizesToArray(
      reinterpret_cast<uint8_t*>(bytes.data() + kLengthBytes));  // Safety: bytes
  MutexLock lock(sending_);
  if (closed_) return false;
  const bool by_rings = ByRings(bytes.size(), descriptors);
  size_t sent = 0;
  Taken taken = Taken::kNoRoom;
  if (kept_.empty()) taken = by_rings ? PutIntoRing(PacketOf(bytes)) : SendNow(bytes, descriptors, &sent);
  if (taken == Taken::kYes) return true;
  if (taken == Taken::kOver) return EndSending();
  const bool rest_only = sent != 0;  // the descriptors have gone
  try {
    if (!Keep(std::move(bytes), sent, rest_only ? std::span<const int>() : descriptors)) return EndSending();
  } catch (const std::bad_alloc&) {
    if (rest_only) return EndSending();  // what follows a part of a frame would be read as its rest
    throw;
  }
  kept_.back().by_rings = by_rings;
  return true;
}

bool Connection::SendPacket(const vmbus::Packet& packet) {
  MutexLock lock(sending_);
  return !closed_ && kept_.empty() && ByRings(packet.payload.size(), {}) &&
         PutIntoRing(packet) == Taken::kYes;
}

bool Connection::Flush() {
  MutexLock lock(sending_);
  uint64_t events = 0;
  (void)!read(kept_event_.get(), &events, sizeof(events));
  ring_is_full_ = false;
  const bool socket_was_full = std::exchange(more_, false);
  const auto watch_room = [&] {
    if (more_ != socket_was_full) Watch(socket_.get(), more_ ? EPOLLIN | EPOLLOUT : EPOLLIN, EPOLL_CTL_MOD);
  };
  while (!closed_ && !kept_.empty()) {
    Kept& front = kept_.front();
    int descriptors[kDescriptorsMax];
    size_t count = 0;
    if (front.sent == 0) {
      for (const UniqueFd& each : front.descriptors) descriptors[count++] = each.get();
    }
    const size_t had_sent = front.sent;
    const Taken taken = front.by_rings ? PutIntoRing(PacketOf(front.bytes))
                                       : SendNow(front.bytes, {descriptors, count}, &front.sent);
    if (taken == Taken::kOver) return false;
    if (front.by_rings && taken == Taken::kYes) front.sent = front.bytes.size();
    kept_bytes_ -= front.sent - had_sent;
    if (taken == Taken::kNoRoom) {
      (front.by_rings ? ring_is_full_ : more_) = true;
      watch_room();
      return true;
    }
    kept_descriptors_ -= front.descriptors.size();
    kept_.pop_front();
  }
  watch_room();
  return !closed_;
}

void Connection::UseRings(std::unique_ptr<Rings> rings) {
  MutexLock lock(sending_);
  rings_ = std::move(rings);
  incoming_ = rings_.get();
  // Each ring of the bell is an edge, so that nobody has to read it.
  Watch(incoming_->bell(), EPOLLIN | EPOLLET, EPOLL_CTL_ADD);
}

Result<Woken> Connection::Wait(int timeout_ms) {
  constexpr int kTryAgainMs = 1;  // nobody says when a full ring has room
  Woken woken;
  if (incoming_) incoming_->incoming.Unmask();
  woken.heard = incoming_ && incoming_->incoming.HasNext();
  const bool full = ring_is_full_;
  if (woken.heard) timeout_ms = 0;
  if (full && (timeout_ms < 0 || timeout_ms > kTryAgainMs)) timeout_ms = kTryAgainMs;
  epoll_event events[4];
  const int count = epoll_wait(epoll_.get(), events, static_cast<int>(std::size(events)), timeout_ms);
  if (count < 0 && errno == EINTR) return woken;
  if (count < 0) return Status::Refuse(errno, "it cannot be waited for: {}", std::strerror(errno));
  if (incoming_) incoming_->incoming.Mask();
  bool flush = full, receive = false;
  for (const epoll_event& event : std::span(events, static_cast<size_t>(count))) {
    if (event.data.fd == socket_.get()) {
      flush = flush || (event.events & EPOLLOUT) != 0;
      receive = (event.events & ~EPOLLOUT) != 0;
    } else if (event.data.fd == kept_event_.get()) {
      flush = true;
    } else if (incoming_ && event.data.fd == incoming_->bell()) {
      woken.heard = true;
    } else {
      woken.other = true;
    }
  }
  woken.heard = woken.heard || receive;
  if (flush && !Flush()) return Status::Refuse(ECONNRESET, "it does not take what is sent");
  if (receive) DXG_TRY(Receive());
  return woken;
}

bool Connection::HasMore() {
  pollfd events = {socket_.get(), POLLIN, 0};
  return (incoming_ && incoming_->incoming.HasNext()) || poll(&events, 1, 0) != 0;
}

std::optional<Incoming> Connection::Next() {
  using Got = vmbus::IncomingRing::Got;
  if (const auto frame = frames_.Next()) return Incoming{*frame};
  if (!incoming_ || frames_.broken() || !broken_ring_.ok()) return std::nullopt;
  vmbus::IncomingRing& ring = incoming_->incoming;
  if (ring.held_bytes() > Rings::kRingBytes / 8 && ring.Return()) incoming_->Ring();
  const Got got = ring.Next(&packet_);
  if (got == Got::kPacket) {
    if (IsCall(packet_) || IsAnswer(packet_)) return Incoming{{}, &packet_};
    const std::span<const std::byte> frame = packet_.payload;
    if (packet_.type == vmbus::kInBand && frame.size() >= kLengthBytes &&
        LengthAt(frame.data()) <= frame.size() - kLengthBytes)
      return Incoming{frame.subspan(kLengthBytes, LengthAt(frame.data()))};
    broken_ring_ =
        Status::Refuse(EPROTO, "it put a packet of type {} and {} bytes into the ring, which is no frame",
                       packet_.type, frame.size());
  } else if (got == Got::kCorrupt) {
    broken_ring_ = ring.corruption();
  } else if (ring.Return()) {
    incoming_->Ring();
  }
  return std::nullopt;
}

Status Connection::Check() const {
  if (frames_.broken())
    return Status::Refuse(EPROTO, "it sent a frame of more than {} bytes", kFrameBytesMax);
  return broken_ring_;
}

Status Connection::Receive() {
  ReceivedPiece came = ReceivePiece(socket_.get(), frames_.Room(), kDescriptorsMax, false);
  if (came.bytes == -EAGAIN) return Status::Ok();
  if (came.bytes < 0) {
    const auto error = static_cast<int>(-came.bytes);
    return Status::Refuse(error, "{}", std::strerror(error));
  }
  if (came.bytes == 0) return Status::Refuse(ECONNRESET, "the other side has closed it");
  for (UniqueFd& file : came.files) descriptors_.push_back(std::move(file));
  if (came.cut || descriptors_.size() > kDescriptorsKeptMax)
    return Status::Refuse(EPROTO, "too many descriptors came");
  frames_.Came(static_cast<size_t>(came.bytes));
  return Status::Ok();
}

UniqueFd Connection::TakeDescriptor() {
  if (descriptors_.empty()) return UniqueFd();
  UniqueFd taken = std::move(descriptors_.front());
  descriptors_.pop_front();
  return taken;
}

void Connection::Close() {
  MutexLock lock(sending_);
  EndSending();
}

void Connection::Release() {
  MutexLock lock(sending_);
  closed_ = true;
  shutdown(socket_.get(), SHUT_RDWR);
  socket_.reset();
  kept_event_.reset();
  epoll_.reset();
  incoming_ = nullptr;
  rings_.reset();
  kept_.clear();
  kept_bytes_ = kept_descriptors_ = 0;
  frames_ = FrameReader();
  descriptors_.clear();
}

// -- Addresses ------------------------------------------------------------------------------------

Result<UniqueFd> Connect(const std::string& path, const char* option) {
  auto connected = ConnectUnix(path, option, SOCK_STREAM | SOCK_NONBLOCK);
  if (connected.ok() || connected.status().value() == -ENAMETOOLONG) return connected;
  return Status::Refuse(-connected.status().value(), "{}; start `dxg-hostsim --listen {}` first",
                        connected.status().why(), path);
}

Result<UniqueFd> Listen(const std::string& path, const char* option) {
  return ListenUnix(path, option, {.who = "host", .type = SOCK_STREAM, .waiting_max = kPeersWaiting});
}

}  // namespace dxg::socket
