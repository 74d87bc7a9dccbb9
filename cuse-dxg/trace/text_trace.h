#pragma once

#include <cstdio>
#include <memory>
#include <string>

#include "base/mutex.h"
#include "cuse-dxg/guest/observer.h"
#include "cuse-dxg/trace/line.h"

namespace dxg::trace {

// Every call on a line of its own, as strace would print it, with opens, closes and adapters (line.h).
class TextTrace final : public guest::CallObserver {
 public:
  // To a file, which is truncated, or to standard output for "-".
  static Result<std::unique_ptr<TextTrace>> Create(const std::string& path);
  ~TextTrace() override;

  void OnCall(const guest::CallReport& report) override { Write(ToLine(report)); }
  void OnFile(const guest::FileReport& report) override { Write(ToLine(report)); }
  void OnAdapter(const guest::AdapterReport& report) override { Write(ToLine(report)); }

 private:
  explicit TextTrace(std::FILE* file) : file_(file) {}
  void Write(const std::string& line) DXG_EXCLUDES(mutex_);

  Mutex mutex_;  // one line at a time
  std::FILE* const file_ DXG_PT_GUARDED_BY(mutex_);
};

}  // namespace dxg::trace
