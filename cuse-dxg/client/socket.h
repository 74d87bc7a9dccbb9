#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "cuse-dxg/attach/unique_fd.h"
#include "cuse-dxg/status.h"

namespace dxg::client {

using attach::UniqueFd;

// Datagrams with descriptors over a connected Unix socket. A peer that is gone is ECONNRESET, never a signal.

constexpr size_t kFilesPerMessageMax = 64;  // the kernel takes 253

Result<std::pair<UniqueFd, UniqueFd>> MakeSocketPair();
Status Send(int socket, std::span<const std::byte> message, std::span<const int> files = {});

// One whole message, at most `room` bytes of it. The descriptors it brought are close-on-exec. None:
// ECONNRESET.
struct Received {
  size_t bytes = 0;
  std::vector<UniqueFd> files;
};
Result<Received> Receive(int socket, std::span<std::byte> room, bool wait = true);

}  // namespace dxg::client
