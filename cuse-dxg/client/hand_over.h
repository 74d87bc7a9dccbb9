#pragma once

#include <memory>

#include "cuse-dxg/client/delivery.h"

namespace dxg::client {

// That delivery, which reads what all clients' visits say on one thread, with what comes of it handed over to
// threads of its own: whoever waits for a visit goes on there, in memory of a client that may never answer.
// What is called back at once, by the thread that asks, stays there.
std::unique_ptr<Delivery> HandOver(std::unique_ptr<Delivery> delivery);

}  // namespace dxg::client
