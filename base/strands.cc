#include "base/strands.h"

#include <new>
#include <thread>
#include <utility>

#include "base/start_thread.h"

namespace dxg {

bool Strands::StartThread() {
  if (threads_ >= kThreadsMax) return false;
  std::thread thread;
  if (!dxg::StartThread(&thread, [this] { Work(); })) return threads_ > 0;  // they take it in turn
  thread.detach();
  ++threads_;
  return true;
}

void Strands::MakeReady(uint64_t key, Strand& strand) {
  if (strand.ready || strand.jobs.empty() || strand.under_way >= kAtOnceMax) return;
  ready_.push_back(key);
  strand.ready = true;
}

void Strands::Run(uint64_t key, uint64_t group, std::function<void()> job) {
  {
    MutexLock lock(mutex_);
    if (!stopping_) {
      Strand& strand = StrandOf(key, group);
      const size_t before = strand.jobs.size();
      try {
        strand.jobs.push_back(std::move(job));
        MakeReady(key, strand);
      } catch (const std::bad_alloc&) {
        while (strand.jobs.size() > before) strand.jobs.pop_back();
        if (strand.jobs.empty() && strand.under_way == 0) Erase(key);
        throw;
      }
      if (ready_.size() <= idle_) {
        changed_.NotifyOne();
        return;
      }
      if (StartThread() || threads_ > 0) return;
      // Not even one thread can be had: it is done here, whatever it costs.
      job = std::move(strand.jobs.back());
      strand.jobs.pop_back();
      if (strand.jobs.empty() && strand.ready) {
        std::erase(ready_, key);
        Erase(key);
      }
    }
  }
  job();
}

Strands::Strand& Strands::StrandOf(uint64_t key, uint64_t group) {
  if (const auto found = strands_.find(key); found != strands_.end()) return found->second;
  Group& of = groups_[group];  // without strands it is nothing, and may stay
  Strand& made = strands_[key];
  made.group = group;
  ++of.strands;
  return made;
}

void Strands::Erase(uint64_t key) {
  const auto strand = strands_.find(key);
  const auto group = groups_.find(strand->second.group);
  strands_.erase(strand);
  if (--group->second.strands == 0) groups_.erase(group);
}

// False: its group has as much under way as it may.
bool Strands::Begin(uint64_t key, Group& group) {
  if (group.under_way >= kOfGroupMax) {
    try {
      group.held_back.push_back(key);
      return false;
    } catch (const std::bad_alloc&) {
      // Rather one too many than one that never begins.
    }
  }
  ++group.under_way;
  return true;
}

void Strands::End(Group& group) {
  --group.under_way;
  if (group.held_back.empty()) return;
  ready_.push_back(group.held_back.front());
  group.held_back.pop_front();
}

// False: the thread is not needed any more.
bool Strands::WaitForJob() {
  while (ready_.empty()) {
    if (stopping_ || idle_ >= kIdleMax) return false;
    ++idle_;
    changed_.Wait(mutex_);
    --idle_;
  }
  return true;
}

void Strands::Work() {
  MutexLock lock(mutex_);
  while (WaitForJob()) {
    const uint64_t key = ready_.front();
    ready_.pop_front();
    Strand& strand = strands_[key];  // stays where it is while a job of it is under way
    if (!Begin(key, groups_.at(strand.group))) continue;
    strand.ready = false;
    std::function<void()> job = std::move(strand.jobs.front());
    strand.jobs.pop_front();
    ++strand.under_way;
    MakeReady(key, strand);
    if (!ready_.empty() && idle_ == 0) StartThread();
    lock.Unlock();
    job();
    job = nullptr;  // what it owns may end with it
    lock.Lock();
    --strand.under_way;
    End(groups_.at(strand.group));
    MakeReady(key, strand);
    if (strand.under_way == 0 && strand.jobs.empty()) Erase(key);
  }
  --threads_;
  changed_.NotifyAll();
}

void Strands::Stop() {
  MutexLock lock(mutex_);
  stopping_ = true;
  changed_.NotifyAll();
  while (threads_ > 0) changed_.Wait(mutex_);
}

}  // namespace dxg
