// matmul.c: a product of matrices in tiles of local memory, equal to a loop of fmaf() bit for bit.
//   cc matmul.c -lOpenCL -lm -o matmul && cuse-dxg run --profile intel-tgl -- ./matmul [SIZE]
//
// SIZE is a multiple of 16; 512 unless it is given.
#include <math.h>
#include <string.h>

#include "run.h"

static const char* source =
    "#define T 16\n"
    "kernel void matmul(global const float* a, global const float* b, global float* c, int n) {\n"
    "  local float of_a[T][T], of_b[T][T];\n"
    "  const int x = get_local_id(0), y = get_local_id(1), column = get_global_id(0), row = "
    "get_global_id(1);\n"
    "  float sum = 0;\n"
    "  for (int first = 0; first < n; first += T) {\n"
    "    of_a[y][x] = a[row * n + first + x];\n"
    "    of_b[y][x] = b[(first + y) * n + column];\n"
    "    barrier(CLK_LOCAL_MEM_FENCE);\n"
    "    for (int k = 0; k < T; ++k) sum = fma(of_a[y][k], of_b[k][x], sum);\n"
    "    barrier(CLK_LOCAL_MEM_FENCE);\n"
    "  }\n"
    "  c[row * n + column] = sum;\n"
    "}\n";

int main(int argc, char** argv) {
  const size_t n = argc > 1 ? strtoul(argv[1], NULL, 10) : 512, bytes = n * n * sizeof(float);
  if (n == 0 || n % 16 != 0 || n > 4096)
    return fprintf(stderr, "SIZE is a multiple of 16, at most 4096\n"), 2;
  float *a = malloc(bytes), *b = malloc(bytes), *wanted = calloc(1, bytes), *found = malloc(bytes);
  if (!a || !b || !wanted || !found) return fprintf(stderr, "no memory\n"), 1;
  for (size_t i = 0; i < n * n; ++i) {
    a[i] = (float)((i * 2654435761u >> 7) % 2001) / 1000.f - 1.f;
    b[i] = (float)((i * 2246822519u >> 9) % 2001) / 1000.f - 1.f;
  }
  for (size_t row = 0; row < n; ++row)
    for (size_t k = 0; k < n; ++k)
      for (size_t column = 0; column < n; ++column)
        wanted[row * n + column] = fmaf(a[row * n + k], b[k * n + column], wanted[row * n + column]);

  open_device(source);
  cl_kernel kernel = get_kernel("matmul");
  cl_mem product = new_buffer(bytes, NULL);
  set_buffer(kernel, 0, new_buffer(bytes, a));
  set_buffer(kernel, 1, new_buffer(bytes, b));
  set_buffer(kernel, 2, product);
  set_int(kernel, 3, (cl_int)n);
  run(kernel, n, n, 16, 16);
  read_buffer(product, found, bytes);
  for (size_t i = 0; i < n * n; ++i)
    if (memcmp(&found[i], &wanted[i], sizeof(float)) != 0)
      return fprintf(stderr, "row %zu, column %zu is %a, not %a\n", i / n, i % n, (double)found[i],
                     (double)wanted[i]),
             1;
  printf("matmul: %zu x %zu, all right\n", n, n);
  return 0;
}
