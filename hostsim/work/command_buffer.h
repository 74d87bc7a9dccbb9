#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "hostsim/machine/bytes.h"
#include "hostsim/memory/gpu_va.h"

namespace dxg::hostsim {

// What a command finds around it: memory, a clock, and somebody who takes notes.
class CommandEnvironment {
 public:
  virtual ~CommandEnvironment() = default;
  // As GpuVa::Translate.
  virtual bool Translate(uint64_t address, uint64_t bytes, bool write, std::vector<GpuSpan>* spans,
                         GpuFault* fault) = 0;
  virtual uint64_t Timestamp() = 0;  // in ticks of the node
  virtual void Mark(uint64_t id) = 0;
  virtual Aftermath* aftermath() = 0;  // of writes to fences
};

// Why a command does not go on.
struct CommandStop {
  enum Kind {
    kDone,
    kPageFault,    // see fault
    kInvalid,      // an op that is none, at op_address
    kDeviceFault,  // asked for, with a code
    kDelay,        // goes on in so many ns
    kWaiting,      // for memory; goes on to look again
    kHang,
    kBudget,  // the next op is larger than what is left of the budget
    kCancelled,
  };
  Kind kind = kDone;
  GpuFault fault;
  uint64_t op_address = 0;
  uint32_t code = 0;
  uint64_t delay_ns = 0;
};

// One execution of a command buffer (docs/command-format.md): reads it through the page tables op by op,
// trusts nothing in it, and holds no lock but those that Translate takes. It stops wherever time has to pass
// and goes on where it was, maybe on another thread.
class CommandRun {
 public:
  // No limit for Run.
  static constexpr uint64_t kUnlimited = ~0ull;

  CommandRun(uint64_t address, uint32_t bytes) : address_(address), bytes_(bytes) {}

  // `budget` is of bytes, or of multiplications. Large ops look at `cancelled` every MiB or so.
  CommandStop Run(CommandEnvironment& environment, const std::atomic<bool>& cancelled, uint64_t budget);

 private:
  const uint64_t address_;
  const uint32_t bytes_;
  uint32_t at_ = 0;  // of the next op
};

}  // namespace dxg::hostsim
