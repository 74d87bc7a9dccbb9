#include "base/printable.h"

#include <fmt/format.h>

#include <cstdint>
#include <iterator>

namespace dxg {

std::string Printable(std::string_view text) {
  std::string printable;
  for (const char each : text.substr(0, kPrintableBytesMax)) {
    if (each >= ' ' && each <= '~' && each != '\\') {
      printable.push_back(each);
    } else {
      fmt::format_to(std::back_inserter(printable), "\\x{:02x}", static_cast<uint8_t>(each));
    }
  }
  if (text.size() > kPrintableBytesMax) printable += "...";
  return printable;
}

}  // namespace dxg
