#pragma once

#include <cstddef>
#include <cstdint>

// The form of a recording's file, which proto/dxg/trace.proto tells.

namespace dxg::trace {

inline constexpr const char* kFormat = "dxg-trace";
inline constexpr uint32_t kVersion = 1;

inline constexpr uint32_t kFrameMagic = 0xfd2fb528;  // zstd's
inline constexpr uint32_t kTotalsMagic = 0x184d2a5d;
inline constexpr uint32_t kIndexMagic = 0x184d2a5e;
inline constexpr uint32_t kSkippableMagic = 0x184d2a50, kSkippableMask = 0xfffffff0;
inline constexpr size_t kSkippableHeadBytes = 8;  // the magic number and the length
inline constexpr size_t kTotalsBytes = 27;

inline constexpr size_t kItemBytesMax = 16u << 20;
inline constexpr size_t kFrameBytesWanted = 256u << 10;  // uncompressed; an item may be larger
inline constexpr size_t kIndexFramesMax = 4096;
inline constexpr size_t kIndexBytesMax = kIndexFramesMax * 64;
inline constexpr int kWindowLogMax = 24;  // log2 of what a reader needs to have of a frame at once: an item

}  // namespace dxg::trace
