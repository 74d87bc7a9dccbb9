#pragma once

#include <array>
#include <cstdint>

namespace dxg::hostsim {

// How much of something there was lately: what a monitor shows as a load or a rate. Time is cut into slices,
// and each slice has its amount, so that any number of short events cost the same memory.
//
//     ... | slice | slice | slice | now
//           <--- window of 2 ---->          and what has passed of the present slice
//
// It has no lock and no clock of its own. Times that come in are those of the machine's clock.
class RecentAmount {
 public:
  static constexpr uint64_t kSliceNs = 25'000'000;
  static constexpr uint64_t kSlices = 400;
  // Windows, in slices: 0.1 s for what changes at once, and 10 s for what has to warm up.
  static constexpr uint64_t kShort = 4;
  static constexpr uint64_t kLong = kSlices;

  struct Sum {
    uint64_t amount = 0;
    uint64_t span_ns = kSliceNs;  // of the window: whole slices of before, and the present one up to now

    uint32_t permille() const;    // of the span, of an amount that is time; at most 1000
    uint64_t per_second() const;  // of any amount
  };

  void Add(uint64_t at_ns, uint64_t amount);
  // The time between the two, in ns, each slice's part in that slice.
  void AddTime(uint64_t from_ns, uint64_t to_ns);
  Sum Over(uint64_t now_ns, uint64_t slices) const;

 private:
  static constexpr uint64_t kPlaces = kSlices + 1;  // one for the present slice

  // The place of a slice; null: it is too long ago.
  uint64_t* PlaceOf(uint64_t slice);

  std::array<uint64_t, kPlaces> amounts_{};
  uint64_t newest_ = 0;  // slice that something was added to
};

}  // namespace dxg::hostsim
