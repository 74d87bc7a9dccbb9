#include <algorithm>

#include "hostsim/machine/call.h"
#include "hostsim/machine/commands.h"
#include "hostsim/memory/allocation.h"
#include "hostsim/memory/paging_queue.h"
#include "proto/abi/ntstatus.h"

// How much allocations are missed when memory runs short: priorities, and offers to lose the content.

namespace dxg::hostsim {
namespace {

// D3DKMT_OFFER_FLAGS.
constexpr uint32_t kOfferImmediately = 1u << 0;
constexpr uint32_t kAllowDecommit = 1u << 1;

bool ValidCount(uint32_t count, int listed, uint32_t resources) {
  return count != 0 && count <= kAllocationsPerListMax && count == static_cast<uint32_t>(listed) &&
         resources <= 1;
}

// The allocations of either list. For resources also how many each has.
bool FindListed(const CommandContext& call, Process& process, const Device& device, bool resources,
                const google::protobuf::RepeatedField<uint32_t>& handles, std::vector<Allocation*>* found,
                std::vector<size_t>* counts) DXG_REQUIRES(process.mutex()) {
  if (resources) return FindResourcesAllocations(call, process, device, handles, found, counts);
  counts->assign(static_cast<size_t>(handles.size()), 1);
  return FindAllocations(call, process, device, handles, found);
}

}  // namespace

int32_t Commands::Handle(CommandContext& call, const host::OfferAllocations::Request& request,
                         host::OfferAllocations::Reply*) {
  if (const int32_t status = call.CheckCaller(); status != kStatusSuccess) return status;
  if (!ValidCount(request.allocation_count(), request.allocations_size(), request.resources()) ||
      request.priority() < static_cast<uint32_t>(OfferPriority::kLow) ||
      request.priority() > static_cast<uint32_t>(OfferPriority::kAuto) ||
      (request.flags() & ~(kOfferImmediately | kAllowDecommit)) != 0) {
    return kStatusInvalidParameter;
  }
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  const Device* device = FindDevice(call, process, request.device());
  std::vector<Allocation*> allocations;
  std::vector<size_t> counts;
  if (!device || !FindListed(call, process, *device, request.resources() != 0, request.allocations(),
                             &allocations, &counts)) {
    return kStatusInvalidParameter;
  }
  if (call.adapter->removed() || !device->active()) return kStatusDeviceRemoved;
  // Earlier commands find the content as it is.
  const std::shared_ptr<VideoMemory>& memory = call.adapter->video_memory();
  std::vector<std::shared_ptr<Storage>> used;
  used.reserve(allocations.size());
  for (const Allocation* allocation : allocations) used.push_back(allocation->storage);
  const bool at_once = (request.flags() & kOfferImmediately) != 0;
  const bool in_use = !at_once && device->work->AfterCommands(
                                      [memory, used] {
                                        for (const auto& storage : used) memory->Unused(*storage);
                                      },
                                      &call.aftermath);
  for (const Allocation* allocation : allocations) {
    const bool decommit = call.Strike(FaultPoint::kOfferDecommit).has_value();
    const bool discard = call.Strike(FaultPoint::kOfferDiscard).has_value();
    memory->Offer(*allocation->storage, static_cast<OfferPriority>(request.priority()),
                  decommit || (request.flags() & kAllowDecommit) != 0, decommit || discard, in_use);
  }
  return kStatusSuccess;
}

int32_t Commands::Handle(CommandContext& call, const host::ReclaimAllocations::Request& request,
                         host::ReclaimAllocations::Reply* reply) {
  if (const int32_t status = call.CheckCaller(); status != kStatusSuccess) return status;
  if (!ValidCount(request.allocation_count(), request.allocations_size(), request.resources())) {
    return kStatusInvalidParameter;
  }
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  PagingQueue* queue = FindPagingQueue(call, process, request.paging_queue());
  std::vector<Allocation*> allocations;
  std::vector<size_t> counts;
  if (!queue || !FindListed(call, process, queue->device, request.resources() != 0, request.allocations(),
                            &allocations, &counts)) {
    return kStatusInvalidParameter;
  }
  if (call.adapter->removed() || !queue->device.active()) return kStatusDeviceRemoved;
  const std::shared_ptr<VideoMemory>& memory = call.adapter->video_memory();
  std::vector<Storage*> storages;
  std::vector<std::weak_ptr<Storage>> moved;
  for (const Allocation* allocation : allocations) {
    storages.push_back(allocation->storage.get());
    moved.push_back(allocation->storage);
  }
  std::vector<ReclaimResult> results;
  uint64_t bytes = 0;
  if (!memory->Reclaim(storages, &results, &bytes)) return kStatusNoMemory;
  if (request.write_results() != 0) {
    auto result = results.begin();
    for (const size_t count : counts) {
      auto worst = ReclaimResult::kOk;  // of a resource's allocations
      for (size_t i = 0; i < count; ++i) worst = std::max(worst, *result++);
      reply->add_results(static_cast<uint32_t>(worst));
    }
  }
  auto arrive = [memory, moved = std::move(moved)] { memory->Arrive(moved); };
  const PagingResult paging = bytes == 0 ? queue->Nothing() : queue->Submit(call, bytes, std::move(arrive));
  reply->set_paging_fence_value(paging.fence_value);
  return paging.status;
}

namespace {

// Exactly one of a resource and a list of allocations.
template <class Request>
int32_t FindEither(const CommandContext& call, Process& process, const Request& request,
                   std::vector<Allocation*>* found) DXG_REQUIRES(process.mutex()) {
  const bool of_resource = request.resource() != 0;
  if (request.allocation_count() != static_cast<uint32_t>(request.allocations_size()) ||
      of_resource != (request.allocation_count() == 0)) {
    return kStatusInvalidParameter;
  }
  const Device* device = FindDevice(call, process, request.device());
  if (!device) return kStatusInvalidParameter;
  google::protobuf::RepeatedField<uint32_t> resource;
  resource.Add(request.resource());
  std::vector<size_t> counts;
  const bool all = of_resource ? FindResourcesAllocations(call, process, *device, resource, found, &counts)
                               : FindAllocations(call, process, *device, request.allocations(), found);
  if (!all) return kStatusInvalidParameter;
  return call.adapter->removed() || !device->active() ? kStatusDeviceRemoved : kStatusSuccess;
}

}  // namespace

int32_t Commands::Handle(CommandContext& call, const host::SetAllocationPriority::Request& request,
                         host::SetAllocationPriority::Reply*) {
  if (const int32_t status = call.CheckCaller(); status != kStatusSuccess) return status;
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  std::vector<Allocation*> allocations;
  if (const int32_t status = FindEither(call, process, request, &allocations); status != kStatusSuccess) {
    return status;
  }
  const bool of_resource = request.resource() != 0;
  const size_t priorities = of_resource ? 1 : allocations.size();
  if (static_cast<size_t>(request.priorities_size()) != priorities) return kStatusInvalidParameter;
  for (size_t i = 0; i < allocations.size(); ++i) {
    call.adapter->video_memory()->SetPriority(*allocations[i]->storage,
                                              request.priorities(of_resource ? 0 : static_cast<int>(i)));
  }
  return kStatusSuccess;
}

int32_t Commands::Handle(CommandContext& call, const host::GetAllocationPriority::Request& request,
                         host::GetAllocationPriority::Reply* reply) {
  if (const int32_t status = call.CheckCaller(); status != kStatusSuccess) return status;
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  std::vector<Allocation*> allocations;
  if (const int32_t status = FindEither(call, process, request, &allocations); status != kStatusSuccess) {
    return status;
  }
  if (request.resource() != 0) allocations.resize(std::min<size_t>(allocations.size(), 1));
  for (const Allocation* allocation : allocations) {
    reply->add_priorities(call.adapter->video_memory()->Priority(*allocation->storage));
  }
  if (allocations.empty()) reply->add_priorities(kNormalPriority);  // of an empty resource
  return kStatusSuccess;
}

}  // namespace dxg::hostsim
