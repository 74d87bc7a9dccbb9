// Compiled for the processors that the whole program is for.
#define DXG_ARRAYS_VECTORS baseline
#define DXG_ARRAYS_VECTOR_BYTES 16
#include "hostsim/work/array_kernels.inc"
