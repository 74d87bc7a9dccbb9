#include "cuse-dxg/guest/arena.h"

#include <unistd.h>

#include <algorithm>

#include "base/page.h"

namespace dxg::guest {
namespace {

// Small enough for every limit that is met in practice: a process that locks what it maps has 8 MiB by
// default. From the second on, large enough for 8 GiB in 11 parts.
constexpr uint64_t kFirstPartBytes = 4 << 20, kPartBytesMin = 16 << 20;
constexpr size_t kMapsKeptMax = 1024;

bool IsAround(const Arena::Mapping& mapping, WindowAddress window_address, uint64_t size) {
  if (window_address < mapping.window_address) return false;
  const uint64_t offset = window_address - mapping.window_address;
  return offset <= mapping.size && size <= mapping.size - offset;
}

}  // namespace

std::map<WindowAddress, Arena::Mapping>::iterator Arena::Around(WindowAddress window_address, uint64_t size) {
  auto after = mappings_.upper_bound(window_address);
  if (after == mappings_.begin()) return mappings_.end();
  const auto found = std::prev(after);
  return IsAround(found->second, window_address, size) ? found : mappings_.end();
}

const Arena::Mapping* Arena::PartAround(WindowAddress window_address, uint64_t size) const {
  const auto found = std::find_if(parts_.rbegin(), parts_.rend(),
                                  [&](const Mapping& part) { return IsAround(part, window_address, size); });
  return found == parts_.rend() ? nullptr : &*found;
}

std::optional<Arena::Mapping> Arena::Hold(WindowAddress window_address, uint64_t size) {
  MutexLock lock(mutex_);
  if (const auto found = Around(window_address, size); found != mappings_.end() && !found->second.lost) {
    ++found->second.holders;
    return found->second;
  }
  const Mapping* part = PartAround(window_address, size);
  return part == nullptr ? std::nullopt : std::optional(*part);
}

Arena::Mapping Arena::Add(const Mapping& mapping) {
  MutexLock lock(mutex_);
  if (mapping.part) {
    if (const Mapping* part = PartAround(mapping.window_address, mapping.size)) return *part;
    Count(mapping);
    return parts_.emplace_back(mapping);
  }
  const auto [at, is_new] = mappings_.try_emplace(mapping.window_address, mapping);
  Mapping& entered = at->second;
  if (is_new) Count(mapping);
  if (entered.lost) {
    const uint32_t holders = entered.holders;
    CountNot(entered);
    entered = mapping;
    Count(entered);
    entered.holders = holders;
  }
  ++entered.holders;
  return entered;
}

Arena::Mapping Arena::NextPart(const HostRegion& region, WindowAddress window_address, uint64_t size) {
  MutexLock lock(mutex_);
  const WindowAddress region_end = region.window_address + region.size;
  // Not behind the end of what is mapped before it, unless that is in the way: then the two overlap.
  WindowAddress begin = region.window_address;
  uint64_t mapped = 0;
  for (const Mapping& part : parts_) {
    if (part.window_address < region.window_address || part.window_address >= region_end) continue;
    mapped += part.size;
    if (part.window_address <= window_address)
      begin = std::max(begin, std::min(part.window_address + part.size, window_address));
  }
  uint64_t bytes = mapped == 0 ? kFirstPartBytes : std::max(mapped, kPartBytesMin);
  bytes = std::max(bytes, size);
  const uint64_t offset = window_address - region.window_address;
  begin = std::max(begin, region.window_address + (offset - offset % bytes));
  const WindowAddress end = std::min(region_end, std::max(begin + bytes, window_address + size));
  return {.window_address = begin,
          .size = end - begin,
          .client_address = {},
          .part = true,
          .cookie = begin == region.window_address ? region.cookie : 0,
          .file = {},
          .region = region};
}

bool Arena::Has(WindowAddress window_address) {
  MutexLock lock(mutex_);
  const auto found = Around(window_address, 1);
  return (found != mappings_.end() && !found->second.lost) || PartAround(window_address, 1) != nullptr;
}

void Arena::Count(const Mapping& mapping) { ++files_[mapping.file]; }

void Arena::CountNot(const Mapping& mapping) {
  const auto found = files_.find(mapping.file);
  if (found != files_.end() && --found->second == 0) files_.erase(found);
}

bool Arena::HasFile(const client::FileId& file) {
  MutexLock lock(mutex_);
  return file != client::FileId{} && files_.contains(file);
}

void Arena::Store(WindowAddress window_address, uint64_t value) {
  MutexLock lock(mutex_);
  const auto found = Around(window_address, sizeof(value));
  const Mapping* mapping =
      found == mappings_.end() ? PartAround(window_address, sizeof(value)) : &found->second;
  if (mapping == nullptr || mapping->region.file < 0) return;
  const HostRegion& region = mapping->region;
  const auto at =
      static_cast<off_t>(region.file_offset + (window_address - WindowAddress(region.window_address)));
  (void)!pwrite(region.file, &value, sizeof(value), at);
}

void Arena::Lose(const Mapping& mapping) {
  MutexLock lock(mutex_);
  if (mapping.part) {
    const auto part = std::find_if(parts_.begin(), parts_.end(), [&](const Mapping& each) {
      return each.window_address == mapping.window_address && each.client_address == mapping.client_address;
    });
    if (part == parts_.end()) return;
    CountNot(*part);
    parts_.erase(part);
    return;
  }
  const auto found = mappings_.find(mapping.window_address);
  if (found == mappings_.end()) return;
  if (found->second.holders != 0) --found->second.holders;
  if (found->second.client_address == mapping.client_address) found->second.lost = true;
}

void Arena::LoseAll() {
  MutexLock lock(mutex_);
  for (const Mapping& part : parts_) CountNot(part);
  parts_.clear();
  for (auto& [address, mapping] : mappings_) mapping.lost = true;
}

std::optional<Arena::Mapping> Arena::Release(WindowAddress window_address) {
  MutexLock lock(mutex_);
  const auto found = Around(window_address, 1);
  if (found == mappings_.end()) return std::nullopt;
  if (found->second.holders != 0 && --found->second.holders != 0) return std::nullopt;
  const Mapping mapping = found->second;
  mappings_.erase(found);
  CountNot(mapping);
  return mapping.lost ? std::nullopt : std::optional(mapping);
}

void Arena::ReleaseSecond(WindowAddress window_address) {
  MutexLock lock(mutex_);
  const auto found = Around(window_address, 1);
  if (found != mappings_.end() && found->second.holders > 1) --found->second.holders;
}

std::shared_ptr<client::AddressMap> Arena::map() {
  MutexLock lock(mutex_);
  return map_;
}

void Arena::KeepMap(std::shared_ptr<client::AddressMap> map) {
  MutexLock lock(mutex_);
  if (map != nullptr && client::AddressMap::living_count() > kMapsKeptMax) map = nullptr;
  map_.swap(map);
}

}  // namespace dxg::guest
