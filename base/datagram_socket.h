#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "base/status.h"
#include "base/unique_fd.h"

namespace dxg {

// Datagrams with descriptors over a connected Unix socket. A peer that is gone is ECONNRESET, never a signal.

constexpr size_t kFilesPerMessageMax = 64;  // the kernel takes 253

Result<std::pair<UniqueFd, UniqueFd>> MakeSocketPair();
Status SendDatagram(int socket, std::span<const std::byte> message, std::span<const int> files = {});

// One whole message, at most `room` bytes of it. The descriptors it brought are close-on-exec. None:
// ECONNRESET.
struct Datagram {
  size_t bytes = 0;
  std::vector<UniqueFd> files;
};
Result<Datagram> ReceiveDatagram(int socket, std::span<std::byte> room, bool wait = true);

}  // namespace dxg
