#include "hostsim/work/array_kernels.h"

namespace dxg::hostsim::arrays {

bool HasAvx2() {
#if defined(__x86_64__) && defined(DXG_ARRAYS_AVX2)
  static const bool has = __builtin_cpu_supports("avx2");
  return has;
#else
  return false;
#endif
}

template <class T>
const Kernels<T>& Best() {
#ifdef DXG_ARRAYS_AVX2
  if (HasAvx2()) return avx2::Get<T>();
#endif
  return baseline::Get<T>();
}

template const Kernels<float>& Best();
template const Kernels<int32_t>& Best();
template const Kernels<double>& Best();
template const Kernels<int64_t>& Best();

}  // namespace dxg::hostsim::arrays
