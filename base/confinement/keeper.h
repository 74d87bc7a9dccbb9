#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/status.h"
#include "base/unique_fd.h"

// A process that keeps rights which its maker gives up, and does a few fixed things with them on request.

namespace dxg::confinement {

class Keeper {
 public:
  // What it can be asked for, by their place in the list. Each runs in the keeper, with what its memory was
  // when it was made and with the descriptors that came along. A negative result is -errno.
  using Service = std::function<int32_t(const std::vector<UniqueFd>& files)>;

  // While this process has one thread, all its rights and no secrets. `settle` runs first in the keeper: it
  // gives up what the services do not need. Nothing that is open here stays open there but stderr. It ends
  // with this process.
  static Result<std::unique_ptr<Keeper>> Start(const std::function<Status()>& settle,
                                               const std::vector<Service>& services);
  ~Keeper();

  // From any thread. The service's result; -ECONNRESET where the keeper was killed.
  int32_t Ask(uint32_t service, std::span<const int> files = {}) DXG_EXCLUDES(mutex_);

  pid_t pid() const { return pid_; }

 private:
  Keeper(pid_t pid, UniqueFd socket) : pid_(pid), socket_(std::move(socket)) {}

  const pid_t pid_;
  Mutex mutex_;  // held while asking, until the answer is there
  UniqueFd socket_ DXG_GUARDED_BY(mutex_);
};

// For a service: a child of the process that asks, and not of the keeper, that executes this program with
// `socket` as its descriptor `number`. The pid, or -errno.
pid_t ExecuteForAsker(const std::vector<std::string>& command, const UniqueFd& socket, int number);

}  // namespace dxg::confinement
