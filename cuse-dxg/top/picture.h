#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "proto/dxg/control.pb.h"

// What two samples of a daemon come to: what is there now, and how fast it grows.

namespace dxg::top {

struct Memory {
  uint64_t size = 0, budget = 0, used = 0, placed = 0;  // bytes
};

struct Engine {
  std::string name;
  double load = 0;  // 0 to 1, of the time between the samples
  double commands_per_second = 0;
  uint64_t running_ns = 0, queues = 0, ready = 0, submitted = 0, completed = 0, faulted = 0;
};

struct Adapter {
  uint64_t luid = 0;
  std::string profile, description;
  Memory local, non_local;
  std::vector<Engine> engines;
  uint32_t resets = 0;
};

struct NamedCount {
  std::string name;
  uint64_t count = 0, refused = 0;
  double per_second = 0;
};

struct Process {
  uint64_t pid = 0;  // where the daemon is; of a host that is asked by itself, in its own namespace
  uint64_t started = 0;
  uint32_t user = 0;
  std::string name;
  bool has_guest = false;             // else nothing is known of its calls, its user and its objects
  uint64_t local = 0, non_local = 0;  // bytes that are resident
  uint64_t bytes = 0;                 // of allocations, as they were asked for
  uint64_t objects = 0, wait_points = 0, queued = 0;
  uint64_t calls = 0, refused = 0, running_ns = 0;
  double calls_per_second = 0, refused_per_second = 0;
  double load = 0;                  // of the engine that it used most, 0 to 1
  std::vector<NamedCount> waiting;  // calls that have no answer yet
  std::vector<NamedCount> by_name;  // only of the process that is opened

  uint64_t waits() const {
    uint64_t all = 0;
    for (const NamedCount& each : waiting) all += each.count;
    return all;
  }
};

struct Refusal {
  double seconds_ago = 0;
  uint64_t process = 0, count = 0;
  uint32_t thread = 0;
  std::string name, call, error, why;
};

struct Picture {
  double seconds = 0;  // between the samples; 0: there is one, and rates are 0
  bool has_guest = false;
  uint64_t calls = 0, refused = 0, waits = 0;
  double calls_per_second = 0, refused_per_second = 0;
  std::vector<Adapter> adapters;
  std::vector<Process> processes;
  std::vector<Refusal> refusals;  // newest first
};

// `before` may be of another daemon or empty. What only grows and has fallen began anew: its rate is 0. All
// text is printable.
Picture MakePicture(const ControlReply::Live& before, const ControlReply::Live& now);

enum class SortBy : uint8_t { kMemory, kGpu, kCalls, kRefused, kWaits, kPid, kName };
inline constexpr SortBy kSortKeys[] = {SortBy::kMemory, SortBy::kGpu, SortBy::kCalls, SortBy::kRefused,
                                       SortBy::kWaits,  SortBy::kPid, SortBy::kName};
const char* SortName(SortBy key);  // "memory", ...
// The most first; numbers and names ascending. Equals by number.
void Sort(std::vector<Process>* processes, SortBy key);

}  // namespace dxg::top
