#pragma once

#include <algorithm>
#include <chrono>

#include "base/patience.h"

namespace dxg {

// Whether a peer is still there that may have stopped without closing its socket. Who has nothing to say is
// asked (a ping); who says nothing for as long as our patience after that is lost. A stop of our own process
// counts as one look of several, because the peer may have stood still with us. For one thread.
class Liveness {
 public:
  using Clock = RealPatience::Clock;

  explicit Liveness(std::chrono::milliseconds patience, Clock::time_point now = Clock::now())
      : patience_(patience), left_(patience / 4, look_after(), now) {}

  // How long to wait for something from the peer before Look.
  std::chrono::milliseconds look_after() const {
    return std::max(patience_ / 4, std::chrono::milliseconds(1));
  }

  // Something has come.
  void Heard(Clock::time_point now = Clock::now()) {
    asked_ = false;
    left_ = RealPatience(patience_ / 4, look_after(), now);
  }

  enum class Verdict {
    kWait,
    kAsk,    // send a ping
    kSilent  // it is lost, unless something of it lies unread: it may be we who stood still
  };
  // After a wait in which nothing came.
  Verdict Look(Clock::time_point now = Clock::now()) {
    if (!left_.IsOver(now)) return Verdict::kWait;
    if (asked_) return Verdict::kSilent;
    asked_ = true;
    left_ = RealPatience(patience_, look_after(), now);
    return Verdict::kAsk;
  }

 private:
  const std::chrono::milliseconds patience_;
  bool asked_ = false;
  RealPatience left_;  // until it is asked, or lost
};

}  // namespace dxg
