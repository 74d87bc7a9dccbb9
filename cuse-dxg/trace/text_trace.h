#pragma once

#include <cstdio>
#include <memory>
#include <string>

#include "base/mutex.h"
#include "cuse-dxg/guest/driver.h"

namespace dxg::trace {

// Every call on a line of its own, as strace would print it:
//
//   [1234] CreateDevice({adapter=0x40000000, flags=0x0}) = 0 {device=0x40000040} <0.000031>
//   [1234] CloseAdapter({adapter_handle=0x7}) = -1 EINVAL (Invalid argument) <0.000009>: 0x7 is no live
//   handle ...
//
// After the result comes what the call gave back, then its duration in seconds, then, for a refusal, the
// check that refused it.
class TextTrace final : public guest::CallObserver {
 public:
  // To a file, which is truncated, or to standard output for "-".
  static Result<std::unique_ptr<TextTrace>> Create(const std::string& path);
  ~TextTrace() override;

  void OnCall(const guest::CallReport& report) override;

 private:
  explicit TextTrace(std::FILE* file) : file_(file) {}

  Mutex mutex_;  // one line at a time
  std::FILE* const file_ DXG_PT_GUARDED_BY(mutex_);
};

}  // namespace dxg::trace
