#pragma once

#include "proto/dxg/host.pb.h"

namespace dxg::hostsim {

struct Call;

// What the host does for each command of proto/dxg/host.proto: one overload each, defined in the file of its
// noun. The generated dispatch calls them by command id, so a command without an overload does not compile. A
// reply comes in empty; a command whose reply has a status always sets it.
struct Commands {
  // process.cc
  void Handle(Call& call, const host::CreateProcess::Request& request, host::CreateProcess::Reply* reply);
  void Handle(Call& call, const host::DestroyProcess::Request& request, host::DestroyProcess::Reply* reply);

  // adapter.cc
  void Handle(Call& call, const host::SetIospaceRegion::Request& request,
              host::SetIospaceRegion::Reply* reply);
  void Handle(Call& call, const host::OpenAdapter::Request& request, host::OpenAdapter::Reply* reply);
  void Handle(Call& call, const host::CloseAdapter::Request& request, host::CloseAdapter::Reply* reply);
  void Handle(Call& call, const host::GetInternalAdapterInfo::Request& request,
              host::GetInternalAdapterInfo::Reply* reply);
  void Handle(Call& call, const host::FlushHeapTransitions::Request& request,
              host::FlushHeapTransitions::Reply* reply);

  // device.cc
  void Handle(Call& call, const host::CreateDevice::Request& request, host::CreateDevice::Reply* reply);
  void Handle(Call& call, const host::DestroyDevice::Request& request, host::DestroyDevice::Reply* reply);
  void Handle(Call& call, const host::FlushDevice::Request& request, host::FlushDevice::Reply* reply);
  void Handle(Call& call, const host::GetDeviceState::Request& request, host::GetDeviceState::Reply* reply);
  void Handle(Call& call, const host::MarkDeviceAsError::Request& request,
              host::MarkDeviceAsError::Reply* reply);

  // context.cc
  void Handle(Call& call, const host::CreateContextVirtual::Request& request,
              host::CreateContextVirtual::Reply* reply);
  void Handle(Call& call, const host::DestroyContext::Request& request, host::DestroyContext::Reply* reply);
  void Handle(Call& call, const host::SetContextSchedulingPriority::Request& request,
              host::SetContextSchedulingPriority::Reply* reply);
  void Handle(Call& call, const host::GetContextSchedulingPriority::Request& request,
              host::GetContextSchedulingPriority::Reply* reply);

  // query_adapter_info.cc, statistics.cc, clock_calibration.cc, features.cc, escape.cc
  void Handle(Call& call, const host::QueryAdapterInfo::Request& request,
              host::QueryAdapterInfo::Reply* reply);
  void Handle(Call& call, const host::QueryStatistics::Request& request, host::QueryStatistics::Reply* reply);
  void Handle(Call& call, const host::QueryClockCalibration::Request& request,
              host::QueryClockCalibration::Reply* reply);
  void Handle(Call& call, const host::IsFeatureEnabled::Request& request,
              host::IsFeatureEnabled::Reply* reply);
  void Handle(Call& call, const host::IsFeatureEnabledGlobal::Request& request,
              host::IsFeatureEnabledGlobal::Reply* reply);
  void Handle(Call& call, const host::Escape::Request& request, host::Escape::Reply* reply);

  // memory_budget.cc
  void Handle(Call& call, const host::QueryVideoMemoryInfo::Request& request,
              host::QueryVideoMemoryInfo::Reply* reply);
  void Handle(Call& call, const host::ChangeVideoMemoryReservation::Request& request,
              host::ChangeVideoMemoryReservation::Reply* reply);

  // allocation.cc
  void Handle(Call& call, const host::CreateAllocation::Request& request,
              host::CreateAllocation::Reply* reply);
  void Handle(Call& call, const host::DestroyAllocation::Request& request,
              host::DestroyAllocation::Reply* reply);
  void Handle(Call& call, const host::GetStandardAllocationDriverData::Request& request,
              host::GetStandardAllocationDriverData::Reply* reply);
  void Handle(Call& call, const host::SetExistingSysmemStore::Request& request,
              host::SetExistingSysmemStore::Reply* reply);
  void Handle(Call& call, const host::SetExistingSysmemPages::Request& request,
              host::SetExistingSysmemPages::Reply* reply);

  // lock.cc
  void Handle(Call& call, const host::Lock2::Request& request, host::Lock2::Reply* reply);
  void Handle(Call& call, const host::Unlock2::Request& request, host::Unlock2::Reply* reply);
  void Handle(Call& call, const host::InvalidateCache::Request& request, host::InvalidateCache::Reply* reply);

  // resource.cc
  void Handle(Call& call, const host::CreateNtSharedObject::Request& request,
              host::CreateNtSharedObject::Reply* reply);
  void Handle(Call& call, const host::DestroyNtSharedObject::Request& request,
              host::DestroyNtSharedObject::Reply* reply);
  void Handle(Call& call, const host::OpenResource::Request& request, host::OpenResource::Reply* reply);

  // offer.cc
  void Handle(Call& call, const host::SetAllocationPriority::Request& request,
              host::SetAllocationPriority::Reply* reply);
  void Handle(Call& call, const host::GetAllocationPriority::Request& request,
              host::GetAllocationPriority::Reply* reply);
  void Handle(Call& call, const host::OfferAllocations::Request& request,
              host::OfferAllocations::Reply* reply);
  void Handle(Call& call, const host::ReclaimAllocations::Request& request,
              host::ReclaimAllocations::Reply* reply);

  // paging_queue.cc
  void Handle(Call& call, const host::CreatePagingQueue::Request& request,
              host::CreatePagingQueue::Reply* reply);
  void Handle(Call& call, const host::DestroyPagingQueue::Request& request,
              host::DestroyPagingQueue::Reply* reply);

  // residency.cc
  void Handle(Call& call, const host::MakeResident::Request& request, host::MakeResident::Reply* reply);
  void Handle(Call& call, const host::Evict::Request& request, host::Evict::Reply* reply);
  void Handle(Call& call, const host::QueryAllocationResidency::Request& request,
              host::QueryAllocationResidency::Reply* reply);
  void Handle(Call& call, const host::UpdateAllocationProperty::Request& request,
              host::UpdateAllocationProperty::Reply* reply);

  // gpu_va.cc, update_gpu_va.cc
  void Handle(Call& call, const host::ReserveGpuVirtualAddress::Request& request,
              host::ReserveGpuVirtualAddress::Reply* reply);
  void Handle(Call& call, const host::MapGpuVirtualAddress::Request& request,
              host::MapGpuVirtualAddress::Reply* reply);
  void Handle(Call& call, const host::FreeGpuVirtualAddress::Request& request,
              host::FreeGpuVirtualAddress::Reply* reply);
  void Handle(Call& call, const host::UpdateGpuVirtualAddress::Request& request,
              host::UpdateGpuVirtualAddress::Reply* reply);

  // sync_object.cc
  void Handle(Call& call, const host::CreateSyncObject::Request& request,
              host::CreateSyncObject::Reply* reply);
  void Handle(Call& call, const host::DestroySyncObject::Request& request,
              host::DestroySyncObject::Reply* reply);
  void Handle(Call& call, const host::OpenSyncObject::Request& request, host::OpenSyncObject::Reply* reply);
  void Handle(Call& call, const host::ShareObjectWithHost::Request& request,
              host::ShareObjectWithHost::Reply* reply);
  void Handle(Call& call, const host::WaitForSyncObjectFromCpu::Request& request,
              host::WaitForSyncObjectFromCpu::Reply* reply);

  // signal.cc
  void Handle(Call& call, const host::SignalSyncObject::Request& request,
              host::SignalSyncObject::Reply* reply);
  void Handle(Call& call, const host::WaitForSyncObjectFromGpu::Request& request,
              host::WaitForSyncObjectFromGpu::Reply* reply);

  // submit.cc
  void Handle(Call& call, const host::SubmitCommand::Request& request, host::SubmitCommand::Reply* reply);
  void Handle(Call& call, const host::CreateHwQueue::Request& request, host::CreateHwQueue::Reply* reply);
  void Handle(Call& call, const host::DestroyHwQueue::Request& request, host::DestroyHwQueue::Reply* reply);
  void Handle(Call& call, const host::SubmitCommandToHwQueue::Request& request,
              host::SubmitCommandToHwQueue::Reply* reply);
};

}  // namespace dxg::hostsim
