#include "cuse-dxg/guest/host.h"

#include <new>

namespace dxg::guest {

void Beside::Enter(uint32_t process, uid_t user) {
  MutexLock lock(mutex_);
  try {
    users_[process] = user;
  } catch (const std::bad_alloc&) {
    // It counts for root.
  }
}

void Beside::Leave(uint32_t process) {
  MutexLock lock(mutex_);
  users_.erase(process);
}

bool Beside::Resume(uint32_t process, std::coroutine_handle<> waiter) {
  uid_t user = 0;
  {
    MutexLock lock(mutex_);
    if (const auto found = users_.find(process); found != users_.end()) user = found->second;
  }
  try {
    strands_.Run(process, user, [waiter] { waiter.resume(); });
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

}  // namespace dxg::guest
