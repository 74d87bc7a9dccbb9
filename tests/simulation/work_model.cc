#include "tests/simulation/work_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "proto/abi/interface.h"
#include "tests/simulation/run.h"

namespace dxg::simulation {
namespace {

template <typename... Args>
[[noreturn]] void Break(fmt::format_string<Args...> format, Args&&... args) {
  throw Broken{fmt::format(format, std::forward<Args>(args)...)};
}

const Packet* CommandAfter(const ModelQueue& queue, const Packet& packet) {
  const Packet* next = &packet + 1;
  return next < queue.packets.data() + queue.packets.size() && next->kind == Packet::Kind::kCommand ? next
                                                                                                    : nullptr;
}

bool Ran(const ModelQueue& queue, const Packet* command) {
  return command != nullptr && command->number != 0 && command->number <= queue.now;
}

}  // namespace

// -- Looking --------------------------------------------------------------------------------------

void WorkModel::Read() {
  for (const auto& sync : syncs) {
    if (!sync->visible()) continue;
    sync->now = *sync->views.front();
    for (const volatile uint64_t* view : sync->views) {
      if (*view != sync->now)
        Break("fence {} reads {} in one process and {} in another", sync->id, sync->now, uint64_t{*view});
    }
  }
  for (const auto& queue : queues) queue->now = *queue->word;
  do {
    Reach();
  } while (LatchWaits());
}

// How far each queue may have come, and so which signals may have happened.
void WorkModel::Reach() {
  reachable_.clear();
  for (const auto& queue : queues) {
    for (const Packet& packet : queue->packets) {
      if (packet.signal) packet.signal->reached = packet.signal->arrived;
    }
  }
  for (const auto& queue : queues) {
    bool waits_over = true, commands_over = true;
    for (const Packet& packet : queue->packets) {
      if (packet.kind == Packet::Kind::kWait) waits_over &= packet.held;
      if (packet.kind == Packet::Kind::kCommand && packet.number > queue->now) commands_over = false;
      if (packet.kind == Packet::Kind::kCommand && packet.number == 0 && packet.fatal())
        commands_over = false;
      if (packet.kind != Packet::Kind::kSignal) continue;
      Signal& signal = *packet.signal;
      if (!waits_over || (!commands_over && !signal.early)) continue;
      if (++signal.reached != signal.members) continue;
      for (const Point& point : signal.points) {
        uint64_t& reachable = reachable_[point.sync.get()];
        reachable = point.sync->counts() ? reachable + 1 : std::max(reachable, point.value);
      }
    }
  }
}

bool WorkModel::LatchWaits() {
  bool changed = false;
  for (const auto& queue : queues) {
    for (Packet& packet : queue->packets) {
      if (packet.kind != Packet::Kind::kWait || packet.held || !Holds(packet)) continue;
      packet.held = changed = true;
    }
  }
  return changed;
}

bool WorkModel::Holds(const Packet& wait) const {
  const bool ended = std::any_of(wait.points.begin(), wait.points.end(),
                                 [](const Point& point) { return point.sync->ended; });
  if (ended) return true;  // one object's end is the wait's, where the queue has come to it
  return std::all_of(wait.points.begin(), wait.points.end(), [this](const Point& point) {
    const Sync& sync = *point.sync;
    if (sync.visible()) return sync.now >= point.value;
    if (!sync.certain) return true;
    const auto found = reachable_.find(&sync);
    const uint64_t reachable = found == reachable_.end() ? 0 : found->second;
    return sync.counts() ? sync.value + reachable != 0 : std::max(sync.value, reachable) >= point.value;
  });
}

bool WorkModel::Holds(const CpuWait& wait) const {
  const auto holds = [](const Point& point) { return point.sync->now >= point.value; };
  return wait.any ? std::any_of(wait.points.begin(), wait.points.end(), holds)
                  : std::all_of(wait.points.begin(), wait.points.end(), holds);
}

uint32_t WorkModel::PossibleStates(const ModelDevice& device) const {
  uint32_t states = 0;
  for (const auto& queue : queues) {
    if (queue->device.get() != &device) continue;
    const uint64_t ran = std::max(queue->now, queue->seen);  // a reset of the adapter has wiped the word
    for (const Packet& packet : queue->packets) {
      if (packet.kind == Packet::Kind::kWait && !packet.held) break;
      if (packet.kind != Packet::Kind::kCommand) continue;
      if (packet.fate == Fate::kHangs || packet.needs != nullptr) states |= 1u << kHung;
      if (packet.fate == Fate::kFaults) states |= 1u << kDmaFault;
      if (packet.fate == Fate::kPageFaults) states |= 1u << kDmaPageFault;
      if (packet.number > ran || packet.fatal()) break;
    }
  }
  return states;
}

// -- Judging while the machine works --------------------------------------------------------------

void WorkModel::Judge() {
  for (const auto& queue : queues) JudgeQueue(*queue);
  for (const auto& sync : syncs) {
    if (sync->visible()) JudgeValue(*sync);
    if (sync->counts()) JudgeTaken(*sync);
  }
  JudgeWaits();
  JudgeEvents(false);
}

void WorkModel::JudgeQueue(ModelQueue& queue) {
  if (queue.now < queue.seen || queue.now > queue.submitted) {
    Break("queue {} has run command {}, of {} submitted ones; before it was {}", queue.id, queue.now,
          queue.submitted, queue.seen);
  }
  if (queue.now == queue.seen) return;
  for (const Packet& packet : queue.packets) {
    if (packet.kind == Packet::Kind::kWait && !packet.held)
      Break("queue {} has run command {} although a wait before it is not over", queue.id, queue.now);
    if (packet.kind != Packet::Kind::kCommand || packet.number == 0) continue;
    if (packet.number <= queue.seen) continue;
    if (packet.fatal()) Break("queue {} has run command {}, which cannot end", queue.id, packet.number);
    JudgeData(queue, packet);
    if (packet.number == queue.now) break;
  }
  queue.seen = queue.now;
}

void WorkModel::JudgeData(const ModelQueue& queue, const Packet& command) {
  const bool unguarded = command.guard && (command.guard->ended || !command.guard->certain);
  const bool let_go =
      command.handover.sync && command.handover.sync->now != command.handover.value;  // by somebody else
  for (const auto& [region, source] : command.copies) {
    const bool unmade = source.producer != nullptr && source.producer->now < source.number;
    *region.known = !unguarded && !let_go && !unmade && *source.known;
    for (uint32_t i = 0; i < region.bytes && *region.known; i += 4) {
      uint32_t word = 0;
      std::memcpy(&word, region.at + i, sizeof word);
      if (word != region.pattern)
        Break("command {} of queue {} left {:#x} at byte {} of its region, not {:#x}", command.number,
              queue.id, word, i, region.pattern);
    }
  }
}

bool WorkModel::Explained(const Sync& sync, uint64_t value) const {
  for (const auto& queue : queues) {
    bool open = true;  // whether the queue may have come here
    for (const Packet& packet : queue->packets) {
      if (packet.kind == Packet::Kind::kWait) open &= packet.held;
      if (open && queue->progress.get() == &sync && packet.progress == value) return true;
      if (packet.kind == Packet::Kind::kCommand && packet.number > queue->now) open = false;
      if (packet.kind != Packet::Kind::kSignal ||
          (packet.signal->reached != packet.signal->members && !packet.signal->broken))
        continue;
      for (const Point& point : packet.signal->points) {
        if (point.sync.get() == &sync && point.value == value) return true;
      }
    }
  }
  return false;
}

void WorkModel::JudgeValue(Sync& sync) {
  if (sync.lost && sync.now != kFenceLost)
    Break("fence {} reads {} although a device that could signal it is lost", sync.id, sync.now);
  if (sync.gpu_adds && !sync.lost) JudgeAdds(sync);
  if (sync.periodic() && !sync.lost) JudgePeriodic(sync);
  if (sync.now == sync.seen) return;
  if (!sync.lost && !sync.gpu_adds && !sync.periodic() && sync.certain && !Explained(sync, sync.now))
    Break("fence {} went from {} to {}, which nobody can have signalled yet", sync.id, sync.seen, sync.now);
  sync.seen = sync.now;
}

void WorkModel::JudgeAdds(Sync& sync) {
  uint64_t least = sync.value, most = sync.value + sync.stray;
  for (const auto& queue : queues) {
    bool open = true;
    for (const Packet& packet : queue->packets) {
      if (packet.kind == Packet::Kind::kWait) open &= packet.held;
      if (!open) break;
      if (packet.kind != Packet::Kind::kCommand) continue;
      for (const Point& add : packet.adds) {
        if (add.sync.get() != &sync) continue;
        most += add.value;
        if (packet.number != 0 && packet.number <= queue->now) least += add.value;
      }
      if (packet.number > queue->now) open = false;
    }
  }
  if (sync.now < least || sync.now > most)
    Break("fence {}, which commands add to, reads {}, not {} to {}", sync.id, sync.now, least, most);
}

// What else happens in the moment of a vertical sync may come before it.
void WorkModel::JudgePeriodic(const Sync& sync) const {
  const uint64_t now_ns = machine_.clock().NowNs();
  const uint64_t least = now_ns > sync.created_ns ? sync.SyncsBy(now_ns - 1) : 0, most = sync.SyncsBy(now_ns);
  if (sync.now < least || sync.now > most)
    Break("periodic fence {} reads {} after {} vertical syncs", sync.id, sync.now, most);
}

// A semaphore or mutex that has been taken more often than it was there.
void WorkModel::JudgeTaken(const Sync& sync) const {
  if (!sync.certain || !sync.counts()) return;
  uint64_t taken = 0;
  for (const auto& queue : queues) {
    for (const Packet& packet : queue->packets) {
      if (packet.kind != Packet::Kind::kWait || !Ran(*queue, CommandAfter(*queue, packet))) continue;
      taken += std::count_if(packet.points.begin(), packet.points.end(),
                             [&](const Point& point) { return point.sync.get() == &sync; });
    }
  }
  const auto found = reachable_.find(&sync);
  const uint64_t given = sync.value + (found == reachable_.end() ? 0 : found->second);
  if (taken > given)
    Break("{} {} was taken {} times and given {} times", sync.type == 1 ? "mutex" : "semaphore", sync.id,
          taken, given);
}

void WorkModel::JudgeWaits() {
  for (const auto& wait : waits) {
    // What commands write may be seen before the command is over, and with it the wait.
    const bool lags = std::any_of(wait->points.begin(), wait->points.end(),
                                  [](const Point& point) { return point.sync->gpu_adds; });
    if (!wait->over && Holds(*wait)) (lags ? wait->may_end : wait->over) = true;
    if (wait->call == nullptr) {
      if (wait->over) ++ticks[wait->event].due;
      continue;
    }
    const bool done = wait->call->done();
    if (wait->over && !done) Break("wait {} is still blocked although it is over", wait->id);
    if (!wait->over && !wait->may_end && done)
      Break("wait {} has returned {} although it is not over", wait->id, wait->call->result());
    if (done && wait->call->result() != 0) Break("wait {} has returned {}", wait->id, wait->call->result());
    wait->over = done;
  }
  std::erase_if(waits, [](const auto& wait) { return wait->over; });
}

// `ticks` are due; what may be besides is counted here.
void WorkModel::JudgeEvents(bool at_rest) {
  std::map<int, uint64_t> more;
  for (const auto& wait : waits) {
    if (wait->event != 0 && wait->may_end) ++more[wait->event];
  }
  std::set<const Signal*> counted;
  for (const auto& queue : queues) {
    for (const Packet& packet : queue->packets) {
      if (!packet.signal || packet.signal->reached != packet.signal->members ||
          !counted.insert(packet.signal.get()).second)
        continue;
      if (packet.signal->event != 0) ++more[packet.signal->event];
      for (const Point& point : packet.signal->points) {
        if (point.sync->type == kCpuNotification) ++more[point.sync->event];
      }
    }
  }
  for (const auto& [event, book] : ticks) {
    const uint64_t ticked = machine_.Ticks(event), most = book.due + book.more + more[event];
    if (ticked < book.due || ticked > most)
      Break("eventfd {} has ticked {} times{}, not {} to {}", event, ticked, at_rest ? " at rest" : "",
            book.due, most);
  }
}

// -- Judging at rest ------------------------------------------------------------------------------

void WorkModel::JudgeAtRest() {
  bool changed = true;
  while (changed) {
    changed = false;
    for (const auto& queue : queues) {
      while (!queue->packets.empty() && Retire(*queue)) {
        queue->packets.erase(queue->packets.begin());
        changed = true;
      }
    }
  }
  for (const auto& queue : queues) {
    if (!queue->packets.empty()) JudgeHeld(*queue);
  }
  for (const auto& sync : syncs) {
    if (!sync->visible()) continue;
    if (sync->certain && sync->now != sync->value)
      Break("fence {} reads {} when all is at rest, not {}", sync->id, sync->now, sync->value);
    sync->value = sync->now;
    sync->certain = true;
    sync->stray = 0;
  }
  for (const auto& wait : waits) {
    if (!Holds(*wait)) continue;
    wait->over = true;
    if (wait->event != 0)
      ++ticks[wait->event].due;
    else
      Break("wait {} is still blocked at rest although it is over", wait->id);
  }
  std::erase_if(waits, [](const auto& wait) { return wait->over; });
  Reach();
  JudgeEvents(true);
}

bool WorkModel::Retire(ModelQueue& queue) {
  Packet& packet = queue.packets.front();
  switch (packet.kind) {
    case Packet::Kind::kCommand:
      if (packet.fatal())
        Break("queue {} has come to a command that cannot end, and its device is still active", queue.id);
      if (packet.number > queue.now)
        Break("queue {} has not run command {} although nothing holds it", queue.id, packet.number);
      for (const Point& add : packet.adds) add.sync->value += add.value;
      if (packet.progress != 0 && queue.progress->value != kFenceLost)
        queue.progress->value = packet.progress;
      return true;
    case Packet::Kind::kWait:
      return RetireWait(queue, packet);
    case Packet::Kind::kSignal:
      Arrive(*packet.signal);
      return true;
  }
  return false;
}

bool WorkModel::RetireWait(const ModelQueue& queue, const Packet& wait) {
  const bool ran = Ran(queue, CommandAfter(queue, wait));
  bool seen_to_pass = false;  // whether only the command behind it tells
  for (const Point& point : wait.points) {
    const Sync& sync = *point.sync;
    if (sync.ended || !sync.certain || sync.counts()) seen_to_pass = true;
  }
  if (seen_to_pass && !ran) return false;
  // The end of one object may have been the end of the whole wait.
  if (std::any_of(wait.points.begin(), wait.points.end(),
                  [](const Point& point) { return point.sync->ended; }))
    return true;
  for (const Point& point : wait.points) {
    const Sync& sync = *point.sync;
    if (!sync.certain && !sync.visible()) continue;
    if (sync.counts() ? sync.value == 0 : (sync.certain ? sync.value : sync.now) < point.value) return false;
  }
  for (const Point& point : wait.points) {
    if (point.sync->counts() && point.sync->certain) --point.sync->value;
  }
  return true;
}

void WorkModel::Arrive(Signal& signal) {
  if (++signal.arrived != signal.members) return;
  for (const Point& point : signal.points) Apply(point, signal.rewind);
  if (signal.event != 0) ++ticks[signal.event].due;
}

void WorkModel::Apply(const Point& point, bool rewind) {
  Sync& sync = *point.sync;
  if (sync.ended) return;
  if (sync.type == kCpuNotification) {
    ++ticks[sync.event].due;
  } else if (!sync.counts()) {
    sync.value = rewind ? point.value : std::max(sync.value, point.value);
  } else if (sync.value < sync.limit) {
    ++sync.value;
  } else {
    sync.certain = false;  // what was lost depends on who was first
  }
}

// The queue's first packet holds it: rightly?
void WorkModel::JudgeHeld(const ModelQueue& queue) const {
  const Packet& wait = queue.packets.front();
  bool met = true, known = true;
  for (const Point& point : wait.points) {
    const Sync& sync = *point.sync;
    if (sync.ended) continue;  // holds nobody
    known &= sync.certain;
    met &= sync.counts() ? sync.value != 0 : (sync.visible() ? sync.now : sync.value) >= point.value;
  }
  if (!known) return;
  if (met) Break("queue {} still waits at rest for what is there", queue.id);
  const bool ended = std::any_of(wait.points.begin(), wait.points.end(),
                                 [](const Point& point) { return point.sync->ended; });
  if (ended) return;
  if (Ran(queue, CommandAfter(queue, wait)))
    Break("queue {} has run command {} without what it waits for", queue.id,
          CommandAfter(queue, wait)->number);
}

// -- What happens to objects ----------------------------------------------------------------------

void WorkModel::Lose(ModelDevice& device, uint32_t state) {
  device.state = state;
  for (const auto& queue : queues) {
    if (queue->device.get() != &device) continue;
    Abandon(*queue);
    queue->packets.clear();
    if (queue->progress) LoseFence(*queue->progress);
  }
  LoseFences(device, state == kStopped);
  std::erase_if(queues, [&](const auto& queue) { return queue->device.get() == &device; });
}

// A stopped adapter takes all of them with it, and leaves nobody waiting.
void WorkModel::LoseFences(const ModelDevice& device, bool stopped) {
  for (const auto& sync : syncs) {
    if (sync->readable() && (stopped ? sync->holders : sync->signallers).contains(device.id))
      LoseFence(*sync);
  }
  for (const auto& wait : waits) {
    if (wait->device.get() == &device) (stopped ? wait->over : wait->may_end) = true;
  }
}

void WorkModel::LoseFence(Sync& sync) {
  sync.value = kFenceLost;
  sync.lost = sync.certain = true;
  if (sync.visible()) sync.now = *sync.views.front();
}

// Nobody knows what its packets have done and what they would have.
void WorkModel::Abandon(const ModelQueue& queue) {
  for (const Packet& packet : queue.packets) {
    for (const Point& point : packet.points) {
      if (point.sync->counts()) point.sync->certain = false;
    }
    for (const Point& add : packet.adds) {
      add.sync->certain = false;
      add.sync->stray += add.value;
    }
    if (!packet.signal || packet.signal->broken) continue;
    packet.signal->broken = true;
    for (const Point& point : packet.signal->points) {
      point.sync->certain = false;
      if (point.sync->type == kCpuNotification) ++ticks[point.sync->event].more;
    }
    if (packet.signal->event != 0) ++ticks[packet.signal->event].more;
  }
}

void WorkModel::End(const std::shared_ptr<ModelQueue>& queue) {
  queue->ended = true;
  Abandon(*queue);
  queue->packets.clear();
  std::erase(queues, queue);
  if (queue->progress) Drop(queue->progress, true);
}

void WorkModel::Drop(const std::shared_ptr<Sync>& sync, bool local) {
  const bool last = --sync->names == 0;
  if (last) {
    sync->ended = true;
    std::erase(syncs, sync);
    for (const auto& queue : queues) {
      for (const Packet& packet : queue->packets) {
        if (!packet.signal || sync->event == 0) continue;
        for (const Point& point : packet.signal->points)
          ticks[sync->event].more += point.sync == sync ? 1 : 0;
      }
    }
  }
  if (!last && !local) return;
  for (const auto& wait : waits) {
    wait->over |= std::any_of(wait->points.begin(), wait->points.end(),
                              [&](const Point& point) { return point.sync == sync; });
  }
}

void WorkModel::EndWaits(const ModelDevice& device) {
  for (const auto& wait : waits) wait->over |= wait->device.get() == &device;
}

void WorkModel::SignalNow(const Point& point, bool rewind) {
  Sync& sync = *point.sync;
  const uint64_t before = rewind ? point.value : std::max(sync.seen, point.value);
  const uint64_t now = sync.views.empty() ? before : uint64_t{*sync.views.front()};
  // It may have let a queue go that has raised it further.
  if (now < before)
    Break("fence {} reads {} after it was signalled by the CPU, not {}", sync.id, now, before);
  sync.value = rewind ? point.value : std::max(sync.value, point.value);
  sync.seen = before;
}

// Whoever waits for it was not there yet.
void WorkModel::Rewind(const Sync& sync) {
  for (const auto& queue : queues) {
    for (Packet& packet : queue->packets) {
      if (std::any_of(packet.points.begin(), packet.points.end(),
                      [&](const Point& point) { return point.sync.get() == &sync; }))
        packet.held = false;
    }
  }
}

bool WorkModel::Idle(const Sync& sync) const {
  for (const auto& queue : queues) {
    for (const Packet& packet : queue->packets) {
      const auto names = [&](const Point& point) { return point.sync.get() == &sync; };
      if (std::any_of(packet.points.begin(), packet.points.end(), names) ||
          std::any_of(packet.adds.begin(), packet.adds.end(), names))
        return false;
      if (packet.signal && std::any_of(packet.signal->points.begin(), packet.signal->points.end(), names))
        return false;
    }
  }
  return true;
}

}  // namespace dxg::simulation
