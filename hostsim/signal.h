#pragma once

#include <cstdint>

#include "proto/dxg/host.pb.h"

namespace dxg::hostsim {

struct Call;

// A SignalSyncObject in the order of contexts or hardware queues. An NTSTATUS.
int32_t SignalFromQueues(Call& call, const host::SignalSyncObject::Request& request);

}  // namespace dxg::hostsim
