#pragma once

#include "proto/dxg/control.pb.h"

namespace dxg {

// A host that can be told to make trouble. From any thread; does not wait for clients.
class HostControl {
 public:
  virtual ~HostControl() = default;
  // `reply` is empty. What is refused is said in reply->error().
  virtual void Serve(const ControlRequest& request, ControlReply* reply) = 0;
};

}  // namespace dxg
