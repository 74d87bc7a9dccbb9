#pragma once

#include <string_view>

#include "base/status.h"

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

// Why a session ends: its guest said something that makes no sense, or does not listen.
inline Status Wrong(std::string_view why) { return Status::Refuse(EPROTO, "{}", why); }

}  // namespace dxg::hostsim::serve
