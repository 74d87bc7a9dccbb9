#include "hostsim/memory/freeing_thread.h"

#include <deque>
#include <thread>
#include <utility>

#include "base/mutex.h"
#include "base/start_thread.h"

namespace dxg::hostsim {

struct FreeingThread::State {
  struct Job {
    uint64_t bytes;
    std::function<void()> run;
  };

  bool Add(Job* job, const std::shared_ptr<State>& self) DXG_EXCLUDES(mutex);
  void Work() DXG_EXCLUDES(mutex);

  Mutex mutex;
  ConditionVariable changed;
  std::deque<Job> jobs DXG_GUARDED_BY(mutex);
  uint64_t waiting_bytes DXG_GUARDED_BY(mutex) = 0;  // with those of the job that is being done
  uint64_t added DXG_GUARDED_BY(mutex) = 0;
  uint64_t done DXG_GUARDED_BY(mutex) = 0;
  bool stopping DXG_GUARDED_BY(mutex) = false;
  std::thread thread DXG_GUARDED_BY(mutex);  // started with the first job
};

bool FreeingThread::State::Add(Job* job, const std::shared_ptr<State>& self) {
  MutexLock lock(mutex);
  if (stopping || waiting_bytes >= kWaitingBytesMax) return false;
  if (!thread.joinable() && !StartThread(&thread, [self] { self->Work(); })) return false;
  jobs.push_back(std::move(*job));
  waiting_bytes += jobs.back().bytes;
  ++added;
  changed.NotifyAll();
  return true;
}

void FreeingThread::State::Work() {
  MutexLock lock(mutex);
  for (;;) {
    while (jobs.empty() && !stopping) changed.Wait(mutex);
    if (jobs.empty()) return;
    Job job = std::move(jobs.front());
    jobs.pop_front();
    lock.Unlock();
    job.run();
    job.run = nullptr;  // what it holds ends with it
    lock.Lock();
    waiting_bytes -= job.bytes;
    ++done;
    changed.NotifyAll();
  }
}

FreeingThread::FreeingThread() : state_(std::make_shared<State>()) {}

FreeingThread::~FreeingThread() {
  std::thread thread;
  {
    MutexLock lock(state_->mutex);
    state_->stopping = true;
    thread.swap(state_->thread);
    state_->changed.NotifyAll();
  }
  if (!thread.joinable()) return;
  if (thread.get_id() == std::this_thread::get_id()) {
    thread.detach();  // a job held the last of what holds us; the rest is done behind it
  } else {
    thread.join();
  }
}

void FreeingThread::Run(uint64_t bytes, std::function<void()> job) {
  State::Job wanted{bytes, std::move(job)};
  if (bytes < kLeastBytes || !state_->Add(&wanted, state_)) wanted.run();
}

void FreeingThread::Wait() {
  MutexLock lock(state_->mutex);
  const uint64_t all = state_->added;
  while (state_->done < all) state_->changed.Wait(state_->mutex);
}

uint64_t FreeingThread::done_beside() const {
  MutexLock lock(state_->mutex);
  return state_->done;
}

}  // namespace dxg::hostsim
