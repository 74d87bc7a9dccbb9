#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace dxg {

// Of the text that is given, before it becomes longer.
inline constexpr size_t kPrintableBytesMax = 512;

// Text of the other side's for a log or a message: it may hold anything, also what a terminal obeys. Bytes
// that are not printable ASCII, and backslashes, become \xNN; of a text that is longer than
// kPrintableBytesMax the rest becomes "...".
std::string Printable(std::string_view text);

}  // namespace dxg
