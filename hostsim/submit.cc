#include "hostsim/call.h"
#include "hostsim/commands.h"
#include "hostsim/signal.h"
#include "proto/abi/ntstatus.h"

namespace dxg::hostsim {

int32_t SignalFromQueues(Call&, const host::SignalSyncObject::Request&) { return kStatusNotImplemented; }

void Commands::Handle(Call&, const host::WaitForSyncObjectFromGpu::Request&, host::WaitForSyncObjectFromGpu::Reply* reply) { reply->set_status(kStatusNotImplemented); }

void Commands::Handle(Call&, const host::SubmitCommand::Request&, host::SubmitCommand::Reply* reply) { reply->set_status(kStatusNotImplemented); }

void Commands::Handle(Call&, const host::CreateHwQueue::Request&, host::CreateHwQueue::Reply* reply) { reply->set_status(kStatusNotImplemented); }

void Commands::Handle(Call&, const host::DestroyHwQueue::Request&, host::DestroyHwQueue::Reply* reply) { reply->set_status(kStatusNotImplemented); }

void Commands::Handle(Call&, const host::SubmitCommandToHwQueue::Request&, host::SubmitCommandToHwQueue::Reply* reply) { reply->set_status(kStatusNotImplemented); }

}  // namespace dxg::hostsim
