// sort.c: bitonic sort, one kernel for each step.
//   cc sort.c -lOpenCL -o sort && cuse-dxg run --profile intel-tgl -- ./sort
#include <string.h>

#include "run.h"

enum { kCount = 1 << 12 };

static const char* source =
    "kernel void compare_swap(global uint* values, int block, int distance) {\n"
    "  const int i = get_global_id(0), other = i ^ distance;\n"
    "  if (other < i) return;\n"
    "  const uint a = values[i], b = values[other];\n"
    "  if ((a > b) == ((i & block) == 0)) {\n"
    "    values[i] = b;\n"
    "    values[other] = a;\n"
    "  }\n"
    "}\n";

static int compare(const void* left, const void* right) {
  const cl_uint a = *(const cl_uint*)left, b = *(const cl_uint*)right;
  return (a > b) - (a < b);
}

int main(void) {
  static cl_uint wanted[kCount], found[kCount];
  cl_uint state = 1;
  for (int i = 0; i < kCount; ++i) wanted[i] = state = state * 1664525u + 1013904223u;
  open_device(source);
  cl_kernel kernel = get_kernel("compare_swap");
  cl_mem values = new_buffer(sizeof wanted, wanted);
  set_buffer(kernel, 0, values);
  for (int block = 2; block <= kCount; block *= 2)
    for (int distance = block / 2; distance > 0; distance /= 2) {
      set_int(kernel, 1, block);
      set_int(kernel, 2, distance);
      run(kernel, kCount, 1, 64, 1);
    }
  read_buffer(values, found, sizeof found);
  qsort(wanted, kCount, sizeof *wanted, compare);
  if (memcmp(found, wanted, sizeof wanted) != 0) return fprintf(stderr, "not sorted\n"), 1;
  printf("sort: %d numbers, all right\n", kCount);
  return 0;
}
