#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "hostsim/machine/work_observer.h"

namespace dxg::hostsim {

// D3DKMT_DEVICEEXECUTION_STATE
enum class ExecutionState : uint32_t {
  kActive = 1,
  kReset = 2,
  kHung = 3,
  kStopped = 4,
  kOutOfMemory = 5,
  kDmaFault = 6,
  kDmaPageFault = 7,
};

// A device whose state has just changed.
struct StateChange {
  uint32_t process;
  uint64_t vgpu_luid;
  uint64_t cookie;
  ExecutionState state;
};

// An event of the guest's that has happened.
struct GuestEvent {
  uint32_t process;
  uint64_t event;
};

// What a step leaves to be done when its thread has let go of all locks: what the guest is told, and then
// calls of whoever waited for the step. They may come back into the host.
struct Aftermath {
  std::vector<WorkEvent> work;  // none where nobody observes
  std::vector<StateChange> changes;
  std::vector<GuestEvent> events;
  std::vector<std::function<void()>> calls;

  bool empty() const { return work.empty() && changes.empty() && events.empty() && calls.empty(); }
  void Then(std::function<void()> call) { calls.push_back(std::move(call)); }
};

}  // namespace dxg::hostsim
