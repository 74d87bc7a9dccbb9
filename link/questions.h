#pragma once

#include <chrono>
#include <functional>
#include <list>
#include <utility>

#include "base/mutex.h"
#include "base/patience.h"

namespace dxg {

// Threads that wait for the answer to a question each, and the thread that receives the answers. Protocols
// differ in what an answer is known by, a number or what it says: each question brings the test for its own.
template <class Message>
class Questions {
  struct Asked;

 public:
  // True: it is the answer, and has been taken. Runs on the thread that receives, with a lock held.
  using Take = std::function<bool(Message&)>;

  // A question, from before it is sent until End or the object's end.
  class Question {
   public:
    Question(Questions& all, Take take) : all_(all) { open_ = all_.Begin(std::move(take), &mine_); }
    ~Question() { End(); }
    Question(const Question&) = delete;
    Question& operator=(const Question&) = delete;

    // False: nobody answers any more.
    bool open() const { return open_; }
    bool answered() const { return open_ && all_.IsAnswered(mine_); }
    // Until there is an answer, or will be none. False: it takes longer than that.
    bool WaitFor(std::chrono::nanoseconds limit) { return all_.WaitFor(mine_, limit); }
    // Whether there was an answer. None is taken from now on.
    bool End() { return std::exchange(open_, false) && all_.Forget(mine_); }

   private:
    Questions& all_;
    typename std::list<Asked>::iterator mine_;
    bool open_;
  };

  // Gives the message to the oldest question that it answers. False: to none.
  bool Answer(Message& message) DXG_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    for (Asked& each : asked_) {
      if (each.answered || !each.take(message)) continue;
      each.answered = true;
      changed_.NotifyAll();
      return true;
    }
    return false;
  }

  // There will be no more answers.
  void End() DXG_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    ended_ = true;
    changed_.NotifyAll();
  }

 private:
  struct Asked {
    Take take;
    bool answered = false;
  };
  using Place = typename std::list<Asked>::iterator;

  bool Begin(Take take, Place* place) {
    MutexLock lock(mutex_);
    if (ended_) return false;
    *place = asked_.insert(asked_.end(), Asked{std::move(take), false});
    return true;
  }
  bool IsAnswered(Place place) {
    MutexLock lock(mutex_);
    return place->answered;
  }
  bool WaitFor(Place place, std::chrono::nanoseconds limit) {
    RealPatience patience(limit);
    MutexLock lock(mutex_);
    while (!place->answered && !ended_ && !patience.IsOver())
      changed_.WaitUntil(mutex_, patience.next_look());
    return place->answered || ended_;
  }
  bool Forget(Place place) {
    MutexLock lock(mutex_);
    const bool answered = place->answered;
    asked_.erase(place);
    return answered;
  }

  Mutex mutex_;
  ConditionVariable changed_;
  std::list<Asked> asked_ DXG_GUARDED_BY(mutex_);
  bool ended_ DXG_GUARDED_BY(mutex_) = false;
};

}  // namespace dxg
