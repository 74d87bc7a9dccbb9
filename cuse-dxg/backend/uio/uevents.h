#pragma once

#include <string_view>

#include "base/status.h"
#include "base/unique_fd.h"

// What the kernel says when devices come and go.

namespace dxg::vmbus {

// Becomes ready to read with each event. To be read by TakeUevents only.
Result<UniqueFd> ListenToUevents();

// Whether an event is about what we look at: channels, their nodes, PCI functions.
bool ConcernsUs(std::string_view event);

// Takes all events that are there. True: one of them concerns us, or some were lost.
bool TakeUevents(int socket);

}  // namespace dxg::vmbus
