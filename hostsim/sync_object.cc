#include "hostsim/call.h"
#include "hostsim/commands.h"
#include "proto/abi/ntstatus.h"

namespace dxg::hostsim {

void Commands::Handle(Call&, const host::CreateSyncObject::Request&, host::CreateSyncObject::Reply*) {  }

void Commands::Handle(Call&, const host::DestroySyncObject::Request&, host::DestroySyncObject::Reply* reply) { reply->set_status(kStatusNotImplemented); }

void Commands::Handle(Call&, const host::OpenSyncObject::Request&, host::OpenSyncObject::Reply* reply) { reply->set_status(kStatusNotImplemented); }

void Commands::Handle(Call&, const host::ShareObjectWithHost::Request&, host::ShareObjectWithHost::Reply* reply) { reply->set_status(kStatusNotImplemented); }

void Commands::Handle(Call&, const host::WaitForSyncObjectFromCpu::Request&, host::WaitForSyncObjectFromCpu::Reply* reply) { reply->set_status(kStatusNotImplemented); }

}  // namespace dxg::hostsim
