#include "hostsim/adapter/vertical_sync.h"

#include "proto/abi/interface.h"

namespace dxg::hostsim {

void FollowVerticalSync(Machine& machine, uint64_t period_ns, uint64_t before_ns,
                        const std::shared_ptr<SyncObject>& fence) {
  const uint64_t syncs = (machine.NowNs() + before_ns) / period_ns;
  const uint64_t next_ns = (syncs + 1) * period_ns - before_ns;
  machine.CallAt(next_ns, [&machine, period_ns, before_ns, weak = std::weak_ptr(fence)] {
    const auto alive = weak.lock();
    if (!alive || alive->value() == kFenceLost) return;
    Aftermath aftermath;
    // Packets of queues may name one that has ended for as long as they like.
    if (!alive->domain().Raise(*alive, alive->value() + 1, &aftermath)) return;
    machine.Deliver(std::move(aftermath));
    FollowVerticalSync(machine, period_ns, before_ns, alive);
  });
}

}  // namespace dxg::hostsim
