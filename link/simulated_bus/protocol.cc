#include "link/simulated_bus/protocol.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>

namespace dxg::vmbus::link {
namespace {

constexpr int kRoomMaxMs = 1000;

struct ControlBuffer {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kDescriptorsMax * sizeof(int))> bytes{};
};

void AddDescriptors(std::span<const int> descriptors, ControlBuffer* buffer, msghdr* message) {
  if (descriptors.empty()) return;
  message->msg_control = buffer->bytes.data();
  message->msg_controllen = CMSG_SPACE(descriptors.size_bytes());
  cmsghdr* const head = CMSG_FIRSTHDR(message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(descriptors.size_bytes());
  std::memcpy(CMSG_DATA(head), descriptors.data(), descriptors.size_bytes());
}

std::vector<UniqueFd> TakeDescriptors(msghdr* message) {
  std::vector<UniqueFd> descriptors;
  for (cmsghdr* head = CMSG_FIRSTHDR(message); head != nullptr; head = CMSG_NXTHDR(message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
    for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= head->cmsg_len; at += sizeof(int)) {
      int descriptor = -1;
      std::memcpy(&descriptor, CMSG_DATA(head) + at, sizeof(descriptor));
      descriptors.emplace_back(descriptor);
    }
  }
  return descriptors;
}

iovec Piece(std::span<const std::byte> bytes) { return {const_cast<std::byte*>(bytes.data()), bytes.size()}; }

}  // namespace

uint32_t NumberOf(std::span<const std::byte> payload) {
  Head head;
  if (payload.size() < sizeof(head)) return 0;
  std::memcpy(&head, payload.data(), sizeof(head));
  return head.number;
}

Channel::Sent Socket::Send(const LinkHeader& header, std::span<const std::byte> payload,
                           std::span<const int> descriptors) {
  iovec pieces[] = {Piece(std::as_bytes(std::span(&header, 1))), Piece(payload)};
  msghdr message{};
  message.msg_iov = pieces;
  message.msg_iovlen = std::size(pieces);
  ControlBuffer control;
  AddDescriptors(descriptors, &control, &message);
  std::shared_lock lock(discarding_);
  if (!socket_.valid()) return Channel::Sent::kLost;
  for (;;) {
    if (sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return Channel::Sent::kYes;
    if (errno == EINTR) continue;
    return errno == EAGAIN || errno == ENOBUFS ? Channel::Sent::kFull : Channel::Sent::kLost;
  }
}

bool Socket::SendControl(std::span<const std::byte> message, std::span<const std::byte> rest,
                         std::span<const int> descriptors) {
  std::vector<std::byte> all(message.begin(), message.end());
  all.insert(all.end(), rest.begin(), rest.end());
  for (;;) {
    const Channel::Sent sent = Send(LinkHeader{}, all, descriptors);
    if (sent != Channel::Sent::kFull) return sent == Channel::Sent::kYes;
    std::shared_lock lock(discarding_);
    pollfd room{socket_.get(), POLLOUT, 0};
    if (poll(&room, 1, kRoomMaxMs) == 0) return false;
  }
}

Result<Received> Socket::Receive() {
  iovec piece{buffer_.data(), buffer_.size()};
  ControlBuffer control;
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes.data();
  message.msg_controllen = control.bytes.size();
  ssize_t got = 0;
  do {
    got = recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got <= 0) return Status::Refuse(ENODEV, "the other side has closed the connection");
  Received received;
  received.descriptors = TakeDescriptors(&message);
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || static_cast<size_t>(got) < sizeof(LinkHeader))
    return Status::Refuse(EPROTO,
                          "it sent a packet of {} bytes; expected {} to {}, with at most {} descriptors", got,
                          sizeof(LinkHeader), kPacketBytesMax, kDescriptorsMax);
  std::memcpy(&received.header, buffer_.data(), sizeof(LinkHeader));
  received.payload =
      std::span(buffer_).subspan(sizeof(LinkHeader), static_cast<size_t>(got) - sizeof(LinkHeader));
  return received;
}

void Socket::Close() {
  std::shared_lock lock(discarding_);
  shutdown(socket_.get(), SHUT_RDWR);
}

void Socket::Discard() {
  std::unique_lock lock(discarding_);
  socket_ = {};
}

}  // namespace dxg::vmbus::link
