#include <cstring>

#include "proto/abi/interface.h"
#include "tests/simulation/work_run.h"

namespace dxg::simulation {

// -- Commands

// Writes a command buffer and submits it; `packet` is what it does.
template <typename Write>
bool WorkRun::SubmitTo(const std::shared_ptr<ModelQueue>& queue, Packet packet, Write write) {
  ModelDevice& device = *queue->device;
  alignas(8) char buffer[1024];
  dxg_commands commands = dxg_commands_begin(buffer, sizeof(buffer));
  packet.number = queue->submitted + 1;
  write(&commands, &packet);
  if (packet.fate == Fate::kHangs) dxg_push_hang(&commands);
  if (packet.fate == Fate::kFaults) dxg_push_fault(&commands, 7);
  if (packet.fate == Fate::kPageFaults) dxg_push_write64(&commands, kNowhere, 1);
  dxg_push_write64(&commands, queue->word_gpu, packet.number);
  DXG_CHECK(commands.used <= sizeof(buffer));
  const uint64_t at = Take(device, commands.used);
  std::memcpy(device.cpu + at, buffer, commands.used);
  queue->submitted = packet.number;
  return SubmitBuffer(*queue, at, commands.used, std::move(packet));
}

// What the model has to know of a submission it is told before: it may be carried out within the call.
bool WorkRun::SubmitBuffer(ModelQueue& queue, uint64_t at, uint64_t bytes, Packet packet) {
  const ModelDevice& device = *queue.device;
  if (!queue.hardware) {
    d3dkmt_submitcommand args{};
    args.command_buffer = device.gpu + at;
    args.command_length = static_cast<uint32_t>(bytes);
    args.broadcast_context_count = 1;
    args.broadcast_context[0].v = queue.handle;
    queue.packets.push_back(std::move(packet));
    return Accepted(device, Call(LX_DXSUBMITCOMMAND, &args), "SubmitCommand");
  }
  d3dkmt_submitcommandtohwqueue args{};
  args.hwqueue.v = queue.handle;
  args.hwqueue_progress_fence_id = packet.progress = queue.last_progress += 1 + Below(2);
  args.command_buffer = device.gpu + at;
  args.command_length = static_cast<uint32_t>(bytes);
  queue.packets.push_back(std::move(packet));
  return Accepted(device, Call(LX_DXSUBMITCOMMANDTOHWQUEUE, &args), "SubmitCommandToHwQueue");
}

// One command: writes some memory, copies what earlier ones wrote, takes its time.
void WorkRun::Submit() {
  const auto queue = AnyQueue();
  if (queue != nullptr) SubmitWork(queue, nullptr);
}

// `source`: copied, where the queue is behind its producer.
bool WorkRun::SubmitWork(const std::shared_ptr<ModelQueue>& queue, const Region* source,
                         const Point& handover) {
  ModelDevice& device = *queue->device;
  Region target;
  target.bytes = 8 << Below(5);
  const uint64_t at = Take(device, target.bytes);
  target.at = device.cpu + at;
  target.gpu = device.gpu + at;
  target.producer = queue;
  target.number = queue->submitted + 1;
  Region from;
  if (source != nullptr) {
    from = *source;
  } else if (!device.regions.empty() && Chance(50)) {
    // Only what is there for sure: written in front of it, or already.
    const Region& other = *Pick(device.regions);
    if (other.producer == queue || other.producer->now >= other.number) from = other;
  }
  const bool copies = from.at != nullptr;
  if (copies) target.bytes = std::min(target.bytes, from.bytes);
  target.pattern = copies ? from.pattern : static_cast<uint32_t>(random_());
  const uint64_t delay = Chance(60) ? Below(300'000) : 0;
  Handle* adds = Chance(30)
                     ? AnyHandle(&device,
                                 [](const Handle& handle) {
                                   return handle.sync->gpu_adds && handle.signals && !handle.sync->lost;
                                 })
                     : nullptr;
  Packet packet;
  packet.copies.emplace_back(target, from);
  packet.handover = handover;
  const int doubled = copies && Chance(30);
  const bool done = SubmitTo(queue, std::move(packet), [&](dxg_commands* commands, Packet* command) {
    if (delay != 0 && Chance(50)) dxg_push_delay(commands, delay);
    if (!copies) {
      dxg_push_fill(commands, target.gpu, target.bytes, target.pattern);
    } else if (doubled) {
      dxg_push_add(commands, target.gpu, from.gpu, from.gpu, target.bytes / 4, DXG_TYPE_I32);
      command->copies[0].first.pattern = target.pattern = 2 * from.pattern;
    } else {
      dxg_push_copy(commands, target.gpu, from.gpu, target.bytes);
    }
    if (adds != nullptr) {
      const uint64_t value = 1 + Below(2);
      dxg_push_atomic_add64(commands, adds->gpu, value);
      command->adds.push_back({adds->sync, value});
    }
    if (delay != 0) dxg_push_delay(commands, delay);
    Say("queue {} command {}: {} bytes {} {:#x}{}, {} ns{}", queue->id, command->number, target.bytes,
        copies ? "copied" : "filled", target.pattern, doubled ? " doubled" : "", delay,
        adds != nullptr ? fmt::format(", adds to object {}", adds->sync->id) : "");
  });
  if (done) device.regions.push_back(target);
  return done;
}

void WorkRun::SubmitBad() {
  const auto queue = AnyQueue();
  if (queue == nullptr || lost_ > 6) return;
  Packet packet;
  packet.fate = static_cast<Fate>(1 + Below(3));
  Say("queue {} command {}, of fate {}", queue->id, queue->submitted + 1, static_cast<int>(packet.fate));
  SubmitTo(queue, std::move(packet), [](dxg_commands*, Packet*) {});
}

// A command that waits for memory, on its engine.
void WorkRun::SubmitNeedy() {
  const auto queue = AnyQueue();
  if (queue == nullptr) return;
  const uint64_t at = Take(*queue->device, 8);
  Packet packet;
  packet.needs = WordAt(*queue->device, at);
  Say("queue {} command {} needs a word", queue->id, queue->submitted + 1);
  const uint64_t gpu = queue->device->gpu + at;
  const bool submitted = SubmitTo(queue, std::move(packet), [gpu](dxg_commands* commands, Packet*) {
    dxg_push_wait64(commands, gpu, 1, ~0ull, DXG_COMPARE_GREATER_EQUAL);
  });
  if (submitted && Chance(70)) {
    Advance();
    WriteWords();
  }
}

void WorkRun::WriteWords() {
  for (const auto& queue : model_.queues) {
    for (const Packet& packet : queue->packets) {
      if (packet.needs != nullptr && Chance(90)) *const_cast<volatile uint64_t*>(packet.needs) = 1;
    }
  }
  Say("the CPU writes words");
}

// Commands that do nothing that shows: without effect on purpose, or of another GPU's driver.
void WorkRun::SubmitNothing() {
  const auto queue = AnyQueue(Queues::kContexts);
  if (queue == nullptr) return;
  ModelDevice& device = *queue->device;
  const uint64_t at = Take(device, 64);
  const bool null = Chance(50);
  dxg_commands commands = dxg_commands_begin(device.cpu + at, 64);
  dxg_push_write64(&commands, null ? queue->word_gpu : kNowhere, 1);
  if (!null) std::memset(device.cpu + at, 0x55, 8);
  d3dkmt_submitcommand args{};
  args.command_buffer = device.gpu + at;
  args.command_length = static_cast<uint32_t>(commands.used);
  args.flags.null_rendering = null;
  args.broadcast_context_count = 1;
  args.broadcast_context[0].v = queue->handle;
  Say("queue {}: a command that does nothing", queue->id);
  queue->packets.emplace_back();
  Accepted(device, Call(LX_DXSUBMITCOMMAND, &args), "SubmitCommand");
}

// One command on several contexts.
void WorkRun::SubmitBroadcast() {
  const auto device = AnyDevice();
  if (device == nullptr) return;
  auto contexts = QueuesOf(*device, Queues::kContexts);
  if (contexts.empty()) return;
  const uint64_t word = Take(*device, 8), at = Take(*device, 64);
  dxg_commands commands = dxg_commands_begin(device->cpu + at, 64);
  dxg_push_atomic_add64(&commands, device->gpu + word, 1);
  auto sum = std::make_shared<Sync>();
  sum->id = -device->id;
  sum->type = kMonitored;
  sum->gpu_adds = true;
  sum->names = 1;
  sum->views.push_back(WordAt(*device, word));
  d3dkmt_submitcommand args{};
  args.command_buffer = device->gpu + at;
  args.command_length = static_cast<uint32_t>(commands.used);
  for (const auto& context : contexts)
    args.broadcast_context[args.broadcast_context_count++].v = context->handle;
  Say("device {}: a command on {} contexts", device->id, contexts.size());
  Packet packet;
  packet.adds.push_back({sum, 1});
  model_.syncs.push_back(sum);
  for (const auto& context : contexts) context->packets.push_back(packet);
  Accepted(*device, Call(LX_DXSUBMITCOMMAND, &args), "SubmitCommand to several contexts");
}

// -- Signals and waits of queues

void WorkRun::SignalByQueue() {
  const auto queue = AnyQueue();
  if (queue == nullptr) return;
  SignalFrom(queue);
}

void WorkRun::SignalFrom(const std::shared_ptr<ModelQueue>& queue) {
  const auto device = queue->device;
  auto signal = std::make_shared<Signal>();
  std::vector<std::shared_ptr<ModelQueue>> queues = {queue};
  if (!queue->hardware && Chance(35)) return SignalLegacy(queue);
  if (Chance(30)) {
    for (const auto& other : QueuesOf(*device, queue->hardware ? Queues::kHardware : Queues::kContexts)) {
      if (other != queue && queues.size() < 4) queues.push_back(other);
    }
  }
  std::vector<uint32_t> objects, names;
  std::vector<uint64_t> values;
  if (!PickToSignal(*device, &objects, &values, &signal->points)) return;
  const size_t count = objects.size();
  for (const auto& other : queues) names.push_back(other->handle);
  signal->early = (queue->hardware || queues.size() > 1) && Chance(15);
  signal->members = static_cast<int>(queues.size());
  Say("queue {} and {} more signal object {} and {} more to {}{}", queue->id, queues.size() - 1,
      signal->points[0].sync->id, count - 1, values[0], signal->early ? ", early" : "");
  int32_t result = 0;
  PushSignal(queues, signal);
  if (queue->hardware) {
    d3dkmt_submitsignalsyncobjectstohwqueue args{};
    args.flags.signal_at_submission = signal->early;
    args.hwqueue_count = static_cast<uint32_t>(names.size());
    args.hwqueues = AddressOf(names.data());
    args.object_count = static_cast<uint32_t>(count);
    args.objects = AddressOf(objects.data());
    args.fence_values = AddressOf(values.data());
    result = Call(LX_DXSUBMITSIGNALSYNCOBJECTSTOHWQUEUE, &args);
  } else if (queues.size() == 1 && Chance(50)) {
    d3dkmt_signalsynchronizationobjectfromgpu args{};
    args.context.v = names[0];
    args.object_count = static_cast<uint32_t>(count);
    args.objects = AddressOf(objects.data());
    args.monitored_fence_values = AddressOf(values.data());
    result = Call(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU, &args);
  } else {
    d3dkmt_signalsynchronizationobjectfromgpu2 args{};
    args.flags.signal_at_submission = signal->early;
    args.object_count = static_cast<uint32_t>(count);
    args.objects = AddressOf(objects.data());
    args.context_count = static_cast<uint32_t>(names.size());
    args.contexts = AddressOf(names.data());
    args.monitored_fence_values = AddressOf(values.data());
    result = Call(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU2, &args);
  }
  Accepted(*device, result, "a signal by a queue");
}

void WorkRun::PushSignal(const std::vector<std::shared_ptr<ModelQueue>>& queues,
                         const std::shared_ptr<Signal>& signal) {
  Packet packet;
  packet.kind = Packet::Kind::kSignal;
  packet.signal = signal;
  for (const auto& queue : queues) queue->packets.push_back(packet);
}

// Objects without values of their own, and eventfds.
void WorkRun::SignalLegacy(const std::shared_ptr<ModelQueue>& queue) {
  auto signal = std::make_shared<Signal>();
  d3dkmt_signalsynchronizationobject2 args{};
  args.context.v = queue->handle;
  if (Chance(30)) {
    signal->event = NewEvent();
    args.flags.enqueue_cpu_event = 1;
    args.cpu_event_handle = static_cast<uint64_t>(signal->event);
    Say("queue {} ticks eventfd {}", queue->id, signal->event);
    if (Chance(50)) {
      uint32_t names[] = {queue->handle};
      d3dkmt_signalsynchronizationobjectfromgpu2 other{};
      other.flags.enqueue_cpu_event = 1;
      other.context_count = 1;
      other.contexts = AddressOf(names);
      other.cpu_event_handle = static_cast<uint64_t>(signal->event);
      PushSignal({queue}, signal);
      Accepted(*queue->device, Call(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU2, &other),
               "SignalSynchronizationObjectFromGpu2 of an eventfd");
      return;
    }
    PushSignal({queue}, signal);
    Accepted(*queue->device, Call(LX_DXSIGNALSYNCHRONIZATIONOBJECT, &args),
             "SignalSynchronizationObject of an eventfd");
    return;
  }
  Handle* handle = AnyHandle(queue->device.get(), [](const Handle& each) {
    return each.sync->type == kSemaphore || each.sync->type == kFence || each.sync->type == kCpuNotification;
  });
  if (handle == nullptr) return;
  const uint64_t value = handle->sync->type == kFence ? handle->sync->value + Below(3) : 0;
  args.object_count = 1;
  args.object_array[0].v = handle->handle;
  args.fence.fence_value = value;
  signal->points.push_back({handle->sync, value});
  Say("queue {} signals object {} of type {} to {}", queue->id, handle->sync->id, handle->sync->type, value);
  PushSignal({queue}, signal);
  Accepted(*queue->device, Call(LX_DXSIGNALSYNCHRONIZATIONOBJECT, &args), "SignalSynchronizationObject");
}

void WorkRun::WaitByQueue() {
  const auto queue = AnyQueue();
  if (queue == nullptr) return;
  WaitOn(queue);
  // What shows that the wait is over.
  if (!queue->packets.empty() && queue->packets.back().kind == Packet::Kind::kWait)
    SubmitWork(queue, nullptr);
}

void WorkRun::WaitOn(const std::shared_ptr<ModelQueue>& queue) {
  const auto device = queue->device;
  if (!queue->hardware && Chance(30)) return WaitLegacy(queue);
  std::vector<uint32_t> objects;
  std::vector<uint64_t> values;
  Packet packet;
  packet.kind = Packet::Kind::kWait;
  const uint64_t count = Chance(80) ? 1 + Below(2) : 32;
  for (uint64_t i = 0; i < count; ++i) {
    Handle* handle = AnyFence(device.get());
    if (handle == nullptr) return;
    objects.push_back(handle->handle);
    values.push_back(ValueToAwait(*handle->sync));
    packet.points.push_back({handle->sync, values.back()});
  }
  Say("queue {} waits for object {} and {} more at {}", queue->id, packet.points[0].sync->id, count - 1,
      values[0]);
  int32_t result = 0;
  queue->packets.push_back(std::move(packet));
  if (queue->hardware) {
    d3dkmt_submitwaitforsyncobjectstohwqueue args{};
    args.hwqueue.v = queue->handle;
    args.object_count = static_cast<uint32_t>(count);
    args.objects = AddressOf(objects.data());
    args.fence_values = AddressOf(values.data());
    result = Call(LX_DXSUBMITWAITFORSYNCOBJECTSTOHWQUEUE, &args);
  } else {
    d3dkmt_waitforsynchronizationobjectfromgpu args{};
    args.context.v = queue->handle;
    args.object_count = static_cast<uint32_t>(count);
    args.objects = AddressOf(objects.data());
    args.monitored_fence_values = AddressOf(values.data());
    result = Call(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMGPU, &args);
  }
  Accepted(*device, result, "a wait of a queue");
}

void WorkRun::WaitLegacy(const std::shared_ptr<ModelQueue>& queue) {
  Handle* handle = AnyHandle(queue->device.get(), [](const Handle& each) {
    return each.sync->type == kSemaphore || each.sync->type == kFence;
  });
  if (handle == nullptr) return;
  PushWaitLegacy(queue, *handle, handle->sync->type == kFence ? handle->sync->value + Below(3) : 0);
}

bool WorkRun::PushWaitLegacy(const std::shared_ptr<ModelQueue>& queue, const Handle& handle, uint64_t value) {
  Packet packet;
  packet.kind = Packet::Kind::kWait;
  packet.points.push_back({handle.sync, value});
  Say("queue {} waits for object {} of type {} at {}", queue->id, handle.sync->id, handle.sync->type, value);
  int32_t result = 0;
  queue->packets.push_back(std::move(packet));
  if (Chance(50)) {
    d3dkmt_waitforsynchronizationobject2 args{};
    args.context.v = queue->handle;
    args.object_count = 1;
    args.object_array[0].v = handle.handle;
    args.fence.fence_value = value;
    result = Call(LX_DXWAITFORSYNCHRONIZATIONOBJECT, &args);
  } else {
    uint32_t list[] = {handle.handle};
    d3dkmt_waitforsynchronizationobjectfromgpu args{};
    args.context.v = queue->handle;
    args.object_count = 1;
    args.objects = AddressOf(list);
    args.fence_value = value;
    result = Call(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMGPU, &args);
  }
  return Accepted(*queue->device, result, "a wait of a queue");
}

// What one queue makes, another one copies, with a fence in between.
void WorkRun::Pipeline() {
  const auto producer = AnyQueue(Queues::kContexts);
  if (producer == nullptr) return;
  const auto device = producer->device;
  auto all = QueuesOf(*device, Queues::kAll);
  const auto consumer = *Pick(all);
  Handle* fence = AnyGrowing(*device, true);
  if (fence == nullptr || fence->sync->lost || fence->sync->seen == kFenceLost || consumer == producer)
    return;
  if (!SubmitWork(producer, nullptr)) return;
  const Region made = device->regions.back();
  // Higher than anybody but another producer has in mind.
  const uint64_t value = 1'000'000 + static_cast<uint64_t>(++ids_) * 10'000;
  uint32_t list[] = {fence->handle};
  uint64_t values[] = {value};
  auto signal = std::make_shared<Signal>();
  signal->points.push_back({fence->sync, value});
  d3dkmt_signalsynchronizationobjectfromgpu args{};
  args.context.v = producer->handle;
  args.object_count = 1;
  args.objects = AddressOf(list);
  args.monitored_fence_values = AddressOf(values);
  const auto sync = fence->sync;
  Say("queue {} hands over to queue {} by object {} at {}", producer->id, consumer->id, sync->id, value);
  PushSignal({producer}, signal);
  if (!Accepted(*device, Call(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU, &args),
                "SignalSynchronizationObjectFromGpu"))
    return;
  Packet wait;
  wait.kind = Packet::Kind::kWait;
  wait.points.push_back({sync, value});
  int32_t result = 0;
  consumer->packets.push_back(std::move(wait));
  if (consumer->hardware) {
    d3dkmt_submitwaitforsyncobjectstohwqueue hold{};
    hold.hwqueue.v = consumer->handle;
    hold.object_count = 1;
    hold.objects = AddressOf(list);
    hold.fence_values = AddressOf(values);
    result = Call(LX_DXSUBMITWAITFORSYNCOBJECTSTOHWQUEUE, &hold);
  } else {
    d3dkmt_waitforsynchronizationobjectfromgpu hold{};
    hold.context.v = consumer->handle;
    hold.object_count = 1;
    hold.objects = AddressOf(list);
    hold.monitored_fence_values = AddressOf(values);
    result = Call(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMGPU, &hold);
  }
  if (!Accepted(*device, result, "a wait of a queue")) return;
  SubmitWork(consumer, &made, {sync, value});
}

// Several contexts take a mutex in turn; what each writes must not be written over before it has read it
// back.
void WorkRun::Sections() {
  const auto device = AnyDevice();
  if (device == nullptr) return;
  Handle* mutex = AnyHandle(
      device.get(), [](const Handle& each) { return each.sync->type == kMutex && each.sync->certain; });
  if (mutex == nullptr) return;
  const uint64_t word = Take(*device, 8);
  const Handle handle = *mutex;
  for (const auto& queue : QueuesOf(*device, Queues::kContexts)) {
    const uint64_t at = Take(*device, 8);
    if (!PushWaitLegacy(queue, handle, 0)) return;
    Region target;
    target.at = device->cpu + at;
    target.gpu = device->gpu + at;
    target.bytes = 8;
    target.pattern = static_cast<uint32_t>(queue->id);
    Packet packet;
    packet.copies.emplace_back(target, Region());
    packet.guard = handle.sync;
    const bool submitted = SubmitTo(queue, std::move(packet), [&](dxg_commands* commands, Packet*) {
      dxg_push_fill(commands, device->gpu + word, 8, target.pattern);
      dxg_push_delay(commands, 1000 + Below(100'000));
      dxg_push_copy(commands, target.gpu, device->gpu + word, 8);
    });
    if (!submitted) return;
    auto signal = std::make_shared<Signal>();
    signal->points.push_back({handle.sync, 0});
    d3dkmt_signalsynchronizationobject2 args{};
    args.context.v = queue->handle;
    args.object_count = 1;
    args.object_array[0].v = handle.handle;
    PushSignal({queue}, signal);
    if (!Accepted(*device, Call(LX_DXSIGNALSYNCHRONIZATIONOBJECT, &args), "SignalSynchronizationObject"))
      return;
  }
  Say("a section for all contexts of device {} under mutex {}", device->id, handle.sync->id);
}

}  // namespace dxg::simulation
