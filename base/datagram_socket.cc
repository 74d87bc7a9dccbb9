#include "base/datagram_socket.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace dxg {

Result<std::pair<UniqueFd, UniqueFd>> MakeSocketPair() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return Status::Refuse(errno, "no socket pair: {}", std::strerror(errno));
  return std::pair(UniqueFd(ends[0]), UniqueFd(ends[1]));
}

Status SendDatagram(int socket, std::span<const std::byte> message, std::span<const int> files) {
  DXG_CHECK(files.size() <= kFilesPerMessageMax);
  iovec bytes = {const_cast<std::byte*>(message.data()), message.size()};
  alignas(cmsghdr) char ancillary[CMSG_SPACE(kFilesPerMessageMax * sizeof(int))];
  msghdr header = {.msg_iov = &bytes, .msg_iovlen = 1};
  if (!files.empty()) {
    header.msg_control = ancillary;
    header.msg_controllen = CMSG_SPACE(files.size_bytes());
    std::memset(ancillary, 0, header.msg_controllen);
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(files.size_bytes());
    std::memcpy(CMSG_DATA(rights), files.data(), files.size_bytes());
  }
  ssize_t sent;
  do {
    sent = sendmsg(socket, &header, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent >= 0) return Status::Ok();
  const int error = errno == EPIPE ? ECONNRESET : errno;
  return Status::Refuse(error, "cannot send a message: {}", std::strerror(error));
}

Result<Datagram> ReceiveDatagram(int socket, std::span<std::byte> room, bool wait) {
  iovec bytes = {room.data(), room.size()};
  alignas(cmsghdr) char ancillary[CMSG_SPACE(kFilesPerMessageMax * sizeof(int))];
  msghdr header = {
      .msg_iov = &bytes, .msg_iovlen = 1, .msg_control = ancillary, .msg_controllen = sizeof(ancillary)};
  ssize_t got;
  do {
    got = recvmsg(socket, &header, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
  } while (got < 0 && errno == EINTR);
  if (got < 0) return Status::Refuse(errno, "cannot receive a message: {}", std::strerror(errno));

  Datagram received = {.bytes = static_cast<size_t>(got)};
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    for (size_t at = 0; at + sizeof(int) <= part->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
      int file;
      std::memcpy(&file, CMSG_DATA(part) + at, sizeof(int));
      received.files.emplace_back(file);
    }
  }
  if (got == 0) return Status::Refuse(ECONNRESET, "the other side is gone");  // no message of ours is empty
  return received;
}

}  // namespace dxg
