#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "hostsim/adapter/adapter.h"
#include "hostsim/machine/machine.h"
#include "hostsim/machine/process.h"
#include "hostsim/work/device.h"
#include "link/fidelity.h"
#include "proto/abi/interface.h"
#include "proto/contract/contract.h"

namespace dxg::hostsim {

// Who sends a command: the process handle and the adapter of its header. Either is 0 where the command names
// none.
struct Caller {
  uint32_t process = 0;
  uint64_t adapter_luid = 0;  // HostAdapter::address
  // Nobody looks at the answer. A submission that is refused puts the device into error; a signal or a wait
  // is only counted.
  bool asynchronous = false;
};

// The end of a command that both its handler and the function that CommandContext::Defer returned have to
// come to.
struct Deferred {
  std::function<void(bool accepted)> done;
  bool accepted = true;
  std::atomic<int> expected{2};

  void Arrive() {
    if (--expected == 0) done(accepted);
  }
};

// One command on its way through the host: who asks, and what its answer is besides the reply message.
struct CommandContext {
  Machine& machine;
  const Caller caller;
  std::shared_ptr<Process> process;  // null: there is none of that handle
  std::shared_ptr<Adapter> adapter;  // null: there is none of that LUID
  bool accepted = true;
  Aftermath aftermath;  // done when the command has let go of its locks
  std::shared_ptr<Deferred> deferred;
  const contract::CommandRow* command = nullptr;  // its row; null: nobody knows the command

  // The answer will be shorter than a whole reply: the only refusal where the reply has no status.
  void Refuse() { accepted = false; }

  // The command is not done when its handler returns, but when the returned function is called: once, from
  // any thread that holds no lock of the host's, until when the reply may be written. At most once in a
  // command.
  std::function<void()> Defer();
  // As Defer: when the last share in it goes. The command's own goes with its aftermath.
  std::shared_ptr<void> DeferUntilLetGo();

  // The checks that come before a command's own. Both parties known, or INVALID_PARAMETER; the second also
  // wants the adapter to be there, or DEVICE_REMOVED.
  int32_t CheckCaller() const;
  int32_t CheckLiveAdapter() const;

  // Counts something for the report that is not done as by a real host; as FidelityThing.
  void Note(FidelityKind kind, std::string_view what, std::optional<uint64_t> number = {},
            std::string_view why = {}) const;
  // Private data for the kernel-mode driver at which the simulated one does not look. No bytes are nothing.
  void NoteUnread(uint64_t bytes, std::string_view why = "the simulated driver does not look at it") const {
    if (bytes != 0) Note(FidelityKind::kUnread, fidelity::kPrivateData, bytes, why);
  }

  // Passes a fault point: the fault, if this command is struck there. A node or a query's type narrows what
  // rules cover.
  std::optional<Fault> Strike(FaultPoint point, std::optional<uint32_t> node = {},
                              std::optional<uint32_t> type = {}) const {
    return machine.faults().armed(point) ? machine.Strike(At(point, node, type)) : std::nullopt;
  }
  Passage At(FaultPoint point, std::optional<uint32_t> node = {}, std::optional<uint32_t> type = {}) const;
};

}  // namespace dxg::hostsim
