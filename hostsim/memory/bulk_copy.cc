#include "hostsim/memory/bulk_copy.h"

#include <algorithm>
#include <cstring>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace dxg::hostsim {
namespace {

constexpr size_t kBulkBytes = 1 << 20;  // of shorter runs the reader finds much in the cache
[[maybe_unused]] constexpr size_t kLineBytes = 64;
[[maybe_unused]] constexpr size_t kStringBytes = 512;  // from which on a string instruction pays

}  // namespace

void BulkCopy(uint8_t* to, const uint8_t* from, size_t bytes) {
  if (bytes < kBulkBytes) {
    std::memcpy(to, from, bytes);
  } else {
    StreamCopy(to, from, bytes);
  }
}

#ifdef __SSE2__

namespace {

// Of so many bytes, those before the first whole line.
size_t HeadOf(const uint8_t* to, size_t bytes) {
  return std::min(bytes, (kLineBytes - reinterpret_cast<uintptr_t>(to) % kLineBytes) % kLineBytes);
}

}  // namespace

void StreamCopy(uint8_t* to, const uint8_t* from, size_t bytes) {
  const size_t head = HeadOf(to, bytes);
  std::memcpy(to, from, head);
  size_t at = head;
  for (; at + kLineBytes <= bytes; at += kLineBytes) {
    // Safety: bytes as vectors; the target is aligned, the source need not be.
    const auto* in = reinterpret_cast<const __m128i*>(from + at);
    auto* out = reinterpret_cast<__m128i*>(to + at);
    const __m128i line[] = {_mm_loadu_si128(in), _mm_loadu_si128(in + 1), _mm_loadu_si128(in + 2),
                            _mm_loadu_si128(in + 3)};
    for (int i = 0; i < 4; ++i) _mm_stream_si128(out + i, line[i]);
  }
  std::memcpy(to + at, from + at, bytes - at);
  _mm_sfence();  // before anything that tells of it
}

#else

void StreamCopy(uint8_t* to, const uint8_t* from, size_t bytes) { std::memcpy(to, from, bytes); }

#endif

void BulkFill(uint8_t* to, uint32_t pattern, size_t bytes) {
  size_t words = bytes / sizeof pattern;
#ifdef __x86_64__
  if (bytes >= kStringBytes) {
    asm volatile("rep stosl" : "+D"(to), "+c"(words) : "a"(pattern) : "memory");
    return;
  }
#endif
  // Safety: at a multiple of 4, and memory of this kind has no type.
  std::fill_n(reinterpret_cast<uint32_t*>(to), words, pattern);
}

}  // namespace dxg::hostsim
