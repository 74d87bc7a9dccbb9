#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

// The map of guest-physical addresses as /proc/iomem has it, and a place in it that nobody uses.

namespace dxg::vmbus {

struct AddressRange {
  uint64_t first = 0;
  uint64_t last = 0;  // of the range, not behind it
  std::string name;

  // Where devices of a bus are put, and not one that is there.
  bool is_room() const { return name.starts_with("PCI Bus"); }
};

// All its lines, nested ones too. EPERM where the kernel hides addresses from those who are not root.
Result<std::vector<AddressRange>> ParseIomem(std::string_view text);
Result<std::vector<AddressRange>> ReadIomem(const std::string& path);

// How many bits of an address a guest's CPU has, by the text of /proc/cpuinfo; 36 where it does not say.
unsigned ParseAddressBits(std::string_view cpuinfo);

inline constexpr uint64_t kWindowAlignment = 64 << 10;
inline constexpr uint64_t kWindowFirst = uint64_t{4} << 30;  // below are the devices of the machine itself
inline constexpr uint64_t kWindowEnd = uint64_t{512} << 30;  // above, hosts have not been seen to accept one

// The first place of `length` bytes that no range touches, aligned, from kWindowFirst on and below kWindowEnd
// and what the CPU can address: in the room of a bus, since that is what the host has set aside for devices;
// else anywhere. Another driver may take it later: nothing reserves it. ENOSPC: there is none.
Result<uint64_t> ChooseHole(const std::vector<AddressRange>& taken, uint64_t length, unsigned address_bits);

}  // namespace dxg::vmbus
