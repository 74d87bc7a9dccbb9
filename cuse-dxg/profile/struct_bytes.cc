#include "cuse-dxg/profile/struct_bytes.h"

namespace dxg::profile {
namespace {

void AppendUtf8(std::string* out, uint32_t c) {
  const auto byte = [out](uint32_t value) { out->push_back(static_cast<char>(value)); };
  if (c < 0x80) return byte(c);
  if (c < 0x800) {
    byte(0xc0 | c >> 6);
  } else if (c < 0x10000) {
    byte(0xe0 | c >> 12);
    byte(0x80 | (c >> 6 & 0x3f));
  } else {
    byte(0xf0 | (c >> 18 & 7));
    byte(0x80 | (c >> 12 & 0x3f));
    byte(0x80 | (c >> 6 & 0x3f));
  }
  byte(0x80 | (c & 0x3f));
}

}  // namespace

std::string GetText(std::string_view bytes, size_t at, size_t units, size_t units_max) {
  constexpr uint32_t kHigh = 0xd800, kLow = 0xdc00, kSurrogatesEnd = 0xe000, kReplacement = 0xfffd;
  std::string text;
  size_t used = 0;
  for (size_t i = 0; i < units; ++i) {
    uint32_t c = Get<uint16_t>(bytes, at + 2 * i);
    if (c == 0) break;
    size_t taken = 1;
    if (c >= kHigh && c < kSurrogatesEnd) {
      const uint32_t next = i + 1 < units ? Get<uint16_t>(bytes, at + 2 * i + 2) : 0;
      const bool pair = c < kLow && next >= kLow && next < kSurrogatesEnd;
      c = pair ? 0x10000 + ((c - kHigh) << 10) + (next - kLow) : kReplacement;
      if (pair) taken = 2, ++i;
    }
    if (used + taken > units_max) break;
    used += taken;
    AppendUtf8(&text, c);
  }
  return text;
}

void PutText(std::string* bytes, size_t at, std::string_view ascii) {
  for (size_t i = 0; i < ascii.size(); ++i)
    Put<uint16_t>(bytes, at + 2 * i, static_cast<unsigned char>(ascii[i]));
}

}  // namespace dxg::profile
