#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "base/mutex.h"
#include "base/status.h"

namespace dxg::client {

// Room in a client whose descriptors are all in use. The driver needs none to map memory, and a visit needs
// three for a moment: so the client's own limit of them is raised meanwhile, as the client itself could, and
// put back. Descriptors that get numbers from first() on are ours, and are closed when the room is given
// back.
//
// Several threads of one process may be visited at once: the first saves the limit, the last puts it back,
// unless the client has set another one. The limit outlives the thread where another one executes a program
// meanwhile, and is put back without it then.
class DescriptorRoom {
 public:
  // Sets RLIMIT_NOFILE in the client (null: leaves it as it is), and says what it was.
  using SetLimit = std::function<Result<rlimit>(const rlimit* limit)>;

  DescriptorRoom(pid_t tgid, SetLimit set_limit) : tgid_(tgid), set_limit_(std::move(set_limit)) {}
  DescriptorRoom(const DescriptorRoom&) = delete;
  DescriptorRoom& operator=(const DescriptorRoom&) = delete;

  // EMFILE where the hard limit allows no more.
  Status Make();
  void GiveBack();
  bool made() const { return process_ != nullptr; }
  int first() const { return first_; }

 private:
  struct Process {
    Mutex mutex;  // held while the client sets its limit
    int visits DXG_GUARDED_BY(mutex) = 0;
    uint64_t start_time DXG_GUARDED_BY(mutex) = 0;
    rlimit before DXG_GUARDED_BY(mutex) = {}, raised DXG_GUARDED_BY(mutex) = {};
  };
  static std::shared_ptr<Process> ProcessOf(pid_t tgid);
  Result<rlimit> Raise(const rlimit& before);

  const pid_t tgid_;
  const SetLimit set_limit_;
  std::shared_ptr<Process> process_;  // while there is room
  int first_ = 0;
};

}  // namespace dxg::client
