#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "cuse-dxg/attach/node.h"

namespace dxg::attach {

// A node that does what the test says.
class ScriptedNode final : public Node {
 public:
  std::function<void(std::unique_ptr<OpenRequest>)> open = [](auto request) { request->Accept(7); };
  std::function<void(std::unique_ptr<IoctlRequest>)> ioctl = [](auto request) { request->Answer(0, {}); };
  std::function<void(uint64_t)> release = [](uint64_t) {};
  std::function<uint32_t(uint64_t, std::unique_ptr<PollWaiter>)> poll = [](uint64_t, auto) {
    return kAlwaysReady;
  };

  std::function<void()> look = [] {};

  // Of a node with clients already, before the next call: they may tell us of it by memory that they have in
  // common with us, which the thread sanitizer does not take for the same.
  template <class Does>
  void set_ioctl(Does does) {
    const std::lock_guard lock(mutex_);
    ioctl = std::move(does);
  }

  void Open(std::unique_ptr<OpenRequest> request) override { open(std::move(request)); }
  void Ioctl(std::unique_ptr<IoctlRequest> request) override {
    { const std::lock_guard lock(mutex_); }
    ioctl(std::move(request));
  }
  void Release(uint64_t file) override { release(file); }
  uint32_t Poll(uint64_t file, std::unique_ptr<PollWaiter> waiter) override {
    return poll(file, std::move(waiter));
  }
  void LookAtLongRequests() override { look(); }

 private:
  std::mutex mutex_;
};

// Something that happens once, and for which threads wait.
class Event {
 public:
  void Set() {
    std::lock_guard lock(mutex_);
    set_ = true;
    changed_.notify_all();  // with the lock held: whoever waits may destroy us next
  }
  void Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return set_; });
  }
  // For things that must NOT happen: false if it has not happened after that time.
  template <typename Duration>
  bool WaitFor(Duration duration) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, duration, [this] { return set_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool set_ = false;
};

}  // namespace dxg::attach
