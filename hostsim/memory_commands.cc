#include "hostsim/call.h"
#include "hostsim/commands.h"
#include "proto/abi/ntstatus.h"

// Commands of GPU memory that nothing stands behind yet.

namespace dxg::hostsim {

void Commands::Handle(Call&, const host::DestroyNtSharedObject::Request&,
                      host::DestroyNtSharedObject::Reply* reply) {
  reply->set_status(kStatusNotImplemented);
}

void Commands::Handle(Call&, const host::DestroyAllocation::Request&, host::DestroyAllocation::Reply* reply) {
  reply->set_status(kStatusNotImplemented);
}

void Commands::Handle(Call&, const host::GetStandardAllocationDriverData::Request&,
                      host::GetStandardAllocationDriverData::Reply* reply) {
  reply->set_status(kStatusNotImplemented);
}

void Commands::Handle(Call&, const host::SetExistingSysmemStore::Request&,
                      host::SetExistingSysmemStore::Reply* reply) {
  reply->set_status(kStatusNotImplemented);
}

void Commands::Handle(Call&, const host::SetExistingSysmemPages::Request&,
                      host::SetExistingSysmemPages::Reply* reply) {
  reply->set_status(kStatusNotImplemented);
}

void Commands::Handle(Call&, const host::Lock2::Request&, host::Lock2::Reply* reply) {
  reply->set_status(kStatusNotImplemented);
}

void Commands::Handle(Call&, const host::Unlock2::Request&, host::Unlock2::Reply* reply) {
  reply->set_status(kStatusNotImplemented);
}

void Commands::Handle(Call&, const host::InvalidateCache::Request&, host::InvalidateCache::Reply* reply) {
  reply->set_status(kStatusNotImplemented);
}

void Commands::Handle(Call&, const host::OpenResource::Request&, host::OpenResource::Reply* reply) {
  reply->set_status(kStatusNotImplemented);
}

void Commands::Handle(Call&, const host::SetAllocationPriority::Request&,
                      host::SetAllocationPriority::Reply* reply) {
  reply->set_status(kStatusNotImplemented);
}

void Commands::Handle(Call&, const host::GetAllocationPriority::Request&,
                      host::GetAllocationPriority::Reply* reply) {
  reply->set_status(kStatusNotImplemented);
}

void Commands::Handle(Call&, const host::OfferAllocations::Request&, host::OfferAllocations::Reply* reply) {
  reply->set_status(kStatusNotImplemented);
}

void Commands::Handle(Call&, const host::ReclaimAllocations::Request&,
                      host::ReclaimAllocations::Reply* reply) {
  reply->set_status(kStatusNotImplemented);
}

void Commands::Handle(Call&, const host::MakeResident::Request&, host::MakeResident::Reply* reply) {
  reply->set_status(kStatusNotImplemented);
}

void Commands::Handle(Call&, const host::QueryAllocationResidency::Request&,
                      host::QueryAllocationResidency::Reply* reply) {
  reply->set_status(kStatusNotImplemented);
}

void Commands::Handle(Call&, const host::UpdateAllocationProperty::Request&,
                      host::UpdateAllocationProperty::Reply* reply) {
  reply->set_status(kStatusNotImplemented);
}

void Commands::Handle(Call&, const host::MapGpuVirtualAddress::Request&,
                      host::MapGpuVirtualAddress::Reply* reply) {
  reply->set_status(kStatusNotImplemented);
}

void Commands::Handle(Call&, const host::FreeGpuVirtualAddress::Request&,
                      host::FreeGpuVirtualAddress::Reply* reply) {
  reply->set_status(kStatusNotImplemented);
}

void Commands::Handle(Call&, const host::UpdateGpuVirtualAddress::Request&,
                      host::UpdateGpuVirtualAddress::Reply* reply) {
  reply->set_status(kStatusNotImplemented);
}

void Commands::Handle(Call& call, const host::CreateNtSharedObject::Request&,
                      host::CreateNtSharedObject::Reply*) {
  call.Refuse();
}

void Commands::Handle(Call& call, const host::CreateAllocation::Request&, host::CreateAllocation::Reply*) {
  call.Refuse();
}

void Commands::Handle(Call& call, const host::CreatePagingQueue::Request&, host::CreatePagingQueue::Reply*) {
  call.Refuse();
}

void Commands::Handle(Call& call, const host::DestroyPagingQueue::Request&,
                      host::DestroyPagingQueue::Reply*) {
  call.Refuse();
}

void Commands::Handle(Call& call, const host::Evict::Request&, host::Evict::Reply*) { call.Refuse(); }

void Commands::Handle(Call& call, const host::ReserveGpuVirtualAddress::Request&,
                      host::ReserveGpuVirtualAddress::Reply*) {
  call.Refuse();
}

}  // namespace dxg::hostsim
