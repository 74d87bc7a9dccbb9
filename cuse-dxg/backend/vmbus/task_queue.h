#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <thread>
#include <utility>

#include "base/mutex.h"

namespace dxg::vmbus {

// Tasks that run in their order, one at a time, on a thread of their own.
class TaskQueue {
 public:
  using Task = std::function<void()>;
  // What may wait. Where there is more, `overflow` is the last task that is taken.
  static constexpr size_t kTasksMax = 1 << 16;

  explicit TaskQueue(Task overflow) : overflow_(std::move(overflow)) {}
  ~TaskQueue();

  [[nodiscard]] bool Start();  // as StartThread
  // Any thread. After StopFor: nothing.
  void Add(Task task) DXG_EXCLUDES(mutex_);
  // Waits until all that was added before has run. Not for more than that: somebody may add for ever.
  void Settle() DXG_EXCLUDES(mutex_);
  // No further task begins. Waits so long for the one that runs; false: it has not ended.
  bool StopFor(std::chrono::milliseconds time_max) DXG_EXCLUDES(mutex_);
  // After StopFor, when nothing keeps the task that runs.
  void Join();

 private:
  void Run() DXG_EXCLUDES(mutex_);

  const Task overflow_;
  Mutex mutex_;
  ConditionVariable changed_;
  std::deque<Task> tasks_ DXG_GUARDED_BY(mutex_);
  bool busy_ DXG_GUARDED_BY(mutex_) = false, stopping_ DXG_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace dxg::vmbus
