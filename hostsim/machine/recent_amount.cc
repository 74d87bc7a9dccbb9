#include "hostsim/machine/recent_amount.h"

#include <algorithm>

namespace dxg::hostsim {

uint32_t RecentAmount::Sum::permille() const {
  constexpr uint64_t kWhole = 1000;
  return static_cast<uint32_t>(std::min(amount * kWhole / span_ns, kWhole));
}

uint64_t RecentAmount::Sum::per_second() const {
  constexpr double kNsPerSecond = 1e9;
  return static_cast<uint64_t>(static_cast<double>(amount) * kNsPerSecond / static_cast<double>(span_ns));
}

uint64_t* RecentAmount::PlaceOf(uint64_t slice) {
  if (slice > newest_) {
    const uint64_t passed = std::min(slice - newest_, kPlaces);
    for (uint64_t i = 0; i < passed; ++i) amounts_[(slice - i) % kPlaces] = 0;
    newest_ = slice;
  }
  return newest_ - slice < kPlaces ? &amounts_[slice % kPlaces] : nullptr;
}

void RecentAmount::Add(uint64_t at_ns, uint64_t amount) {
  if (uint64_t* place = PlaceOf(at_ns / kSliceNs)) *place += amount;
}

void RecentAmount::AddTime(uint64_t from_ns, uint64_t to_ns) {
  if (to_ns <= from_ns) return;
  const uint64_t last = (to_ns - 1) / kSliceNs;
  PlaceOf(last);  // makes the places before it, too
  const uint64_t oldest = last < kSlices ? 0 : last - kSlices;
  for (uint64_t slice = std::max(from_ns / kSliceNs, oldest); slice <= last; ++slice)
    Add(slice * kSliceNs, std::min(to_ns, (slice + 1) * kSliceNs) - std::max(from_ns, slice * kSliceNs));
}

RecentAmount::Sum RecentAmount::Over(uint64_t now_ns, uint64_t slices) const {
  const uint64_t present = now_ns / kSliceNs;
  const uint64_t first = present < slices ? 0 : present - slices;
  Sum sum{0, slices * kSliceNs + now_ns % kSliceNs};
  for (uint64_t slice = first; slice <= std::min(present, newest_); ++slice) {
    if (newest_ - slice < kPlaces) sum.amount += amounts_[slice % kPlaces];
  }
  return sum;
}

}  // namespace dxg::hostsim
