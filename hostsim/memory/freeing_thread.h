#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace dxg::hostsim {

// Where much memory is given back to the machine, which takes a second for 4 GiB: not in a command, whose
// thread others wait for. Jobs are done one after another, in their order.
class FreeingThread {
 public:
  // What is less is freed at once: it takes less than a millisecond.
  static constexpr uint64_t kLeastBytes = 4ull << 20;
  // With so much waiting, who frees more does it itself. A job's own size does not count. So this much and
  // one job more than clients have may be in use for a while.
  static constexpr uint64_t kWaitingBytesMax = 2ull << 30;

  FreeingThread();
  // All jobs are done then, unless the thread itself runs this: then it does the rest and ends.
  ~FreeingThread();
  FreeingThread(const FreeingThread&) = delete;
  FreeingThread& operator=(const FreeingThread&) = delete;

  // Does a job that frees so many bytes, soon; here and now where they are few, too much waits, or the
  // machine has no thread for us.
  void Run(uint64_t bytes, std::function<void()> job);
  // Until all that was to be done when this was called is done.
  void Wait();

  // -- For tests --
  uint64_t done_beside() const;  // jobs, on the thread

 private:
  struct State;
  const std::shared_ptr<State> state_;  // the thread has a share: a job may hold the last of what holds us
};

}  // namespace dxg::hostsim
