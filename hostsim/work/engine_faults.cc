#include <memory>
#include <optional>
#include <utility>

#include "base/memory_reserve.h"
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
    running.patience = Patience();
  }
}

// The command's device is in error, and the command ends with it. `stop` says what the command did; without
// it the command hangs.
void Engines::Punish(const Running& running, uint32_t node, const std::optional<CommandStop>& stop) {
  const MemoryReserve::Use of_all;
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

// A delay is over when its time has come, however late that is noticed. Who polls memory has the time from
// one look to the next as well, or a busy machine would never find it hung.
// What a dispatch needs is the GPU's time, which counts when a slice has ended (Take); only a slice that
// takes much longer than any should is in something else.
bool Engines::IsPatienceOver(Running& running, uint64_t now_ns) {
  constexpr uint64_t kSliceMaxNs = 2'000'000'000;
  if (running.computes && (!running.executing || now_ns < running.executing_since_ns + kSliceMaxNs))
    running.patience.Skip(now_ns);
  const bool waits_for_time = !running.executing && !running.done && running.poll_ns == 0;
  return running.patience.IsOver(now_ns, waits_for_time ? running.resume_ns : now_ns);
}

// An op that does not end can only be stopped from outside.
void Engines::Watch(Node& node, uint64_t at_ns) {
  if (node.watched || at_ns == kNever) return;
  node.watched = true;
  machine_.CallAt(at_ns, [engines = weak_from_this(), &node] {
    if (const auto alive = engines.lock()) alive->LookAfter(node);
  });
}

void Engines::LookAfter(Node& node) {
  Errand errand;
  uint64_t turn = 0;
  std::vector<std::thread> back;
  {
    const MemoryReserve::Use of_all;
    MutexLock lock(mutex_);
    node.watched = false;
    // The timer may have been set for an earlier command; a thread of somebody else's is never left.
    if (!node.current || !node.current->executing || !node.current->own_thread) return;
    Running& running = *node.current;
    const uint64_t now_ns = NowNs();
    if (!running.cancelled && !IsPatienceOver(running, now_ns))
      return Watch(node, running.patience.next_look_ns());
    if (!running.cancelled.exchange(true)) running.hung = true;
    if (running.leave_ns == kNever) running.leave_ns = now_ns + kStopsWithinNs;
    if (now_ns < running.leave_ns) return Watch(node, running.leave_ns);
    back = TakeThreadsThatAreBack(node);
    turn = LeaveBehind(node, &errand);
  }
  Effort nothing_more{.bytes = 0, .commands = 0, .over = true};  // the engine's next thread does the rest
  (void)DriveOn(node, turn, &nothing_more, std::move(errand));
  for (std::thread& thread : back) thread.join();
}

}  // namespace dxg::hostsim
