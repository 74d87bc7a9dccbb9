#pragma once

#include <deque>
#include <functional>
#include <memory>

#include "base/mutex.h"
#include "hostsim/machine/aftermath.h"
#include "hostsim/memory/paging_engine.h"

namespace dxg::hostsim {

class Device;
class Process;

// More updates of one context than this are queued only while their callers wait.
inline constexpr size_t kQueuedUpdatesMax = 128;

// Updates of GPU virtual addresses of one context, each behind the fence that it waits for.
struct UpdateLane {
  std::shared_ptr<PagingLane> lane;
  Mutex mutex;
  std::deque<std::function<void()>> blocked DXG_GUARDED_BY(mutex);  // callers, the first one first

  // One update has ended, so one caller may go on.
  void Release(Aftermath* aftermath);
};

// A context ends, and with it what it has queued.
void EndUpdates(Device& device, uint32_t context, Aftermath* aftermath);

}  // namespace dxg::hostsim
