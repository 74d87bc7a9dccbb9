#pragma once

#include <cstdint>

#include "proto/abi/flags.h"
#include "proto/dxg/host.pb.h"

namespace dxg::hostsim {

struct CommandContext;

// D3DDDICB_SIGNALFLAGS
inline constexpr uint32_t kSignalAtSubmission = DXG_SIGNAL_AT_SUBMISSION;
inline constexpr uint32_t kEnqueueCpuEvent = DXG_SIGNAL_ENQUEUE_CPU_EVENT;
inline constexpr uint32_t kAllowFenceRewind = DXG_SIGNAL_ALLOW_FENCE_REWIND;

// A SignalSyncObject in the order of contexts or hardware queues. An NTSTATUS.
int32_t SignalFromQueues(CommandContext& call, const host::SignalSyncObject::Request& request);
// A wait in the order of one of them. An NTSTATUS.
int32_t WaitInQueue(CommandContext& call, const host::WaitForSyncObjectFromGpu::Request& request);

}  // namespace dxg::hostsim
