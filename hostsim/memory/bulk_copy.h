#pragma once

#include <cstddef>
#include <cstdint>

namespace dxg::hostsim {

// memcpy for runs that do not fit a cache: what is written goes past it, which saves reading it in first (on
// an EPYC 256 MiB of touched memory in chunks of 4 MiB: 15 ms instead of 28). The library does so only for
// larger pieces than an engine may copy without looking up.
void BulkCopy(uint8_t* to, const uint8_t* from, size_t bytes);

// The same however short the piece is: it is one of many.
void StreamCopy(uint8_t* to, const uint8_t* from, size_t bytes);

// Fills with a pattern; address and bytes are multiples of 4. By the processor's instruction for it, which
// knows how much comes, and so neither reads nor keeps lines that do not fit (as the library's memset, which
// has only bytes; vectors that go past the cache reach 0.7 to 0.8 of it on an EPYC).
void BulkFill(uint8_t* to, uint32_t pattern, size_t bytes);

}  // namespace dxg::hostsim
