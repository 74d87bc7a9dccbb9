#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>

#include "base/mutex.h"
#include "cuse-dxg/client/event_file.h"

namespace dxg::guest {

// What a wait is for, in one word: a hundred thousand waits may be pending. Two with the same are for the
// same, as far as that tells; a client that makes two that only seem so deceives itself.
struct WaitDigest {
  static constexpr uint64_t kTakes = 1;
  // The host gives what is waited for to who waits (a mutex, a semaphore). A fence is simply looked at again.
  bool takes() const { return (word & kTakes) != 0; }
  auto operator<=>(const WaitDigest&) const = default;
  uint64_t word = 0;
};
WaitDigest DigestOf(uint32_t device, uint32_t flags, bool takes, std::span<const uint32_t> objects,
                    std::span<const uint64_t> values);

// A process's waits in calls that a signal ended. The host has no command that takes a wait back, so it keeps
// the wait; and the kernel restarts such a call, or the program does. A restarted call takes its wait over
// from here, so that the host has one wait however often the call is interrupted: a profiler interrupts a
// thousand times a second.
class InterruptedWaits : public std::enable_shared_from_this<InterruptedWaits> {
 public:
  // More than this are not kept: the oldest stays the host's alone.
  static constexpr size_t kMax = 1u << 12;

  // What the event is to signal from now on. Where that happens and the wait takes what it was for, it is
  // over for whoever asks next. To be called before the event is given to it.
  std::shared_ptr<client::EventFile> Add(WaitDigest digest, uint64_t event) DXG_EXCLUDES(mutex_);
  // The event has it now: whoever asks may take it from here on.
  void Left(WaitDigest digest, uint64_t event) DXG_EXCLUDES(mutex_);
  // One that was added. Nothing where it is not there any more.
  void Remove(WaitDigest digest, uint64_t event) DXG_EXCLUDES(mutex_);

  struct Taken {
    uint64_t event;
    bool happened;
  };
  // Takes one with that digest out.
  std::optional<Taken> Take(WaitDigest digest) DXG_EXCLUDES(mutex_);

  size_t size() DXG_EXCLUDES(mutex_);

 private:
  class Wait;

  struct Entry {
    uint64_t event;
    bool happened = false;
    bool left = false;
  };

  using Waits = std::multimap<WaitDigest, Entry>;
  Waits::iterator Find(WaitDigest digest, uint64_t event) DXG_REQUIRES(mutex_);
  void Happened(WaitDigest digest, uint64_t event) DXG_EXCLUDES(mutex_);

  Mutex mutex_;
  Waits waits_ DXG_GUARDED_BY(mutex_);
  std::map<uint64_t, WaitDigest> by_event_ DXG_GUARDED_BY(mutex_);  // the oldest first
};

}  // namespace dxg::guest
