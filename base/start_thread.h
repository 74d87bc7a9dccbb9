#pragma once

#include <new>
#include <system_error>
#include <thread>
#include <utility>

namespace dxg {

// Starts a thread. False where the machine, or the limit of its user (`ulimit -u`), has none to give now, nor
// the memory for one: that is somebody's call to refuse, and no reason to end.
template <typename Body>
[[nodiscard]] bool StartThread(std::thread* thread, Body body) {
  try {
    *thread = std::thread(std::move(body));
    return true;
  } catch (const std::system_error&) {
    return false;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

}  // namespace dxg
