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

void Strands::MakeReady(Strand& strand) {
  if (strand.jobs.empty() || strand.under_way >= at_once_max_) return;
  ready_.splice(ready_.end(), strand.at_rest);
}

void Strands::Run(uint64_t key, uint64_t group, std::function<void()> job) {
  {
    MutexLock lock(mutex_);
    if (!stopping_) {
      Strand& strand = StrandOf(key, group);
      try {
        strand.jobs.push_back(std::move(job));
      } catch (const std::bad_alloc&) {
        if (strand.jobs.empty() && strand.under_way == 0) Erase(key);
        throw;
      }
      MakeReady(strand);
      if (ready_.size() <= idle_) {
        changed_.NotifyOne();
        return;
      }
      if (StartThread() || threads_ > 0) return;
      // Not even one thread can be had: it is done here, whatever it costs.
      job = std::move(strand.jobs.back());
      strand.jobs.pop_back();
      if (strand.jobs.empty() && strand.under_way == 0) {
        std::erase(ready_, key);
        Erase(key);
      }
    }
  }
  job();
}

Strands::Strand& Strands::StrandOf(uint64_t key, uint64_t group) {
  if (const auto found = strands_.find(key); found != strands_.end()) return found->second;
  Keys at_rest{key};
  Group& of = groups_[group];  // without strands it is nothing, and may stay
  Strand& made = strands_[key];
  made.group = group;
  made.at_rest = std::move(at_rest);
  ++of.strands;
  return made;
}

void Strands::Erase(uint64_t key) {
  const auto strand = strands_.find(key);
  const auto group = groups_.find(strand->second.group);
  strands_.erase(strand);
  if (--group->second.strands == 0) groups_.erase(group);
}

void Strands::End(Group& group) {
  --group.under_way;
  if (!group.held_back.empty()) ready_.splice(ready_.end(), group.held_back, group.held_back.begin());
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
    Strand& strand = strands_.at(key);  // stays where it is while a job of it is under way
    Group& group = groups_.at(strand.group);
    if (group.under_way >= of_group_max_) {
      group.held_back.splice(group.held_back.end(), ready_, ready_.begin());
      continue;
    }
    ++group.under_way;
    strand.at_rest.splice(strand.at_rest.end(), ready_, ready_.begin());
    std::function<void()> job = std::move(strand.jobs.front());
    strand.jobs.pop_front();
    ++strand.under_way;
    MakeReady(strand);
    if (!ready_.empty() && idle_ == 0) StartThread();
    lock.Unlock();
    job();
    job = nullptr;  // what it owns may end with it
    lock.Lock();
    --strand.under_way;
    End(group);
    MakeReady(strand);
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
