#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "hostsim/machine/object.h"
#include "hostsim/memory/paging_engine.h"
#include "hostsim/work/device.h"
#include "proto/abi/ntstatus.h"

namespace dxg::hostsim {

// What a caller hears of its operation: PENDING with the fence's value at its end, or SUCCESS with a value
// that the fence has.
struct PagingResult {
  int32_t status = kStatusSuccess;
  uint64_t fence_value = 0;
  bool pending() const { return status == kStatusPending; }
};

struct CommandContext;

// A device's order of paging operations, each with its value of the queue's fence. The process's lock guards
// it.
class PagingQueue : public Object {
 public:
  static constexpr ObjectKind kKind = ObjectKind::kPagingQueue;
  static constexpr int32_t kPriorityMin = -1;
  static constexpr int32_t kPriorityMax = 1;

  PagingQueue(Device& device, std::shared_ptr<PagingLane> lane, std::shared_ptr<SyncObject> fence,
              std::atomic<uint64_t>& count)
      : Object(kKind), device(device), lane(std::move(lane)), fence(std::move(fence)), counted_(count) {}

  // Takes the time of moving `bytes`, then has the effect, which may take no process's lock; then the fence
  // has the value.
  PagingResult Submit(CommandContext& call, uint64_t bytes, std::function<void()> effect);
  // Of a request that had nothing to do.
  PagingResult Nothing() const { return {kStatusSuccess, fence->value()}; }

  Device& device;  // outlives its queues
  const std::shared_ptr<PagingLane> lane;
  const std::shared_ptr<SyncObject> fence;
  uint32_t fence_handle = 0;

 private:
  // Faults of the paging engine that befall an operation; true: it has to be pending.
  bool Trouble(CommandContext& call, uint64_t* duration_ns);

  uint64_t last_value_ = 0;
  Counted counted_;
};

// As FindDevice.
PagingQueue* FindPagingQueue(const CommandContext& call, Process& process, uint32_t handle)
    DXG_REQUIRES(process.mutex());

}  // namespace dxg::hostsim
