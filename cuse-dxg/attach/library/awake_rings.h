#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "cuse-dxg/attach/library/channel.h"

namespace dxg::attach::library {

// The rings at which the reader looks by itself, because their threads have just made a call and are likely
// to make the next one at once: neither of the two then makes a system call for it. For one thread at a time.
//
// It costs a core that somebody else could use. So we do not look where we may use one core only, and seldom
// where looking was for nothing the last times. That the thread was on our own core until now says nothing:
// while we look, it is woken on another one.
class AwakeRings {
 public:
  static constexpr size_t kRingsMax = 16;
  static constexpr std::chrono::microseconds kLook{20};   // after a call, at all of them
  static constexpr std::chrono::microseconds kGlance{4};  // at once

  AwakeRings();
  bool empty() const { return channels_.empty(); }
  // It has made a call.
  void Add(const std::shared_ptr<Channel>& channel);
  // One with a call that was not taken; null: none.
  std::shared_ptr<Channel> Find();
  // The same, after looking for a glance. When there was nothing for long, they are asleep, and this is
  // empty.
  std::shared_ptr<Channel> Wait();

 private:
  std::shared_ptr<Channel> Sleep();

  const bool has_cores_;
  std::vector<std::shared_ptr<Channel>> channels_;
  std::chrono::steady_clock::time_point until_;
  bool begun_ = false;  // until_ is that of the last call
};

}  // namespace dxg::attach::library
