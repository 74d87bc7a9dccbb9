#include "cuse-dxg/replay/deadlines.h"

#include <cerrno>
#include <utility>

#include "base/monotonic.h"
#include "base/start_thread.h"

namespace dxg::replay {

uint64_t Deadlines::NowNs() { return MonotonicNs(); }

Status Deadlines::Start() {
  {
    MutexLock lock(mutex_);
    stopping_ = false;
  }
  if (StartThread(&thread_, [this] { Run(); })) return Status::Ok();
  MutexLock lock(mutex_);
  stopping_ = true;
  return Status::Refuse(EAGAIN, "no thread can be had for the recorded times");
}

void Deadlines::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

bool Deadlines::Add(uint64_t at_ns, std::shared_ptr<guest::ParkedCall> call, Place* place) {
  MutexLock lock(mutex_);
  if (stopping_ || at_ns <= NowNs()) return false;
  *place = {at_ns, ++last_};
  waiting_.emplace(*place, std::move(call));
  changed_.NotifyAll();
  return true;
}

void Deadlines::Remove(const Place& place) {
  MutexLock lock(mutex_);
  waiting_.erase(place);
}

void Deadlines::Run() {
  MutexLock lock(mutex_);
  for (;;) {
    const uint64_t now_ns = NowNs();
    while (!waiting_.empty() && (stopping_ || waiting_.begin()->first.first <= now_ns)) {
      const std::shared_ptr<guest::ParkedCall> next = std::move(waiting_.begin()->second);
      waiting_.erase(waiting_.begin());
      lock.Unlock();
      next->Signal();
      lock.Lock();
    }
    if (stopping_) return;
    if (waiting_.empty()) {
      changed_.Wait(mutex_);
    } else {
      changed_.WaitForNs(mutex_, waiting_.begin()->first.first - now_ns);
    }
  }
}

}  // namespace dxg::replay
