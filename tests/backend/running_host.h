#pragma once

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cuse-dxg/backend/socket/socket_backend.h"
#include "hostsim/serve/server.h"
#include "tests/backend/raw_peer.h"

// A host of `dxg-hostsim --listen` in this process, and a device's way to it.

namespace dxg {

inline constexpr std::chrono::milliseconds kForEver{
    600'000};  // trouble other than silence has to be noticed at once

inline std::unique_ptr<Backend> ConnectTo(const std::string& path,
                                          std::chrono::milliseconds patience = kForEver,
                                          std::vector<std::string> profiles = {}) {
  SocketOptions options;
  options.path = path;
  options.profiles = std::move(profiles);
  options.patience = patience;
  auto backend = CreateSocketBackend(options);
  EXPECT_TRUE(backend.ok()) << backend.status().why();
  return *std::move(backend);
}

// A guest that does not care.
class NoEvents : public BackendEvents {
 public:
  void AdapterArrived(const HostAdapter&) override {}
  void AdapterStopped(uint64_t) override {}
  void AdapterRemoved(uint64_t) override {}
  void DeviceStateChanged(uint64_t) override {}
  void GuestEvent(uint64_t) override {}
  void HostLost() override {}
};

class RunningHost {
 public:
  RunningHost() : stop_(eventfd(0, EFD_CLOEXEC)) {
    // Before there are threads: spdlog's own library makes its registry at the first use, which TSan cannot
    // see into.
    spdlog::default_logger();
    auto server = hostsim::serve::Server::Listen(path(), hostsim::serve::ForDevices({}));
    EXPECT_TRUE(server.ok()) << server.status().why();
    server_ = *std::move(server);
    thread_ = std::thread([this] { server_->Run(stop_.get()); });
  }
  ~RunningHost() { End(); }

  std::string path() const { return directory_.path() + "/host"; }
  void End() {
    if (!server_) return;
    const uint64_t one = 1;
    EXPECT_EQ(write(stop_.get(), &one, sizeof(one)), static_cast<ssize_t>(sizeof(one)));
    thread_.join();
    server_.reset();
  }

 private:
  socket::TestDirectory directory_;
  const UniqueFd stop_;
  std::unique_ptr<hostsim::serve::Server> server_;
  std::thread thread_;
};

class SocketHostTest : public testing::Test {
 protected:
  std::string path() const { return host_.path(); }
  void EndHost() { host_.End(); }

 private:
  RunningHost host_;
};

}  // namespace dxg
