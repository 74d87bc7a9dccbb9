#include "cuse-dxg/control/server.h"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <span>

#include "base/start_thread.h"
#include "base/unix_socket.h"
#include "cuse-dxg/control/address.h"

namespace dxg::control {
namespace {

std::string Bytes(const ControlReply& reply) { return reply.SerializeAsString(); }

std::string Refusal(const std::string& why) {
  ControlReply reply;
  reply.set_error(why);
  return Bytes(reply);
}

Status CheckPeer(const ucred& who) {
  if (who.uid == 0 || who.uid == geteuid()) return Status::Ok();
  return Status::Refuse(EPERM, "you are user {}; only user {} and root may ask this daemon", who.uid,
                        geteuid());
}

// False: it does not take all of it at once.
bool Say(int peer, const std::string& reply) {
  iovec piece = PieceOf(std::as_bytes(std::span(reply)));
  return SendPieces(peer, std::span(&piece, 1), {}, false) == static_cast<ssize_t>(reply.size());
}

}  // namespace

std::string Answer(std::span<const std::byte> packet, HostControl& host) {
  if (packet.size() > kRequestBytesMax)
    return Refusal(fmt::format("the request is too large; give at most {} bytes", kRequestBytesMax));
  ControlRequest request;
  if (!request.ParseFromArray(packet.data(), static_cast<int>(packet.size())))
    return Refusal("the request cannot be read; use the cuse-dxg that the daemon was built with");
  ControlReply reply;
  host.Serve(request, &reply);
  reply.set_done(reply.error().empty());
  std::string bytes = Bytes(reply);
  if (bytes.size() > kReplyBytesMax)
    return Refusal(fmt::format("the reply has {} bytes, and at most {} fit; clear some faults", bytes.size(),
                               kReplyBytesMax));
  return bytes;
}

Result<std::unique_ptr<Server>> Server::Start(const std::string& path, HostControl& host) {
  DXG_ASSIGN(UniqueFd listener,
             ListenUnix(path, kOption, {.who = "daemon", .type = SOCK_SEQPACKET, .waiting_max = kPeersMax}));
  return Start(path, std::move(listener), host);
}

Result<std::unique_ptr<Server>> Server::Start(UniqueFd listener, HostControl& host) {
  return Start("", std::move(listener), host);
}

Result<std::unique_ptr<Server>> Server::Start(std::string path, UniqueFd listener, HostControl& host) {
  UniqueFd stop(eventfd(0, EFD_CLOEXEC));
  if (!stop.valid()) return Status::Refuse(errno, "--control: no eventfd: {}", std::strerror(errno));
  std::unique_ptr<Server> server(new Server(std::move(path), host, std::move(listener), std::move(stop)));
  if (!StartThread(&server->thread_, [self = server.get()] { self->Run(); }))
    return Status::Refuse(EAGAIN, "--control: no thread can be had (ulimit -u, or the machine's limit)");
  return server;
}

Server::~Server() {
  const uint64_t one = 1;
  DXG_CHECK(write(stop_.get(), &one, sizeof(one)) == sizeof(one));
  thread_.join();
  if (!path_.empty()) unlink(path_.c_str());
}

void Server::Run() {
  packet_.resize(kRequestBytesMax);
  for (;;) {
    std::vector<pollfd> events = {{stop_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
    for (const UniqueFd& peer : peers_) events.push_back({peer.get(), POLLIN, 0});
    if (poll(events.data(), events.size(), -1) < 0) continue;  // EINTR
    if (events[0].revents != 0) return;
    // From behind, because who is let go leaves a gap.
    for (size_t i = events.size(); i-- > 2;) {
      if (events[i].revents != 0 && !Serve(events[i].fd))
        peers_.erase(peers_.begin() + static_cast<ptrdiff_t>(i - 2));
    }
    if (events[1].revents != 0) Admit();
  }
}

void Server::Admit() {
  Result<UnixPeer> peer = AcceptUnix(listener_.get(), SOCK_NONBLOCK);
  if (!peer.ok()) {
    // The one who waits is still there: without a pause we would go round and round.
    constexpr int kPauseMs = 100;
    pollfd stop = {stop_.get(), POLLIN, 0};
    if (OutOfDescriptors(peer.status())) poll(&stop, 1, kPauseMs);
    return;
  }
  if (Status status = CheckPeer(peer->who); !status.ok()) {
    spdlog::warn("control socket: {}", status.why());
    (void)Say(peer->socket.get(), Refusal(status.why()));
  } else if (peers_.size() >= kPeersMax) {
    (void)Say(peer->socket.get(),
              Refusal(fmt::format("{} others are connected, which is the most; try again", kPeersMax)));
  } else {
    peers_.push_back(std::move(peer->socket));
  }
}

bool Server::Serve(int peer) {
  const ReceivedPiece got = ReceivePiece(peer, packet_, 0, false);
  if (got.bytes < 0) return got.bytes == -EAGAIN;
  if (got.bytes == 0) return false;  // gone; no request is empty
  return Say(peer, got.cut ? Refusal(fmt::format(
                                 "the request is too large; give at most {} bytes, and no descriptors",
                                 kRequestBytesMax))
                           : Answer(std::span(packet_).first(static_cast<size_t>(got.bytes)), host_));
}

}  // namespace dxg::control
