#include "hostsim/work/eu/fast_handlers.h"

namespace dxg::hostsim::eu {

bool HasAvx2() {
#if defined(__x86_64__) && defined(DXG_EU_AVX2)
  static const bool has = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return has;
#else
  return false;
#endif
}

Handler FastHandler(const Step& step, Handlers handlers) {
  if (handlers == Handlers::kBest && HasAvx2()) return avx2::FindHandler(step);
  return baseline::FindHandler(step);
}

}  // namespace dxg::hostsim::eu
