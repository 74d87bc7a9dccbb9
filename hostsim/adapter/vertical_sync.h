#pragma once

#include <cstdint>
#include <memory>

#include "hostsim/machine/machine.h"

namespace dxg::hostsim {

// Each one has a timer of its own, so a process has no more than these.
inline constexpr uint32_t kPeriodicFencesMax = 64;

// The display of an adapter that has one: nobody sees it, but it goes round. Its vertical syncs are where the
// host's clock is a multiple of the period.

// Raises the fence by one at `before_ns` before each vertical sync, until it ends or is lost. `before_ns` is
// below the period.
void FollowVerticalSync(Machine& machine, uint64_t period_ns, uint64_t before_ns,
                        const std::shared_ptr<SyncObject>& fence);

}  // namespace dxg::hostsim
