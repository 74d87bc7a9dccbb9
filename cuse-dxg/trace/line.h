#pragma once

#include <cstddef>
#include <string>

#include "cuse-dxg/guest/observer.h"

// What an observer sees, as a line of text, with its newline.

namespace dxg::trace {

inline constexpr size_t kElementsShown = 32;  // of bytes and lists, where nobody asks for more

//   [1234] CreateDevice({adapter=0x40000000, flags=0x0}) = 0 {device=0x40000040} <0.000031>
//   [1234] CloseAdapter({adapter_handle=0x7}) = -1 EINVAL (Invalid argument) <0.000009>: 0x7 is no live
//   handle ...
//
// After the result comes what the call gave back, then its duration in seconds, then, for a refusal, the
// check that refused it.
std::string ToLine(const guest::CallReport& report, size_t limit = kElementsShown);

//   [1234] open() = 0 {file=1, pid=1234, name="dxg-info"}
//   [1234] open() = -1 EBADF (Bad file descriptor): the host refused to create the process
//   [0] close({file=1, pid=1234}) = 0
std::string ToLine(const guest::FileReport& report);

//   --- adapter 00000000-00010000 arrived
std::string ToLine(const guest::AdapterReport& report);

}  // namespace dxg::trace
