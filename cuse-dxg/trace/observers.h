#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/status.h"
#include "cuse-dxg/guest/observer.h"
#include "proto/dxg/trace.pb.h"

namespace dxg::trace {

// What --trace-text and --record ask for, as one observer; null where they ask for nothing. `header` is of
// the recording, whose file gets at most `record_max` bytes.
Result<std::unique_ptr<guest::CallObserver>> MakeObserver(const std::string& trace_text,
                                                          const std::string& record, uint64_t record_max,
                                                          const TraceHeader& header);

// Both, the first one first; either may be null.
std::unique_ptr<guest::CallObserver> Together(std::unique_ptr<guest::CallObserver> first,
                                              std::unique_ptr<guest::CallObserver> second);

}  // namespace dxg::trace
