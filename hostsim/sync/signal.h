#pragma once

#include <cstdint>

#include "proto/dxg/host.pb.h"

namespace dxg::hostsim {

struct CommandContext;

// D3DDDICB_SIGNALFLAGS
inline constexpr uint32_t kSignalAtSubmission = 1u << 0;
inline constexpr uint32_t kEnqueueCpuEvent = 1u << 1;
inline constexpr uint32_t kAllowFenceRewind = 1u << 2;

// A SignalSyncObject in the order of contexts or hardware queues. An NTSTATUS.
int32_t SignalFromQueues(CommandContext& call, const host::SignalSyncObject::Request& request);
// A wait in the order of one of them. An NTSTATUS.
int32_t WaitInQueue(CommandContext& call, const host::WaitForSyncObjectFromGpu::Request& request);

}  // namespace dxg::hostsim
