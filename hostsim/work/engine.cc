#include "hostsim/work/engine.h"

#include <algorithm>
#include <map>
#include <set>
#include <thread>
#include <tuple>

#include "hostsim/adapter/adapter_reset.h"
#include "hostsim/adapter/clock_calibration.h"
#include "hostsim/machine/machine.h"
#include "hostsim/machine/process.h"
#include "hostsim/work/device.h"

namespace dxg::hostsim {
namespace {

constexpr uint64_t kNever = ~0ull;

// What a thread does for an engine that has its own before it leaves the rest to it: bytes, and commands.
constexpr uint64_t kShortBytes = 64 * 1024;
constexpr uint32_t kShortCommands = 16;

// Every so often the queue that has waited longest is served, whatever its priority.
constexpr uint64_t kPicksInTurn = 8;

// How often a command looks at memory that it waits for: ever more rarely.
constexpr uint64_t kPollMinNs = 1'000;
constexpr uint64_t kPollMaxNs = 500'000;

}  // namespace

// A command on an engine.
struct Engines::Running {
  Running(std::shared_ptr<GpuQueue> of, GpuCommand the_command)
      : queue(std::move(of)), command(std::move(the_command)), run(command.address, command.bytes) {}

  const std::shared_ptr<GpuQueue> queue;
  GpuCommand command;
  CommandRun run;
  std::atomic<bool> cancelled{false};
  uint64_t started_ns = 0;
  uint64_t deadline_ns = kNever;
  uint64_t due_ns = 0;     // does not end before
  uint64_t resume_ns = 0;  // does not go on before
  uint64_t poll_ns = 0;    // how long it waited for memory the last time; 0: it does not
  bool executing = false;  // a thread is at it, without the lock
  bool done = false;       // has nothing more to do than to last
  bool hung = false;
  bool faulted = false;
  std::optional<CommandStop> trouble;  // instead of what it says
  std::vector<std::shared_ptr<void>> stopped;
};

struct Engines::Node {
  explicit Node(uint32_t index) : index(index) {}

  struct InLine {
    int32_t priority;
    int32_t in_process_priority;
    uint64_t place;
    GpuQueue* queue;
    bool operator<(const InLine& other) const {  // who is served first
      return std::tuple(-int64_t{priority}, -in_process_priority, place) <
             std::tuple(-int64_t{other.priority}, -other.in_process_priority, other.place);
    }
  };

  const uint32_t index;
  std::set<InLine> by_priority;
  std::map<uint64_t, GpuQueue*> by_age;  // the same, by place
  uint64_t picks = 0;
  std::shared_ptr<Running> current;
  uint64_t last_queue = 0;
  bool driving = false;        // a thread works for the engine
  bool again = false;          // and has to look once more
  bool wanted = false;         // the engine's own thread is to do it
  bool watched = false;        // the clock is going to look whether the command hangs
  uint64_t timer_ns = kNever;  // when the clock is going to come back next
  NodeWork work;
  ConditionVariable changed;
  std::thread thread;
};

// What commands find around them.
class Engines::Environment final : public CommandEnvironment {
 public:
  Environment(Engines& engines, const DeviceWork& work, uint32_t node, Aftermath* aftermath)
      : engines_(engines), work_(work), node_(node), aftermath_(aftermath) {}

  bool Translate(uint64_t address, uint64_t bytes, bool write, std::vector<GpuSpan>* spans,
                 GpuFault* fault) override {
    *fault = {GpuFault::kUnmapped, address, write};
    const std::shared_ptr<Process> process = work_.process.lock();
    if (!process) return false;
    Process& locked = *process;
    MutexLock lock(locked.mutex());
    const Device* device = locked.Find<Device>(work_.device);
    if (!device || device->work.get() != &work_) return false;
    AdapterUse* use = locked.UseAdapter(device->adapter);
    return use && use->va.Translate(address, bytes, write, spans, fault);
  }
  uint64_t Timestamp() override { return ToTicks(engines_.NowNs(), engines_.clock_hz_[node_]); }
  void Mark(uint64_t id) override {
    const std::shared_ptr<Process> process = work_.process.lock();
    MutexLock lock(engines_.mutex_);
    engines_.marks_.push_back({process ? process->handle : 0, node_, id});
    if (engines_.marks_.size() > kMarksMax) engines_.marks_.pop_front();
  }
  Aftermath* aftermath() override { return aftermath_; }

 private:
  Engines& engines_;
  const DeviceWork& work_;
  const uint32_t node_;
  Aftermath* const aftermath_;
};

Engines::Engines(Machine& machine, const AdapterProfile& profile, uint64_t guest_luid, uint64_t seed)
    : machine_(machine),
      guest_luid_(guest_luid),
      command_ns_(profile.engines().command_ns()),
      jitter_ns_(profile.engines().jitter_ns()),
      timeout_ns_(uint64_t{profile.engines().timeout_ms()} * 1'000'000),
      resets_adapter_(profile.engines().reset() == AdapterProfile::Engines::ADAPTER),
      threads_(machine.engine_threads()),
      rng_(seed) {
  for (const AdapterProfile::Node& node : profile.nodes()) {
    nodes_.push_back(std::make_unique<Node>(static_cast<uint32_t>(nodes_.size())));
    clock_hz_.push_back(node.clock_hz());
  }
}

Engines::~Engines() = default;

uint64_t Engines::NowNs() const { return machine_.NowNs(); }

// -- Queues.

std::shared_ptr<GpuQueue> Engines::AddQueue(std::shared_ptr<DeviceWork> work, uint32_t node) {
  MutexLock lock(mutex_);
  auto queue = std::make_shared<GpuQueue>(std::move(work), node, machine_.NewQueueNumber());
  queue->work_->queues_.push_back(queue.get());
  return queue;
}

void Engines::SetPriority(GpuQueue& queue, int32_t priority, int32_t in_process_priority) {
  MutexLock lock(mutex_);
  const uint64_t place = queue.ready_since_;
  SetInLine(queue, false);
  queue.priority_ = priority;
  queue.in_process_priority_ = in_process_priority;
  if (place == 0) return;
  queue.ready_since_ = place;
  Node& node = *nodes_[queue.node];
  node.by_priority.insert({priority, in_process_priority, place, &queue});
  node.by_age.emplace(place, &queue);
}

bool Engines::Submit(DeviceWork& work, std::span<GpuQueue* const> queues, std::span<GpuPacket> packets,
                     Aftermath* aftermath) {
  MutexLock lock(mutex_);
  if (work.of_process->packets + queues.size() > kPacketsPerProcessMax) return false;
  for (size_t i = 0; i < queues.size(); ++i) {
    GpuQueue& queue = *queues[i];
    if (queue.ended_) continue;
    GpuPacket& packet = packets[packets.size() == 1 ? 0 : i];
    Count(queue, std::holds_alternative<GpuCommand>(packet) ? &NodeWork::commands_submitted
                 : std::holds_alternative<GpuWait>(packet)  ? &NodeWork::waits_submitted
                                                            : &NodeWork::signals_submitted);
    ++work.of_process->packets;
    const bool last = packets.size() != 1 || i + 1 == queues.size();
    queue.packets_.push_back(last ? std::move(packet) : packet);
    Advance(queue, aftermath);
  }
  return true;
}

void Engines::Count(GpuQueue& queue, uint64_t NodeWork::*counter) {
  ++(nodes_[queue.node]->work.*counter);
  ++(queue.work_->of_process->nodes[queue.node].*counter);
}

void Engines::PopFront(GpuQueue& queue) {
  queue.packets_.pop_front();
  --queue.work_->of_process->packets;
}

void Engines::SetInLine(GpuQueue& queue, bool in_line) {
  Node& node = *nodes_[queue.node];
  if (in_line == (queue.ready_since_ != 0)) return;
  if (in_line) {
    queue.ready_since_ = ++line_;
    node.by_priority.insert({queue.priority_, queue.in_process_priority_, queue.ready_since_, &queue});
    node.by_age.emplace(queue.ready_since_, &queue);
  } else {
    node.by_priority.erase({queue.priority_, queue.in_process_priority_, queue.ready_since_, &queue});
    node.by_age.erase(queue.ready_since_);
    queue.ready_since_ = 0;
  }
}

// Does what the queue does by itself, up to a command, which takes its place in line, or a wait.
void Engines::Advance(GpuQueue& queue, Aftermath* aftermath) {
  while (!queue.ended_ && !queue.packets_.empty() && queue.waiting_ == 0) {
    GpuPacket& front = queue.packets_.front();
    if (std::holds_alternative<GpuCommand>(front)) {
      if (queue.running_) return;
      SetInLine(queue, queue.work_->holds_ == 0);
      if (queue.ready_since_ != 0) DriveLater(*nodes_[queue.node], aftermath);
      return;
    }
    if (auto* signal = std::get_if<std::shared_ptr<GpuSignal>>(&front)) {
      if (queue.running_ && !(*signal)->at_submission) return;
      Arrive(**signal, aftermath);
      Count(queue, &NodeWork::signals_completed);
    } else {
      if (queue.running_ || !StartWait(queue, std::get<GpuWait>(front))) return;
      Count(queue, &NodeWork::waits_completed);
    }
    PopFront(queue);
  }
}

// False: it is not over yet.
bool Engines::StartWait(GpuQueue& queue, const GpuWait& wait) {
  // Whoever releases it needs our lock first, and by then the number is known.
  auto number = std::make_shared<uint64_t>(0);
  *number = machine_.sync().Wait(wait.points, false, queue.number,
                                 [engines = weak_from_this(), waiter = queue.weak_from_this(), number] {
                                   const auto alive = engines.lock();
                                   const auto released = waiter.lock();
                                   if (alive && released) alive->WaitOver(*released, number);
                                 });
  queue.waiting_ = *number;
  return *number == 0;
}

void Engines::WaitOver(GpuQueue& queue, const std::shared_ptr<uint64_t>& wait) {
  Aftermath aftermath;
  {
    MutexLock lock(mutex_);
    if (queue.waiting_ == 0 || queue.waiting_ != *wait) return;
    queue.waiting_ = 0;
    Count(queue, &NodeWork::waits_completed);
    PopFront(queue);
    Advance(queue, &aftermath);
  }
  machine_.DeliverInTurn(std::move(aftermath));  // what comes next may end a wait again
}

void Engines::Arrive(GpuSignal& signal, Aftermath* aftermath) {
  if (--signal.expected != 0) return;
  if (!signal.points.empty()) machine_.sync().Signal(signal.points, signal.rewind, aftermath);
  if (signal.event) aftermath->events.push_back(*signal.event);
}

// Drops everything of the queue but its number. What commands held on to goes when no lock is held.
void Engines::Clear(GpuQueue& queue, Aftermath* aftermath) {
  if (queue.ended_) return;
  queue.ended_ = true;
  SetInLine(queue, false);
  if (queue.waiting_ != 0) machine_.sync().StopWaiting(queue.waiting_);
  queue.waiting_ = 0;
  while (!queue.packets_.empty()) {
    GpuPacket& front = queue.packets_.front();
    if (auto* command = std::get_if<GpuCommand>(&front)) {
      aftermath->Then([epoch = std::move(command->epoch)] {});
      Count(queue, &NodeWork::commands_completed);
    } else {
      Count(queue, std::holds_alternative<GpuWait>(front) ? &NodeWork::waits_completed
                                                          : &NodeWork::signals_completed);
    }
    PopFront(queue);
  }
  machine_.sync().ReleaseOwner(queue.number, aftermath);
  Node& node = *nodes_[queue.node];
  if (!node.current || node.current->queue.get() != &queue) return;
  if (!node.current->executing) {
    Finish(node, false, NowNs(), aftermath);
    return DriveLater(node, aftermath);
  }
  node.current->cancelled = true;
}

// What an error or somebody else has ended before may be at its last op still.
template <class Condition>
void Engines::TellWhenStopped(const std::shared_ptr<void>& stopped, Condition of) {
  if (!stopped) return;
  for (const auto& node : nodes_) {
    if (node->current && node->current->executing && of(*node->current->queue)) {
      node->current->stopped.push_back(stopped);
    }
  }
}

void Engines::End(GpuQueue& queue, const std::shared_ptr<void>& stopped, Aftermath* aftermath) {
  MutexLock lock(mutex_);
  Clear(queue, aftermath);
  std::erase(queue.work_->queues_, &queue);
  TellWhenStopped(stopped, [&queue](const GpuQueue& running) { return &running == &queue; });
}

void Engines::End(DeviceWork& work, const std::shared_ptr<void>& stopped, Aftermath* aftermath) {
  MutexLock lock(mutex_);
  for (GpuQueue* queue : work.queues_) Clear(*queue, aftermath);
  work.queues_.clear();
  TellWhenStopped(stopped, [&work](const GpuQueue& running) { return running.work_.get() == &work; });
}

void Engines::Hold(DeviceWork& work) {
  MutexLock lock(mutex_);
  if (work.holds_++ != 0) return;
  for (GpuQueue* queue : work.queues_) SetInLine(*queue, false);
}

void Engines::LetGo(DeviceWork& work, Aftermath* aftermath) {
  MutexLock lock(mutex_);
  if (--work.holds_ != 0) return;
  for (GpuQueue* queue : work.queues_) Advance(*queue, aftermath);
}

// -- What there is to see.

NodeWork Engines::Work(uint32_t node) {
  MutexLock lock(mutex_);
  return nodes_[node]->work;
}

NodeWork Engines::Work(const ProcessWork& of, uint32_t node) {
  MutexLock lock(mutex_);
  return of.nodes[node];
}

std::vector<GpuMark> Engines::Marks() {
  MutexLock lock(mutex_);
  return {marks_.begin(), marks_.end()};
}

void Engines::NotePrivateData(const std::string& data) {
  MutexLock lock(mutex_);
  private_data_.push_back(data);
  if (private_data_.size() > kPrivateDataMax) private_data_.pop_front();
}

std::vector<std::string> Engines::PrivateData() {
  MutexLock lock(mutex_);
  return {private_data_.begin(), private_data_.end()};
}

// -- Engines.

void Engines::DriveLater(Node& node, Aftermath* aftermath) {
  aftermath->Then([engines = weak_from_this(), &node] {
    if (const auto alive = engines.lock()) alive->Drive(node, false);
  });
}

// A timer that comes before then is enough, since it would set the next one. Otherwise each look at an engine
// that waits would leave one more timer behind, and each of those another one when it is over.
void Engines::DriveAt(Node& node, uint64_t at_ns) {
  if (node.timer_ns <= at_ns) return;
  node.timer_ns = at_ns;
  machine_.CallAt(at_ns, [engines = weak_from_this(), &node, at_ns] {
    const auto alive = engines.lock();
    if (!alive) return;
    {
      MutexLock lock(alive->mutex_);
      if (node.timer_ns == at_ns) node.timer_ns = kNever;
    }
    alive->Drive(node, false);
  });
}

// One thread at a time works for an engine, others leave it word. What a command sets off may come back to
// us.
void Engines::Drive(Node& node, bool own_thread) {
  Effort effort;
  if (threads_ && !own_thread) effort = {kShortBytes, kShortCommands, false};
  effort.own_thread = own_thread;
  mutex_.Lock();
  node.again = true;
  if (node.driving) {
    if (threads_) node.changed.NotifyAll();
  } else {
    node.driving = true;
    while (node.again && !stop_) {
      node.again = false;
      if (Step(node, &effort)) node.again = true;
      if (effort.over) break;
    }
    node.driving = false;
    if (effort.over) Wake(node);
  }
  mutex_.Unlock();
}

// True: there may be more to do at once.
bool Engines::Step(Node& node, Effort* effort) {
  Aftermath aftermath;
  if (!node.current) {
    const bool started = Start(node, effort, &aftermath);
    Deliver(std::move(aftermath));
    return started;
  }
  Running& running = *node.current;
  const uint64_t now_ns = NowNs();
  bool go_on = true;
  if (running.done && now_ns >= running.due_ns) {
    Finish(node, true, now_ns, &aftermath);
  } else if (now_ns >= running.deadline_ns) {
    running.hung = true;
    Punish(node, {});
  } else if (running.done || now_ns < running.resume_ns) {
    go_on =
        Pause(node, std::min(running.done ? running.due_ns : running.resume_ns, running.deadline_ns), effort);
  } else {
    Execute(node, effort);
  }
  Deliver(std::move(aftermath));
  return go_on;
}

void Engines::Deliver(Aftermath aftermath) {
  if (aftermath.changes.empty() && aftermath.events.empty() && aftermath.calls.empty()) return;
  mutex_.Unlock();
  machine_.Deliver(std::move(aftermath));
  mutex_.Lock();
}

// The next command goes to the engine. False: there is none, or somebody else is to do it.
bool Engines::Start(Node& node, Effort* effort, Aftermath* aftermath) {
  if (node.by_age.empty()) return false;
  if (effort->commands-- == 0) {
    effort->over = true;
    return false;
  }
  const bool longest_waiting = ++node.picks % kPicksInTurn == 0;
  GpuQueue& queue = longest_waiting ? *node.by_age.begin()->second : *node.by_priority.begin()->queue;
  SetInLine(queue, false);
  node.current = std::make_shared<Running>(queue.shared_from_this(),
                                           std::get<GpuCommand>(std::move(queue.packets_.front())));
  PopFront(queue);
  queue.running_ = true;
  Running& running = *node.current;
  running.started_ns = NowNs();
  running.due_ns = running.started_ns + command_ns_ + (jitter_ns_ != 0 ? rng_.Below(jitter_ns_ + 1) : 0);
  if (!running.command.no_timeout) running.deadline_ns = running.started_ns + timeout_ns_;
  MakeTrouble(running, node.index);
  if (node.last_queue != queue.number) Count(queue, &NodeWork::switches);
  node.last_queue = queue.number;
  Advance(queue, aftermath);
  return true;
}

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
    trouble.fault.address = fault->value;
    running.trouble = trouble;
  }
  trouble.kind = CommandStop::kHang;
  if (strike(FaultPoint::kEngineHang)) running.trouble = trouble;
  if (strike(FaultPoint::kHangWithoutTimeout)) {
    running.trouble = trouble;
    running.deadline_ns = kNever;
  }
}

void Engines::Execute(Node& node, Effort* effort) {
  const std::shared_ptr<Running> running = node.current;
  if (running->trouble) return Take(node, *running->trouble, effort);
  running->executing = true;
  if (effort->own_thread) Watch(node);
  CommandStop stop;
  if (!running->command.null_rendering) {
    mutex_.Unlock();
    Aftermath aftermath;
    Environment environment(*this, *running->queue->work_, node.index, &aftermath);
    stop = running->run.Run(environment, running->cancelled, effort->bytes);
    machine_.Deliver(std::move(aftermath));
    mutex_.Lock();
  }
  running->executing = false;
  if (running->hung) return Punish(node, {});
  if (running->cancelled) {
    Aftermath aftermath;
    Finish(node, false, NowNs(), &aftermath);
    return Deliver(std::move(aftermath));
  }
  Take(node, stop, effort);
}

// What becomes of a command that has stopped.
void Engines::Take(Node& node, const CommandStop& stop, Effort* effort) {
  Running& running = *node.current;
  switch (stop.kind) {
    case CommandStop::kDone:
      running.done = true;
      return;
    case CommandStop::kDelay:
      running.resume_ns = NowNs() + stop.delay_ns;
      return;
    case CommandStop::kWaiting:
      running.poll_ns = std::clamp(running.poll_ns * 2, kPollMinNs, kPollMaxNs);
      running.resume_ns = NowNs() + running.poll_ns;
      return;
    case CommandStop::kHang:
      running.resume_ns = kNever;
      return;
    case CommandStop::kBudget:
      effort->over = true;
      return;
    case CommandStop::kCancelled:  // by the end of everything
      return;
    case CommandStop::kPageFault:
    case CommandStop::kInvalid:
    case CommandStop::kDeviceFault:
      return Punish(node, stop);
  }
}

void Engines::Finish(Node& node, bool completed, uint64_t now_ns, Aftermath* aftermath) {
  const std::shared_ptr<Running> running = std::move(node.current);
  node.current = nullptr;
  GpuQueue& queue = *running->queue;
  for (NodeWork* counted : {&node.work, &queue.work_->of_process->nodes[node.index]}) {
    counted->running_ns += now_ns - running->started_ns;
    ++counted->commands_completed;
    if (running->faulted) ++counted->commands_faulted;
  }
  if (completed && running->command.progress) {
    machine_.sync().Raise(*running->command.progress, running->command.progress_value, aftermath);
  }
  aftermath->Then([epoch = std::move(running->command.epoch), stopped = std::move(running->stopped)] {});
  queue.running_ = false;
  Advance(queue, aftermath);
  node.again = true;
  node.changed.NotifyAll();
  for (const auto& other : nodes_) {  // what the command wrote may be what they wait for
    if (!other->current || other->current->poll_ns == 0 || other->current->executing) continue;
    other->current->resume_ns = std::min(other->current->resume_ns, now_ns);
    DriveLater(*other, aftermath);
  }
}

// True: the time has passed; otherwise somebody is going to come back.
bool Engines::Pause(Node& node, uint64_t until_ns, Effort* effort) {
  if (effort->own_thread) {
    const uint64_t now_ns = NowNs();
    if (until_ns == kNever) {
      node.changed.Wait(mutex_);
    } else if (until_ns > now_ns) {
      node.changed.WaitForNs(mutex_, until_ns - now_ns);
    }
    return true;
  }
  if (threads_) {
    effort->over = true;
  } else if (until_ns != kNever) {
    DriveAt(node, until_ns);
  }
  return false;
}

// The command's device is in error, and with it goes the command. `stop` says what it did; without it hangs.
void Engines::Punish(Node& node, const std::optional<CommandStop>& stop) {
  const std::shared_ptr<Running> running = node.current;
  const std::shared_ptr<DeviceWork> work = running->queue->work_;
  running->faulted = true;
  mutex_.Unlock();
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
        machine_.Strike({.point = FaultPoint::kEngineResetFails, .adapter = guest_luid_, .node = node.index})
            .has_value();
    if (fails || resets_adapter_) ResetHungAdapter(machine_, *adapter, &aftermath);
  }
  machine_.Deliver(std::move(aftermath));
  mutex_.Lock();
  if (node.current != running) return;
  Aftermath rest;
  Finish(node, false, NowNs(), &rest);
  Deliver(std::move(rest));
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

void Engines::Wake(Node& node) {
  if (stop_) return;
  node.wanted = true;
  if (!node.thread.joinable()) {
    node.thread = std::thread([engines = shared_from_this(), &node] { engines->Serve(node); });
  }
  node.changed.NotifyAll();
}

void Engines::Serve(Node& node) {
  mutex_.Lock();
  while (!stop_) {
    if (!node.wanted) {
      node.changed.Wait(mutex_);
      continue;
    }
    node.wanted = false;
    mutex_.Unlock();
    Drive(node, true);
    mutex_.Lock();
  }
  mutex_.Unlock();
}

void Engines::Stop() {
  std::vector<std::thread> threads;
  {
    MutexLock lock(mutex_);
    stop_ = true;
    for (const auto& node : nodes_) {
      if (node->current) node->current->cancelled = true;
      node->changed.NotifyAll();
      threads.push_back(std::move(node->thread));
    }
  }
  for (std::thread& thread : threads) {
    if (!thread.joinable()) continue;
    // The last one to know the adapter may be its engine's own thread, which then ends by itself.
    if (thread.get_id() == std::this_thread::get_id()) {
      thread.detach();
    } else {
      thread.join();
    }
  }
}

void Engines::FailDevice(Process& process, Device& device, const CommandStop& stop, Aftermath* aftermath) {
  PageFault record;
  switch (stop.kind) {
    case CommandStop::kPageFault:
      record.virtual_address = stop.fault.address;
      record.flags = stop.fault.write ? PageFault::kWrite : 0;
      return device.FailByPageFault(process, record, aftermath);
    case CommandStop::kDeviceFault:
      record.error_code = PageFault::OfDevice(stop.code);
      break;
    default:
      record.error_code = PageFault::General(PageFault::kInvalidInstruction);
      break;
  }
  record.virtual_address = stop.op_address;
  device.FailByFault(process, record, aftermath);
}

}  // namespace dxg::hostsim
