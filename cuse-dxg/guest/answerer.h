#pragma once

#include "cuse-dxg/guest/task.h"

namespace dxg::guest {

class Call;

// Answers the calls of a driver in place of its handlers, which are not asked then. Entered with the fixed
// struct copied in; it ends with the ioctl's result, as a handler does.
class CallAnswerer {
 public:
  virtual ~CallAnswerer() = default;
  virtual Task Answer(Call& call) = 0;
};

}  // namespace dxg::guest
