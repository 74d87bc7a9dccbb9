#pragma once

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/types.h>

#include <cstdint>

// ptrace(2) with numbers, and what its stops say.

namespace dxg::tracer {

inline long Trace(int request, pid_t tid, uint64_t address, uint64_t data) {
  // Safety: the kernel knows by the request whether these are addresses, and whose.
  return ptrace(static_cast<__ptrace_request>(request), tid, reinterpret_cast<void*>(address),
                reinterpret_cast<void*>(data));
}

inline uint64_t AddressOf(void* here) { return reinterpret_cast<uint64_t>(here); }  // Safety: for Trace only

// What belongs to an event: the number of a new thread, the mark of a filter.
inline uint64_t EventMessage(pid_t tid) {
  uint64_t message = 0;
  Trace(PTRACE_GETEVENTMSG, tid, 0, AddressOf(&message));
  return message;
}

// A stop of job control, which lasts until SIGCONT.
inline bool IsGroupStop(int signal) {
  return signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
}

}  // namespace dxg::tracer
