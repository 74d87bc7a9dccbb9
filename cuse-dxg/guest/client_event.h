#pragma once

#include <cstdint>

#include "cuse-dxg/guest/call.h"
#include "cuse-dxg/guest/event_table.h"

// Eventfds of clients as events of the host.

namespace dxg::guest {

// Enters an event that signals the eventfd behind a descriptor number of the caller, of which the lower 32
// bits count. EINVAL where it is none, ENOMEM where too many are held (client::EventFiles).
// Who gets it removes it where the host does not come to know of it.
// `charge` is held as long as the event is there.
TaskOf<uint64_t> AddClientEvent(Call& call, uint64_t descriptor, EventTable::Lifetime lifetime,
                                Charge charge = {});

}  // namespace dxg::guest
