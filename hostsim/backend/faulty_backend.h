#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "hostsim/machine/faults.h"
#include "link/backend.h"

namespace dxg::hostsim {

// Who decides which messages and events have trouble on their way. From any thread.
class MessageFaults {
 public:
  using Point = hostsim::FaultPoint;
  using Fault = hostsim::Fault;

  virtual ~MessageFaults() = default;
  virtual bool any_armed() = 0;  // cheap: asked for each message
  // The points of messages: those of a command (the calls of an asynchronous one have no answer that
  // something could befall), of an event, and of a list of client pages. docs/faults.md lists them. `call` is
  // null where the point is none of a command.
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
