#pragma once

#include <sys/types.h>

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/status.h"
#include "hostsim/serve/guest_session.h"
#include "hostsim/serve/loopback.h"
#include "hostsim/serve/tbx_session.h"
#include "hostsim/serve/vmbus_session.h"
#include "link/trace/recording.h"

namespace dxg::hostsim::serve {

// What speaks with those who connect: a socket's type and what makes a connection's side of ours, with a name
// for messages.
struct Service {
  int type;            // SOCK_STREAM or SOCK_SEQPACKET
  const char* option;  // that asked for it, for messages
  std::function<std::unique_ptr<GuestSession>(UniqueFd, std::string name)> connect;
};

// Device processes (--listen), each with a host of its own; where one asks for no adapters it gets these, and
// where it asks for no scenario it gets that one. `recording` is of what they say; null: none.
Service ForDevices(std::vector<ControlRequest::AddAdapter> adapters, std::string scenario = "",
                   std::shared_ptr<trace::Recording> recording = nullptr);
// Guests with a VMBus (--serve=vmbus:PATH).
Service ForGuests(VmbusOptions options);
// Programs whose runtime speaks to a simulator (--serve=tbx:PORT).
Service ForPrograms(TbxOptions options);

// Hosts for those who connect to a Unix socket that only its own user and root can reach, or to a port of
// this machine as one of those two; one each.
class Server {
 public:
  static constexpr size_t kSessionsMax = 256;

  static Result<std::unique_ptr<Server>> Listen(const std::string& path, Service service);
  // For one who has begun to listen at a port.
  static std::unique_ptr<Server> Listen(LoopbackListener listener, Service service);
  ~Server() {
    End();
    Withdraw();
  }

  // Serves until `stop` is readable.
  void Run(int stop);
  // Ends all sessions, and waits for them.
  void End();
  // Nobody finds it any more. Any thread.
  void Withdraw() const;

 private:
  struct Running {
    explicit Running(std::unique_ptr<GuestSession> with) : connection(std::move(with)) {}
    const std::unique_ptr<GuestSession> connection;
    std::atomic<bool> over{false};
    std::thread thread;
  };

  // Somebody who has connected.
  struct Visitor {
    UniqueFd socket;
    uid_t user;
    std::string name;  // for messages
  };

  Server(std::string path, std::optional<LoopbackListener> port, UniqueFd listener, Service service);
  int listener() const { return port_ ? port_->socket() : listener_.get(); }
  Result<Visitor> Accept() const;
  void Admit();
  void Reap();
  bool HasOwnSocketFile() const;

  const std::string path_;
  std::pair<dev_t, ino_t> file_;                // what we made there
  const std::optional<LoopbackListener> port_;  // instead of the path
  const UniqueFd listener_;
  const Service service_;
  std::list<Running> running_;
};

}  // namespace dxg::hostsim::serve
