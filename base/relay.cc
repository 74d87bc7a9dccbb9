#include "base/relay.h"

#include <utility>

#include "base/patience.h"
#include "base/start_thread.h"

namespace dxg {
namespace {

// The loop that this thread runs.
struct Running {
  ReadingTurn* turn = nullptr;
  const std::atomic<int>* gone = nullptr;
  int pauses = 0;
  bool lost = false;
};
thread_local Running running;

}  // namespace

bool Relay::Lost() { return running.lost; }

bool Relay::AnyGone() { return running.gone != nullptr && *running.gone > 0; }

bool Relay::IsMine() const { return running.turn == &turn_ && !running.lost && running.pauses == 0; }

Relay::Pause::Pause() {
  if (running.turn != nullptr && !running.lost && running.pauses++ == 0) running.turn->Offer();
}

Relay::Pause::~Pause() {
  if (running.turn != nullptr && !running.lost && --running.pauses == 0)
    running.lost = !running.turn->Resume();
}

void Relay::StartThread() {
  if (threads_.size() >= kThreadsMax) return;
  std::list<std::thread> made(1);  // before it runs: to keep it takes memory
  const auto work = [this] {
    Work();
    MutexLock lock(mutex_);
    --living_;
    left_.NotifyAll();
  };
  if (!dxg::StartThread(&made.front(), work)) return;  // nobody watches, until a thread comes back
  threads_.splice(threads_.end(), made);
  ++living_;
  ++idle_;
}

bool Relay::Start(Loop loop) {
  loop_ = std::move(loop);
  MutexLock lock(mutex_);
  StartThread();
  return !threads_.empty();
}

void Relay::Work() {
  while (turn_.Take()) {
    {
      MutexLock lock(mutex_);
      --idle_;
      if (over_) return;
      if (idle_ == 0) StartThread();
      CountGone();
    }
    running = {&turn_, &gone_, 0, false};
    const bool goes_on = loop_();
    running = {};
    {
      MutexLock lock(mutex_);
      over_ = over_ || !goes_on;
      if (goes_on) {
        ++idle_;
        CountGone();
      }
    }
    if (!goes_on) return turn_.Stop();
  }
}

// Threads are started by threads, so that there may be new ones to be joined after the others.
void Relay::Stop() {
  for (;;) {
    std::list<std::thread> threads;
    {
      MutexLock lock(mutex_);
      threads.swap(threads_);
    }
    if (threads.empty()) return;
    for (std::thread& thread : threads) thread.join();
  }
}

bool Relay::StopFor(std::chrono::milliseconds time_max) {
  {
    RealPatience patience(time_max);
    MutexLock lock(mutex_);
    while (living_ != 0 && !patience.IsOver()) left_.WaitUntil(mutex_, patience.next_look());
    if (living_ != 0) return false;
  }
  Stop();
  return true;
}

}  // namespace dxg
