#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "link/backend.h"

namespace dxg {

struct SocketOptions {
  std::string path;  // of a `dxg-hostsim --listen`
  std::vector<std::string>
      profiles;          // of the adapters to ask it for, a name or a file each; none: what it has ready
  std::string scenario;  // for those adapters; empty: what it has ready
  // A host that says nothing for so long, although it was asked whether it is there, is taken for lost.
  std::chrono::milliseconds patience{1000};
  bool rings = true;  // frames through shared memory, where the host takes that
};

// A host in another process, over a Unix socket (docs/protocol.md). When it is lost, all calls end with
// ENODEV and BackendEvents::HostLost is told, once; from then on this back-end finds nothing.
Result<std::unique_ptr<Backend>> CreateSocketBackend(const SocketOptions& options);

}  // namespace dxg
