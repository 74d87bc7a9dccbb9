#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"

struct fuse_req;

namespace dxg::attach {

// Signals that reach a client while its ioctl waits.
//
// libfuse reports one by calling back with a lock of the request held, with a raw pointer, and without a word
// when it has stopped using that: an answer and an interrupt of the same request may cross, and an interrupt
// that came before the request was armed is reported from within Arm. So what it gets is a ticket, and all
// its callback does is to put the ticket into a queue. A thread of our own (made when the first interrupt
// comes) takes it out, free of all locks; the ticket of an answered request finds nothing.
//
// A callback may still be running when another thread answers its request: it must name the request by
// something that can be missing (a number, a weak_ptr), never by address.
class Interrupts {
 public:
  ~Interrupts() { Stop(); }
  // No callback runs any more once this has returned.
  void Stop() DXG_EXCLUDES(mutex_);

  // What a request wants to hear of, on the thread of ours; each is heard at most once.
  struct Wanted {
    std::function<void()> interrupted;  // any signal
    // Only a fatal one, of the thread `tid`. The kernel tells of the first signal and of no other, so from
    // that one on the thread is looked at every now and then. Where it says false, it runs again at the next
    // look.
    std::function<bool()> killed;
    pid_t tid = 0;
  };
  // The caller may hold any lock of its own.
  uint64_t Arm(fuse_req* request, Wanted wanted) DXG_EXCLUDES(mutex_);
  // More for a request that is armed. What it had before stays, and an interrupt that has come meanwhile
  // counts.
  void Add(uint64_t ticket, Wanted more) DXG_EXCLUDES(mutex_);
  void Drop(uint64_t ticket) DXG_EXCLUDES(mutex_);
  // Called by libfuse, through the session.
  void Arrived(uint64_t ticket) DXG_EXCLUDES(mutex_);

 private:
  struct Armed {
    Wanted wanted;
    bool arrived = false;
  };

  void Run() DXG_EXCLUDES(mutex_);
  void Enqueue(uint64_t ticket) DXG_REQUIRES(mutex_);
  void RunOrWatch(uint64_t ticket) DXG_REQUIRES(mutex_);
  // Gives the lock back while the callback runs.
  void RunUnlocked(std::function<void()> callback) DXG_REQUIRES(mutex_);
  bool RunKilled(uint64_t ticket) DXG_REQUIRES(mutex_);

  Mutex mutex_;
  uint64_t last_ticket_ DXG_GUARDED_BY(mutex_) = 0;
  std::unordered_map<uint64_t, Armed> armed_ DXG_GUARDED_BY(mutex_);
  std::deque<uint64_t> arrived_ DXG_GUARDED_BY(mutex_);
  // Interrupted, and not dying when last looked at.
  std::vector<uint64_t> watched_ DXG_GUARDED_BY(mutex_);
  ConditionVariable changed_;
  bool stopping_ DXG_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // started under mutex_, once; joined by Stop, after which none is started
};

}  // namespace dxg::attach
