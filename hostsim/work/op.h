#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <optional>

#include "hostsim/machine/bytes.h"
#include "hostsim/memory/gpu_address.h"
#include "hostsim/work/command_streamer.h"

namespace dxg::hostsim {

// One op of a command buffer while it is executed: what it may touch, and how it ends.
struct Op {
  CommandEnvironment& environment;
  const std::atomic<bool>& cancelled;
  const GpuAddress address;  // of the op itself

  CommandStop Done() const { return {}; }
  CommandStop Invalid() const { return Stop(CommandStop::kInvalid); }
  CommandStop Stop(CommandStop::Kind kind) const {
    CommandStop stop;
    stop.kind = kind;
    stop.op_address = address;
    return stop;
  }
  CommandStop Fault(const GpuFault& fault) const {
    CommandStop stop = Stop(CommandStop::kPageFault);
    stop.fault = fault;
    return stop;
  }
};

// The struct of an op (proto/abi/dxg_commands.h), copied out of its fetched bytes; nothing if the sizes
// differ.
template <class T>
std::optional<T> As(ConstBytes op) {
  if (op.size() != sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, op.data(), sizeof value);
  return value;
}

}  // namespace dxg::hostsim
