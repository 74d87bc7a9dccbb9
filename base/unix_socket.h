#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <string>

#include "base/status.h"
#include "base/unique_fd.h"

// Unix sockets that have a file: their addresses, and how a daemon comes to listen at one.

namespace dxg {

// ENAMETOOLONG: `path` is empty or longer than such an address holds. `option`, here and below, is for
// messages.
Result<sockaddr_un> UnixAddress(const std::string& path, const char* option);

// The interface's way to pass one of its kinds of address.
inline const sockaddr* AnyAddress(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);  // Safety: sun_family says what it is
}

// What listens: who that is, for messages; the socket's type (SOCK_STREAM or SOCK_SEQPACKET); how many may
// wait for accept.
struct Listening {
  const char* who;
  int type;
  int waiting_max;
};

// A socket that listens at the path and never waits. Only our own user and root can connect, from the file's
// first moment on. The file that a dead daemon has left is taken over. EADDRINUSE: somebody answers there;
// EEXIST: the file is no socket.
Result<UniqueFd> ListenUnix(const std::string& path, const char* option, const Listening& as);

}  // namespace dxg
