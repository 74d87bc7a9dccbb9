#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <vector>

#include "base/mutex.h"
#include "base/relay.h"
#include "link/backend.h"
#include "link/backlog.h"
#include "link/vmbus/channel.h"

namespace dxg::vmbus {

// One end of an open channel, the guest's or the host's: a thread that takes what comes, and a way to send
// that never waits. Nothing tells a sender when a full ring has room, so that what it does not take is kept
// and tried again, in order, by a second thread.
//
// What both threads call may be gone in memory that does not answer; each is a Relay, and goes on without it.
class Port {
 public:
  // As the driver, which tries a full ring again every 1 to 2 ms.
  static constexpr std::chrono::microseconds kTryAgain{1000};
  static constexpr int kTriesWithoutEnd = -1;
  // What may be kept of somebody who does not read.
  static constexpr size_t kKeptBytesMax = kBacklogBytesMax;

  struct Limits {
    std::chrono::microseconds try_again = kTryAgain;
    size_t kept_bytes_max = kKeptBytesMax;  // more of it closes the channel
  };
  struct Handlers {
    // What comes, on the port's thread. The payload is gone once a Relay::Pause has begun.
    std::function<void(const Packet&)> handle;
    // The channel has ended, on the port's thread; why: OK where we closed it. Again, where that thread is
    // gone in it: what it had to do may not be done yet.
    std::function<void(const Status& why)> over;
    // What became of a packet that Send kept, where it has a completion or a transaction: kYes, it is sent;
    // kLost; kFull, it was tried as often as it may be. Once for each, on any thread, with no lock held.
    std::function<void(uint64_t transaction, const Completion& completion, Channel::Sent)> settled;
  };

  Port(std::unique_ptr<Channel> channel, Handlers handlers, Limits limits);
  ~Port() { End(); }
  // False: there were no two threads for it, so it hears nothing.
  bool started() const { return started_; }

  // Any thread. kFull: it is kept, and tried so many times; the completion comes back in `settled`. Throws
  // std::bad_alloc where there is no memory to keep it; then it is neither sent nor kept.
  Channel::Sent Send(const Packet& packet, int tries = kTriesWithoutEnd, Completion completion = {})
      DXG_EXCLUDES(mutex_);
  // Runs it on the thread that also tells of what was kept, so that whoever says so waits for nobody. After
  // the end of that thread, which is after Close, it runs at once.
  void Later(std::function<void()> errand) DXG_EXCLUDES(mutex_);
  // Nothing is sent any more, and what is kept is lost. Any thread, also from inside of `handle`.
  void Close() DXG_EXCLUDES(mutex_);
  // Closes, and waits for what runs. Not from inside of a handler.
  void End() DXG_EXCLUDES(mutex_);
  // The same, for so long at most. False: something of it still runs.
  bool EndFor(std::chrono::milliseconds time_max) DXG_EXCLUDES(mutex_);

 private:
  struct Kept {
    Packet packet;
    std::vector<std::byte> payload;
    Completion completion;
    int tries;
    Channel::Sent how = Channel::Sent::kFull;  // what became of it
  };
  static size_t BytesOf(const Kept& kept) { return sizeof(Kept) + kept.payload.size(); }
  void Settle(std::list<Kept>::iterator kept, Channel::Sent how) DXG_REQUIRES(mutex_);
  void TryKept() DXG_REQUIRES(mutex_);
  bool KeepTrying() DXG_EXCLUDES(mutex_);
  void RunErrands() DXG_REQUIRES(mutex_);

  const std::unique_ptr<Channel> channel_;
  const Handlers handlers_;
  const Limits limits_;
  std::once_flag end_;
  Mutex mutex_;  // held while something is sent: the order of sending is the order of Send
  ConditionVariable changed_;
  // Lists, because the end of what is kept takes no memory: it moves from the first to the second.
  std::list<Kept> kept_ DXG_GUARDED_BY(mutex_);
  std::list<Kept> settled_ DXG_GUARDED_BY(mutex_);  // of which is to be told
  size_t kept_bytes_ DXG_GUARDED_BY(mutex_) = 0;
  std::list<std::function<void()>> errands_ DXG_GUARDED_BY(mutex_);
  bool keeps_ DXG_GUARDED_BY(mutex_) = false;  // keeper_ runs
  bool ended_ DXG_GUARDED_BY(mutex_) = false;
  bool started_ = false;
  Relay keeper_;  // the last members: they use the others
  Relay reader_;
};

}  // namespace dxg::vmbus
