#include "proto/abi/interface.h"
#include "tests/simulation/work_run.h"

namespace dxg::simulation {

// -- The CPU

void WorkRun::SignalByCpu() {
  const auto device = AnyDevice();
  if (device == nullptr) return;
  std::vector<uint32_t> objects;
  std::vector<uint64_t> values;
  std::vector<Point> points;
  if (!PickToSignal(*device, &objects, &values, &points)) return;
  if (const size_t one = Below(points.size()); Chance(10) && points[one].sync->seen != 0)
    points[one].value = values[one] = Below(std::min<uint64_t>(points[one].sync->seen, 1000));
  CpuSignal(device, objects, values, points, false);
}

bool WorkRun::CpuSignal(const std::shared_ptr<ModelDevice>& device, std::vector<uint32_t> objects,
                        std::vector<uint64_t> values, const std::vector<Point>& points, bool rewind) {
  d3dkmt_signalsynchronizationobjectfromcpu args{};
  args.device.v = device->handle;
  args.object_count = static_cast<uint32_t>(objects.size());
  args.objects = AddressOf(objects.data());
  args.fence_values = AddressOf(values.data());
  args.flags.allow_fence_rewind = rewind;
  Say("the CPU signals object {} and {} more to {}{}", points[0].sync->id, points.size() - 1, values[0],
      rewind ? ", back" : "");
  std::vector<uint64_t> before;
  for (const Point& point : points) before.push_back(WorkModel::Shown(*point.sync));
  const int32_t result = Call(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMCPU, &args);
  const bool jumps = Struck(hostsim::FaultPoint::kFenceJump) != 0;
  bool lowers = false;
  for (size_t i = 0; i < points.size(); ++i) lowers |= (jumps ? kJumped : points[i].value) < before[i];
  if (lowers && !rewind) {
    Equal(result, asynchronous_ ? 0 : -EINVAL, "a signal by the CPU below a fence's value");
    for (size_t i = 0; i < points.size(); ++i)
      Equal(WorkModel::Shown(*points[i].sync), before[i], "a fence after a refused signal");
    return false;
  }
  // Where it was accepted it has happened, even if a command that it let go has lost the device.
  if (!Accepted(*device, result, "SignalSynchronizationObjectFromCpu") && result != 0) return false;
  for (const Point& point : points) model_.SignalNow({point.sync, jumps ? kJumped : point.value}, rewind);
  return true;
}

// Only when all is at rest: then everybody who can be let go has been.
void WorkRun::Rewind() {
  const auto device = AnyDevice();
  if (device == nullptr) return;
  Rest();
  if (!device->active()) return;
  Handle* handle = AnyGrowing(*device);
  if (handle == nullptr || handle->sync->seen == 0) return;
  // Lost ones stay: which device would lose it next is not known.
  if (handle->sync->lost) return;
  const uint64_t value = Below(std::min<uint64_t>(handle->sync->seen, 1000));
  model_.Rewind(*handle->sync);
  CpuSignal(device, {handle->handle}, {value}, {{handle->sync, value}}, true);
}

void WorkRun::WaitByCpu() {
  const auto device = AnyDevice();
  if (device == nullptr || model_.waits.size() > 40) return;
  auto wait = std::make_shared<CpuWait>();
  wait->id = ++ids_;
  wait->client = current_;
  wait->device = device;
  wait->any = Chance(40);
  std::vector<uint32_t> objects;
  std::vector<uint64_t> values;
  const uint64_t count = Chance(85) ? 1 + Below(3) : 32;
  for (uint64_t i = 0; i < count; ++i) {
    // Also of another device: the wait ends with the one that it was asked on.
    Handle* handle = AnyFence(Chance(70) ? device.get() : nullptr);
    if (handle == nullptr) return;
    objects.push_back(handle->handle);
    values.push_back(Chance(3) ? kFenceLost : ValueToAwait(*handle->sync));
    wait->points.push_back({handle->sync, values.back()});
  }
  const auto hardware = QueuesOf(*device, Queues::kHardware);
  if (!hardware.empty() && Chance(30)) {
    objects[0] = hardware[0]->progress_handle;
    values[0] = ValueToAwait(*hardware[0]->progress);
    wait->points[0] = {hardware[0]->progress, values[0]};
  }
  AskWait(wait, objects, values, Chance(40));
}

void WorkRun::AskWait(const std::shared_ptr<CpuWait>& wait, std::vector<uint32_t>& objects,
                      std::vector<uint64_t>& values, bool blocks) {
  if (!blocks) {
    // One eventfd may be for several waits.
    int event = 0;
    if (Chance(30)) {
      for (const auto& other : model_.waits) {
        if (other->client == current_ && other->event != 0) event = other->event;
      }
    }
    wait->event = event != 0 ? event : NewEvent();
  }
  d3dkmt_waitforsynchronizationobjectfromcpu args{};
  args.device.v = wait->device->handle;
  args.object_count = static_cast<uint32_t>(objects.size());
  args.objects = AddressOf(objects.data());
  args.fence_values = AddressOf(values.data());
  args.async_event = static_cast<uint64_t>(wait->event);
  args.flags.wait_any = wait->any;
  const int32_t result = Call(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, &args);
  Say("wait {} of the CPU for {} of {}, object {} at {}, eventfd {}: {}", wait->id, wait->any ? "any" : "all",
      objects.size(), wait->points[0].sync->id, values[0], wait->event, result);
  if (result == Machine::kWaits) {
    True(blocks, "a wait with an eventfd blocked");
    wait->call = machine_.TakeWaiting();
    model_.waits.push_back(wait);
    return;
  }
  wait->may_end = !Accepted(*wait->device, result, "WaitForSynchronizationObjectFromCpu");
  if (result != 0) return;
  if (!blocks) {
    model_.waits.push_back(wait);
    return;
  }
  model_.Read();
  for (const Point& point : wait->points) {
    const bool reached = point.sync->now >= point.value;
    if (reached && wait->any) return;
    True(reached || wait->any, "a wait that is not over returned at once");
  }
  True(!wait->any, "a wait for any of several returned at once although none is reached");
}

void WorkRun::Interrupt() {
  for (size_t i = 0; i < model_.waits.size(); ++i) {
    const auto wait = model_.waits[i];
    if (wait->call == nullptr || wait->client != current_) continue;
    Say("a signal interrupts wait {}", wait->id);
    wait->call->Interrupt();
    True(wait->call->done(), "an interrupted wait goes on");
    True(wait->call->result() < 0, "an interrupted wait succeeded");
    model_.waits.erase(model_.waits.begin() + static_cast<ptrdiff_t>(i));
    return;
  }
}

void WorkRun::Refused() {
  const auto device = AnyDevice();
  if (device == nullptr) return;
  uint32_t objects[33] = {};
  uint64_t values[33] = {};
  d3dkmt_signalsynchronizationobjectfromcpu signal{};
  signal.device.v = device->handle;
  signal.object_count = Chance(50) ? 0 : 33;
  signal.objects = AddressOf(objects);
  signal.fence_values = AddressOf(values);
  Equal(Call(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMCPU, &signal), -EINVAL,
        "a signal of too few or too many objects");
  d3dkmt_submitcommand submit{};
  submit.broadcast_context_count = Chance(50) ? 0 : 65;
  Equal(Call(LX_DXSUBMITCOMMAND, &submit), -EINVAL, "a submission to too few or too many contexts");
  d3dkmt_waitforsynchronizationobjectfromcpu wait{};
  wait.device.v = device->handle;
  wait.object_count = 1;
  wait.objects = AddressOf(objects);
  wait.fence_values = AddressOf(values);
  wait.async_event = static_cast<uint64_t>(NewEvent());
  Equal(Call(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, &wait), -EINVAL, "a wait for the object 0");
}

// What a handle's flags do not allow. Where nobody asks for the answer, nobody hears of it, and nothing else
// comes of it.
void WorkRun::Denied() {
  const auto device = AnyDevice();
  if (device == nullptr) return;
  const bool signal = Chance(50);
  const Handle* handle = AnyHandle(device.get(), [signal](const Handle& each) {
    return each.sync->readable() && !(signal ? each.signals : each.waits);
  });
  if (handle != nullptr) DenyTo(Handle(*handle), signal);
}

void WorkRun::DenyTo(const Handle& handle, bool signal) {
  uint32_t objects[] = {handle.handle};
  uint64_t values[] = {(handle.sync->seen == kFenceLost ? 0 : handle.sync->seen) + 1};
  auto queues = QueuesOf(*handle.device, Queues::kContexts);
  const auto* queue = Chance(50) ? Pick(queues) : nullptr;
  Say("object {} must not be {} by device {}", handle.sync->id, signal ? "signalled" : "waited for",
      handle.device->id);
  const int32_t denied = asynchronous_ && (signal || queue != nullptr) ? 0 : -EACCES;
  Observe();
  if (signal && queue == nullptr) {
    d3dkmt_signalsynchronizationobjectfromcpu args{};
    args.device.v = handle.device->handle;
    args.object_count = 1;
    args.objects = AddressOf(objects);
    args.fence_values = AddressOf(values);
    Equal(Call(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMCPU, &args), denied,
          "a signal by the CPU that is not allowed");
  } else if (signal) {
    d3dkmt_signalsynchronizationobjectfromgpu args{};
    args.context.v = (*queue)->handle;
    args.object_count = 1;
    args.objects = AddressOf(objects);
    args.monitored_fence_values = AddressOf(values);
    Equal(Call(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU, &args), denied,
          "a signal by a queue that is not allowed");
  } else if (queue == nullptr) {
    d3dkmt_waitforsynchronizationobjectfromcpu args{};
    args.device.v = handle.device->handle;
    args.object_count = 1;
    args.objects = AddressOf(objects);
    args.fence_values = AddressOf(values);
    args.async_event = static_cast<uint64_t>(NewEvent());
    Equal(Call(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, &args), denied,
          "a wait of the CPU that is not allowed");
  } else {
    d3dkmt_waitforsynchronizationobjectfromgpu args{};
    args.context.v = (*queue)->handle;
    args.object_count = 1;
    args.objects = AddressOf(objects);
    args.monitored_fence_values = AddressOf(values);
    Equal(Call(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMGPU, &args), denied,
          "a wait of a queue that is not allowed");
  }
  Equal(StateOf(*handle.device), uint32_t{kActive}, "the state of a device after what is not allowed");
}

}  // namespace dxg::simulation
