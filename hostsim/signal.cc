#include "hostsim/call.h"
#include "hostsim/commands.h"
#include "proto/abi/ntstatus.h"

namespace dxg::hostsim {

void Commands::Handle(Call&, const host::SignalSyncObject::Request&, host::SignalSyncObject::Reply* reply) { reply->set_status(kStatusNotImplemented); }

void Commands::Handle(Call&, const host::WaitForSyncObjectFromGpu::Request&, host::WaitForSyncObjectFromGpu::Reply* reply) { reply->set_status(kStatusNotImplemented); }

}  // namespace dxg::hostsim
