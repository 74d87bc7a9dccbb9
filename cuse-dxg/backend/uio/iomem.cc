#include "cuse-dxg/backend/uio/iomem.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>

namespace dxg::vmbus {
namespace {

constexpr char kBetween[] = " : ";
constexpr unsigned kAddressBitsDefault = 36;

// "  00100000-bfffffff : System RAM"
Result<AddressRange> ParseLine(std::string_view line) {
  const auto refuse = [line] {
    return Status::Refuse(EPROTO, "'{}' is no line of /proc/iomem; expected FIRST-LAST : NAME",
                          line.substr(0, 80));
  };
  const size_t indent = line.find_first_not_of(' ');
  if (indent == std::string_view::npos) return refuse();
  AddressRange range;
  const char* const end = line.data() + line.size();
  const auto [dash, bad_first] = std::from_chars(line.data() + indent, end, range.first, 16);
  if (bad_first != std::errc() || dash == end || *dash != '-') return refuse();
  const auto [behind, bad_last] = std::from_chars(dash + 1, end, range.last, 16);
  const std::string_view rest(behind, static_cast<size_t>(end - behind));
  if (bad_last != std::errc() || !rest.starts_with(kBetween) || range.last < range.first) return refuse();
  range.name = rest.substr(std::strlen(kBetween));
  return range;
}

// Of no more than 57 bits.
uint64_t AlignUp(uint64_t address) {
  return (address + kWindowAlignment - 1) / kWindowAlignment * kWindowAlignment;
}

// From `first` to `last`, both in it and both of no more than 57 bits.
std::optional<uint64_t> FindFree(const std::vector<AddressRange>& sorted, uint64_t first, uint64_t last,
                                 uint64_t length) {
  uint64_t start = AlignUp(first);
  for (const AddressRange& range : sorted) {
    if (range.last < start) continue;
    if (range.first > start && range.first - start >= length) break;
    if (range.last >= last) return std::nullopt;
    start = AlignUp(range.last + 1);
  }
  if (start > last || last - start < length - 1) return std::nullopt;
  return start;
}

}  // namespace

Result<std::vector<AddressRange>> ParseIomem(std::string_view text) {
  std::vector<AddressRange> ranges;
  while (!text.empty()) {
    const size_t newline = std::min(text.find('\n'), text.size());
    if (newline != 0) {
      DXG_ASSIGN(AddressRange range, ParseLine(text.substr(0, newline)));
      ranges.push_back(std::move(range));
    }
    text.remove_prefix(std::min(newline + 1, text.size()));
  }
  if (ranges.empty()) return Status::Refuse(ENODATA, "/proc/iomem names no range");
  if (std::all_of(ranges.begin(), ranges.end(), [](const AddressRange& range) { return range.last == 0; }))
    return Status::Refuse(EPERM, "/proc/iomem hides its addresses; be root (CAP_SYS_ADMIN)");
  return ranges;
}

Result<std::vector<AddressRange>> ReadIomem(const std::string& path) {
  std::ifstream file(path);
  if (!file)
    return Status::Refuse(errno ? errno : ENOENT, "cannot read {}: {}", path,
                          std::strerror(errno ? errno : ENOENT));
  return ParseIomem(std::string(std::istreambuf_iterator<char>(file), {}));
}

unsigned ParseAddressBits(std::string_view cpuinfo) {
  constexpr std::string_view kKey = "address sizes", kUnit = " bits physical";
  constexpr unsigned kBitsMin = 32, kBitsMax = 57;
  const size_t key = cpuinfo.find(kKey);
  if (key == std::string_view::npos) return kAddressBitsDefault;
  std::string_view line = cpuinfo.substr(key, cpuinfo.find('\n', key) - key);
  const size_t digits = line.find_first_of("0123456789");
  if (digits == std::string_view::npos) return kAddressBitsDefault;
  line.remove_prefix(digits);
  unsigned bits = 0;
  const auto [behind, error] = std::from_chars(line.data(), line.data() + line.size(), bits);
  const std::string_view rest(behind, static_cast<size_t>(line.data() + line.size() - behind));
  if (error != std::errc() || !rest.starts_with(kUnit) || bits < kBitsMin || bits > kBitsMax)
    return kAddressBitsDefault;
  return bits;
}

Result<uint64_t> ChooseHole(const std::vector<AddressRange>& taken, uint64_t length, unsigned address_bits) {
  const uint64_t end = std::min(kWindowEnd, uint64_t{1} << std::min(address_bits, 63u));
  if (length == 0) return Status::Refuse(EINVAL, "a window has at least one byte");
  std::vector<AddressRange> sorted = taken, claims;
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::copy_if(sorted.begin(), sorted.end(), std::back_inserter(claims),
               [](const AddressRange& range) { return !range.is_room(); });
  for (const AddressRange& room : sorted) {
    if (!room.is_room() || room.last < kWindowFirst || room.first >= end) continue;
    const auto hole =
        FindFree(claims, std::max(room.first, kWindowFirst), std::min(room.last, end - 1), length);
    if (hole) return *hole;
  }
  const auto hole = FindFree(sorted, kWindowFirst, end - 1, length);
  if (hole) return *hole;
  return Status::Refuse(ENOSPC, "no hole of {:#x} bytes between {:#x} and {:#x}; ask for less", length,
                        kWindowFirst, end);
}

}  // namespace dxg::vmbus
