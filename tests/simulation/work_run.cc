#include "tests/simulation/work_run.h"

namespace dxg::simulation {

// Packets name regions, which name the queues that have the packets.
WorkRun::~WorkRun() {
  for (const auto& each : queues_ever_) {
    if (const auto queue = each.lock()) queue->packets.clear();
  }
  for (const auto& each : devices_ever_) {
    if (const auto device = each.lock()) device->regions.clear();
  }
}

AdapterProfile WorkRun::Profile() {
  AdapterProfile profile = Machine::Discrete(kGroupBytes);
  asynchronous_ = Chance(50);
  profile.mutable_messages()->set_asynchronous(asynchronous_);
  if (Chance(70)) profile.set_vertical_sync_ns(vertical_sync_ns_ = 1'000'000 + Below(3'000'000));
  return profile;
}

void WorkRun::Steps(int steps) {
  clients_.resize(2 + Below(kClientsMax - 1));
  for (current_ = 0; current_ < static_cast<int>(clients_.size()); ++current_) OpenClient();
  for (step_ = 0; step_ < steps; ++step_) {
    Step();
    Observe();
  }
  Finish();
}

void WorkRun::Step() {
  current_ = static_cast<int>(Below(clients_.size()));
  static constexpr std::pair<int, void (WorkRun::*)()> kActs[] = {
      {16, &WorkRun::Submit},
      {8, &WorkRun::SignalByQueue},
      {9, &WorkRun::WaitByQueue},
      {5, &WorkRun::Pipeline},
      {4, &WorkRun::Sections},
      {3, &WorkRun::SubmitNothing},
      {3, &WorkRun::SubmitBroadcast},
      {3, &WorkRun::SubmitNeedy},
      {8, &WorkRun::SignalByCpu},
      {10, &WorkRun::WaitByCpu},
      {2, &WorkRun::Interrupt},
      {14, &WorkRun::Advance},
      {8, &WorkRun::Rest},
      {3, &WorkRun::Rewind},
      {6, &WorkRun::CreateSync},
      {3, &WorkRun::DestroySync},
      {4, &WorkRun::Share},
      {5, &WorkRun::OpenShared},
      {2, &WorkRun::CloseDescriptor},
      {3, &WorkRun::CreateQueue},
      {2, &WorkRun::DestroyQueue},
      {2, &WorkRun::Priority},
      {2, &WorkRun::Refused},
      {2, &WorkRun::SubmitBad},
      {2, &WorkRun::Trouble},
      {5, &WorkRun::Recover},
      {1, &WorkRun::ReplaceClient},
      {3, &WorkRun::CreatePeriodic},
      {5, &WorkRun::ArmRule},
      {4, &WorkRun::Denied},
  };
  ActOnce(*this, kActs);
  if (adapter_is_gone_) BringAdapterBack();  // a rule has struck
}

// -- Picking. Null where there is none.

std::shared_ptr<ModelDevice> WorkRun::AnyDevice() {
  std::vector<std::shared_ptr<ModelDevice>> list;
  for (const auto& device : Now().devices) {
    if (device->active() && device->used + kMemoryOfStep <= kMemoryBytes) list.push_back(device);
  }
  auto* picked = Pick(list);
  return picked == nullptr ? nullptr : *picked;
}

std::vector<std::shared_ptr<ModelQueue>> WorkRun::QueuesOf(const ModelDevice& device, Queues which) {
  std::vector<std::shared_ptr<ModelQueue>> list;
  for (const auto& queue : model_.queues) {
    if (queue->device.get() == &device &&
        (which == Queues::kAll || queue->hardware == (which == Queues::kHardware)))
      list.push_back(queue);
  }
  return list;
}

std::shared_ptr<ModelQueue> WorkRun::AnyQueue(Queues which) {
  const auto device = AnyDevice();
  if (device == nullptr) return nullptr;
  auto list = QueuesOf(*device, which);
  auto* picked = Pick(list);
  return picked == nullptr ? nullptr : *picked;
}

Handle* WorkRun::AnyFence(const ModelDevice* device) {
  return AnyHandle(device, [](const Handle& handle) { return handle.sync->readable() && handle.waits; });
}

Handle* WorkRun::AnyGrowing(const ModelDevice& device, bool both) {
  return AnyHandle(&device, [both](const Handle& handle) {
    return handle.sync->readable() && handle.signals && (handle.waits || !both) && !handle.sync->gpu_adds;
  });
}

bool WorkRun::PickToSignal(const ModelDevice& device, std::vector<uint32_t>* objects,
                           std::vector<uint64_t>* values, std::vector<Point>* points) {
  const uint64_t count = 1 + Below(3);
  for (uint64_t i = 0; i < count; ++i) {
    Handle* handle = AnyGrowing(device);
    if (handle == nullptr) return false;
    objects->push_back(handle->handle);
    values->push_back(ValueToSignal(*handle->sync));
    points->push_back({handle->sync, values->back()});
  }
  return true;
}

// -- Time

void WorkRun::Advance() {
  if (Chance(50)) {
    machine_.clock().AdvanceNs(Below(400'000));
    Say("some time");
  } else {
    const uint64_t events = 1 + Below(6);
    for (uint64_t i = 0; i < events && machine_.clock().AdvanceToNext(); ++i) Observe();
    Say("some events");
  }
  Observe();
}

void WorkRun::Rest() {
  EndPeriodic();  // with them there is none
  for (int i = 0; machine_.clock().AdvanceToNext(); ++i) {
    Observe();
    True(i < kEventsOfClockMax, "the machine does not come to rest");
  }
  Observe();
  model_.JudgeAtRest();
  JudgeRulesAtRest();
  Say("rest");
  for (const auto& sync : model_.syncs) {
    if (sync->readable()) Say("object {} is {}", sync->id, sync->now);
  }
}

void WorkRun::Observe() {
  model_.Read();
  FindLostDevices();
  if (EndHangs()) return Observe();
  for (const auto& queue : model_.queues) {
    if (queue->now != queue->seen) Say("queue {} has run command {}", queue->id, queue->now);
  }
  model_.Judge();
}

// -- The end

void WorkRun::Finish() {
  Say("the end");
  ClearRules();
  if (Chance(60)) Release();
  Rest();
  while (!descriptors_.empty()) CloseDescriptor();
  for (current_ = 0; current_ < static_cast<int>(clients_.size()); ++current_) {
    EndClient();
    Observe();
  }
  current_ = 0;
  machine_.Settle();
  CheckLeft();
}

// Everything that anybody waits for is signalled, until nobody waits: nothing may be stuck.
void WorkRun::Release() {
  for (current_ = 0; current_ < static_cast<int>(clients_.size()); ++current_) {
    for (const Handle& handle : Now().handles) {
      if (!handle.sync->readable() || !handle.signals || handle.sync->gpu_adds || !handle.device->active() ||
          handle.sync->lost)
        continue;
      CpuSignal(handle.device, {handle.handle}, {kEverybody}, {{handle.sync, kEverybody}}, false);
      Observe();
    }
  }
  current_ = 0;
}

void WorkRun::CheckLeft() {
  const hostsim::Accounting left = machine_.host().Account();
  Equal(left.processes + left.devices + left.contexts + left.allocations + left.resources + left.storages +
            left.mappings + left.paging_queues + left.sync_objects + left.waits + left.shared + left.regions +
            left.window_bytes + left.machine_bytes,
        0u, "objects, memory of the window and of the machine that are left at the end");
  Equal(left.listed_bytes[0] + left.placed_bytes[0] + left.listed_bytes[1] + left.placed_bytes[1], 0u,
        "memory placed at the end");
  Equal(machine_.driver().process_count(), 0u, "processes of the guest at the end");
  Equal(machine_.driver().events().size(), 0u, "events of the guest at the end");
  Equal(machine_.mapped_bytes(), 0u, "memory mapped into clients at the end");
}

Outcome RunWork(const Options& options, uint64_t seed) { return Play<WorkRun>(options, seed); }

}  // namespace dxg::simulation
