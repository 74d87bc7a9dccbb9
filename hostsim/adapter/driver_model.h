#pragma once

#include <cstdint>
#include <optional>

#include "hostsim/machine/bytes.h"
#include "hostsim/work/gpu_queue.h"
#include "proto/dxg/profile.pb.h"

// The private data of drivers, read and written as rules of the profile say (AdapterProfile.driver_model).
// The rules have passed CheckProfile; the data is a client's and is not trusted.

namespace dxg::hostsim {

class Adapter;

using DriverModel = AdapterProfile::DriverModel;

inline uint32_t WidthOf(const AdapterProfile::Number& number) {
  return number.has_width() ? number.width() : 8;
}
inline uint32_t WidthOf(const AdapterProfile::Write& write) { return write.has_width() ? write.width() : 8; }
inline uint32_t WidthOf(const AdapterProfile::Match::Magic& magic) {
  return magic.has_width() ? magic.width() : 4;
}
inline uint64_t MaskOf(const AdapterProfile::Match::Magic& magic) {
  return magic.has_mask() ? magic.mask() : ~0ull;
}

// The number, where the data has room for it.
std::optional<uint64_t> Read(const AdapterProfile::Number& number, ConstBytes data);

bool Matches(const AdapterProfile::Match& match, ConstBytes data);

// The first rule of the list that matches; null: none.
template <class Rules>
auto FindRule(const Rules& rules, ConstBytes data) -> decltype(&rules[0]) {
  for (const auto& rule : rules) {
    if (Matches(rule.match(), data)) return &rule;
  }
  return nullptr;
}

// Writes over the data. False, and nothing is written: it has no room for one of them. `allocated` is the
// size of the allocation that was made, if one was.
[[nodiscard]] bool ApplyWrites(const google::protobuf::RepeatedPtrField<AdapterProfile::Write>& writes,
                               const Adapter& adapter, uint64_t allocated, Bytes data);

// The private data of a creation, as it goes back. False: the driver does not take it.
bool ApplyCreation(const google::protobuf::RepeatedPtrField<DriverModel::Creation>& rules,
                   const Adapter& adapter, Bytes data);

// Buffers that one submission may have.
inline constexpr uint64_t kBuffersPerSubmissionMax = 1024;

// Says in `command`, which has the call's own buffer, what the private data says: buffers and a fence. False:
// the data names what cannot be.
bool ReadSubmission(const DriverModel& model, ConstBytes data, GpuCommand* command);

}  // namespace dxg::hostsim
