#include "base/unix_socket.h"

#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace dxg {
namespace {

UniqueFd NewSocket(int type) { return UniqueFd(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0)); }

// Room for descriptors beside the bytes.
struct Ancillary {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kFilesPerMessageMax * sizeof(int))> bytes;
};

void AddFiles(std::span<const int> files, Ancillary* ancillary, msghdr* message) {
  DXG_CHECK(files.size() <= kFilesPerMessageMax);
  if (files.empty()) return;
  message->msg_control = ancillary->bytes.data();
  message->msg_controllen = CMSG_SPACE(files.size_bytes());
  std::memset(message->msg_control, 0, message->msg_controllen);
  cmsghdr* const rights = CMSG_FIRSTHDR(message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(files.size_bytes());
  std::memcpy(CMSG_DATA(rights), files.data(), files.size_bytes());
}

std::vector<UniqueFd> TakeFiles(msghdr* message) {
  std::vector<UniqueFd> files;
  for (cmsghdr* part = CMSG_FIRSTHDR(message); part != nullptr; part = CMSG_NXTHDR(message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= part->cmsg_len; at += sizeof(int)) {
      int file = -1;
      std::memcpy(&file, CMSG_DATA(part) + at, sizeof(file));
      files.emplace_back(file);
    }
  }
  return files;
}

bool IsAbstract(const std::string& path) { return path.starts_with('@'); }

bool IsSocket(const std::string& path) {
  struct stat file;
  return lstat(path.c_str(), &file) == 0 && S_ISSOCK(file.st_mode);
}

// Whether somebody answers at the address; a file without that is what a dead daemon left.
bool IsServed(const sockaddr_un& address, int type) {
  const UniqueFd probe = NewSocket(type | SOCK_NONBLOCK);
  return connect(probe.get(), AnyAddress(address), sizeof(address)) == 0 || errno == EAGAIN;
}

Status Bind(const UniqueFd& listener, const std::string& path, const char* option, const Listening& as) {
  DXG_ASSIGN(const sockaddr_un address, UnixAddress(path, option));
  const auto bind_it = [&] { return bind(listener.get(), AnyAddress(address), sizeof(address)) == 0; };
  const auto refused = [&] {
    return Status::Refuse(errno, "{}: cannot make {}: {}", option, path, std::strerror(errno));
  };
  if (bind_it()) return Status::Ok();
  if (errno != EADDRINUSE) return refused();
  if (!IsSocket(path))
    return Status::Refuse(EEXIST, "{}: {} is there and no socket; give another path", option, path);
  if (IsServed(address, as.type))
    return Status::Refuse(EADDRINUSE, "{}: another {} listens at {}; give another path", option, as.who,
                          path);
  unlink(path.c_str());
  return bind_it() ? Status::Ok() : refused();
}

}  // namespace

Result<sockaddr_un> UnixAddress(const std::string& path, const char* option) {
  sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
  if (path.empty() || path.size() >= sizeof(address.sun_path))
    return Status::Refuse(ENAMETOOLONG, "{}: '{}' is no path of a socket; give 1 to {} bytes", option, path,
                          sizeof(address.sun_path) - 1);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  if (IsAbstract(path)) address.sun_path[0] = '\0';
  return address;
}

Result<std::pair<UniqueFd, UniqueFd>> MakeSocketPair(int type) {
  int ends[2];
  if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) != 0)
    return Status::Refuse(errno, "no socket pair: {}", std::strerror(errno));
  return std::pair(UniqueFd(ends[0]), UniqueFd(ends[1]));
}

Result<UniqueFd> ConnectUnix(const std::string& path, const char* option, int type,
                             std::chrono::seconds patience) {
  DXG_ASSIGN(const sockaddr_un address, UnixAddress(path, option));
  UniqueFd connected = NewSocket(type);
  const timeval most = {.tv_sec = patience.count(), .tv_usec = 0};
  if (connected.valid() && patience.count() != 0) {
    setsockopt(connected.get(), SOL_SOCKET, SO_RCVTIMEO, &most, sizeof(most));
    setsockopt(connected.get(), SOL_SOCKET, SO_SNDTIMEO, &most, sizeof(most));
  }
  if (connected.valid() && connect(connected.get(), AnyAddress(address), sizeof(address)) == 0)
    return connected;
  return Status::Refuse(errno, "{}: nobody answers at {}: {}", option, path, std::strerror(errno));
}

Result<UniqueFd> ListenUnix(const std::string& path, const char* option, const Listening& as) {
  UniqueFd listener = NewSocket(as.type | SOCK_NONBLOCK);
  if (!listener.valid()) return Status::Refuse(errno, "{}: no socket: {}", option, std::strerror(errno));
  DXG_TRY(Bind(listener, path, option, as));
  // Nobody can connect before listen, and by then it has its mode.
  if ((IsAbstract(path) || chmod(path.c_str(), as.mode) == 0) && listen(listener.get(), as.waiting_max) == 0)
    return listener;
  const int error = errno;
  unlink(path.c_str());
  return Status::Refuse(error, "{}: cannot listen at {}: {}", option, path, std::strerror(error));
}

Result<UnixPeer> AcceptUnix(int listener, int flags) {
  UnixPeer peer{UniqueFd(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | flags)), {}};
  socklen_t bytes = sizeof(peer.who);
  if (!peer.socket.valid() || getsockopt(peer.socket.get(), SOL_SOCKET, SO_PEERCRED, &peer.who, &bytes) != 0)
    return Status::Refuse(errno, "nobody has connected: {}", std::strerror(errno));
  return peer;
}

// -- Bytes and descriptors ------------------------------------------------------------------------

ssize_t SendPieces(int socket, std::span<iovec> pieces, std::span<const int> files, bool wait) {
  Ancillary ancillary;
  msghdr message = {.msg_iov = pieces.data(), .msg_iovlen = pieces.size()};
  AddFiles(files, &ancillary, &message);
  ssize_t sent;
  do {
    sent = sendmsg(socket, &message, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT));
  } while (sent < 0 && errno == EINTR);
  if (sent >= 0) return sent;
  return errno == EPIPE ? -ECONNRESET : -errno;
}

ReceivedPiece ReceivePiece(int socket, std::span<std::byte> room, size_t files_max, bool wait) {
  DXG_CHECK(files_max <= kFilesPerMessageMax);
  iovec piece = {room.data(), room.size()};
  Ancillary ancillary;
  msghdr message = {.msg_iov = &piece,
                    .msg_iovlen = 1,
                    .msg_control = ancillary.bytes.data(),
                    .msg_controllen = CMSG_SPACE(files_max * sizeof(int))};
  ReceivedPiece received;
  do {
    received.bytes = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
  } while (received.bytes < 0 && errno == EINTR);
  if (received.bytes < 0) {
    received.bytes = -errno;
    return received;
  }
  received.files = TakeFiles(&message);
  received.cut = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
  return received;
}

Status SendDatagram(int socket, std::span<const std::byte> message, std::span<const int> files) {
  iovec piece = PieceOf(message);
  const ssize_t sent = SendPieces(socket, std::span(&piece, 1), files, true);
  if (sent >= 0) return Status::Ok();
  const auto error = static_cast<int>(-sent);
  return Status::Refuse(error, "cannot send a message: {}", std::strerror(error));
}

Result<Datagram> ReceiveDatagram(int socket, std::span<std::byte> room, bool wait) {
  ReceivedPiece received = ReceivePiece(socket, room, kFilesPerMessageMax, wait);
  if (received.bytes == 0) return Status::Refuse(ECONNRESET, "the other side is gone");
  if (received.bytes > 0) return Datagram{static_cast<size_t>(received.bytes), std::move(received.files)};
  const auto error = static_cast<int>(-received.bytes);
  return Status::Refuse(error, "cannot receive a message: {}", std::strerror(error));
}

}  // namespace dxg
