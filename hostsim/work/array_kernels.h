#pragma once

#include <cstdint>
#include <type_traits>

// The loops of the ops that compute with arrays (array_kernels.inc), compiled for two sets of instructions.
// What they compute has the bits of a plain loop from the first element to the last, except that a NaN may be
// another NaN.

namespace dxg::hostsim::arrays {

// In which the sum of elements of that type is computed.
template <class T>
using SumOf = std::conditional_t<std::is_same_v<T, float>, double, T>;

// The least or the greatest of what was seen so far.
template <class T>
struct Extreme {
  const bool least;
  bool any = false;  // something was seen
  T value{};         // a NaN if nothing else was
};

inline constexpr uint64_t kTileRows = 4;

template <class T>
struct Kernels {
  // out[i] = a[i] + b[i]; a[i] * b[i] + c[i], rounded twice. `out` is a source, or apart from it. `stream`:
  // past the cache.
  void (*add)(const T* a, const T* b, T* out, uint64_t count, bool stream);
  void (*mad)(const T* a, const T* b, const T* c, T* out, uint64_t count, bool stream);
  // What `sum` becomes when the elements are added to it.
  SumOf<T> (*sum)(const T* from, uint64_t count, SumOf<T> sum);
  void (*extreme)(const T* from, uint64_t count, Extreme<T>* so_far);
  // c[i][j] += a[i][k] * b[k][j], with k from 0 up, for kTileRows rows and tile_columns columns: rows of a
  // and c are so many elements apart, those of b lie one after the other.
  uint64_t tile_columns;
  void (*multiply)(const T* a, uint64_t a_row, const T* b, uint64_t depth, T* c, uint64_t c_row);
};

namespace baseline {
template <class T>
const Kernels<T>& Get();
}
namespace avx2 {
template <class T>
const Kernels<T>& Get();
}

bool HasAvx2();

// The fastest ones that this processor has.
template <class T>
const Kernels<T>& Best();

}  // namespace dxg::hostsim::arrays
