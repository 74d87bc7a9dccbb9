#include "cuse-dxg/guest/arena.h"

#include <unistd.h>

namespace dxg::guest {

std::map<WindowAddress, Arena::Mapping>::iterator Arena::Around(WindowAddress window_address, uint64_t size) {
  auto after = mappings_.upper_bound(window_address);
  if (after == mappings_.begin()) return mappings_.end();
  const auto found = std::prev(after);
  const uint64_t offset = window_address - found->first;
  return offset <= found->second.size && size <= found->second.size - offset ? found : mappings_.end();
}

std::optional<Arena::Mapping> Arena::Hold(WindowAddress window_address, uint64_t size) {
  MutexLock lock(mutex_);
  const auto found = Around(window_address, size);
  if (found == mappings_.end()) return std::nullopt;
  ++found->second.holders;
  return found->second;
}

Arena::Mapping Arena::Add(const Mapping& mapping) {
  MutexLock lock(mutex_);
  const auto entered = mappings_.try_emplace(mapping.window_address, mapping).first;
  ++entered->second.holders;
  return entered->second;
}

bool Arena::Has(WindowAddress window_address) {
  MutexLock lock(mutex_);
  return Around(window_address, 1) != mappings_.end();
}

void Arena::Store(WindowAddress window_address, uint64_t value) {
  MutexLock lock(mutex_);
  const auto found = Around(window_address, sizeof(value));
  if (found == mappings_.end() || found->second.region.file < 0) return;
  const HostRegion& region = found->second.region;
  const auto at =
      static_cast<off_t>(region.file_offset + (window_address - WindowAddress(region.window_address)));
  (void)!pwrite(region.file, &value, sizeof(value), at);
}

void Arena::Forget(WindowAddress window_address) {
  MutexLock lock(mutex_);
  if (const auto found = Around(window_address, 1); found != mappings_.end()) mappings_.erase(found);
}

std::optional<Arena::Mapping> Arena::Release(WindowAddress window_address) {
  MutexLock lock(mutex_);
  const auto found = Around(window_address, 1);
  // Gone where the client executed another program in between.
  if (found == mappings_.end() || found->second.holders == 0) return std::nullopt;
  if (--found->second.holders != 0 || found->second.cookie != 0) return std::nullopt;
  const Mapping mapping = found->second;
  mappings_.erase(found);
  return mapping;
}

void Arena::Clear() {
  MutexLock lock(mutex_);
  mappings_.clear();
}

}  // namespace dxg::guest
