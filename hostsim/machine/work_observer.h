#pragma once

#include <cstdint>

namespace dxg::hostsim {

// What an object is called: by a handle of the process that made it. Zeros: it has no name that is known.
struct ObjectName {
  uint32_t process = 0;     // the host's number
  uint64_t process_id = 0;  // the client's
  uint32_t object = 0;
};

// Something that engines, fences and devices do by themselves, between the commands that a client sees.
struct WorkEvent {
  enum class Kind : uint8_t {
    kBegan,      // a command of a queue is on its engine
    kEnded,      // and is not any more, whether it was completed or not
    kFence,      // a monitored fence has another value
    kWaitEnded,  // of a client's CPU, for the fence to reach `value`, or because something ended
    kDeviceState,
  };
  Kind kind;
  ObjectName of;  // context or hardware queue, fence, device; of a wait: the waiter's process
  // Of a hardware queue's command: its progress fence; of a context's: how many began before it, and 1. Of a
  // device: its ExecutionState.
  uint64_t value = 0;
  uint32_t node = 0;     // of kBegan and kEnded
  uint64_t adapter = 0;  // LUID, as clients know it: of kBegan, kEnded and kDeviceState
  uint64_t at_ns = 0;    // on the host's clock
};

// Called under no lock, on the thread on which it happened or one that finishes its work, so that events of
// several threads may be a little out of order. What an event sets off happens after the call: who hears of
// the end of a wait hears of it later than the observer.
class WorkObserver {
 public:
  virtual ~WorkObserver() = default;
  virtual void OnWork(const WorkEvent& event) = 0;
};

}  // namespace dxg::hostsim
