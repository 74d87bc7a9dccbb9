#pragma once

#include <memory>
#include <optional>

#include "base/confinement/keeper.h"
#include "base/confinement/system_calls.h"
#include "base/status.h"
#include "cuse-dxg/attach/attachment.h"
#include "cuse-dxg/dxg_node.h"

namespace dxg {

// What the device process gives up, in the order in which it can:
//
//     nothing is served yet, one thread    GiveUpRights: a keeper is forked, capabilities go
//     the device is made, and serves
//     before clients are told              CloseDoors: from here on, a forbidden system call ends the process
//
// The program that `run` starts is forked before, and has none of it.
class Confinement {
 public:
  explicit Confinement(confinement::Forbidden forbidden) : forbidden_(forbidden) {}

  // `attachment` is null for `run`, whose node goes with its program. Changes `device` so that it goes on
  // without rights.
  Status GiveUpRights(attach::Attachment* attachment, NodeOptions* device);
  // `program` is the one that we serve and pass signals on to; 0: there is none.
  void CloseDoors(pid_t program);

 private:
  const confinement::Forbidden forbidden_;
  bool real_vmbus_ = false;
  std::unique_ptr<confinement::Keeper> keeper_;
};

}  // namespace dxg
