#pragma once

#include <cstddef>
#include <span>

#include "link/backend.h"

namespace dxg::vmbus {

// What a host sends unasked on the global channel, to whom it concerns. What makes no sense is logged and
// dropped.
void DeliverGuestMessage(std::span<const std::byte> message, BackendEvents& events);

}  // namespace dxg::vmbus
