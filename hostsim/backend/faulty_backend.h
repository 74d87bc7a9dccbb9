#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "link/backend.h"

namespace dxg::hostsim {

// Who decides which messages and events have trouble on their way. From any thread.
class MessageFaults {
 public:
  enum class Point {
    // Of a command. The calls of an asynchronous one have no answer that something could befall.
    kChannelLoss,
    kRingFull,
    kMessageTooLarge,
    kReplyShort,
    kReplyExcess,
    kReplyGarbage,
    kHostSlow,
    kAnswerHeld,
    // Of an event.
    kEventLost,
    kEventLate,
    kEventTwice,
    kEventReordered,
    kEventUnknown,
    // Of a list of client pages.
    kClientMemoryRefused,
  };
  struct Fault {
    uint64_t delay_ns = 0;
    uint64_t value = 0;
  };

  virtual ~MessageFaults() = default;
  virtual bool any_armed() = 0;  // cheap: asked for each message
  // `call` is null where the point is none of a command.
  virtual std::optional<Fault> Strike(Point point, const HostCall* call) = 0;
  // Calls once when so much time has gone by, on a thread that holds no lock.
  virtual void CallAfter(uint64_t ns, std::function<void()> call) = 0;
  // The host loses the adapter as if it were removed; the back-end hears of that as usual.
  virtual void LoseAdapter(uint64_t address) = 0;
};

// The way to a host, with trouble on it: messages that do not get through, answers that are late, cut, too
// long or garbage, events that are lost, late, doubled, in disorder or made up, a channel that breaks.
// `faults` lives as long as `inner`. Without an armed fault a message costs one question more.
std::unique_ptr<Backend> WithFaults(std::unique_ptr<Backend> inner, MessageFaults& faults);

}  // namespace dxg::hostsim
