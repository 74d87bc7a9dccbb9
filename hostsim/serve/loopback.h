#pragma once

#include <sys/types.h>

#include <cstdint>

#include "base/status.h"
#include "base/unique_fd.h"

namespace dxg::hostsim::serve {

// Somebody of this machine who has connected, and who that is by the kernel's word.
struct LoopbackPeer {
  UniqueFd socket;
  uid_t user = 0;
  uint16_t port = 0;  // his
};

// A TCP port that only this machine can reach. TCP knows no users, and every user of the machine reaches such
// a port, so the owner of a connection is looked up in the kernel's table.
class LoopbackListener {
 public:
  // At 127.0.0.1. `port` 0: one that is free. Without that table nobody is listened for. `option` is for
  // messages.
  static Result<LoopbackListener> At(uint16_t port, const char* option);

  int socket() const { return socket_.get(); }
  uint16_t port() const { return port_; }
  // The next who waits. EAGAIN: nobody; EACCES: his owner is not known, because he is gone again.
  Result<LoopbackPeer> Accept() const;

 private:
  LoopbackListener(UniqueFd socket, UniqueFd table, uint16_t port);

  UniqueFd socket_;
  UniqueFd table_;  // /proc/net/tcp, opened before the process is confined
  uint16_t port_;
};

}  // namespace dxg::hostsim::serve
