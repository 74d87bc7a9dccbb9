#include "hostsim/machine/utf16.h"

#include <algorithm>

namespace dxg::hostsim {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

// Takes one character off the front of `utf8`, which is not empty.
char32_t TakeUtf8(std::string_view& utf8) {
  auto byte = [&](size_t i) { return static_cast<uint8_t>(utf8[i]); };
  const uint8_t first = byte(0);
  const size_t length = first < 0x80           ? 1
                        : (first >> 5) == 0x6  ? 2
                        : (first >> 4) == 0xE  ? 3
                        : (first >> 3) == 0x1E ? 4
                                               : 0;
  if (length == 0 || utf8.size() < length) {
    utf8.remove_prefix(1);
    return kReplacement;
  }
  char32_t c = length == 1 ? first : first & (0xFF >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) {
      utf8.remove_prefix(1);
      return kReplacement;
    }
    c = (c << 6) | (byte(i) & 0x3F);
  }
  utf8.remove_prefix(length);
  constexpr char32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool valid = c >= kSmallest[length] && c <= 0x10FFFF && (c < 0xD800 || c > 0xDFFF);
  return valid ? c : kReplacement;
}

void AppendUtf8(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | (c >> 6));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | (c >> 12));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | (c >> 18));
    out += static_cast<char>(0x80 | ((c >> 12) & 0x3F));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

}  // namespace

std::u16string ToUtf16(std::string_view utf8) {
  std::u16string out;
  out.reserve(utf8.size());
  while (!utf8.empty()) {
    const char32_t c = TakeUtf8(utf8);
    if (c < 0x10000) {
      out += static_cast<char16_t>(c);
    } else {
      out += static_cast<char16_t>(0xD800 + ((c - 0x10000) >> 10));
      out += static_cast<char16_t>(0xDC00 + ((c - 0x10000) & 0x3FF));
    }
  }
  return out;
}

std::string ToUtf8(std::u16string_view utf16) {
  std::string out;
  out.reserve(utf16.size());
  for (size_t i = 0; i < utf16.size(); ++i) {
    char32_t c = utf16[i];
    if (c >= 0xD800 && c <= 0xDFFF) {
      const bool pair = c < 0xDC00 && i + 1 < utf16.size() && (utf16[i + 1] & 0xFC00) == 0xDC00;
      c = pair ? 0x10000 + ((c - 0xD800) << 10) + (utf16[++i] - 0xDC00) : kReplacement;
    }
    AppendUtf8(out, c);
  }
  return out;
}

void PutUtf16(Bytes bytes, size_t at, size_t units, std::string_view utf8) {
  const std::u16string text = ToUtf16(utf8);
  const size_t kept = std::min(text.size(), units - 1);
  std::memcpy(bytes.data() + at, text.data(), kept * sizeof(char16_t));
  std::memset(bytes.data() + at + kept * sizeof(char16_t), 0, (units - kept) * sizeof(char16_t));
}

std::u16string GetUtf16(ConstBytes bytes, size_t at, size_t units) {
  std::u16string text;
  for (size_t i = 0; i < units; ++i) {
    const auto unit = Get<uint16_t>(bytes, at + i * sizeof(uint16_t));
    if (unit == 0) break;
    text += static_cast<char16_t>(unit);
  }
  return text;
}

}  // namespace dxg::hostsim
