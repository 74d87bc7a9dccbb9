#pragma once

#include <cstdint>
#include <string>

#include "hostsim/memory/gpu_va.h"
#include "hostsim/work/eu/instruction.h"
#include "hostsim/work/eu/kernel.h"
#include "hostsim/work/eu/message_port.h"

namespace dxg::hostsim::eu {

// The state of one thread of the EU: what its instructions can see. A dispatcher fills the registers with the
// payload, sets dispatch_mask, control[0] and state, and calls Run until the thread has ended. A plain
// struct; `Thread thread{}` is a thread before its first instruction.
struct Thread {
  alignas(64) uint8_t grf[kRegisters * kRegisterBytes];
  // acc0 and acc1 as their registers show them, and the bits above 31 of each dword, which mach needs.
  alignas(64) uint8_t accumulator[2 * kRegisterBytes];
  int32_t accumulator_high[2 * kRegisterBytes / 4];
  uint32_t flag[2];
  alignas(4) uint16_t address[16];  // a0
  uint32_t control[4];              // cr0: [0] has the rounding mode in bits 5:4, denormals in 10, 7, 6
  uint32_t state[4];                // sr0
  // Lanes that the dispatch has started, one bit each.
  uint32_t dispatch_mask;

  // Byte offset of the next instruction, from the kernel's begin.
  int32_t ip;
  // Lanes that flow lets run now, and for each other lane the offset that wakes it. Run fills active_mask
  // from dispatch_mask at the first instruction.
  bool started;
  uint32_t active_mask;
  int32_t wakes_at[kLanesMax];

  // Set by the port that took this thread's signal to its barrier, cleared by whoever sees that all threads
  // of the group have signalled.
  bool waits_at_barrier;

  uint64_t executed;  // instructions, in all slices
  uint64_t cost;      // these, and as many more as messages take the host: one for each lane

  uint32_t Register(uint32_t reg, uint32_t dword) const;  // as r5.2:ud
  void SetRegister(uint32_t reg, uint32_t dword, uint32_t value);
};

// Why Run came back.
struct ThreadStop {
  enum Kind {
    kEnded,    // its message with EOT was taken
    kBarrier,  // at a sync.bar, and waits_at_barrier
    kSlice,    // it has executed as many instructions as it was given, or messages that cost as much
    kAgain,    // a message that the port wants to see again later
    kFault,    // a message that failed; see fault
    kNoCode,   // there is no readable instruction at offset
    kRefused,  // this room does not know what the instruction does; see text and why
  };
  Kind kind = kEnded;
  int32_t offset = 0;  // of the instruction that stopped it, from the kernel's begin
  GpuFault fault;
  std::string text;  // of the instruction (kFault, kRefused)
  std::string why;
};

// Executes at most so many instructions of the thread, where a message counts also for its lanes. The thread
// goes on at the same place with the next call, on whatever host thread. Does not change the caller's
// floating-point environment.
ThreadStop Run(Thread& thread, const Kernel& kernel, MessagePort& port, uint64_t max_instructions);

}  // namespace dxg::hostsim::eu
