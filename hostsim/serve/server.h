#pragma once

#include <sys/types.h>

#include <atomic>
#include <list>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cuse-dxg/status.h"
#include "hostsim/serve/session.h"

namespace dxg::hostsim::serve {

// Hosts for device processes, one each, at a Unix socket that only its own user and root can reach.
class Server {
 public:
  static constexpr size_t kSessionsMax = 256;

  static Result<std::unique_ptr<Server>> Listen(const std::string& path, std::vector<ControlRequest::AddAdapter> adapters);
  ~Server();  // ends all sessions

  // Serves until `stop` is readable.
  void Run(int stop);

 private:
  struct Running {
    Running(attach::UniqueFd peer, std::string name, const std::vector<ControlRequest::AddAdapter>& adapters)
        : session(std::move(peer), std::move(name), adapters) {}
    Session session;
    std::atomic<bool> over{false};
    std::thread thread;
  };

  Server(std::string path, attach::UniqueFd listener, std::vector<ControlRequest::AddAdapter> adapters);
  void Admit();
  void Reap();
  bool HasOwnSocketFile() const;

  const std::string path_;
  std::pair<dev_t, ino_t> file_;  // what we made there
  const attach::UniqueFd listener_;
  const std::vector<ControlRequest::AddAdapter> adapters_;
  std::list<Running> running_;
};

}  // namespace dxg::hostsim::serve
