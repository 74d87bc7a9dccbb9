#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <vector>

#include "cuse-dxg/backend/backend.h"
#include "cuse-dxg/guest/handle_table.h"

// The driver's objects. Handles lead to them through a process's tables; a handler that found one holds a reference,
// so that an object outlives its handle where a call is still using it.

namespace dxg::guest {

class Process;

// An adapter of the VM. Known from its arrival on; removed ones stay known, as stopped, while anybody has them open.
struct Adapter {
  explicit Adapter(HostAdapter adapter_info) : info(std::move(adapter_info)) {}
  const HostAdapter info;
  std::atomic<bool> active{true};
};

struct Device;

// A process's hold on an adapter: one for all its handles of that adapter. Devices hang off this, not off a handle,
// and end with the last handle. Guarded by Process::mutex.
struct ProcessAdapter {
  std::shared_ptr<Adapter> adapter;
  uint32_t open_count = 0;
  std::list<std::shared_ptr<Device>> devices;  // in order of creation
};

struct Context {
  Handle handle;
  Handle device;  // the driver keeps the handle and looks the device up again, call by call
};

struct Device {
  Handle handle;
  std::shared_ptr<ProcessAdapter> owner;
  std::list<std::shared_ptr<Context>> contexts;  // guarded by Process::mutex

  // Cleared when destruction begins; a call that found the device before fails with ENODEV.
  std::atomic<bool> active{true};

  // The execution state as the host last told it, and the count of state changes that was current then.
  std::atomic<uint32_t> execution_state{1};
  std::atomic<uint64_t> state_seen{0};

  const std::shared_ptr<Adapter>& adapter() const { return owner->adapter; }
};

}  // namespace dxg::guest
