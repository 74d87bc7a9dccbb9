#include "link/vmbus/guid.h"

#include <fmt/format.h>

namespace dxg::vmbus {
namespace {

// Which byte the n-th pair of digits is.
constexpr size_t kOrder[] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

bool IsDashBefore(size_t pair) { return pair == 4 || pair == 6 || pair == 8 || pair == 10; }

int Digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::string Guid::text() const {
  std::string text;
  for (size_t pair = 0; pair < std::size(kOrder); ++pair) {
    if (IsDashBefore(pair)) text += '-';
    text += fmt::format("{:02x}", bytes[kOrder[pair]]);
  }
  return text;
}

std::optional<Guid> Guid::Parse(std::string_view text) {
  if (text.size() == 38 && text.front() == '{' && text.back() == '}') text = text.substr(1, 36);
  if (text.size() != 36) return std::nullopt;
  Guid guid;
  size_t at = 0;
  for (size_t pair = 0; pair < std::size(kOrder); ++pair) {
    if (IsDashBefore(pair) && text[at++] != '-') return std::nullopt;
    const int high = Digit(text[at]), low = Digit(text[at + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    guid.bytes[kOrder[pair]] = static_cast<uint8_t>(high * 16 + low);
    at += 2;
  }
  return guid;
}

}  // namespace dxg::vmbus
