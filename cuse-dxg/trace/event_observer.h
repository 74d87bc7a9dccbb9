#pragma once

#include "proto/dxg/trace.pb.h"

namespace dxg::trace {

// Who observes calls may also want to know what the host does by itself.
class EventObserver {
 public:
  virtual ~EventObserver() = default;
  // A record with an event, of now or a little before. From any thread; it must be quick.
  virtual void OnEvent(const TraceRecord& record) = 0;
};

}  // namespace dxg::trace
