#include "cuse-dxg/backend/vmbus/task_queue.h"

#include <memory>

#include "base/patience.h"
#include "base/start_thread.h"

namespace dxg::vmbus {

TaskQueue::~TaskQueue() {
  StopFor(std::chrono::milliseconds(0));
  Join();
}

bool TaskQueue::Start() {
  return StartThread(&thread_, [this] { Run(); });
}

void TaskQueue::Add(Task task) {
  MutexLock lock(mutex_);
  if (stopping_ || tasks_.size() > kTasksMax) return;
  if (tasks_.size() == kTasksMax) task = overflow_;
  tasks_.push_back(std::move(task));
  changed_.NotifyAll();
}

void TaskQueue::Settle() {
  const auto settled = std::make_shared<bool>(false);  // guarded by mutex_
  Add([this, settled] {
    MutexLock lock(mutex_);
    *settled = true;
  });
  MutexLock lock(mutex_);
  while (!*settled && tasks_.size() <= kTasksMax) changed_.Wait(mutex_);
}

bool TaskQueue::StopFor(std::chrono::milliseconds time_max) {
  RealPatience patience(time_max);
  MutexLock lock(mutex_);
  stopping_ = true;
  changed_.NotifyAll();
  while (busy_ && !patience.IsOver()) changed_.WaitUntil(mutex_, patience.next_look());
  return !busy_;
}

void TaskQueue::Join() {
  if (thread_.joinable()) thread_.join();
}

void TaskQueue::Run() {
  MutexLock lock(mutex_);
  for (;;) {
    while (!stopping_ && tasks_.empty()) changed_.Wait(mutex_);
    if (stopping_) return;
    const Task task = std::move(tasks_.front());
    tasks_.pop_front();
    busy_ = true;
    lock.Unlock();
    task();
    lock.Lock();
    busy_ = false;
    changed_.NotifyAll();
  }
}

}  // namespace dxg::vmbus
