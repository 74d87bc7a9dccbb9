#pragma once

#include <cstdint>

// The private data by which the simulated kernel-mode driver knows what an allocation is. All numbers are
// little-endian; docs/simulated-gpu.md is the guide.
//
//   0        4         8      16      20           24
//   | 'SALC' | version | size | flags | segment    | allocated | more of the user's ...
//
// size       bytes wanted, at least 1
// segment    preferred, counted from 1; 0: the driver's choice
// allocated  out: the size in whole pages
//
// Bytes behind the 32 are the user-mode driver's own and come back as they were.

namespace dxg::hostsim {

inline constexpr uint32_t kAllocationMagic = 0x434C4153;  // "SALC" in memory
inline constexpr uint32_t kAllocationVersion = 1;
inline constexpr uint32_t kAllocationDataBytes = 32;

inline constexpr uint32_t kAllocationVersionAt = 4;
inline constexpr uint32_t kAllocationSizeAt = 8;
inline constexpr uint32_t kAllocationFlagsAt = 16;
inline constexpr uint32_t kAllocationSegmentAt = 20;
inline constexpr uint32_t kAllocationAllocatedAt = 24;

// Flags.
inline constexpr uint32_t kAllocationSystemOnly = 1u << 0;     // never in the adapter's own memory
inline constexpr uint32_t kAllocationNotCpuVisible = 1u << 1;  // cannot be locked
inline constexpr uint32_t kAllocationCached = 1u << 2;         // the CPU may cache it
inline constexpr uint32_t kAllocationKnownFlags = (1u << 3) - 1;

// A real one is bounded by the machine's commit limit.
inline constexpr uint64_t kAllocationBytesMax = 1ull << 40;

}  // namespace dxg::hostsim
