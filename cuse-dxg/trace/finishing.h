#pragma once

namespace dxg::trace {

// Who observes calls may also have something to do at the end that takes long, a moment at most.
class Finishing {
 public:
  virtual ~Finishing() = default;
  // Does it. More may be observed later, which it need not look at.
  virtual void Finish() = 0;
};

}  // namespace dxg::trace
