#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

namespace dxg::vmbus {

// In memory, on the wire and in PCI configuration space in Microsoft's mixed byte order: of the text's five
// groups the first three are little-endian, the last two as written.
struct Guid {
  std::array<uint8_t, 16> bytes{};

  bool operator==(const Guid&) const = default;
  // "dde9cbc0-5060-4436-9448-ea1254a5d177": lower case, without braces.
  std::string text() const;
  // The same in any case, also in braces; none: it is no GUID.
  static std::optional<Guid> Parse(std::string_view text);
  // Of a channel's instance: the LUID that clients see the adapter by.
  uint64_t luid() const {
    uint64_t luid;
    std::memcpy(&luid, bytes.data(), sizeof luid);
    return luid;
  }
};

// Classes of channels.
inline constexpr Guid kGlobalClass{
    {0xC0, 0xCB, 0xE9, 0xDD, 0x60, 0x50, 0x36, 0x44, 0x94, 0x48, 0xEA, 0x12, 0x54, 0xA5, 0xD1, 0x77}};
inline constexpr Guid kVgpuClass{
    {0x18, 0x2D, 0x38, 0x6E, 0x36, 0x33, 0x4B, 0x4F, 0xAC, 0xC4, 0x2B, 0x77, 0x03, 0xD4, 0xDF, 0x4A}};

}  // namespace dxg::vmbus
