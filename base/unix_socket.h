#pragma once

#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "base/unique_fd.h"

// Unix sockets: how they are made, connected and listened at, and how bytes and descriptors go through them.
// Framing is each protocol's own. A peer that is gone is never a signal here, and a signal never an error.

namespace dxg {

// -- Addresses

// ENAMETOOLONG: `path` is empty or longer than such an address holds. `option`, here and below, is for
// messages. What begins with '@' is an abstract address: no file, and gone with the socket.
Result<sockaddr_un> UnixAddress(const std::string& path, const char* option);

// The interface's way to pass one of its kinds of address.
inline const sockaddr* AnyAddress(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);  // Safety: sun_family says what it is
}

// -- Making them. All are close-on-exec. `type` is SOCK_STREAM or SOCK_SEQPACKET, with SOCK_NONBLOCK where
// the socket is never to wait.

// Errors: those of socketpair(2), EMFILE for example.
Result<std::pair<UniqueFd, UniqueFd>> MakeSocketPair(int type = SOCK_SEQPACKET);

// Connected to whoever listens at the path. The Status says only why not, with the errno of
// connect(2); who asked adds what to do about it.
// `patience`: how long connecting, and then each sending and receiving that waits, may take (EAGAIN); 0: for
// ever.
Result<UniqueFd> ConnectUnix(const std::string& path, const char* option, int type,
                             std::chrono::seconds patience = {});

// What listens: who that is, for messages; the socket's type (SOCK_STREAM or SOCK_SEQPACKET); how many may
// wait for accept; who may connect, as the mode of the file.
struct Listening {
  const char* who;
  int type;
  int waiting_max;
  mode_t mode = 0600;
};

// A socket that listens at the path and never waits. Nobody can connect before the file has its mode. The
// file that a dead daemon has left is taken over. EADDRINUSE: somebody answers there; EEXIST: the file is no
// socket.
Result<UniqueFd> ListenUnix(const std::string& path, const char* option, const Listening& as);

// Somebody who has connected, and who that is by the kernel's word.
struct UnixPeer {
  UniqueFd socket;
  ucred who = {};
};
// The next who waits at a listener that does not wait itself; `flags` are SOCK_NONBLOCK or 0. EAGAIN: nobody.
// Where this process or machine has no more descriptors (OutOfDescriptors), who waits is still there: the
// caller pauses, or it would try again at once, for ever.
Result<UnixPeer> AcceptUnix(int listener, int flags = 0);
inline bool OutOfDescriptors(const Status& status) {
  const int error = -status.value();
  return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
}

// -- Bytes and descriptors

constexpr size_t kFilesPerMessageMax = 64;  // the kernel takes 253

inline iovec PieceOf(std::span<const std::byte> bytes) {
  return {const_cast<std::byte*>(bytes.data()), bytes.size()};
}

// One sendmsg with the pieces in a row; the files go with the first byte. How many bytes went, or -errno:
// EAGAIN where there is no room and `wait` is false, ECONNRESET where the peer is gone.
ssize_t SendPieces(int socket, std::span<iovec> pieces, std::span<const int> files, bool wait);

// One recvmsg. `bytes` is 0 where the peer has closed, or -errno.
struct ReceivedPiece {
  ssize_t bytes = 0;
  std::vector<UniqueFd> files;  // close-on-exec
  bool cut = false;             // of what came, bytes of the packet or files had no room
};
// `files_max` is even, at most kFilesPerMessageMax.
ReceivedPiece ReceivePiece(int socket, std::span<std::byte> room, size_t files_max, bool wait);

// Packets (SOCK_SEQPACKET). Waits for room. ECONNRESET: the peer is gone.
Status SendDatagram(int socket, std::span<const std::byte> message, std::span<const int> files = {});

// One whole message, at most `room` bytes of it. No message is empty: ECONNRESET is the peer's end. EAGAIN:
// nothing is there and `wait` is false, or the socket's patience is over.
struct Datagram {
  size_t bytes = 0;
  std::vector<UniqueFd> files;
};
Result<Datagram> ReceiveDatagram(int socket, std::span<std::byte> room, bool wait = true);

}  // namespace dxg
