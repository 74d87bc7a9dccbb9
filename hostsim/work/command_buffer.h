#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "hostsim/machine/bytes.h"
#include "hostsim/memory/gpu_address.h"
#include "hostsim/memory/gpu_va.h"

namespace dxg::hostsim {

// What a command needs from its host: memory, a clock, a list of markers, and an aftermath for what it sets
// off.
class CommandEnvironment {
 public:
  virtual ~CommandEnvironment() = default;
  // As GpuVa::Translate.
  virtual bool Translate(GpuAddress address, uint64_t bytes, bool write, std::vector<GpuSpan>* spans,
                         GpuFault* fault) = 0;
  virtual uint64_t Timestamp() = 0;  // in ticks of the node (profile: clock_hz)
  virtual void Mark(uint64_t id) = 0;
  virtual Aftermath* aftermath() = 0;  // takes the effects of writes to fences
};

// Why a command does not go on.
struct CommandStop {
  enum Kind {
    kDone,
    kPageFault,    // see fault
    kInvalid,      // there is no valid op at op_address
    kDeviceFault,  // a FAULT op; see code
    kDelay,        // a DELAY op; goes on after delay_ns
    kWaiting,      // a WAIT64 op whose condition does not hold; goes on by looking again
    kHang,
    kBudget,  // the next op is larger than what is left of the budget
    kCancelled,
  };
  Kind kind = kDone;
  GpuFault fault;
  GpuAddress op_address;
  uint32_t code = 0;
  uint64_t delay_ns = 0;
};

// One execution of a command buffer. Its format is the simulator's own: docs/command-format.md. A run reads
// the buffer through the page tables op by op, trusts nothing in it, and holds no lock but those that
// Translate takes. It stops wherever time has to pass; the next Run goes on at the same op, maybe on another
// thread.
class CommandRun {
 public:
  // As a budget: no limit.
  static constexpr uint64_t kUnlimited = ~0ull;

  CommandRun(GpuAddress address, uint32_t bytes) : address_(address), bytes_(bytes) {}

  // Stops before the first op that costs more than what is left of `budget`: bytes that it touches. Large ops
  // look at `cancelled` every few MiB.
  CommandStop Run(CommandEnvironment& environment, const std::atomic<bool>& cancelled, uint64_t budget);

 private:
  const GpuAddress address_;
  const uint32_t bytes_;
  uint32_t at_ = 0;  // of the next op
};

}  // namespace dxg::hostsim
