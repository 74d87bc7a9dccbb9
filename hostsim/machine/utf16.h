#pragma once

#include <string>
#include <string_view>

#include "hostsim/machine/bytes.h"

// Text of the published structs: UTF-16LE in fields of fixed size. Profiles hold UTF-8.

namespace dxg::hostsim {

// Ill-formed bytes become U+FFFD.
std::u16string ToUtf16(std::string_view utf8);
std::string ToUtf8(std::u16string_view utf16);

// Fills a field of `units` 16-bit units at `at`: the text, cut where it leaves no room for the NUL, then
// NULs.
void PutUtf16(Bytes bytes, size_t at, size_t units, std::string_view utf8);

// The text of such a field up to its first NUL.
std::u16string GetUtf16(ConstBytes bytes, size_t at, size_t units);

}  // namespace dxg::hostsim
