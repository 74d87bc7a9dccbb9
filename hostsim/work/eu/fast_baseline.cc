#define DXG_EU_VECTORS baseline
#include "hostsim/work/eu/fast_handlers.inc"
