#pragma once

#include <cstdint>
#include <memory>
#include <unordered_set>
#include <vector>

#include "hostsim/machine/object.h"
#include "hostsim/machine/process.h"
#include "hostsim/memory/resource.h"
#include "hostsim/memory/storage.h"
#include "hostsim/work/device.h"
#include "proto/contract/numbers.gen.h"

namespace dxg::hostsim {

inline constexpr uint32_t kAllocationsPerCreateMax = limits::kCreateAllocationAllocationInfoMax;
inline constexpr uint32_t kAllocationsPerListMax =
    limits::kMakeResidentAllocationsMax;  // of a residency list

// One process's handle on a storage: its own residency count, locks and GPU virtual addresses. The process's
// lock guards it.
class Allocation : public Object {
 public:
  static constexpr ObjectKind kKind = ObjectKind::kAllocation;

  // `use` is what the process has of the device's adapter.
  Allocation(Device& device, AdapterUse& use, Resource* resource, std::shared_ptr<Storage> storage,
             std::atomic<uint64_t>& count)
      : Object(kKind),
        device(device),
        resource(resource),
        storage(std::move(storage)),
        use_(use),
        counted_(count) {}
  // Drops its residency counts and its addresses.
  ~Allocation() override;

  Device& device;            // outlives its allocations
  Resource* const resource;  // null: on its own
  const std::shared_ptr<Storage> storage;
  uint64_t place = 0;  // in its resource
  uint32_t residency_count = 0;
  uint32_t locks = 0;

  // Where GpuVa shows it: the values of the addresses where pieces start, and ranges that were mapped for it.
  std::unordered_set<uint64_t> pieces;
  std::unordered_set<uint64_t> ranges;

 private:
  AdapterUse& use_;
  Counted counted_;
};

struct CommandContext;

// As FindDevice.
Allocation* FindAllocation(const CommandContext& call, Process& process, uint32_t handle)
    DXG_REQUIRES(process.mutex());
// Null: no such allocation of that device.
Allocation* FindOnDevice(const CommandContext& call, Process& process, uint32_t device, uint32_t allocation)
    DXG_REQUIRES(process.mutex());

// The allocations that a command names: those of a list of handles, all of one device. False: one is none.
bool FindAllocations(const CommandContext& call, Process& process, const Device& device,
                     const google::protobuf::RepeatedField<uint32_t>& handles,
                     std::vector<Allocation*>* found) DXG_REQUIRES(process.mutex());
// As above, of a list of resources. Also the number of allocations of each.
bool FindResourcesAllocations(const CommandContext& call, Process& process, const Device& device,
                              const google::protobuf::RepeatedField<uint32_t>& handles,
                              std::vector<Allocation*>* found, std::vector<size_t>* counts)
    DXG_REQUIRES(process.mutex());

}  // namespace dxg::hostsim
