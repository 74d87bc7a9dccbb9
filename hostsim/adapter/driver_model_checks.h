#pragma once

#include <cstdint>

#include "hostsim/adapter/profile_place.h"
#include "proto/dxg/profile.pb.h"

// The parts of CheckProfile that are about private data.

namespace dxg::hostsim {

// `place` is that of its driver_model.
void CheckDriverModel(const AdapterProfile& profile, const Place& place);

// Of a list `writes` of the message at `place`: each lies inside `bytes_max` bytes. `made`: an allocation is
// made, so that it has a size.
void CheckWrites(const google::protobuf::RepeatedPtrField<AdapterProfile::Write>& writes, uint64_t bytes_max,
                 bool made, const Place& place);

}  // namespace dxg::hostsim
