// Compiled with AVX2 where the compiler has it.
#define DXG_ARRAYS_VECTORS avx2
#define DXG_ARRAYS_VECTOR_BYTES 32
#include "hostsim/work/array_kernels.inc"
