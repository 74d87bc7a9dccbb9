#pragma once

namespace dxg::hostsim::serve {

// Somebody who has connected, and the host that is there for them.
class GuestSession {
 public:
  virtual ~GuestSession() = default;
  // Serves until it is over, and lets everything of it go.
  virtual void Run() = 0;
  // Run returns soon. From any thread.
  virtual void End() = 0;
};

}  // namespace dxg::hostsim::serve
