#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

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
  void Stop();

  // What a request wants to hear of; each runs at most once, on the thread of ours.
  struct Wanted {
    std::function<void()> interrupted;  // any signal
    // Only a fatal one, of the thread `tid`. The kernel tells of the first signal and of no other, so from
    // that one on the thread is looked at every now and then.
    std::function<void()> killed;
    pid_t tid = 0;
  };
  // The caller may hold any lock of its own.
  uint64_t Arm(fuse_req* request, Wanted wanted);
  // More for a request that is armed. What it had before stays, and an interrupt that has come meanwhile
  // counts.
  void Add(uint64_t ticket, Wanted more);
  void Drop(uint64_t ticket);
  // Called by libfuse, through the session.
  void Arrived(uint64_t ticket);

 private:
  struct Armed {
    Wanted wanted;
    bool arrived = false;
  };

  void Run();
  void Enqueue(uint64_t ticket);
  void RunOrWatch(uint64_t ticket, std::unique_lock<std::mutex>& lock);

  std::mutex mutex_;  // guards everything below
  uint64_t last_ticket_ = 0;
  std::unordered_map<uint64_t, Armed> armed_;
  std::deque<uint64_t> arrived_;
  std::vector<uint64_t> watched_;  // interrupted, and not dying when last looked at
  std::condition_variable changed_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace dxg::attach
