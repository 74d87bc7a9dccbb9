#pragma once

#include <cstdint>
#include <utility>

#include "cuse-dxg/top/layout.h"

namespace dxg::top {

// What keys do to the view. Knows no terminal: keys are letters, or ncurses' numbers.
class Interaction {
 public:
  explicit Interaction(View view) : view_(std::move(view)) {}

  enum class What : uint8_t { kNothing, kAsk, kDrawAnew, kQuit };
  What Press(int key, const Picture& picture);

  // Sorts the processes, and lets go of a selected one that is gone.
  void Settle(Picture* picture);
  const View& view() const { return view_; }

 private:
  What Move(const Picture& picture, int lines);

  View view_;
};

}  // namespace dxg::top
