#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "cuse-dxg/guest/observer.h"

// What an observer sees, as a line of text, with its newline.

namespace dxg::trace {

inline constexpr size_t kElementsShown = 32;  // of bytes and lists, where nobody asks for more

struct LineOptions {
  size_t elements = kElementsShown;
  uint64_t begin_ns = 0;  // when the recording began, on CLOCK_MONOTONIC: times are counted from there
};

//   0.001234 [1234] CreateDevice({adapter=0x40000000, flags=0x0}) = 0 {device=0x40000040} <0.000031>
//   0.002345 [1234] CloseAdapter({adapter_handle=0x7}) = -1 EINVAL (Invalid argument) <0.000009>: 0x7 is no
//   live handle ...
//
// Before the call is when it began, in seconds. After the result comes what the call gave back, then the
// addresses in the client that its struct has, then its duration in seconds, then, for a refusal, the check
// that refused it.
void AppendLine(const guest::CallReport& report, const LineOptions& options, std::string* out);

//   0.000012 [1234] open() = 0 {file=1, pid=1234, name="dxg-info"}
//   0.000012 [1234] open() = -1 EBADF (Bad file descriptor): the host refused to create the process
//   0.003456 [0] close({file=1, pid=1234}) = 0
void AppendLine(const guest::FileReport& report, const LineOptions& options, std::string* out);

//   0.004567 --- adapter 00000000-00010000 arrived
void AppendLine(const guest::AdapterReport& report, const LineOptions& options, std::string* out);

// "0.004567 "
void AppendTime(uint64_t at_ns, const LineOptions& options, std::string* out);

template <typename Report>
std::string ToLine(const Report& report, const LineOptions& options = {}) {
  std::string line;
  AppendLine(report, options, &line);
  return line;
}

}  // namespace dxg::trace
