#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/status.h"
#include "base/unique_fd.h"
#include "link/host_control.h"
#include "link/profile_file.h"

// The socket through which `cuse-dxg ctl` and `cuse-dxg top` reach a running daemon: proto/dxg/control.proto
// over a SOCK_SEQPACKET socket, a request and its reply a packet each.

namespace dxg::control {

// A profile, with its name and what else a request has.
inline constexpr size_t kRequestBytesMax = kProfileBytesMax + 8 * 1024;
inline constexpr size_t kReplyBytesMax = 160 * 1024;  // below what a socket's buffer takes by default
inline constexpr size_t kPeersMax = 16;               // at a time

// The reply to one packet, of at most kReplyBytesMax bytes: what cannot be read or is too large is refused in
// it.
std::string Answer(std::span<const std::byte> packet, HostControl& host);

// Listens and answers on a thread of its own, one request at a time. It never waits for a peer: who does not
// take its reply is let go. Peers are of our own user, or root.
class Server {
 public:
  // A socket file that a dead daemon has left is taken over. `host` outlives the server.
  static Result<std::unique_ptr<Server>> Start(const std::string& path, HostControl& host);
  // The same on a socket that listens already, and never waits.
  static Result<std::unique_ptr<Server>> Start(UniqueFd listener, HostControl& host);
  ~Server();  // the file that it made goes with it

 private:
  Server(std::string path, HostControl& host, UniqueFd listener, UniqueFd stop)
      : path_(std::move(path)), host_(host), listener_(std::move(listener)), stop_(std::move(stop)) {}
  static Result<std::unique_ptr<Server>> Start(std::string path, UniqueFd listener, HostControl& host);
  void Run();
  void Admit();
  bool Serve(int peer);  // false: it is to be let go

  const std::string path_;  // empty: not ours
  HostControl& host_;
  const UniqueFd listener_;
  const UniqueFd stop_;
  std::vector<UniqueFd> peers_;    // of the thread
  std::vector<std::byte> packet_;  // of the thread
  std::thread thread_;
};

}  // namespace dxg::control
