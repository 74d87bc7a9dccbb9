#include "cuse-dxg/guest/teardown_thread.h"

#include <malloc.h>

#include <new>

#include "base/start_thread.h"

namespace dxg::guest {
namespace {

// The C library is told to give back what is free when nothing is left to be torn down, after so many steps
// at least. Much of it is free only then, and each look takes longer the more there is: it is not worth one
// in between.
constexpr uint64_t kStepsBeforeTrim = 1u << 14;

thread_local bool is_here = false;

}  // namespace

bool TeardownThread::IsHere() { return is_here; }

void TeardownThread::Stop() {
  std::thread thread;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    thread.swap(thread_);
    changed_.NotifyAll();
  }
  if (thread.joinable()) thread.join();
}

bool TeardownThread::Enqueue(uid_t user, std::coroutine_handle<> waiter) {
  MutexLock lock(mutex_);
  if (stopping_) return false;
  if (!thread_.joinable() && !StartThread(&thread_, [this] { Run(); })) return false;
  try {
    waiting_.Of(user).push_back(waiter);
  } catch (const std::bad_alloc&) {
    return false;  // an empty queue may be left, which Next passes over
  }
  ++turns_;
  changed_.NotifyOne();
  return true;
}

// Null: nobody waits.
std::coroutine_handle<> TeardownThread::Next() {
  std::coroutine_handle<> next;
  while (!next && !waiting_.empty()) {
    auto& of_user = waiting_.front();
    if (!of_user.empty()) {
      next = of_user.front();
      of_user.pop_front();
    }
    waiting_.Turn();
  }
  return next;
}

void TeardownThread::Run() {
  is_here = true;
  uint64_t trimmed_at = steps_;
  MutexLock lock(mutex_);
  for (;;) {
    const std::coroutine_handle<> next = Next();
    if (!next && stopping_) return;
    if (!next && steps_ - trimmed_at < kStepsBeforeTrim) {
      changed_.Wait(mutex_);
      continue;
    }
    lock.Unlock();
    if (next) {
      next.resume();
    } else {
      trimmed_at = steps_;
      malloc_trim(0);
    }
    lock.Lock();
  }
}

}  // namespace dxg::guest
