#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "link/trace/trace_reader.h"

namespace dxg::trace {

inline Result<std::unique_ptr<TraceReader>> ReaderOf(std::string& bytes) {
  return TraceReader::Read(fmemopen(bytes.data(), bytes.size(), "r"), "memory");
}

struct Read {
  Status status;  // of the open, or of the last item
  std::vector<TraceRecord> records;
  uint64_t lost_said = 0;  // where they are missing
  uint64_t lost = 0;
  bool complete = false;
  std::string end;
};

// All that is there. A copy is read whose end is an end, so that reading on is seen by a sanitizer.
inline Read ReadAll(std::string bytes) {
  Read read;
  auto reader = ReaderOf(bytes);
  read.status = reader.status();
  if (!reader.ok()) return read;
  for (;;) {
    auto what = (*reader)->Next();
    read.status = what.status();
    if (!what.ok() || *what == TraceReader::What::kEnd) break;
    if (*what == TraceReader::What::kRecord) read.records.push_back((*reader)->record());
    if (*what == TraceReader::What::kLost) read.lost_said += (*reader)->lost_here();
  }
  read.lost = (*reader)->lost();
  read.complete = (*reader)->complete();
  read.end = (*reader)->EndText();
  return read;
}

}  // namespace dxg::trace
