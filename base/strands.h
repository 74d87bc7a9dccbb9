#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <unordered_map>

#include "base/mutex.h"

namespace dxg {

// Jobs that may last for as long as somebody else likes, on threads of their own.
//
// Jobs of one key are begun in their order. At most `at_once_max` of them are under way at once, and of all
// keys of one group at most `of_group_max`. Where all threads are busy, a job of another key gets a new one;
// a few that have nothing to do are kept.
class Strands {
 public:
  static constexpr int kAtOnceMax = 4;
  static constexpr int kOfGroupMax = 64;
  static constexpr int kThreadsMax = 1024;
  static constexpr int kIdleMax = 2;

  explicit Strands(int at_once_max = kAtOnceMax, int of_group_max = kOfGroupMax)
      : at_once_max_(at_once_max), of_group_max_(of_group_max) {}
  // Waits for all jobs.
  ~Strands() { Stop(); }
  Strands(const Strands&) = delete;
  Strands& operator=(const Strands&) = delete;

  // A key is always of the same group. Throws std::bad_alloc where there is no memory for the job, and has
  // not begun it then.
  void Run(uint64_t key, uint64_t group, std::function<void()> job) DXG_EXCLUDES(mutex_);
  // When it returns, all jobs are over. What comes later is done by the thread that brings it.
  void Stop() DXG_EXCLUDES(mutex_);

 private:
  using Keys = std::list<uint64_t>;
  struct Strand {
    uint64_t group = 0;
    std::deque<std::function<void()>> jobs;
    int under_way = 0;
    Keys at_rest;  // its key: here, in ready_, or held back by its group; to move it takes no memory
  };
  struct Group {
    int strands = 0;  // that there are of it
    int under_way = 0;
    Keys held_back;  // keys of which a job could begin
  };

  bool StartThread() DXG_REQUIRES(mutex_);
  void Work() DXG_EXCLUDES(mutex_);
  bool WaitForJob() DXG_REQUIRES(mutex_);
  void MakeReady(Strand& strand) DXG_REQUIRES(mutex_);
  Strand& StrandOf(uint64_t key, uint64_t group) DXG_REQUIRES(mutex_);
  void Erase(uint64_t key) DXG_REQUIRES(mutex_);
  void End(Group& group) DXG_REQUIRES(mutex_);

  const int at_once_max_, of_group_max_;
  Mutex mutex_;
  ConditionVariable changed_;
  std::unordered_map<uint64_t, Strand> strands_ DXG_GUARDED_BY(mutex_);
  std::unordered_map<uint64_t, Group> groups_ DXG_GUARDED_BY(mutex_);  // those that have strands
  Keys ready_ DXG_GUARDED_BY(mutex_);                                  // those of which a job may begin
  size_t idle_ DXG_GUARDED_BY(mutex_) = 0;
  int threads_ DXG_GUARDED_BY(mutex_) = 0;  // they end by themselves
  bool stopping_ DXG_GUARDED_BY(mutex_) = false;
};

}  // namespace dxg
