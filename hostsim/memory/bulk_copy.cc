#include "hostsim/memory/bulk_copy.h"

#include <algorithm>
#include <cstring>

#ifdef __SSE2__
#include <immintrin.h>
#endif

namespace dxg::hostsim {
namespace {

constexpr size_t kBulkBytes = 1 << 20;  // of shorter runs the reader finds much in the cache
[[maybe_unused]] constexpr size_t kLineBytes = 64;

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

namespace {

// Whole lines from there on. Returns how many bytes they are.
size_t StreamLines(uint8_t* to, uint32_t pattern, size_t bytes) {
  const __m128i vector = _mm_set1_epi32(static_cast<int>(pattern));
  size_t at = 0;
  for (; at + kLineBytes <= bytes; at += kLineBytes) {
    // Safety: bytes as vectors, aligned.
    auto* out = reinterpret_cast<__m128i*>(to + at);
    for (int i = 0; i < 4; ++i) _mm_stream_si128(out + i, vector);
  }
  _mm_sfence();  // before anything that tells of it
  return at;
}

size_t FillLines(uint8_t* to, uint32_t pattern, size_t bytes) {
  const __m128i vector = _mm_set1_epi32(static_cast<int>(pattern));
  size_t at = 0;
  for (; at + kLineBytes <= bytes; at += kLineBytes) {
    // Safety: bytes as vectors, aligned.
    auto* out = reinterpret_cast<__m128i*>(to + at);
    for (int i = 0; i < 4; ++i) _mm_store_si128(out + i, vector);
  }
  return at;
}

#ifdef __x86_64__
[[gnu::target("avx2")]] size_t FillLinesByAvx2(uint8_t* to, uint32_t pattern, size_t bytes) {
  const __m256i vector = _mm256_set1_epi32(static_cast<int>(pattern));
  size_t at = 0;
  for (; at + kLineBytes <= bytes; at += kLineBytes) {
    // Safety: bytes as vectors, aligned.
    auto* out = reinterpret_cast<__m256i*>(to + at);
    _mm256_store_si256(out, vector);
    _mm256_store_si256(out + 1, vector);
  }
  return at;
}
#endif

}  // namespace

void BulkFill(uint8_t* to, uint32_t pattern, size_t bytes, bool stream) {
  size_t at = 0;
  const auto words_until = [&](size_t end) {
    for (; at < end; at += sizeof pattern) std::memcpy(to + at, &pattern, sizeof pattern);
  };
  words_until(HeadOf(to, bytes));
  static const auto fill_lines = [] {
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2")) return FillLinesByAvx2;
#endif
    return FillLines;
  }();
  at += (stream ? StreamLines : fill_lines)(to + at, pattern, bytes - at);
  words_until(bytes);
}

#else

void StreamCopy(uint8_t* to, const uint8_t* from, size_t bytes) { std::memcpy(to, from, bytes); }

void BulkFill(uint8_t* to, uint32_t pattern, size_t bytes, bool /*stream*/) {
  // Safety: at a multiple of 4, and memory of this kind has no type.
  std::fill_n(reinterpret_cast<uint32_t*>(to), bytes / sizeof pattern, pattern);
}

#endif

}  // namespace dxg::hostsim
