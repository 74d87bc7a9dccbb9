#pragma once

#include <cstdint>
#include <string>

#include "hostsim/memory/gpu_va.h"

namespace dxg::hostsim::eu {

struct Thread;

// What one send instruction asks a shared function for.
struct Message {
  uint32_t offset = 0;  // of the instruction, from the kernel's begin
  uint8_t sfid = 0;
  uint32_t descriptor = 0;
  uint32_t extended_descriptor = 0;
  uint8_t lanes = 1;       // execution size
  uint8_t first_lane = 0;  // channel offset
  uint32_t lane_mask = 0;  // bit i: lane i of the message, 0 to lanes - 1, is enabled
  bool destination_is_null = false;
  bool src0_is_null = false;
  bool src1_is_null = false;
  // Numbers of registers of the thread, and how many. The EU has checked that they are there.
  uint8_t destination = 0, destination_registers = 0;
  uint8_t src0 = 0, src0_registers = 0;
  uint8_t src1 = 0, src1_registers = 0;
  bool header = false;  // descriptor bit 19
  bool eot = false;
};

struct MessageResult {
  enum Kind {
    kDone,
    kAgain,    // not yet: the instruction is executed again in the thread's next slice
    kFault,    // see fault; nothing is written
    kRefused,  // see why: a message that nobody here knows
  };
  Kind kind = kDone;
  GpuFault fault;
  std::string why;
};

// Where messages of a thread go: memory, barriers, the end. It reads and writes the thread's registers, and
// sets Thread::waits_at_barrier when it takes a barrier's signal.
class MessagePort {
 public:
  virtual ~MessagePort() = default;
  virtual MessageResult Send(const Message& message, Thread& thread) = 0;
};

}  // namespace dxg::hostsim::eu
