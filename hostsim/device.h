#pragma once

#include <cstdint>
#include <memory>
#include <unordered_set>
#include <vector>

#include "hostsim/adapter.h"
#include "hostsim/object.h"
#include "hostsim/process.h"

namespace dxg::hostsim {

// D3DKMT_DEVICEEXECUTION_STATE
enum class ExecutionState : uint32_t {
  kActive = 1,
  kReset = 2,
  kHung = 3,
  kStopped = 4,
  kOutOfMemory = 5,
  kDmaFault = 6,
  kDmaPageFault = 7,
};

// D3DKMT_DEVICEPAGEFAULT_STATE. As it stands here, no fault has happened.
struct PageFault {
  uint64_t primitive_sequence = ~0ull;
  uint32_t pipeline_stage = 0;
  uint32_t bind_table_entry = ~0u;
  uint32_t flags = 0;
  uint32_t error_code = 0;
  uint64_t virtual_address = 0;
};

// A device whose state has just changed.
struct StateChange {
  uint32_t process;
  uint64_t vgpu_luid;
  uint64_t cookie;
  ExecutionState state;
};
using StateChanges = std::vector<StateChange>;

// The owner of contexts and, through them, of work. A device is active until its first error; that one
// stands, so the guest hears of exactly one change in a device's life. The process's lock guards it.
class Device : public Object {
 public:
  static constexpr ObjectKind kKind = ObjectKind::kDevice;

  Device(std::shared_ptr<Adapter> adapter, uint32_t flags, uint64_t cookie, std::atomic<uint64_t>& count)
      : Object(kKind), adapter(std::move(adapter)), flags(flags), cookie(cookie), counted_(count) {}

  bool active() const { return state_ == ExecutionState::kActive; }
  ExecutionState state() const { return state_; }
  const PageFault& page_fault() const { return page_fault_; }

  // Puts an active device into error and notes the change; one in error stays as it is.
  void Fail(const Process& process, ExecutionState state, StateChanges* changes);
  // As Fail with kDmaPageFault, with a record of the fault.
  void FailByPageFault(const Process& process, const PageFault& fault, StateChanges* changes);

  const std::shared_ptr<Adapter> adapter;
  const uint32_t flags;
  const uint64_t cookie;                  // the guest's name for it
  std::unordered_set<uint32_t> children;  // handles of what ends with it

 private:
  ExecutionState state_ = ExecutionState::kActive;
  PageFault page_fault_;
  Counted counted_;
};

struct Call;

// The calling process's device on the call's adapter, or null: a device of another adapter is as unknown as a
// random number.
Device* FindDevice(const Call& call, Process& process, uint32_t handle) HOSTSIM_REQUIRES(process.mutex());

}  // namespace dxg::hostsim
