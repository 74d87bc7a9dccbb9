#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "hostsim/adapter/adapter.h"
#include "hostsim/machine/aftermath.h"
#include "hostsim/machine/object.h"
#include "hostsim/machine/process.h"

namespace dxg::hostsim {

// D3DKMT_DEVICEPAGEFAULT_STATE. As it stands here, no fault has happened.
struct PageFault {
  uint64_t primitive_sequence = ~0ull;
  uint32_t pipeline_stage = 0;
  uint32_t bind_table_entry = ~0u;
  uint32_t flags = 0;
  uint32_t error_code = 0;
  uint64_t virtual_address = 0;

  static constexpr uint32_t kWrite = 1;  // a flag

  // Error codes: one of those that all GPUs have, or one of this GPU.
  static constexpr uint32_t kInvalidInstruction = 1;
  static constexpr uint32_t General(uint32_t code) { return code << 1; }
  static constexpr uint32_t OfDevice(uint32_t code) { return code << 1 | 1; }
};

struct UpdateLane;

// Paging work of a device: a lane, and the fence that its operations raise, if any.
struct PagingWork {
  std::shared_ptr<PagingLane> lane;
  std::shared_ptr<SyncObject> fence;
};

// The owner of contexts and, through them, of work. A device is active until its first error; that one
// stands, so the guest hears of exactly one change in a device's life. The process's lock guards it.
class Device : public Object {
 public:
  static constexpr ObjectKind kKind = ObjectKind::kDevice;

  Device(Process& process, std::shared_ptr<Adapter> adapter, uint32_t flags, uint64_t cookie,
         std::atomic<uint64_t>& count)
      : Object(kKind),
        adapter(std::move(adapter)),
        flags(flags),
        cookie(cookie),
        cpu_waits(process.cpu_waits, process.process_id),
        counted_(count) {}

  bool active() const { return state_ == ExecutionState::kActive; }
  ExecutionState state() const { return state_; }
  const PageFault& page_fault() const { return page_fault_; }

  static constexpr uint32_t kDisableGpuTimeout = 1u << 2;  // of flags

  // Puts an active device into error, which ends its paging work and raises its fences, and notes the change;
  // one in error stays as it is.
  void Fail(Process& process, ExecutionState state, Aftermath* aftermath) DXG_REQUIRES(process.mutex());
  // As Fail with kDmaPageFault, with a record of the fault.
  void FailByPageFault(Process& process, const PageFault& fault, Aftermath* aftermath)
      DXG_REQUIRES(process.mutex());
  // As Fail with kDmaFault, with a record of a fault that is no access to memory.
  void FailByFault(Process& process, const PageFault& fault, Aftermath* aftermath)
      DXG_REQUIRES(process.mutex());
  // Enters an object that ends with the device. The object's handle; 0, with the object gone, as
  // Process::Insert. Where memory runs out (std::bad_alloc) it is not entered.
  uint32_t InsertChild(Process& process, std::unique_ptr<Object> object) DXG_REQUIRES(process.mutex());
  // As if it had never been entered; takes no memory.
  void EraseChild(Process& process, uint32_t handle) DXG_REQUIRES(process.mutex());
  // Drops its paging work and ends every wait for it: the device is in error, or ends.
  void EndPaging(Aftermath* aftermath);

  const std::shared_ptr<Adapter> adapter;
  const uint32_t flags;
  const uint64_t cookie;                  // the guest's name for it
  std::unordered_set<uint32_t> children;  // handles of what ends with it
  CpuWaits cpu_waits;
  std::shared_ptr<DeviceWork> work;  // set before anybody else sees the device
  // Objects without a name that earlier commands still use: they end when those have, or with the device.
  std::unordered_map<uint64_t, Objects> leaving;
  uint64_t leaving_ever = 0;
  std::vector<PagingWork> paging;
  // Of updates of GPU virtual addresses, by their context; 0: without one.
  std::unordered_map<uint32_t, std::shared_ptr<UpdateLane>> update_lanes;

 private:
  ExecutionState state_ = ExecutionState::kActive;
  PageFault page_fault_;
  Counted counted_;
};

struct CommandContext;

// The calling process's device on the call's adapter, or null: a device of another adapter is as unknown as a
// random number.
Device* FindDevice(const CommandContext& call, Process& process, uint32_t handle)
    DXG_REQUIRES(process.mutex());

// What a signal or wait comes to that may be asynchronous. Nobody hears of such a one's refusal, so it is
// counted; the device stays as it is. The status comes back as it is.
int32_t Heard(CommandContext& call, int32_t status);
// As above for a submission. Its refusal also puts the device into error, because what was to be computed is
// missing; null: nobody knows which device.
int32_t HeardOfWork(CommandContext& call, Process& process, Device* device, int32_t status)
    DXG_REQUIRES(process.mutex());

}  // namespace dxg::hostsim
