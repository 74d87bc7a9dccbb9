#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <shared_mutex>

// Locks that clang can check: a member says which lock guards it, a function which lock it wants held, and
// -Wthread-safety refuses the rest. g++ sees ordinary locks.

#if defined(__clang__)
#define DXG_THREAD_ATTRIBUTE(x) __attribute__((x))
#else
#define DXG_THREAD_ATTRIBUTE(x)
#endif
#define DXG_GUARDED_BY(lock) DXG_THREAD_ATTRIBUTE(guarded_by(lock))
#define DXG_REQUIRES(lock) DXG_THREAD_ATTRIBUTE(requires_capability(lock))

namespace dxg {

class DXG_THREAD_ATTRIBUTE(capability("mutex")) Mutex {
 public:
  void Lock() DXG_THREAD_ATTRIBUTE(acquire_capability()) { mutex_.lock(); }
  void Unlock() DXG_THREAD_ATTRIBUTE(release_capability()) { mutex_.unlock(); }

 private:
  friend class ConditionVariable;
  std::mutex mutex_;
};

// Something that threads wait for which hold a mutex. They may come back without it.
class ConditionVariable {
 public:
  void Wait(Mutex& mutex) DXG_REQUIRES(mutex) {
    std::unique_lock lock(mutex.mutex_, std::adopt_lock);
    changed_.wait(lock);
    lock.release();
  }
  void WaitForNs(Mutex& mutex, uint64_t ns) DXG_REQUIRES(mutex) {
    // In steps: a time of centuries from now does not fit the wait.
    constexpr uint64_t kStepNs = 3'600'000'000'000;
    std::unique_lock lock(mutex.mutex_, std::adopt_lock);
    changed_.wait_for(lock, std::chrono::nanoseconds(ns < kStepNs ? ns : kStepNs));
    lock.release();
  }
  void NotifyAll() { changed_.notify_all(); }

 private:
  std::condition_variable changed_;
};

class DXG_THREAD_ATTRIBUTE(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) DXG_THREAD_ATTRIBUTE(acquire_capability(mutex)) : mutex_(mutex) {
    mutex_.Lock();
  }
  ~MutexLock() DXG_THREAD_ATTRIBUTE(release_capability()) { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// Many readers or one writer.
class DXG_THREAD_ATTRIBUTE(capability("mutex")) SharedMutex {
 public:
  void Lock() DXG_THREAD_ATTRIBUTE(acquire_capability()) { mutex_.lock(); }
  void Unlock() DXG_THREAD_ATTRIBUTE(release_capability()) { mutex_.unlock(); }
  void LockShared() DXG_THREAD_ATTRIBUTE(acquire_shared_capability()) { mutex_.lock_shared(); }
  void UnlockShared() DXG_THREAD_ATTRIBUTE(release_shared_capability()) { mutex_.unlock_shared(); }

 private:
  std::shared_mutex mutex_;
};

class DXG_THREAD_ATTRIBUTE(scoped_lockable) WriterLock {
 public:
  explicit WriterLock(SharedMutex& mutex) DXG_THREAD_ATTRIBUTE(acquire_capability(mutex)) : mutex_(mutex) {
    mutex_.Lock();
  }
  ~WriterLock() DXG_THREAD_ATTRIBUTE(release_capability()) { mutex_.Unlock(); }
  WriterLock(const WriterLock&) = delete;
  WriterLock& operator=(const WriterLock&) = delete;

 private:
  SharedMutex& mutex_;
};

class DXG_THREAD_ATTRIBUTE(scoped_lockable) ReaderLock {
 public:
  explicit ReaderLock(SharedMutex& mutex) DXG_THREAD_ATTRIBUTE(acquire_shared_capability(mutex))
      : mutex_(mutex) {
    mutex_.LockShared();
  }
  ~ReaderLock() DXG_THREAD_ATTRIBUTE(release_generic_capability()) { mutex_.UnlockShared(); }
  ReaderLock(const ReaderLock&) = delete;
  ReaderLock& operator=(const ReaderLock&) = delete;

 private:
  SharedMutex& mutex_;
};

}  // namespace dxg
