#include "link/simulated_bus/protocol.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <utility>

#include "base/patience.h"
#include "base/unix_socket.h"

namespace dxg::vmbus::link {
namespace {

constexpr std::chrono::seconds kRoomMax{1};
constexpr int kLookMs = 50;

}  // namespace

uint32_t NumberOf(std::span<const std::byte> payload) {
  Head head;
  if (payload.size() < sizeof(head)) return 0;
  std::memcpy(&head, payload.data(), sizeof(head));
  return head.number;
}

Channel::Sent Socket::Send(const LinkHeader& header, std::span<const std::byte> payload,
                           std::span<const int> descriptors) {
  iovec pieces[] = {PieceOf(std::as_bytes(std::span(&header, 1))), PieceOf(payload)};
  ReaderLock lock(discarding_);
  if (!socket_.valid()) return Channel::Sent::kLost;
  const ssize_t sent = SendPieces(socket_.get(), pieces, descriptors, false);
  if (sent >= 0) return Channel::Sent::kYes;
  return sent == -EAGAIN || sent == -ENOBUFS ? Channel::Sent::kFull : Channel::Sent::kLost;
}

bool Socket::SendControl(std::span<const std::byte> message, std::span<const std::byte> rest,
                         std::span<const int> descriptors) {
  std::vector<std::byte> all(message.begin(), message.end());
  all.insert(all.end(), rest.begin(), rest.end());
  RealPatience patience(kRoomMax);
  for (;;) {
    const Channel::Sent sent = Send(LinkHeader{}, all, descriptors);
    if (sent != Channel::Sent::kFull) return sent == Channel::Sent::kYes;
    if (patience.IsOver()) return false;
    ReaderLock lock(discarding_);
    pollfd room{socket_.get(), POLLOUT, 0};
    (void)poll(&room, 1, kLookMs);
  }
}

Result<Received> Socket::Receive() {
  ReceivedPiece piece = ReceivePiece(socket_.get(), buffer_, kDescriptorsMax, true);
  if (piece.bytes <= 0) return Status::Refuse(ENODEV, "the other side has closed the connection");
  const auto got = static_cast<size_t>(piece.bytes);
  if (piece.cut || got < sizeof(LinkHeader))
    return Status::Refuse(EPROTO,
                          "it sent a packet of {} bytes; expected {} to {}, with at most {} descriptors", got,
                          sizeof(LinkHeader), kPacketBytesMax, kDescriptorsMax);
  Received received;
  received.descriptors = std::move(piece.files);
  std::memcpy(&received.header, buffer_.data(), sizeof(LinkHeader));
  received.payload = std::span(buffer_).subspan(sizeof(LinkHeader), got - sizeof(LinkHeader));
  return received;
}

bool Socket::IsClosedThere() {
  ReaderLock lock(discarding_);
  pollfd end{socket_.get(), POLLRDHUP, 0};
  return poll(&end, 1, 0) > 0 && (end.revents & (POLLRDHUP | POLLHUP)) != 0;
}

void Socket::Close() {
  ReaderLock lock(discarding_);
  shutdown(socket_.get(), SHUT_RDWR);
}

void Socket::Discard() {
  WriterLock lock(discarding_);
  socket_.reset();
}

}  // namespace dxg::vmbus::link
