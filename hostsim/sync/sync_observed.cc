#include <algorithm>

#include "hostsim/machine/world.h"
#include "hostsim/sync/sync_domain.h"

// What an observer of the work is told of fences and waits.

namespace dxg::hostsim {

void SyncDomain::SetFence(SyncObject& fence, uint64_t value, Aftermath* aftermath) {
  if (clock_ != nullptr && fence.traits.monitored() && fence.value() != value) {
    aftermath->work.push_back(
        {.kind = WorkEvent::Kind::kFence, .of = fence.name, .value = value, .at_ns = clock_->NowNs()});
  }
  SetValue(fence, value);
}

// Of several points the one that came last; where `any` of them ends the wait, one that is there.
void SyncDomain::NoteWaitEnded(std::span<const SyncPoint> points, bool any, const SyncPoint& last,
                               const GuestEvent& event, const CpuWaits& waits, Aftermath* aftermath) const {
  if (clock_ == nullptr) return;
  const auto met = any ? std::find_if(points.begin(), points.end(), Met) : points.end();
  const SyncPoint& point = met != points.end() ? *met : last;
  // A handle of another process would mean something else in this one.
  const ObjectName& name = point.object->name;
  aftermath->work.push_back(
      {.kind = WorkEvent::Kind::kWaitEnded,
       .of = {event.process, waits.process_id_, name.process == event.process ? name.object : 0},
       .value = point.value,
       .at_ns = clock_->NowNs()});
}

}  // namespace dxg::hostsim
