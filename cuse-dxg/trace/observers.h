#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/status.h"
#include "cuse-dxg/guest/observer.h"
#include "cuse-dxg/trace/memory_reader.h"
#include "proto/dxg/trace.pb.h"

namespace dxg::trace {

// --record and the options that go with it.
struct RecordOptions {
  std::string file;                 // empty: no recording
  uint64_t file_max = 16ull << 30;  // bytes that it may have, so that no client fills a disk by it
  std::string memory = "none";      // of clients: none, hash or full
  bool redact = false;
};

// Files, "-" for standard output; empty: none.
struct ObserverFiles {
  std::string trace_text;
  std::string trace_json;
  RecordOptions record;
};

// What --trace-text, --trace-json and --record ask for, as one observer; null where they ask for nothing.
// `header` is of the recording; `read_client` is asked for memory of clients. EINVAL: the options do not go
// together.
Result<std::unique_ptr<guest::CallObserver>> MakeObserver(const ObserverFiles& files, TraceHeader header,
                                                          ReadClient read_client);

// Both, the first one first; either may be null.
std::unique_ptr<guest::CallObserver> Together(std::unique_ptr<guest::CallObserver> first,
                                              std::unique_ptr<guest::CallObserver> second);

}  // namespace dxg::trace
