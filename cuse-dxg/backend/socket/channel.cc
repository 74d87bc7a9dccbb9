#include "cuse-dxg/backend/socket/channel.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "cuse-dxg/unix_socket.h"

namespace dxg::socket {
namespace {

constexpr size_t kLengthBytes = sizeof(uint32_t);
constexpr size_t kRoomBytes = 64 * 1024;  // that are received at once
constexpr size_t kDescriptorsKeptMax = 64;  // that came and were not taken yet
constexpr int kPeersWaiting = 64;

uint32_t LengthAt(const std::byte* bytes) {
  uint32_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) length |= std::to_integer<uint32_t>(bytes[i]) << (8 * i);
  return length;
}

}  // namespace

// -- FrameReader -------------------------------------------------------------------------------------------------------

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

// -- Channel -----------------------------------------------------------------------------------------------------------

Channel::Channel(UniqueFd socket) : socket_(std::move(socket)), kept_event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

ssize_t Channel::SendSome(std::span<const std::byte> bytes, std::span<const int> descriptors) {
  iovec part = {const_cast<std::byte*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kDescriptorsMax * sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
  }
  const ssize_t sent = sendmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  return sent >= 0 ? sent : -errno;
}

// With the lock held.
bool Channel::Keep(std::string bytes, size_t sent, std::span<const int> descriptors) {
  kept_bytes_ += bytes.size() - sent;
  kept_descriptors_ += descriptors.size();
  if (kept_bytes_ > kKeptBytesMax || kept_descriptors_ > kKeptDescriptorsMax) return false;
  Kept& kept = kept_.emplace_back(Kept{std::move(bytes), sent, {}});
  for (const int descriptor : descriptors) {
    if (!kept.descriptors.emplace_back(fcntl(descriptor, F_DUPFD_CLOEXEC, 0)).valid()) return false;
  }
  const uint64_t one = 1;
  (void)!write(kept_event_.get(), &one, sizeof(one));
  return true;
}

bool Channel::EndSending() {
  closed_ = true;
  shutdown(socket_.get(), SHUT_RDWR);
  return false;
}

bool Channel::Send(const google::protobuf::MessageLite& message, std::span<const int> descriptors) {
  const size_t size = message.ByteSizeLong();
  if (size > kFrameBytesMax || descriptors.size() > kDescriptorsMax) {
    std::lock_guard lock(sending_);
    return EndSending();
  }
  std::string bytes(kLengthBytes + size, '\0');
  for (size_t i = 0; i < kLengthBytes; ++i) bytes[i] = static_cast<char>(size >> (8 * i));
  message.SerializeWithCachedSizesToArray(reinterpret_cast<uint8_t*>(bytes.data() + kLengthBytes));  // Safety: bytes
  std::lock_guard lock(sending_);
  if (closed_) return false;
  bool fine = true;
  if (!kept_.empty()) {
    fine = Keep(std::move(bytes), 0, descriptors);
  } else {
    const ssize_t sent = SendSome(std::as_bytes(std::span(bytes)), descriptors);
    if (sent == -EAGAIN || sent == -EINTR) {
      fine = Keep(std::move(bytes), 0, descriptors);
    } else if (sent < 0) {
      fine = false;
    } else if (static_cast<size_t>(sent) < bytes.size()) {
      fine = Keep(std::move(bytes), static_cast<size_t>(sent), {});
    }
  }
  return fine || EndSending();
}

bool Channel::Flush(bool* more) {
  std::lock_guard lock(sending_);
  uint64_t events = 0;
  (void)!read(kept_event_.get(), &events, sizeof(events));
  *more = false;
  while (!closed_ && !kept_.empty()) {
    Kept& front = kept_.front();
    std::vector<int> descriptors;
    if (front.sent == 0) {
      for (const UniqueFd& each : front.descriptors) descriptors.push_back(each.get());
    }
    const ssize_t sent = SendSome(std::as_bytes(std::span(front.bytes)).subspan(front.sent), descriptors);
    if (sent == -EAGAIN || sent == -EINTR) {
      *more = true;
      return true;
    }
    if (sent < 0) return false;
    front.sent += static_cast<size_t>(sent);
    kept_bytes_ -= static_cast<size_t>(sent);
    if (front.sent != front.bytes.size()) continue;
    kept_descriptors_ -= front.descriptors.size();
    kept_.pop_front();
  }
  return !closed_;
}

bool Channel::Receive(std::string* why) {
  const std::span<std::byte> room = frames_.Room();
  iovec part = {room.data(), room.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kDescriptorsMax * sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  const ssize_t came = recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (came < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (came < 0) *why = std::strerror(errno);
  if (came == 0) *why = "the other side has closed it";
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); came >= 0 && header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(int)) <= header->cmsg_len; ++i) {
      int descriptor = -1;
      std::memcpy(&descriptor, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
      descriptors_.emplace_back(descriptor);
    }
  }
  if (came <= 0) return false;
  if ((message.msg_flags & MSG_CTRUNC) != 0 || descriptors_.size() > kDescriptorsKeptMax) {
    *why = "too many descriptors came";
    return false;
  }
  frames_.Came(static_cast<size_t>(came));
  return true;
}

UniqueFd Channel::TakeDescriptor() {
  if (descriptors_.empty()) return UniqueFd();
  UniqueFd taken = std::move(descriptors_.front());
  descriptors_.pop_front();
  return taken;
}

void Channel::Close() {
  std::lock_guard lock(sending_);
  EndSending();
}

void Channel::Release() {
  std::lock_guard lock(sending_);
  closed_ = true;
  shutdown(socket_.get(), SHUT_RDWR);
  socket_.reset();
  kept_event_.reset();
  kept_.clear();
  kept_bytes_ = kept_descriptors_ = 0;
  frames_ = FrameReader();
  descriptors_.clear();
}

// -- Addresses ---------------------------------------------------------------------------------------------------------

Result<UniqueFd> Connect(const std::string& path, const char* option) {
  DXG_ASSIGN(const sockaddr_un address, UnixAddress(path, option));
  UniqueFd connected(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (connected.valid() && connect(connected.get(), AnyAddress(address), sizeof(address)) == 0) return connected;
  return Status::Refuse(errno, "{}: nobody answers at {}: {}; start `hostsim --listen {}` first", option, path, std::strerror(errno), path);
}

Result<UniqueFd> Listen(const std::string& path, const char* option) {
  return ListenUnix(path, option, {.who = "host", .type = SOCK_STREAM, .waiting_max = kPeersWaiting});
}

}  // namespace dxg::socket
