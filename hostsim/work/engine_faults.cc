#include <memory>
#include <optional>
#include <utility>

#include "hostsim/adapter/adapter_reset.h"
#include "hostsim/machine/machine.h"
#include "hostsim/machine/process.h"
#include "hostsim/work/device.h"
#include "hostsim/work/engine.h"
#include "hostsim/work/engine_state.h"

// What goes wrong with commands on an engine: faults of the plan, faults of the command, and hangs.

namespace dxg::hostsim {

// What rules of faults have for a command that begins.
void Engines::MakeTrouble(Running& running, uint32_t node) {
  if (!machine_.faults().any_armed()) return;
  const std::shared_ptr<Process> process = running.queue->work_->process.lock();
  auto strike = [&](FaultPoint point) {
    Passage passage{.point = point, .adapter = guest_luid_, .node = node};
    if (process) passage.process = process->process_id;
    return machine_.Strike(passage);
  };
  CommandStop trouble;
  for (const FaultPoint delay : {FaultPoint::kGpuStarvation, FaultPoint::kGpuSlow, FaultPoint::kGpuJitter}) {
    if (const auto fault = strike(delay)) running.due_ns += fault->delay_ns;
  }
  if (const auto fault = strike(FaultPoint::kPageFault)) {
    trouble.kind = CommandStop::kPageFault;
    trouble.fault.address = GpuAddress(fault->value);
    running.trouble = trouble;
  }
  trouble.kind = CommandStop::kHang;
  if (strike(FaultPoint::kEngineHang)) running.trouble = trouble;
  if (strike(FaultPoint::kHangWithoutTimeout)) {
    running.trouble = trouble;
    running.deadline_ns = kNever;
  }
}

// The command's device is in error, and the command ends with it. `stop` says what the command did; without
// it the command hangs.
void Engines::Punish(const Running& running, uint32_t node, const std::optional<CommandStop>& stop) {
  const std::shared_ptr<DeviceWork> work = running.queue->work_;
  Aftermath aftermath;
  std::shared_ptr<Adapter> adapter;
  if (const std::shared_ptr<Process> process = work->process.lock()) {
    Process& locked = *process;
    MutexLock lock(locked.mutex());
    Device* device = locked.Find<Device>(work->device);
    if (device && device->work == work) {
      adapter = device->adapter;
      if (stop) {
        FailDevice(locked, *device, *stop, &aftermath);
      } else {
        device->Fail(locked, ExecutionState::kHung, &aftermath);
      }
    }
  }
  if (!stop && adapter) {
    const bool fails =
        machine_.Strike({.point = FaultPoint::kEngineResetFails, .adapter = guest_luid_, .node = node})
            .has_value();
    if (fails || resets_adapter_) ResetHungAdapter(machine_, *adapter, &aftermath);
  }
  machine_.Deliver(std::move(aftermath));
}

void Engines::FailDevice(Process& process, Device& device, const CommandStop& stop, Aftermath* aftermath) {
  PageFault record;
  switch (stop.kind) {
    case CommandStop::kPageFault:
      record.virtual_address = stop.fault.address.value;
      record.flags = stop.fault.write ? PageFault::kWrite : 0;
      return device.FailByPageFault(process, record, aftermath);
    case CommandStop::kDeviceFault:
      record.error_code = PageFault::OfDevice(stop.code);
      break;
    default:
      record.error_code = PageFault::General(PageFault::kInvalidInstruction);
      break;
  }
  record.virtual_address = stop.op_address.value;
  device.FailByFault(process, record, aftermath);
}

// An op that does not end can only be stopped from outside.
void Engines::Watch(Node& node) {
  if (node.watched || node.current->deadline_ns == kNever) return;
  node.watched = true;
  machine_.CallAt(node.current->deadline_ns, [engines = weak_from_this(), &node] {
    if (const auto alive = engines.lock()) alive->LookAfter(node);
  });
}

void Engines::LookAfter(Node& node) {
  MutexLock lock(mutex_);
  node.watched = false;
  if (!node.current || !node.current->executing) return;
  if (NowNs() < node.current->deadline_ns) return Watch(node);
  node.current->hung = true;
  node.current->cancelled = true;
}

}  // namespace dxg::hostsim
