#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/status.h"
#include "cuse-dxg/guest/observer.h"
#include "proto/dxg/trace.pb.h"

namespace dxg::trace {

// Files, "-" for standard output; empty: none.
struct ObserverFiles {
  std::string trace_text;
  std::string trace_json;
  std::string record;
  uint64_t record_max = ~0ull;  // bytes that the recording may have
};

// What --trace-text, --trace-json and --record ask for, as one observer; null where they ask for nothing.
// `header` is of the recording.
Result<std::unique_ptr<guest::CallObserver>> MakeObserver(const ObserverFiles& files, TraceHeader header);

}  // namespace dxg::trace
