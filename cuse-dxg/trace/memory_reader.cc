#include "cuse-dxg/trace/memory_reader.h"

#include <atomic>
#include <new>
#include <thread>
#include <utility>

#include "base/patience.h"
#include "base/start_thread.h"

namespace dxg::trace {

struct MemoryReader::Left {
  std::atomic<int> threads{0};
};

// Shared by the thread and by whoever waits for it, because either may go first.
struct MemoryReader::Worker {
  enum class State : uint8_t { kIdle, kAsked, kDone, kLeft };

  Mutex mutex;
  ConditionVariable changed;
  State state DXG_GUARDED_BY(mutex) = State::kIdle;
  bool stopping DXG_GUARDED_BY(mutex) = false;
  bool worked DXG_GUARDED_BY(mutex) = false;
  pid_t tid DXG_GUARDED_BY(mutex) = 0;
  uint64_t address DXG_GUARDED_BY(mutex) = 0;
  std::string bytes DXG_GUARDED_BY(mutex);  // where they go; the thread's own while it is asked
};

MemoryReader::MemoryReader(ReadClient read, std::chrono::milliseconds patience)
    : read_(std::move(read)), patience_(patience), left_(std::make_shared<Left>()) {}

MemoryReader::~MemoryReader() {
  MutexLock lock(mutex_);
  if (worker_ == nullptr) return;
  MutexLock its(worker_->mutex);
  worker_->stopping = true;
  worker_->changed.NotifyAll();
}

bool MemoryReader::HasWorker() {
  if (worker_ != nullptr) return true;
  if (left_->threads >= kLeftMax) return false;
  auto worker = std::make_shared<Worker>();
  std::thread thread;
  if (!StartThread(&thread, [worker, read = read_, left = left_] { Work(worker, read, left); })) return false;
  thread.detach();
  worker_ = std::move(worker);
  return true;
}

void MemoryReader::Work(const std::shared_ptr<Worker>& worker, const ReadClient& read,
                        const std::shared_ptr<Left>& left) {
  using State = Worker::State;
  for (;;) {
    pid_t tid = 0;
    uint64_t address = 0;
    std::string bytes;
    {
      MutexLock lock(worker->mutex);
      while (worker->state != State::kAsked && !worker->stopping) worker->changed.Wait(worker->mutex);
      if (worker->stopping) return;
      tid = worker->tid, address = worker->address;
      bytes.swap(worker->bytes);
    }
    const bool worked = read(tid, address, std::as_writable_bytes(std::span(bytes)));
    MutexLock lock(worker->mutex);
    if (worker->state == State::kLeft) {
      --left->threads;
      return;
    }
    worker->worked = worked;
    worker->bytes.swap(bytes);
    worker->state = State::kDone;
    worker->changed.NotifyAll();
  }
}

bool MemoryReader::Read(pid_t tid, uint64_t address, size_t bytes, std::string* to) {
  using State = Worker::State;
  std::string room(bytes, '\0');  // throws here, where nothing is asked yet
  MutexLock lock(mutex_);
  if (!HasWorker()) return false;
  const std::shared_ptr<Worker> worker = worker_;
  MutexLock its(worker->mutex);
  worker->tid = tid, worker->address = address;
  worker->bytes = std::move(room);
  worker->state = State::kAsked;
  worker->changed.NotifyAll();
  RealPatience patience(patience_);
  while (worker->state == State::kAsked && !patience.IsOver())
    worker->changed.WaitUntil(worker->mutex, patience.next_look());
  if (worker->state == State::kAsked) {
    worker->state = State::kLeft;
    ++left_->threads;
    worker_ = nullptr;
    return false;
  }
  worker->state = State::kIdle;
  to->swap(worker->bytes);
  return worker->worked;
}

}  // namespace dxg::trace
