#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <string_view>

#include "base/status.h"
#include "cuse-dxg/trace/filter.h"
#include "link/trace/trace_reader.h"

namespace dxg::trace {

struct PrintOptions {
  Filter filter;
  uint64_t limit = 0;  // records; 0: all
  bool json = false;
  bool full = false;                                  // bytes and lists are not cut
  bool follow = false;                                // waits for what is still written
  std::function<bool(std::string_view line)> wanted;  // unset: each
};

// Prints the records, each on a line, and where some are lost. EINVAL: the file is damaged; what is before
// that was printed. EPIPE and the like: nobody takes the output.
Status Print(TraceReader& reader, const PrintOptions& options, std::FILE* to);

}  // namespace dxg::trace
