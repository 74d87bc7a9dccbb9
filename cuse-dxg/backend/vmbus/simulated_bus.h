#pragma once

#include <memory>
#include <string>

#include "cuse-dxg/backend/vmbus/bus.h"

namespace dxg::vmbus {

// How the packets of channels travel between two processes.
enum class LinkData {
  kRings,   // in shared memory, with eventfds as doorbells, as the real ones
  kPackets  // through the socket
};

// The bus of a simulated host (dxg-hostsim --serve=vmbus:PATH). ENOENT and the like: nobody answers there.
Result<std::unique_ptr<Bus>> ConnectLinkBus(const std::string& path, LinkData data);

}  // namespace dxg::vmbus
