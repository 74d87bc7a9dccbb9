#include "hostsim/serve/server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <utility>

#include "base/start_thread.h"
#include "base/unix_socket.h"
#include "hostsim/serve/socket_session.h"

namespace dxg::hostsim::serve {

namespace {

std::pair<dev_t, ino_t> FileAt(const std::string& path) {
  struct stat file = {};
  return lstat(path.c_str(), &file) == 0 ? std::pair(file.st_dev, file.st_ino)
                                         : std::pair(dev_t{0}, ino_t{0});
}

}  // namespace

Service ForDevices(std::vector<ControlRequest::AddAdapter> adapters, std::string scenario,
                   std::shared_ptr<trace::Recording> recording) {
  return {SOCK_STREAM, "--listen",
          [adapters = std::move(adapters), scenario = std::move(scenario), recording = std::move(recording),
           guests = 0u](UniqueFd peer, std::string name) mutable {
            fcntl(peer.get(), F_SETFL, O_NONBLOCK);
            return std::make_unique<SocketSession>(std::move(peer), std::move(name), adapters, scenario,
                                                   recording, ++guests);
          }};
}

Service ForGuests(VmbusOptions options) {
  return {SOCK_SEQPACKET, "--serve",
          [options = std::move(options), guests = 0u](UniqueFd peer, std::string name) mutable {
            return std::make_unique<VmbusSession>(std::move(peer), std::move(name), options, ++guests);
          }};
}

Service ForPrograms(TbxOptions options) {
  return {SOCK_STREAM, "--serve", [options = std::move(options)](UniqueFd peer, std::string name) {
            return std::make_unique<TbxSession>(std::move(peer), std::move(name), options);
          }};
}

Server::Server(std::string path, std::optional<LoopbackListener> port, UniqueFd listener, Service service)
    : path_(std::move(path)),
      file_(FileAt(path_)),
      port_(std::move(port)),
      listener_(std::move(listener)),
      service_(std::move(service)) {}

// Somebody may have removed it, and another host may be there by now.
bool Server::HasOwnSocketFile() const { return FileAt(path_) == file_; }

Result<std::unique_ptr<Server>> Server::Listen(const std::string& path, Service service) {
  constexpr int kWaitingMax = 128;
  DXG_ASSIGN(UniqueFd listener, ListenUnix(path, service.option, {"host", service.type, kWaitingMax}));
  return std::unique_ptr<Server>(new Server(path, std::nullopt, std::move(listener), std::move(service)));
}

std::unique_ptr<Server> Server::Listen(LoopbackListener listener, Service service) {
  return std::unique_ptr<Server>(new Server("", std::move(listener), UniqueFd(), std::move(service)));
}

void Server::End() {
  for (Running& each : running_) each.connection->End();
  for (Running& each : running_) each.thread.join();
  running_.clear();
}

void Server::Withdraw() const {
  if (!port_ && HasOwnSocketFile()) unlink(path_.c_str());
}

void Server::Run(int stop) {
  constexpr int kLookMs = 1000;  // for sessions that are over
  for (;;) {
    pollfd events[] = {{stop, POLLIN, 0}, {listener(), POLLIN, 0}};
    if (poll(events, std::size(events), running_.empty() ? -1 : kLookMs) < 0) continue;  // EINTR
    Reap();
    if (events[0].revents != 0) return;
    if (events[1].revents != 0) Admit();
  }
}

Result<Server::Visitor> Server::Accept() const {
  if (port_) {
    DXG_ASSIGN(LoopbackPeer peer, port_->Accept());
    return Visitor{std::move(peer.socket), peer.user, fmt::format("program at port {}", peer.port)};
  }
  DXG_ASSIGN(UnixPeer peer, AcceptUnix(listener_.get()));
  return Visitor{std::move(peer.socket), peer.who.uid, fmt::format("process {}", peer.who.pid)};
}

void Server::Admit() {
  auto admitted = Accept();
  if (!admitted.ok()) {
    constexpr int kPauseMs = 100;
    if (admitted.status().value() == -EACCES) spdlog::warn("{}", admitted.status().why());
    if (OutOfDescriptors(admitted.status())) poll(nullptr, 0, kPauseMs);
    return;
  }
  auto [peer, user, name] = *std::move(admitted);
  if (user != 0 && user != geteuid()) {
    spdlog::warn("user {} is refused: only user {} and root may use this host", user, geteuid());
    return;
  }
  if (running_.size() >= kSessionsMax) {
    spdlog::warn("{} is refused: {} devices are served, which is the most", name, kSessionsMax);
    return;
  }
  Running& started = running_.emplace_back(service_.connect(std::move(peer), name));
  const bool has_thread = StartThread(&started.thread, [&started, who = name] {
    // What one guest makes us run out of ends that guest.
    try {
      started.connection->Run();
    } catch (const std::exception& error) {
      spdlog::error("{} is let go: {}; see the limits of threads and memory (ulimit -u, -v)", who,
                    error.what());
    }
    started.over = true;
  });
  if (has_thread) return;
  spdlog::error("{} is let go: no thread to serve it; see the limits of threads and memory (ulimit -u, -v)",
                name);
  running_.pop_back();
}

void Server::Reap() {
  running_.remove_if([](Running& each) {
    if (!each.over) return false;
    each.thread.join();
    return true;
  });
}

}  // namespace dxg::hostsim::serve
