#pragma once

#include <cstdint>
#include <string>

#include "cuse-dxg/profile/samples.h"
#include "proto/dxg/profile.pb.h"

// QUERYREGISTRY (D3DDDI_QUERYREGISTRY_INFO): values of the adapter's keys, and paths.

namespace dxg::profile {

// D3DDDI_QUERYREGISTRY_TYPE
inline constexpr uint32_t kServiceKey = 0, kAdapterKey = 1, kDriverStorePath = 2, kDriverImagePath = 3;
// Types of values.
inline constexpr uint32_t kNone = 0, kSz = 1, kExpandSz = 2, kBinary = 3, kDword = 4, kMultiSz = 7,
                          kQword = 11;

// The question for a value, with `room` bytes for it. The name is ASCII.
std::string RegistryQuestion(uint32_t key, const std::string& name, uint32_t type, size_t room);

// Adds the values that were answered whole.
void ReadRegistry(const AdapterSeen& seen, AdapterProfile* profile);

// What was answered to one of the two paths; empty: nothing.
std::string RegistryPath(const AdapterSeen& seen, uint32_t which);

}  // namespace dxg::profile
