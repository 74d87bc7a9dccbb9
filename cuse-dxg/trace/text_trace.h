#pragma once

#include <cstdio>
#include <memory>
#include <string>

#include "base/mutex.h"
#include "cuse-dxg/guest/observer.h"
#include "cuse-dxg/trace/event_observer.h"
#include "cuse-dxg/trace/events.h"
#include "cuse-dxg/trace/json.h"
#include "cuse-dxg/trace/line.h"

namespace dxg::trace {

// Every call on a line of its own, as strace would print it or as a JSON object, with opens, closes, adapters
// and events (line.h, json.h, events.h).
class TextTrace final : public guest::CallObserver, public EventObserver {
 public:
  enum class Form : uint8_t { kLines, kJson };
  // To a file, which is truncated, or to standard output for "-". Times are counted from `begin_ns` on.
  static Result<std::unique_ptr<TextTrace>> Create(const std::string& path, Form form = Form::kLines,
                                                   uint64_t begin_ns = 0);
  ~TextTrace() override;

  void OnCall(const guest::CallReport& report) override { Write(report); }
  void OnFile(const guest::FileReport& report) override { Write(report); }
  void OnAdapter(const guest::AdapterReport& report) override { Write(report); }
  void OnEvent(const TraceRecord& record) override;
  void OnSignal(const guest::SignalReport& report) override { OnEvent(RecordOf(report)); }

 private:
  TextTrace(std::FILE* file, Form form, uint64_t begin_ns) : file_(file), form_(form), begin_ns_(begin_ns) {}
  template <typename Report>
  void Write(const Report& report) {
    std::string line;
    if (form_ == Form::kJson) {
      AppendJson(report, &line);
    } else {
      AppendLine(report, {.begin_ns = begin_ns_}, &line);
    }
    Put(line);
  }
  void Put(const std::string& line) DXG_EXCLUDES(mutex_);

  Mutex mutex_;  // one line at a time
  std::FILE* const file_ DXG_PT_GUARDED_BY(mutex_);
  const Form form_;
  const uint64_t begin_ns_;
};

}  // namespace dxg::trace
