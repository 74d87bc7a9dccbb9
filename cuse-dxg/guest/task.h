#pragma once

#include <atomic>
#include <coroutine>
#include <exception>
#include <functional>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

#include "base/status.h"

namespace dxg::guest {

// The answer to a call for which this process has no memory left: that call is refused, and nothing else.
inline Status OutOfMemory() {
  try {
    return Status::Refuse(ENOMEM, "this process has no memory left for the call");
  } catch (const std::bad_alloc&) {
    return Status(-ENOMEM);
  }
}

// Steps in the driver's order, straight down the page, with the waits for the host in between: a coroutine
// that ends with a T. A Task ends with a Status, as handlers do; a TaskOf<T> with a T or a Status. It starts
// when it is awaited by another Task or when Start() is called, and after a wait it goes on in the thread
// that ended the wait. No thread is held meanwhile.
//
// Parameters live in the coroutine's frame: pass values, or references to what outlives the Task.
//
// Where memory runs out in the middle, it ends there, with ENOMEM; whoever awaits it undoes what there is to
// be undone, as after any other refusal.
template <typename T>
class [[nodiscard]] Coroutine {
 public:
  using Done = std::function<void(T)>;

  static constexpr bool kTakesStatus = std::is_constructible_v<T, Status>;
  struct Nothing {};

  struct promise_type {
    // A Status is stored as it is, so that a frame that waits for long is small.
    std::conditional_t<std::is_default_constructible_v<T>, T, std::optional<T>> result;
    [[no_unique_address]] std::conditional_t<kTakesStatus, Nothing, std::exception_ptr> thrown;
    std::coroutine_handle<> continuation;
    Done done;

    Coroutine get_return_object() {
      return Coroutine(std::coroutine_handle<promise_type>::from_promise(*this));
    }
    // No memory for the frame: whoever awaits it hears so.
    static Coroutine get_return_object_on_allocation_failure() noexcept { return Coroutine(nullptr); }
    std::suspend_always initial_suspend() noexcept { return {}; }
    struct Final {
      bool await_ready() noexcept { return false; }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> self) noexcept {
        promise_type& promise = self.promise();
        if (promise.continuation) return promise.continuation;
        // Nobody holds a started Task: the frame ends here, before whoever waits for it learns of it.
        Done done = std::move(promise.done);
        T result = promise.Take();
        self.destroy();
        if (done) done(std::move(result));
        return std::noop_coroutine();
      }
      void await_resume() noexcept {}
    };
    Final final_suspend() noexcept { return {}; }
    void return_value(T value) { result = std::move(value); }
    T Take() {
      if constexpr (!kTakesStatus) {
        if (thrown) std::rethrow_exception(thrown);
      }
      if constexpr (std::is_default_constructible_v<T>) {
        return std::move(result);
      } else {
        return *std::move(result);
      }
    }
    // No exception crosses a room; any other one that gets here is a bug of ours.
    void unhandled_exception() noexcept {
      try {
        throw;
      } catch (const std::bad_alloc&) {
        if constexpr (kTakesStatus) {
          result = T(OutOfMemory());
        } else {
          thrown = std::current_exception();
        }
      }
    }
  };

  Coroutine(Coroutine&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Coroutine& operator=(Coroutine&&) = delete;
  ~Coroutine() {
    if (handle_) handle_.destroy();
  }

  // Runs it on its own; `done` gets the result.
  void Start(Done done) && {
    auto handle = std::exchange(handle_, nullptr);
    if (!handle) {
      if (done) done(NoFrame());
      return;
    }
    handle.promise().done = std::move(done);
    handle.resume();
  }

  bool await_ready() const noexcept { return handle_ == nullptr; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> waiter) noexcept {
    handle_.promise().continuation = waiter;
    return handle_;
  }
  T await_resume() { return handle_ ? handle_.promise().Take() : NoFrame(); }

 private:
  static T NoFrame() {
    if constexpr (kTakesStatus) {
      return T(OutOfMemory());
    } else {
      throw std::bad_alloc();
    }
  }

  explicit Coroutine(std::coroutine_handle<promise_type> handle) : handle_(handle) {}

  std::coroutine_handle<promise_type> handle_;
};

using Task = Coroutine<Status>;
template <typename T>
using TaskOf = Coroutine<Result<T>>;

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
