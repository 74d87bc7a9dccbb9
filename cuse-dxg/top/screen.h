#pragma once

#include <memory>

#include "base/status.h"
#include "cuse-dxg/top/layout.h"

namespace dxg::top {

// The terminal, in the state of a program that fills it. Whatever ends the program, the terminal is as it was
// before: the destructor gives it back, and so do the signals of a crash. Signals that can wait are the
// caller's (SIGINT, SIGTSTP, SIGWINCH, ...): ncurses has no handler of its own here. There is one at a time.
class Screen {
 public:
  // EINVAL: standard input or output is no terminal, or nobody knows its kind.
  static Result<std::unique_ptr<Screen>> Open();
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  Size size() const;
  void Draw(const Frame& frame);
  void DrawAnew();  // the next time, whatever is thought to be there
  // The terminal has another size.
  void Resize();
  // A key as ncurses numbers it, or -1: none is there.
  int Key();

  // Between the two the terminal is as it was before.
  void Leave();
  void Return();

 private:
  Screen() = default;
  bool colours_ = false;
};

}  // namespace dxg::top
