#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "hostsim/adapter.h"
#include "hostsim/device.h"
#include "hostsim/machine.h"
#include "hostsim/process.h"

namespace dxg::hostsim {

// Who sends a command: the process handle and the adapter of its header. Either is 0 where the command names
// none.
struct Caller {
  uint32_t process = 0;
  uint64_t adapter_luid = 0;  // AdapterInfo::vgpu_luid
};

// One command on its way through the host: who asks, and what its answer is besides the reply message.
struct Call {
  Machine& machine;
  const Caller caller;
  std::shared_ptr<Process> process;  // null: there is none of that handle
  std::shared_ptr<Adapter> adapter;  // null: there is none of that LUID
  bool accepted = true;
  StateChanges changes;  // told to the guest when the command has let go of its locks

  // The answer will be shorter than a whole reply: the only refusal where the reply has no status.
  void Refuse() { accepted = false; }

  // The checks that come before a command's own. Both parties known, or INVALID_PARAMETER; the second also
  // wants the adapter to be there, or DEVICE_REMOVED.
  int32_t CheckCaller() const;
  int32_t CheckLiveAdapter() const;
};

}  // namespace dxg::hostsim
