#pragma once

#include <atomic>
#include <coroutine>
#include <exception>
#include <functional>
#include <optional>
#include <utility>

#include "base/status.h"

namespace dxg::guest {

// A handler's steps in the driver's order, straight down the page, with the waits for the host in between: a
// coroutine that ends with a Status. It starts when it is awaited by another Task or when Start() is called,
// and after a wait it goes on in the thread that ended the wait. No thread is held meanwhile.
//
// Parameters live in the coroutine's frame: pass values, or references to what outlives the Task.
class [[nodiscard]] Task {
 public:
  using Done = std::function<void(Status)>;

  struct promise_type {
    Status result;
    std::coroutine_handle<> continuation;
    Done done;

    Task get_return_object() { return Task(std::coroutine_handle<promise_type>::from_promise(*this)); }
    std::suspend_always initial_suspend() noexcept { return {}; }
    struct Final {
      bool await_ready() noexcept { return false; }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> self) noexcept {
        promise_type& promise = self.promise();
        if (promise.continuation) return promise.continuation;
        // Nobody holds a started Task: the frame ends here, before whoever waits for it learns of it.
        Done done = std::move(promise.done);
        Status result = std::move(promise.result);
        self.destroy();
        if (done) done(std::move(result));
        return std::noop_coroutine();
      }
      void await_resume() noexcept {}
    };
    Final final_suspend() noexcept { return {}; }
    void return_value(Status status) { result = std::move(status); }
    // No exception crosses a room; one that gets here is a bug of ours.
    void unhandled_exception() { std::terminate(); }
  };

  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task&&) = delete;
  ~Task() {
    if (handle_) handle_.destroy();
  }

  // Runs the Task on its own; `done` gets the result.
  void Start(Done done) && {
    auto handle = std::exchange(handle_, nullptr);
    handle.promise().done = std::move(done);
    handle.resume();
  }

  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> waiter) noexcept {
    handle_.promise().continuation = waiter;
    return handle_;
  }
  Status await_resume() { return std::move(handle_.promise().result); }

 private:
  explicit Task(std::coroutine_handle<promise_type> handle) : handle_(handle) {}

  std::coroutine_handle<promise_type> handle_;
};

// `co_await Callback<T>(start)`: waits for what `start` was handed to be called, which may be at once, later,
// and on any thread. The T is what it was called with.
template <typename T>
class Callback {
 public:
  using Start = std::function<void(std::function<void(T)> done)>;
  explicit Callback(Start start) : start_(std::move(start)) {}

  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> waiter) {
    waiter_ = waiter;
    start_([this](T value) {
      value_.emplace(std::move(value));
      if (second_.exchange(true, std::memory_order_acq_rel)) waiter_.resume();
    });
    return !second_.exchange(true, std::memory_order_acq_rel);  // whoever is second goes on
  }
  T await_resume() { return *std::move(value_); }

 private:
  Start start_;
  std::optional<T> value_;
  std::coroutine_handle<> waiter_;
  std::atomic<bool> second_{false};
};

}  // namespace dxg::guest
