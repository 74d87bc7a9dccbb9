#pragma once

#include <utility>

#include "base/mutex.h"

namespace dxg::hostsim {

// Undoes what a command has done so far, unless the command gets to its end: it is refused halfway, or memory
// runs out (std::bad_alloc). What undoes takes no memory.
template <class Undo>
class Rollback {
 public:
  explicit Rollback(Undo undo) : undo_(std::move(undo)) {}
  // The locks that `undo` wants are the caller's, who outlives this; clang cannot follow.
  ~Rollback() DXG_NO_THREAD_SAFETY_ANALYSIS {
    if (!kept_) undo_();
  }
  Rollback(const Rollback&) = delete;
  Rollback& operator=(const Rollback&) = delete;

  void Keep() { kept_ = true; }

 private:
  Undo undo_;
  bool kept_ = false;
};

}  // namespace dxg::hostsim
