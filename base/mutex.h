#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <shared_mutex>

// Locks that clang can check: a member says which lock guards it, a function which lock it wants held, and
// -Wthread-safety refuses the rest. g++ sees ordinary locks.
//
// How to say what:
//   Mutex first_ DXG_ACQUIRED_BEFORE(second_);      the order where both are held
//   int count_ DXG_GUARDED_BY(mutex_);              read and changed with the lock held
//   std::unique_ptr<T> p_ DXG_PT_GUARDED_BY(mutex_);  the same for what it points to
//   void Add() DXG_REQUIRES(mutex_);                the caller holds it
//   void Stop() DXG_EXCLUDES(mutex_);               the caller must not hold it: this function takes it
// A lambda is a function of its own to clang: one that runs with the lock held says DXG_REQUIRES after its
// parameters.

#if defined(__clang__)
#define DXG_THREAD_ATTRIBUTE_(x) __attribute__((x))
#else
#define DXG_THREAD_ATTRIBUTE_(x)
#endif
// Of types.
#define DXG_CAPABILITY(name) DXG_THREAD_ATTRIBUTE_(capability(name))
#define DXG_SCOPED_CAPABILITY DXG_THREAD_ATTRIBUTE_(scoped_lockable)
// Of members.
#define DXG_GUARDED_BY(lock) DXG_THREAD_ATTRIBUTE_(guarded_by(lock))
#define DXG_PT_GUARDED_BY(lock) DXG_THREAD_ATTRIBUTE_(pt_guarded_by(lock))
#define DXG_ACQUIRED_BEFORE(...) DXG_THREAD_ATTRIBUTE_(acquired_before(__VA_ARGS__))
#define DXG_ACQUIRED_AFTER(...) DXG_THREAD_ATTRIBUTE_(acquired_after(__VA_ARGS__))
// Of functions.
#define DXG_REQUIRES(...) DXG_THREAD_ATTRIBUTE_(requires_capability(__VA_ARGS__))
#define DXG_REQUIRES_SHARED(...) DXG_THREAD_ATTRIBUTE_(requires_shared_capability(__VA_ARGS__))
#define DXG_EXCLUDES(...) DXG_THREAD_ATTRIBUTE_(locks_excluded(__VA_ARGS__))
#define DXG_ACQUIRE(...) DXG_THREAD_ATTRIBUTE_(acquire_capability(__VA_ARGS__))
#define DXG_ACQUIRE_SHARED(...) DXG_THREAD_ATTRIBUTE_(acquire_shared_capability(__VA_ARGS__))
#define DXG_RELEASE(...) DXG_THREAD_ATTRIBUTE_(release_capability(__VA_ARGS__))
#define DXG_RELEASE_SHARED(...) DXG_THREAD_ATTRIBUTE_(release_shared_capability(__VA_ARGS__))
#define DXG_RELEASE_GENERIC(...) DXG_THREAD_ATTRIBUTE_(release_generic_capability(__VA_ARGS__))
#define DXG_TRY_ACQUIRE(...) DXG_THREAD_ATTRIBUTE_(try_acquire_capability(__VA_ARGS__))
#define DXG_ASSERT_CAPABILITY(lock) DXG_THREAD_ATTRIBUTE_(assert_capability(lock))
#define DXG_RETURN_CAPABILITY(lock) DXG_THREAD_ATTRIBUTE_(lock_returned(lock))
// Where clang cannot follow; with a comment that says why it is right.
#define DXG_NO_THREAD_SAFETY_ANALYSIS DXG_THREAD_ATTRIBUTE_(no_thread_safety_analysis)

namespace dxg {

class DXG_CAPABILITY("mutex") Mutex {
 public:
  void Lock() DXG_ACQUIRE() { mutex_.lock(); }
  void Unlock() DXG_RELEASE() { mutex_.unlock(); }
  bool TryLock() DXG_TRY_ACQUIRE(true) { return mutex_.try_lock(); }

 private:
  friend class ConditionVariable;
  std::mutex mutex_;
};

// Something that threads wait for which hold a mutex. They may come back without it, so that they wait in a
// loop.
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
  // False: the deadline has passed.
  bool WaitUntil(Mutex& mutex, std::chrono::steady_clock::time_point deadline) DXG_REQUIRES(mutex) {
    std::unique_lock lock(mutex.mutex_, std::adopt_lock);
    const bool in_time = changed_.wait_until(lock, deadline) == std::cv_status::no_timeout;
    lock.release();
    return in_time;
  }
  void NotifyOne() { changed_.notify_one(); }
  void NotifyAll() { changed_.notify_all(); }

 private:
  std::condition_variable changed_;
};

class DXG_SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) DXG_ACQUIRE(mutex) : mutex_(mutex) { mutex_.Lock(); }
  ~MutexLock() DXG_RELEASE() {
    if (held_) mutex_.Unlock();
  }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

  // For something in the middle that must run without the lock.
  void Unlock() DXG_RELEASE() {
    held_ = false;
    mutex_.Unlock();
  }
  void Lock() DXG_ACQUIRE() {
    mutex_.Lock();
    held_ = true;
  }

 private:
  Mutex& mutex_;
  bool held_ = true;
};

// Many readers or one writer.
class DXG_CAPABILITY("mutex") SharedMutex {
 public:
  void Lock() DXG_ACQUIRE() { mutex_.lock(); }
  void Unlock() DXG_RELEASE() { mutex_.unlock(); }
  void LockShared() DXG_ACQUIRE_SHARED() { mutex_.lock_shared(); }
  void UnlockShared() DXG_RELEASE_SHARED() { mutex_.unlock_shared(); }

 private:
  std::shared_mutex mutex_;
};

class DXG_SCOPED_CAPABILITY WriterLock {
 public:
  explicit WriterLock(SharedMutex& mutex) DXG_ACQUIRE(mutex) : mutex_(mutex) { mutex_.Lock(); }
  ~WriterLock() DXG_RELEASE() { mutex_.Unlock(); }
  WriterLock(const WriterLock&) = delete;
  WriterLock& operator=(const WriterLock&) = delete;

 private:
  SharedMutex& mutex_;
};

class DXG_SCOPED_CAPABILITY ReaderLock {
 public:
  explicit ReaderLock(SharedMutex& mutex) DXG_ACQUIRE_SHARED(mutex) : mutex_(mutex) { mutex_.LockShared(); }
  ~ReaderLock() DXG_RELEASE_GENERIC() { mutex_.UnlockShared(); }
  ReaderLock(const ReaderLock&) = delete;
  ReaderLock& operator=(const ReaderLock&) = delete;

 private:
  SharedMutex& mutex_;
};

}  // namespace dxg
