#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <shared_mutex>

// Locks that clang can check: a member says which lock guards it, a function which lock it wants held, and
// -Wthread-safety refuses the rest. g++ sees ordinary locks.

#if defined(__clang__)
#define HOSTSIM_THREAD_ATTRIBUTE(x) __attribute__((x))
#else
#define HOSTSIM_THREAD_ATTRIBUTE(x)
#endif
#define HOSTSIM_GUARDED_BY(lock) HOSTSIM_THREAD_ATTRIBUTE(guarded_by(lock))
#define HOSTSIM_REQUIRES(lock) HOSTSIM_THREAD_ATTRIBUTE(requires_capability(lock))

namespace dxg::hostsim {

class HOSTSIM_THREAD_ATTRIBUTE(capability("mutex")) Mutex {
 public:
  void Lock() HOSTSIM_THREAD_ATTRIBUTE(acquire_capability()) { mutex_.lock(); }
  void Unlock() HOSTSIM_THREAD_ATTRIBUTE(release_capability()) { mutex_.unlock(); }

 private:
  friend class Condition;
  std::mutex mutex_;
};

// Something that threads wait for which hold a mutex. They may come back without it.
class Condition {
 public:
  void Wait(Mutex& mutex) HOSTSIM_REQUIRES(mutex) {
    std::unique_lock lock(mutex.mutex_, std::adopt_lock);
    changed_.wait(lock);
    lock.release();
  }
  void WaitForNs(Mutex& mutex, uint64_t ns) HOSTSIM_REQUIRES(mutex) {
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

class HOSTSIM_THREAD_ATTRIBUTE(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) HOSTSIM_THREAD_ATTRIBUTE(acquire_capability(mutex)) : mutex_(mutex) {
    mutex_.Lock();
  }
  ~MutexLock() HOSTSIM_THREAD_ATTRIBUTE(release_capability()) { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// Many readers or one writer.
class HOSTSIM_THREAD_ATTRIBUTE(capability("mutex")) SharedMutex {
 public:
  void Lock() HOSTSIM_THREAD_ATTRIBUTE(acquire_capability()) { mutex_.lock(); }
  void Unlock() HOSTSIM_THREAD_ATTRIBUTE(release_capability()) { mutex_.unlock(); }
  void LockShared() HOSTSIM_THREAD_ATTRIBUTE(acquire_shared_capability()) { mutex_.lock_shared(); }
  void UnlockShared() HOSTSIM_THREAD_ATTRIBUTE(release_shared_capability()) { mutex_.unlock_shared(); }

 private:
  std::shared_mutex mutex_;
};

class HOSTSIM_THREAD_ATTRIBUTE(scoped_lockable) WriterLock {
 public:
  explicit WriterLock(SharedMutex& mutex) HOSTSIM_THREAD_ATTRIBUTE(acquire_capability(mutex))
      : mutex_(mutex) {
    mutex_.Lock();
  }
  ~WriterLock() HOSTSIM_THREAD_ATTRIBUTE(release_capability()) { mutex_.Unlock(); }
  WriterLock(const WriterLock&) = delete;
  WriterLock& operator=(const WriterLock&) = delete;

 private:
  SharedMutex& mutex_;
};

class HOSTSIM_THREAD_ATTRIBUTE(scoped_lockable) ReaderLock {
 public:
  explicit ReaderLock(SharedMutex& mutex) HOSTSIM_THREAD_ATTRIBUTE(acquire_shared_capability(mutex))
      : mutex_(mutex) {
    mutex_.LockShared();
  }
  ~ReaderLock() HOSTSIM_THREAD_ATTRIBUTE(release_generic_capability()) { mutex_.UnlockShared(); }
  ReaderLock(const ReaderLock&) = delete;
  ReaderLock& operator=(const ReaderLock&) = delete;

 private:
  SharedMutex& mutex_;
};

}  // namespace dxg::hostsim
