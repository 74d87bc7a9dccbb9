#include "hostsim/work/engine.h"

#include <fmt/core.h>

#include <algorithm>
#include <new>
#include <thread>
#include <utility>

#include "base/memory_reserve.h"
#include "base/start_thread.h"
#include "hostsim/adapter/clock_calibration.h"
#include "hostsim/machine/machine.h"
#include "hostsim/machine/process.h"
#include "hostsim/work/device.h"
#include "hostsim/work/engine_state.h"

namespace dxg::hostsim {
namespace {

// What a thread does for an engine that has its own before it leaves the rest to it: bytes, and commands.
constexpr uint64_t kShortBytes = 64 * 1024;
constexpr uint32_t kShortCommands = 16;

// Every so often the queue that has waited longest is served, whatever its priority.
constexpr uint64_t kPicksInTurn = 8;

// How often a command looks at memory that it waits for: ever more rarely.
constexpr uint64_t kPollMinNs = 1'000;
constexpr uint64_t kPollMaxNs = 500'000;

}  // namespace

// What commands find around them.
class Engines::Environment final : public CommandEnvironment {
 public:
  // `guest_memory`: the thread may wait for the guest's memory, which may never answer.
  Environment(Engines& engines, const DeviceWork& work, uint32_t node, bool guest_memory,
              Aftermath* aftermath)
      : engines_(engines), work_(work), node_(node), guest_memory_(guest_memory), aftermath_(aftermath) {}

  bool Translate(GpuAddress address, uint64_t bytes, bool write, std::vector<GpuSpan>* spans,
                 GpuFault* fault) override {
    reached_bytes_ += bytes;
    *fault = {GpuFault::kUnmapped, address, write};
    const std::shared_ptr<Process> process = work_.process.lock();
    if (!process) return false;
    Process& locked = *process;
    MutexLock lock(locked.mutex());
    const Device* device = locked.Find<Device>(work_.device);
    if (!device || device->work.get() != &work_) return false;
    AdapterUse* use = locked.UseAdapter(device->adapter);
    if (!use || !use->va.Translate(address, bytes, write, spans, fault)) return false;
    if (guest_memory_) return true;
    // It was not mapped when the command began, or the engine's own thread would have it.
    return std::none_of(spans->begin(), spans->end(),
                        [](const GpuSpan& span) { return span.storage && span.storage->traits.of_guest; });
  }
  uint64_t Timestamp() override { return engines_.Timestamp(node_); }
  void Mark(uint64_t id) override {
    const std::shared_ptr<Process> process = work_.process.lock();
    MutexLock lock(engines_.mutex_);
    engines_.marks_.push_back({process ? process->handle : 0, node_, id});
    if (engines_.marks_.size() > kMarksMax) engines_.marks_.pop_front();
  }
  Aftermath* aftermath() override { return aftermath_; }
  void Note(FidelityKind kind, std::string_view what) override { Note(kind, what, std::nullopt); }
  bool LeaveOutForeign() override {
    Note(FidelityKind::kNotExecuted, fidelity::kForeignCommands);
    return engines_.skips_unexecuted_;
  }
  bool LeaveOut(const GpuDispatch& dispatch) override {
    Note(FidelityKind::kNotExecuted, fidelity::kDispatch, dispatch.kernel_hash, dispatch.why);
    return engines_.skips_unexecuted_;
  }
  ExecutionRules Execution() override { return engines_.execution_[node_]; }
  void Executed(const GpuDispatch& dispatch, uint64_t instructions) override {
    Note(FidelityKind::kApproximated, fidelity::kKernel, dispatch.kernel_hash,
         "its instructions were executed; the last bits of math functions are not those of silicon");
    Note(FidelityKind::kApproximated, fidelity::kInstructions, std::nullopt,
         "of execution units; the time that they take is a model's, with assumed cycles for an instruction "
         "and "
         "for the start of a thread",
         instructions);
  }

  uint64_t reached_bytes() const { return reached_bytes_; }  // of all addresses so far

 private:
  void Note(FidelityKind kind, std::string_view what, std::optional<uint64_t> number,
            std::string_view why = {}, uint64_t times = 1) {
    const auto first = [this] {
      const std::shared_ptr<Process> process = work_.process.lock();
      return FidelityFirst{.process = process ? process->process_id : 0, .ns = engines_.NowNs()};
    };
    engines_.machine_.fidelity().Note({kind, {}, what, number}, first, why, times);
  }

  Engines& engines_;
  const DeviceWork& work_;
  const uint32_t node_;
  const bool guest_memory_;
  Aftermath* const aftermath_;
  uint64_t reached_bytes_ = 0;
};

Engines::Engines(Machine& machine, const AdapterProfile& profile, uint64_t guest_luid, uint64_t seed)
    : machine_(machine),
      guest_luid_(guest_luid),
      command_ns_(profile.engines().command_ns()),
      jitter_ns_(profile.engines().jitter_ns()),
      timeout_ns_(uint64_t{profile.engines().timeout_ms()} * 1'000'000),
      resets_adapter_(profile.engines().reset() == AdapterProfile::Engines::ADAPTER),
      threads_(machine.engine_threads()),
      skips_unexecuted_(profile.engines().unexecuted() == AdapterProfile::Engines::SKIP),
      rng_(seed) {
  for (const AdapterProfile::Node& node : profile.nodes()) {
    nodes_.push_back(std::make_unique<Node>(static_cast<uint32_t>(nodes_.size())));
    clock_hz_.push_back(node.clock_hz());
    formats_.push_back(node.commands());
    execution_.push_back({node.execution_units() != AdapterProfile::NO_UNITS, node.frequency_hz(),
                          profile.engines().dispatch_instructions_max()});
  }
}

Engines::~Engines() = default;

uint64_t Engines::NowNs() const { return machine_.NowNs(); }

// -- What there is to see.

uint64_t Engines::Timestamp(uint32_t node) const { return ToTicks(NowNs(), clock_hz_[node]); }

// How long the engine has had its command.
uint64_t Engines::RunningNs(const Node& node) const {
  return node.current ? NowNs() - node.current->started_ns : 0;
}

NodeWork Engines::Work(uint32_t index) {
  MutexLock lock(mutex_);
  const Node& node = *nodes_[index];
  NodeWork work = node.work;
  work.running_ns += RunningNs(node);
  return work;
}

NodeWork Engines::Work(const ProcessWork& of, uint32_t index) {
  MutexLock lock(mutex_);
  const Node& node = *nodes_[index];
  NodeWork work = of.nodes[index];
  if (node.current && node.current->queue->work_->of_process.get() == &of) work.running_ns += RunningNs(node);
  return work;
}

Engines::InUse Engines::Queues(uint32_t index) {
  MutexLock lock(mutex_);
  const Node& node = *nodes_[index];
  // A queue whose command runs is not in line.
  return {node.queues, node.by_priority.size() + (node.current ? 1 : 0)};
}

uint64_t Engines::Queued(const ProcessWork& of) {
  MutexLock lock(mutex_);
  return of.packets;
}

uint32_t Engines::Load(uint32_t index, uint64_t slices) {
  MutexLock lock(mutex_);
  const Node& node = *nodes_[index];
  const uint64_t now_ns = NowNs();
  RecentAmount busy = node.busy;
  if (node.current) busy.AddTime(node.current->started_ns, now_ns);
  return busy.Over(now_ns, slices).permille();
}

uint32_t Engines::Load(uint64_t slices) {
  uint32_t most = 0;
  for (uint32_t node = 0; node < nodes_.size(); ++node) most = std::max(most, Load(node, slices));
  return most;
}

uint64_t Engines::BytesPerSecond() {
  MutexLock lock(mutex_);
  return reached_bytes_.Over(NowNs(), RecentAmount::kShort).per_second();
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

// One thread at a time drives an engine; the others tell it to look once more. What a command sets off may
// come back to here. False: the engine went on without this thread meanwhile.
bool Engines::Drive(Node& node, bool own_thread) {
  Effort effort;
  if (threads_ && !own_thread) effort = {kShortBytes, kShortCommands, false};
  effort.own_thread = own_thread;
  Errand errand;
  uint64_t turn = 0;
  {
    const MemoryReserve::Use of_all;  // a step that is left halfway would leave the engine to nobody
    MutexLock lock(mutex_);
    node.again = true;
    if (node.driving) {
      if (threads_) node.changed.NotifyAll();
      return true;
    }
    node.driving = true;
    turn = ++node.turn;
    errand = NextErrand(node, &effort);
  }
  return DriveOn(node, turn, &effort, std::move(errand));
}

bool Engines::DriveOn(Node& node, uint64_t turn, Effort* effort, Errand errand) {
  while (errand.kind != Errand::kNone) {
    const CommandStop stop = Run(node, &errand, effort->bytes);
    const MemoryReserve::Use of_all;
    MutexLock lock(mutex_);
    if (node.turn != turn) {
      lock.Unlock();
      ComeBack(node, turn, std::move(errand));
      return false;
    }
    errand = AfterErrand(node, errand, stop, effort);
    if (errand.kind == Errand::kNone) errand = NextErrand(node, effort);
  }
  return true;
}

// Moves the engine on until something has to be done without the lock. kNone: there is nothing more to do,
// and this thread has stopped driving.
Engines::Errand Engines::NextErrand(Node& node, Effort* effort) {
  while (node.again && !stop_ && !effort->over) {
    Errand errand;
    node.again = false;
    if (Step(node, effort, &errand)) node.again = true;
    if (errand.kind != Errand::kNone) return errand;
  }
  node.driving = false;
  if (effort->over) Wake(node);
  return {};
}

// True: there may be more to do at once.
bool Engines::Step(Node& node, Effort* effort, Errand* errand) {
  if (!node.current) {
    const bool started = Start(node, effort, &errand->aftermath);
    errand->DeliverIfAny();
    return started;
  }
  Running& running = *node.current;
  const uint64_t now_ns = NowNs();
  const bool over = IsPatienceOver(running, now_ns);
  const bool runs =
      !running.done && now_ns >= running.resume_ns && !running.trouble && !running.command.null_rendering;
  const bool ends = running.done && now_ns >= running.due_ns;
  const bool executes = runs || (ends && running.run.writes_fence());
  if (ends && !executes) {
    Finish(node, true, now_ns, &errand->aftermath);
    errand->DeliverIfAny();
  } else if ((over && !ends) || (executes && HoldsTooMuch(running))) {
    running.hung = true;
    Condemn(node, {}, errand);
  } else if (!executes && (running.done || now_ns < running.resume_ns)) {
    const uint64_t goes_on_ns = running.done ? running.due_ns : running.resume_ns;
    return Pause(node, std::min(goes_on_ns, running.patience.next_look_ns()), effort);
  } else if (!executes && running.trouble) {
    Take(node, *running.trouble, effort, errand);
  } else if (!executes) {  // null rendering
    Take(node, {}, effort, errand);
  } else if (threads_ && !effort->own_thread && running.queue->work_->of_process->reaches_guest) {
    effort->over = true;  // it may be in memory that does not answer, and gets no thread that others need
    return false;
  } else if (runs && running.may_yield && !node.by_age.empty()) {
    Preempt(node, now_ns);
  } else {
    running.executing = true;
    running.executing_since_ns = now_ns;
    running.own_thread = effort->own_thread;
    if (effort->own_thread) Watch(node, running.patience.next_look_ns());
    *errand = {Errand::kExecute, node.current, {}, {}};
  }
  return true;
}

// Does the errand, under no lock. Why its command stopped, if it was to execute one.
CommandStop Engines::Run(const Node& node, Errand* errand, uint64_t budget_bytes) {
  CommandStop stop;
  Aftermath aftermath = std::move(errand->aftermath);
  if (errand->kind == Errand::kExecute) {
    Running& running = *errand->command;
    Environment environment(*this, *running.queue->work_, node.index, !threads_ || running.own_thread,
                            &aftermath);
    try {
      stop = running.done ? running.run.WriteFence(environment)
                          : running.run.RunBuffers(environment, running.cancelled, budget_bytes);
    } catch (const std::bad_alloc&) {  // it costs the command's device, and nobody else's
      stop = {};
      stop.kind = CommandStop::kDeviceFault;
      stop.op_address = running.command.buffer.address;
    }
    errand->reached_bytes = environment.reached_bytes();
  } else if (errand->kind == Errand::kPunish) {
    Punish(*errand->command, node.index, errand->stop);
  }
  machine_.Deliver(std::move(aftermath));
  return stop;
}

// What becomes of the engine's command when an errand is done. The result may be another errand.
Engines::Errand Engines::AfterErrand(Node& node, const Errand& done, const CommandStop& stop,
                                     Effort* effort) {
  Errand next;
  if (done.kind == Errand::kExecute) {
    Running& running = *done.command;
    running.executing = false;
    reached_bytes_.Add(NowNs(), done.reached_bytes);
    if (running.hung) {
      Condemn(node, {}, &next);
    } else if (running.cancelled) {
      Finish(node, false, NowNs(), &next.aftermath);
      next.DeliverIfAny();
    } else {
      Take(node, stop, effort, &next);
    }
  } else if (done.kind == Errand::kPunish && node.current == done.command) {
    Finish(node, false, NowNs(), &next.aftermath);
    next.DeliverIfAny();
  }
  return next;
}

// The errand is to put the command's device into error, for what it did or, without `stop`, because it hangs.
void Engines::Condemn(Node& node, const std::optional<CommandStop>& stop, Errand* errand) {
  node.current->faulted = true;
  *errand = {Errand::kPunish, node.current, stop, {}};
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
  if (Resume(node, queue)) return true;
  node.current = std::make_shared<Running>(queue.shared_from_this(), std::get<GpuCommand>(PopFront(queue)),
                                           formats_[node.index]);
  queue.running_ = true;
  Running& running = *node.current;
  running.started_ns = NowNs();
  running.number = ++queue.begun_;
  Note(WorkEvent::Kind::kBegan, node, aftermath);
  running.due_ns = running.started_ns + command_ns_ + (jitter_ns_ != 0 ? rng_.Below(jitter_ns_ + 1) : 0);
  if (!running.command.no_timeout) running.patience = Patience(timeout_ns_, running.started_ns);
  MakeTrouble(running, node.index);
  CountSwitch(node, queue);
  Advance(queue, aftermath);
  return true;
}

void Engines::CountSwitch(Node& node, GpuQueue& queue) {
  if (node.last_queue != queue.number) Count(queue, &NodeWork::switches);
  node.last_queue = queue.number;
}

// Between two slices of a dispatch the engine picks anew, as if the rest were one more command. What has
// begun goes on also while its device is held.
void Engines::Preempt(Node& node, uint64_t now_ns) {
  std::shared_ptr<Running> running = std::move(node.current);
  node.current = nullptr;
  CountTime(node, *running, now_ns);
  GpuQueue& queue = *running->queue;
  node.preempted.emplace(&queue, std::move(running));
  SetInLine(queue, true);
}

// False: no command of the queue was preempted.
bool Engines::Resume(Node& node, GpuQueue& queue) {
  const auto preempted = node.preempted.find(&queue);
  if (preempted == node.preempted.end()) return false;
  node.current = std::move(preempted->second);
  node.preempted.erase(preempted);
  Running& running = *node.current;
  running.may_yield = false;  // before the next slice
  running.started_ns = NowNs();
  CountSwitch(node, queue);
  return true;
}

// What becomes of a command that has stopped.
void Engines::Take(Node& node, const CommandStop& stop, Effort* effort, Errand* errand) {
  Running& running = *node.current;
  running.computes = running.may_yield = stop.kind == CommandStop::kSlice;
  switch (stop.kind) {
    case CommandStop::kDone:
      running.done = true;
      return;
    case CommandStop::kDelay:
      running.resume_ns = NowNs() + stop.delay_ns;
      return;
    case CommandStop::kSlice:
      running.patience.Skip(NowNs());
      running.patience.Use(stop.delay_ns);
      running.resume_ns = running.executing_since_ns + stop.delay_ns;
      return;
    case CommandStop::kWaiting:
      running.poll_ns = std::clamp(running.poll_ns * 2, kPollMinNs, kPollMaxNs);
      running.resume_ns = NowNs() + running.poll_ns;
      return;
    case CommandStop::kHang:
      running.resume_ns = kNever;
      return;
    case CommandStop::kHung:
      running.hung = true;
      return Condemn(node, {}, errand);
    case CommandStop::kBudget:
      effort->over = true;
      return;
    case CommandStop::kCancelled:  // by the end of everything
      return;
    case CommandStop::kPageFault:
    case CommandStop::kInvalid:
    case CommandStop::kDeviceFault:
      return Condemn(node, stop, errand);
  }
}

// Of the node's command.
void Engines::Note(WorkEvent::Kind kind, const Node& node, Aftermath* aftermath) {
  const Running& running = *node.current;
  machine_.Note({.kind = kind,
                 .of = running.queue->name_,
                 .value = running.command.progress ? running.command.progress_value : running.number,
                 .node = node.index,
                 .adapter = guest_luid_},
                aftermath);
}

void Engines::Finish(Node& node, bool completed, uint64_t now_ns, Aftermath* aftermath) {
  Note(WorkEvent::Kind::kEnded, node, aftermath);
  const std::shared_ptr<Running> running = std::move(node.current);
  node.current = nullptr;
  CountTime(node, *running, now_ns);
  Finish(node, *running, completed, now_ns, aftermath);
}

// The engine had it until now.
void Engines::CountTime(Node& node, Running& running, uint64_t now_ns) {
  for (NodeWork* counted : {&node.work, &running.queue->work_->of_process->nodes[node.index]})
    counted->running_ns += now_ns - running.started_ns;
  node.busy.AddTime(running.started_ns, now_ns);
}

// The end of a command that the engine does not have any more.
void Engines::Finish(Node& node, Running& running, bool completed, uint64_t now_ns, Aftermath* aftermath) {
  GpuQueue& queue = *running.queue;
  for (NodeWork* counted : {&node.work, &queue.work_->of_process->nodes[node.index]}) {
    ++counted->commands_completed;
    if (running.faulted) ++counted->commands_faulted;
  }
  if (completed && running.command.progress) {
    machine_.sync().Raise(*running.command.progress, running.command.progress_value, aftermath);
  }
  if (!running.left) {  // else they go with the thread that is still in it
    aftermath->Then([epoch = std::move(running.command.epoch), stopped = std::move(running.stopped)] {});
  }
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

void Engines::Wake(Node& node) {
  if (stop_) return;
  node.wanted = true;
  if (!node.thread.joinable()) {
    // Without a thread the clock's does it, a little at a time, until there is one.
    constexpr uint64_t kRetryNs = 10'000'000;
    if (!StartThread(&node.thread, [engines = shared_from_this(), &node] { engines->Serve(node); }))
      return DriveAt(node, NowNs() + kRetryNs);
  }
  node.changed.NotifyAll();
}

void Engines::Serve(Node& node) {
  while (WaitUntilWanted(node) && Drive(node, true)) {
  }
}

// False: the engines have stopped.
bool Engines::WaitUntilWanted(Node& node) {
  MutexLock lock(mutex_);
  while (!stop_ && !node.wanted) node.changed.Wait(mutex_);
  node.wanted = false;
  return !stop_;
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
      for (Left& left : node->left) threads.push_back(std::move(left.thread));
      node->left.clear();
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

}  // namespace dxg::hostsim
