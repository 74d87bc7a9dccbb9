#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "link/simulated_bus/protocol.h"

// A list of pages (GPADL) as control messages: one header and as many bodies as it takes.

namespace dxg::vmbus::link {

// The guest's side: tells of pages whose frames follow each other. `bytes` are whole pages, at most
// UINT32_MAX. False: the host is gone or does not read.
bool TellGpadl(Socket& socket, uint32_t relid, uint32_t gpadl, uint64_t address, uint64_t bytes);

// The host's side: what a header says of its list, with the frames that came in the same message; none: it
// makes no sense.
struct GpadlBegin {
  uint32_t relid = 0;
  uint32_t gpadl = 0;
  uint64_t pages = 0;
  std::span<const std::byte> frames;
};
std::optional<GpadlBegin> ReadGpadlBegin(std::span<const std::byte> payload);

// The page frame numbers of a list as they come.
class GpadlFrames {
 public:
  explicit GpadlFrames(uint64_t pages) : pages_(pages) {}
  uint64_t pages() const { return pages_; }
  bool complete() const { return frames_.size() == pages_; }
  const std::vector<uint64_t>& frames() const { return frames_; }
  // False: more came than the list has.
  bool Add(std::span<const std::byte> bytes);

 private:
  const uint64_t pages_;
  std::vector<uint64_t> frames_;
};

}  // namespace dxg::vmbus::link
