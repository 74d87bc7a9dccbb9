#include <algorithm>
#include <memory>
#include <utility>

#include "base/memory_reserve.h"
#include "hostsim/machine/machine.h"
#include "hostsim/machine/process.h"
#include "hostsim/machine/rollback.h"
#include "hostsim/work/engine.h"
#include "hostsim/work/engine_state.h"

// The queues of an adapter: what Engines does before a command is on an engine.

namespace dxg::hostsim {

std::shared_ptr<GpuQueue> Engines::AddQueue(std::shared_ptr<DeviceWork> work, uint32_t node) {
  MutexLock lock(mutex_);
  auto queue = std::make_shared<GpuQueue>(std::move(work), node, machine_.NewQueueNumber());
  queue->work_->queues_.push_back(queue.get());
  ++nodes_[node]->queues;
  return queue;
}

void Engines::SetName(GpuQueue& queue, const Process& process, uint32_t handle) {
  MutexLock lock(mutex_);
  queue.name_ = {process.handle, process.process_id, handle};
}

void Engines::SetPriority(GpuQueue& queue, int32_t priority, int32_t in_process_priority) {
  const MemoryReserve::Use of_all;
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
  ProcessWork& process = *work.of_process;
  const auto packet_for = [packets](size_t queue) -> GpuPacket& {
    return packets[packets.size() == 1 ? 0 : queue];
  };
  uint64_t units = 0;
  for (size_t i = 0; i < queues.size(); ++i) units += queues[i]->ended_ ? 0 : UnitsOf(packet_for(i));
  if (process.packets + units > kPacketsPerProcessMax) return false;
  if (process.user && !process.user->packets.Take(units)) return false;
  const auto counter = std::holds_alternative<GpuCommand>(packets.front()) ? &NodeWork::commands_submitted
                       : std::holds_alternative<GpuWait>(packets.front())  ? &NodeWork::waits_submitted
                                                                           : &NodeWork::signals_submitted;
  size_t pushed = 0;
  Rollback nothing_is_queued([&] {
    while (pushed != 0) {
      GpuQueue& queue = *queues[--pushed];
      if (!queue.ended_) queue.packets_.pop_back();
    }
    if (process.user) process.user->packets.Give(units);
  });
  for (; pushed < queues.size(); ++pushed) {
    GpuQueue& queue = *queues[pushed];
    if (queue.ended_) continue;
    GpuPacket& packet = packet_for(pushed);
    const bool last = packets.size() != 1 || pushed + 1 == queues.size();
    queue.packets_.push_back(last ? std::move(packet) : packet);
  }
  nothing_is_queued.Keep();
  const MemoryReserve::Use of_all;  // the submission is not refused any more
  process.packets += units;
  for (GpuQueue* queue : queues) {
    if (queue->ended_) continue;
    Count(*queue, counter);
    Advance(*queue, aftermath);
  }
  return true;
}

void Engines::Count(GpuQueue& queue, uint64_t NodeWork::*counter) {
  ++(nodes_[queue.node]->work.*counter);
  ++(queue.work_->of_process->nodes[queue.node].*counter);
}

GpuPacket Engines::PopFront(GpuQueue& queue) {
  GpuPacket front = std::move(queue.packets_.front());
  queue.packets_.pop_front();
  GiveBack(*queue.work_->of_process, UnitsOf(front));
  return front;
}

void Engines::GiveBack(ProcessWork& process, uint64_t packets) {
  process.packets -= packets;
  if (process.user) process.user->packets.Give(packets);
}

void Engines::SetInLine(GpuQueue& queue, bool in_line) {
  Node& node = *nodes_[queue.node];
  if (in_line == (queue.ready_since_ != 0)) return;
  if (in_line) {
    queue.ready_since_ = ++times_ready_;
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
  const MemoryReserve::Use of_all;  // nobody tells the queue a second time
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

// What they held on to goes when no lock is held. There may be very many of them, so they go as a whole.
void Engines::DropPackets(GpuQueue& queue, Aftermath* aftermath) {
  if (queue.packets_.empty()) return;
  auto dropped = std::make_shared<std::deque<GpuPacket>>();
  dropped->swap(queue.packets_);
  uint64_t units = 0;
  for (const GpuPacket& packet : *dropped) {
    units += UnitsOf(packet);
    Count(queue, std::holds_alternative<GpuCommand>(packet) ? &NodeWork::commands_completed
                 : std::holds_alternative<GpuWait>(packet)  ? &NodeWork::waits_completed
                                                            : &NodeWork::signals_completed);
  }
  GiveBack(*queue.work_->of_process, units);
  aftermath->Then([dropped = std::move(dropped)] {});
}

// Drops everything of the queue but its number.
void Engines::Clear(GpuQueue& queue, Aftermath* aftermath) {
  if (queue.ended_) return;
  queue.ended_ = true;
  --nodes_[queue.node]->queues;
  SetInLine(queue, false);
  if (queue.waiting_ != 0) machine_.sync().StopWaiting(queue.waiting_);
  queue.waiting_ = 0;
  DropPackets(queue, aftermath);
  machine_.sync().ReleaseOwner(queue.number, aftermath);
  Node& node = *nodes_[queue.node];
  if (const auto preempted = node.preempted.find(&queue); preempted != node.preempted.end()) {
    const std::shared_ptr<Running> running = std::move(preempted->second);
    node.preempted.erase(preempted);
    Finish(node, *running, false, NowNs(), aftermath);
    return DriveLater(node, aftermath);
  }
  if (!node.current || node.current->queue.get() != &queue) return;
  if (!node.current->executing) {
    Finish(node, false, NowNs(), aftermath);
    return DriveLater(node, aftermath);
  }
  node.current->cancelled = true;
  if (node.current->own_thread) Watch(node, NowNs() + kStopsWithinNs);
}

// What an error or somebody else has ended before may be at its last op still.
template <class Condition>
void Engines::TellWhenStopped(const std::shared_ptr<void>& stopped, Condition of) {
  if (!stopped) return;
  for (const auto& node : nodes_) {
    if (node->current && node->current->executing && of(*node->current->queue)) {
      node->current->stopped.push_back(stopped);
    }
    for (const Left& left : node->left) {
      if (left.command && of(*left.command->queue)) left.command->stopped.push_back(stopped);
    }
  }
}

void Engines::End(GpuQueue& queue, const std::shared_ptr<void>& stopped, Aftermath* aftermath) {
  const MemoryReserve::Use of_all;
  MutexLock lock(mutex_);
  Clear(queue, aftermath);
  std::erase(queue.work_->queues_, &queue);
  TellWhenStopped(stopped, [&queue](const GpuQueue& running) { return &running == &queue; });
}

void Engines::End(DeviceWork& work, const std::shared_ptr<void>& stopped, Aftermath* aftermath) {
  const MemoryReserve::Use of_all;
  MutexLock lock(mutex_);
  for (GpuQueue* queue : work.queues_) Clear(*queue, aftermath);
  work.queues_.clear();
  TellWhenStopped(stopped, [&work](const GpuQueue& running) { return running.work_.get() == &work; });
}

void Engines::Hold(DeviceWork& work) {
  MutexLock lock(mutex_);
  if (work.holds_++ != 0) return;
  for (GpuQueue* queue : work.queues_) {
    if (!queue->running_) SetInLine(*queue, false);
  }
}

void Engines::LetGo(DeviceWork& work, Aftermath* aftermath) {
  const MemoryReserve::Use of_all;
  MutexLock lock(mutex_);
  if (--work.holds_ != 0) return;
  for (GpuQueue* queue : work.queues_) Advance(*queue, aftermath);
}

}  // namespace dxg::hostsim
