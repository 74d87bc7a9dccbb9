#pragma once

#include "base/status.h"
#include "base/unique_fd.h"
#include "link/vmbus/signal.h"

namespace dxg::vmbus {

// Two eventfds that the peer has the other way round. It says nothing of the peer's end: whoever knows closes
// the channel.
class EventfdSignal final : public Signal {
 public:
  // `wait`: the peer writes to it; `ring`: the peer waits for it. The one who makes them gives them
  // EFD_NONBLOCK, or a peer that fills the count makes Ring wait.
  EventfdSignal(UniqueFd wait, UniqueFd ring);

  void Ring() override;
  int fd() const override { return wait_.get(); }
  // Leaves the count as it is: an edge comes with every write, and a system call for each packet is half of
  // its way.
  bool Take() override { return true; }

 private:
  const UniqueFd wait_, ring_;
};

// Of a descriptor that somebody else gave as one: a write to anything else could end or stop us.
bool IsEventfd(int descriptor);

// One eventfd as EventfdSignal wants it, to be given to both sides. Errors: those of eventfd(2).
Result<UniqueFd> MakeSignalFile();

}  // namespace dxg::vmbus
