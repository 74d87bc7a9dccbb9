// Compiled with AVX2 and FMA where the compiler has them.
#define DXG_EU_VECTORS avx2
#include "hostsim/work/eu/fast_handlers.inc"
