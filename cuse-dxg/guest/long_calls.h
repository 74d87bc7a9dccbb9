#pragma once

#include <sys/types.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <new>
#include <optional>
#include <unordered_map>
#include <utility>

#include "base/mutex.h"
#include "cuse-dxg/attach/node.h"
#include "cuse-dxg/guest/caller.h"

namespace dxg::guest {

// Calls whose thread is at them for longer than a tick.
//
// A call runs on the thread that read it. What it touches of its client's memory may be a page that never
// comes, of a file system of the client's own; then the thread is gone for as long as the client likes, and
// whoever reads requests goes on with another one. So that a client cannot have them all:
//
//     a process has at most kOfProcessMax long calls, a user kOfUserMax
//     requests beyond that are kept, and served in turn by the threads that such calls give back
//     a long call's thread is watched: when it is killed it is let go, whatever is still touched
//
// A thread that does nothing but serve short calls pays a lock of its own for that.
class LongCalls {
 public:
  static constexpr int kOfProcessMax = 4;
  static constexpr int kOfUserMax = 64;

  struct Who {
    pid_t tgid;
    uid_t uid;
  };
  // Takes the request, or throws bad_alloc and has not taken it.
  using Serve = std::function<void(std::unique_ptr<attach::IoctlRequest>&)>;

  // What is kept is refused; nobody waits for it any more.
  ~LongCalls();

  // Serves the request, on this thread, or later on another one: `serve` takes it, and can be copied. Where
  // memory runs out before it is taken, it is refused.
  template <class F>
  void ServeInTurn(Who who, std::unique_ptr<attach::IoctlRequest> request, F serve) DXG_EXCLUDES(mutex_) {
    bool outermost = false;
    try {
      if (count_.load(std::memory_order_relaxed) != 0 && Keep(who, request, serve)) return;
      outermost = Begin(who);
      serve(request);
    } catch (const std::bad_alloc&) {
      if (request != nullptr) request->Answer(-ENOMEM, {});
    }
    if (outermost) End(who);
  }
  // What threads are at is long from here on.
  void LookAtAll() DXG_EXCLUDES(mutex_);

  // This thread is at a call: from before it touches the client until the call waits or is over. The call
  // must not end meanwhile.
  static void Enter(Caller& caller);
  // True: its thread is being watched.
  static bool Leave();

 private:
  struct Slot;  // one for each thread
  struct Kept {
    uint64_t number;
    Who who;
    std::unique_ptr<attach::IoctlRequest> request;
    Serve serve;
  };

  static Slot& ThisThread();
  // Of the request that this thread serves. False: it serves one already.
  bool Begin(Who who);
  // Serves what was kept, where the request has become long and its thread is therefore one more than needed.
  void End(Who who) DXG_EXCLUDES(mutex_);
  bool Keep(Who who, std::unique_ptr<attach::IoctlRequest>& request, Serve serve) DXG_EXCLUDES(mutex_);
  void Interrupted(uint64_t number) DXG_EXCLUDES(mutex_);
  bool MayBegin(Who who) const DXG_REQUIRES(mutex_);
  // False: there is no memory to count one more.
  bool Count(Who who, int by) DXG_REQUIRES(mutex_);
  // Ends a long call of `ended`; what comes next is taken out, and counts.
  bool TakeNext(Who ended, Kept* next) DXG_EXCLUDES(mutex_);

  std::atomic<int> count_ = 0;
  mutable Mutex mutex_;
  std::unordered_map<pid_t, int> of_process_ DXG_GUARDED_BY(mutex_);
  std::unordered_map<uid_t, int> of_user_ DXG_GUARDED_BY(mutex_);
  std::list<Kept> kept_ DXG_GUARDED_BY(mutex_);
  uint64_t last_number_ DXG_GUARDED_BY(mutex_) = 0;
};

// Serves a caller that was made by `new`, and deletes it: `prepare` on this thread, `begin` on it until that
// waits, then `finish`. Nearly every one is over at once and has one owner; one that waits is shared by
// whoever finishes it and whoever hears of its thread's death. Throws nothing: a call for which memory runs
// out is finished with that.
template <class C, class Prepare, class Begin, class Finish>
void RunCaller(C* caller, Prepare prepare, Begin begin, Finish finish) noexcept {
  LongCalls::Enter(*caller);
  std::optional<Task> task;
  Status status;
  try {
    status = prepare(*caller);
    if (status.ok()) task.emplace(begin(*caller));
  } catch (const std::bad_alloc&) {
    status = OutOfMemory();
  }
  if (!status.ok()) {
    LongCalls::Leave();
    const Caller::SharesOf<C> shares(caller, {2});
    return finish(*caller, status);
  }
  const Caller* const outer = std::exchange(Caller::at_once, caller);
  const auto finish_it = [caller, finish](const Status& ended) {
    const bool at_once = Caller::at_once == caller;
    if (at_once) {
      Caller::at_once = nullptr;  // tells us below, who must not look at the call any more
      LongCalls::Leave();
    }
    const Caller::SharesOf<C> shares(caller, {at_once ? 2 : 1});
    finish(*caller, ended);
  };
  static_assert(sizeof(finish_it) <= 2 * sizeof(void*), "a std::function of it would need memory");
  (*std::move(task)).Start(finish_it);
  const bool finished = std::exchange(Caller::at_once, outer) != caller;
  if (finished) return;
  Caller::Share share(caller, {1});
  if (!LongCalls::Leave()) Caller::WatchForDeath(std::move(share));
}

}  // namespace dxg::guest
