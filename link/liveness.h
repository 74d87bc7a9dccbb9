#pragma once

#include <algorithm>
#include <chrono>

namespace dxg {

// Whether a peer is still there that may have stopped without closing its socket. Who has nothing to say is
// asked (a ping); who says nothing for as long as our patience after that is lost. For one thread.
class Liveness {
 public:
  explicit Liveness(std::chrono::milliseconds patience) : patience_(patience) {}

  // How long to wait for something from the peer before Look.
  std::chrono::milliseconds look_after() const {
    return std::max(patience_ / 4, std::chrono::milliseconds(1));
  }

  // Something has come.
  void Heard() {
    asked_ = false;
    heard_ = Clock::now();
  }

  enum class Verdict {
    kWait,
    kAsk,    // send a ping
    kSilent  // it is lost, unless something of it lies unread: it may be we who stood still
  };
  // After a wait in which nothing came.
  Verdict Look() {
    const auto now = Clock::now();
    if (asked_) return now - asked_at_ < patience_ ? Verdict::kWait : Verdict::kSilent;
    if (now - heard_ < patience_ / 4) return Verdict::kWait;
    asked_ = true;
    asked_at_ = now;
    return Verdict::kAsk;
  }

 private:
  using Clock = std::chrono::steady_clock;

  const std::chrono::milliseconds patience_;
  Clock::time_point heard_ = Clock::now();
  bool asked_ = false;
  Clock::time_point asked_at_ = {};
};

}  // namespace dxg
