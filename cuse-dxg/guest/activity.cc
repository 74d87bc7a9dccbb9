#include "cuse-dxg/guest/activity.h"

#include "proto/contract/calls.gen.h"

namespace dxg::guest {

void Activity::AddTo(ControlReply::Live::GuestProcess* process, bool by_name) const {
  uint64_t calls = unknown_, refused = calls;
  for (const contract::CallRow& row : contract::Calls()) {
    const OfCall& of = calls_[row.nr % kCalls];
    // In this order: what ends meanwhile has begun.
    const uint64_t ended = of.ended, of_refused = of.refused, begun = of.begun;
    calls += ended;
    refused += of_refused;
    if (begun > ended) {
      ControlReply::Live::Waiting* waiting = process->add_waiting();
      waiting->set_call(row.name);
      waiting->set_count(begun - ended);
    }
    if (!by_name || ended == 0) continue;
    ControlReply::Call* call = process->add_by_name();
    call->set_name(row.name);
    call->set_count(ended);
    call->set_refused(of_refused);
  }
  process->set_calls(calls);
  process->set_refused(refused);
}

}  // namespace dxg::guest
