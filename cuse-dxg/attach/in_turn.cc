#include "cuse-dxg/attach/in_turn.h"

#include <new>
#include <utility>

#include "base/status.h"

namespace dxg::attach {

bool InTurn::Add(uid_t user, uint64_t process, std::span<const std::byte> request) {
  try {
    users_.Of(user).Of(process).emplace_back(request.begin(), request.end());
  } catch (const std::bad_alloc&) {
    return false;  // an empty queue may be left, which Take passes over
  }
  ++size_;
  bytes_ += request.size();
  return true;
}

InTurn::Request InTurn::Take() {
  DXG_CHECK(!empty());
  for (Request request;;) {
    auto& processes = users_.front();
    const bool found = !processes.empty() && !processes.front().empty();
    if (found) {
      request = std::move(processes.front().front());
      processes.front().pop_front();
    }
    if (!processes.empty()) processes.Turn();
    users_.Turn();
    if (!found) continue;
    --size_;
    bytes_ -= request.size();
    return request;
  }
}

}  // namespace dxg::attach
