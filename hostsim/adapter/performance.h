#pragma once

#include <cstdint>

#include "hostsim/adapter/adapter.h"
#include "hostsim/machine/bytes.h"

// Performance data of a GPU that has none: numbers between the ends that the profile gives, which follow what
// the engines and the paging engine have done of late (RecentAmount). The same work at the same times gives
// the same numbers. The same bytes answer QueryAdapterInfo and QueryStatistics.

namespace dxg::hostsim {

inline constexpr uint32_t kNodePerfDataBytes = 56;     // D3DKMT_NODE_PERFDATA
inline constexpr uint32_t kAdapterPerfDataBytes = 64;  // D3DKMT_ADAPTER_PERFDATA
inline constexpr uint32_t kAdapterPerfCapsBytes = 40;  // D3DKMT_ADAPTER_PERFDATACAPS
inline constexpr uint32_t kGpuVersionBytes = 132;      // D3DKMT_GPUVERSION

// Each fills one struct, its index members included, at the start of `data`. `node` is one that the adapter
// has.
void PutNodePerfData(const Adapter& adapter, uint32_t node, Bytes data);
void PutAdapterPerfData(const Adapter& adapter, Bytes data);
void PutAdapterPerfCaps(const Adapter& adapter, Bytes data);
void PutGpuVersion(const Adapter& adapter, Bytes data);

}  // namespace dxg::hostsim
