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

Server::Server(std::string path, UniqueFd listener, Service service)
    : path_(std::move(path)),
      file_(FileAt(path_)),
      listener_(std::move(listener)),
      service_(std::move(service)) {}

// Somebody may have removed it, and another host may be there by now.
bool Server::HasOwnSocketFile() const { return FileAt(path_) == file_; }

Result<std::unique_ptr<Server>> Server::Listen(const std::string& path, Service service) {
  constexpr int kWaitingMax = 128;
  DXG_ASSIGN(UniqueFd listener, ListenUnix(path, service.option, {"host", service.type, kWaitingMax}));
  return std::unique_ptr<Server>(new Server(path, std::move(listener), std::move(service)));
}

void Server::End() {
  for (Running& each : running_) each.connection->End();
  for (Running& each : running_) each.thread.join();
  running_.clear();
}

void Server::Withdraw() const {
  if (HasOwnSocketFile()) unlink(path_.c_str());
}

void Server::Run(int stop) {
  constexpr int kLookMs = 1000;  // for sessions that are over
  for (;;) {
    pollfd events[] = {{stop, POLLIN, 0}, {listener_.get(), POLLIN, 0}};
    if (poll(events, std::size(events), running_.empty() ? -1 : kLookMs) < 0) continue;  // EINTR
    Reap();
    if (events[0].revents != 0) return;
    if (events[1].revents != 0) Admit();
  }
}

void Server::Admit() {
  auto admitted = AcceptUnix(listener_.get());
  if (!admitted.ok()) {
    constexpr int kPauseMs = 100;
    if (OutOfDescriptors(admitted.status())) poll(nullptr, 0, kPauseMs);
    return;
  }
  auto [peer, who] = *std::move(admitted);
  if (who.uid != 0 && who.uid != geteuid()) {
    spdlog::warn("user {} is refused: only user {} and root may use this host", who.uid, geteuid());
    return;
  }
  if (running_.size() >= kSessionsMax) {
    spdlog::warn("process {} is refused: {} devices are served, which is the most", who.pid, kSessionsMax);
    return;
  }
  Running& started =
      running_.emplace_back(service_.connect(std::move(peer), fmt::format("process {}", who.pid)));
  const bool has_thread = StartThread(&started.thread, [&started, pid = who.pid] {
    // What one guest makes us run out of ends that guest.
    try {
      started.connection->Run();
    } catch (const std::exception& error) {
      spdlog::error("process {} is let go: {}; see the limits of threads and memory (ulimit -u, -v)", pid,
                    error.what());
    }
    started.over = true;
  });
  if (has_thread) return;
  spdlog::error(
      "process {} is let go: no thread to serve it; see the limits of threads and memory (ulimit -u, -v)",
      who.pid);
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
