#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/status.h"
#include "cuse-dxg/replay/comparison.h"
#include "cuse-dxg/replay/recording.h"

namespace dxg::replay {

struct PlayOptions {
  std::string device;           // the node
  bool recorded_times = false;  // calls begin when they began; else as soon as their order lets them
};

// What came of it.
struct Played {
  Counts counts;
  std::string first;        // the first call that was answered otherwise, with its history; empty: none was
  uint64_t missing = 0;     // calls that were not made, or did not end
  std::string why_missing;  // of the first
};

// Plays the client's side of a recording against a node: a process for each process, a thread for each
// thread, in the recorded order (order.h). Handles, LUIDs, addresses, descriptors, eventfds and process
// numbers are those of the node and of these processes. Forks, so the caller has one thread. ENOENT and the
// like: the node cannot be opened; EAGAIN, ENOMEM: no process or memory can be had.
Result<Played> Play(const Recording& recording, const PlayOptions& options);

}  // namespace dxg::replay
