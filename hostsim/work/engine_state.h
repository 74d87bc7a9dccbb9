#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/patience.h"
#include "hostsim/machine/recent_amount.h"
#include "hostsim/work/engine.h"
#include "hostsim/work/gpu_queue.h"
#include "hostsim/work/submission_run.h"

// What Engines knows about each of its engines: included by the files that implement it, and by no others.
//
// The engines' lock guards the members here. They carry no annotation, because clang cannot see that the lock
// of the Engines object that owns a Node is the one that is held: all of them are reached through functions
// of Engines that require its lock.

namespace dxg::hostsim {

inline constexpr uint64_t kNever = Patience::kEndless;

// How soon what is cancelled stops, unless it is in memory that does not answer.
inline constexpr uint64_t kStopsWithinNs = 100'000'000;

// A command on an engine.
struct Engines::Running {
  Running(std::shared_ptr<GpuQueue> of, GpuCommand the_command, AdapterProfile::CommandFormat format)
      : queue(std::move(of)),
        command(std::move(the_command)),
        run(command, format, &queue->streamer_state_, queue->work_->of_process) {}

  const std::shared_ptr<GpuQueue> queue;
  GpuCommand command;
  SubmissionRun run;
  std::atomic<bool> cancelled{false};
  uint64_t started_ns = 0;
  uint64_t number = 0;         // of all that began of its queue
  Patience patience;           // it hangs if it has not ended when that is over
  uint64_t due_ns = 0;         // the earliest end
  uint64_t resume_ns = 0;      // when it goes on, if it has stopped
  uint64_t poll_ns = 0;        // how long it last waited for memory; 0: it does not wait
  uint64_t leave_ns = kNever;  // when the engine goes on without it, if it does not stop
  bool executing = false;      // a thread executes it, without the lock
  uint64_t executing_since_ns = 0;
  bool computes = false;    // it is amid a dispatch, which takes the host longer than a GPU
  bool may_yield = false;   // and between two slices of it
  bool own_thread = false;  // that thread is the engine's own
  bool left = false;        // the engine went on without that thread, which is in it still
  bool done = false;        // its commands have ended; it lasts until due_ns, and then writes its fence
  bool hung = false;
  bool faulted = false;
  std::optional<CommandStop> trouble;          // a fault of the plan, which happens instead of its ops
  std::vector<std::shared_ptr<void>> stopped;  // see Engines::End
};

// An own thread of an engine that is in memory of a client that does not answer.
struct Engines::Left {
  uint64_t turn;                     // that it had
  std::shared_ptr<Running> command;  // null when the thread is out of it
  std::thread thread;
  bool is_back = false;  // it ends
};

// One engine, and the queues of its node that have a command for it.
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
  uint64_t queues = 0;                   // that have not ended
  uint64_t picks = 0;
  std::shared_ptr<Running> current;
  std::map<GpuQueue*, std::shared_ptr<Running>> preempted;  // their queues are in line, and are running_
  uint64_t last_queue = 0;
  bool driving = false;        // a thread works for the engine; no other one does
  uint64_t turn = 0;           // which one it is: one that is left behind has another number
  bool again = false;          // that thread has to look once more
  bool wanted = false;         // the engine's own thread has to drive it
  bool watched = false;        // a timer is set that looks whether the command hangs
  uint64_t timer_ns = kNever;  // when the next timer drives the engine
  NodeWork work;               // of commands that have ended
  RecentAmount busy;           // with them, in ns
  ConditionVariable changed;
  std::thread thread;
  std::list<Left> left;
};

// What a thread that drives an engine has to do next without the lock.
struct Engines::Errand {
  enum Kind {
    kNone,
    kDeliver,  // the aftermath
    kExecute,  // ops of the command
    kPunish,   // the command's device, for `stop`, or for a hang if there is none
  };
  Kind kind = kNone;
  std::shared_ptr<Running> command;
  std::optional<CommandStop> stop;
  Aftermath aftermath;
  uint64_t reached_bytes = 0;  // by the ops of kExecute, when it is done

  // The errand is to deliver the aftermath, if there is something in it.
  void DeliverIfAny() {
    if (!aftermath.empty()) kind = kDeliver;
  }
};

}  // namespace dxg::hostsim
