#include "tests/bench/plain_blas.h"

#include <dlfcn.h>

#include <cstdlib>

namespace dxg::bench {

PlainBlas::PlainBlas() {
  setenv("OPENBLAS_NUM_THREADS", "1", 1);  // it reads this while it is loaded
  void* const library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return;
  // Safety: the C interface of BLAS, with its 32-bit integers.
  multiply_ = reinterpret_cast<Gemm>(dlsym(library, "cblas_sgemm"));
  add_ = reinterpret_cast<Axpy>(dlsym(library, "cblas_saxpy"));
  sum_ = reinterpret_cast<Asum>(dlsym(library, "cblas_ssum"));
}

void PlainBlas::Multiply(int side, const float* a, const float* b, float* c) const {
  constexpr int kRowByRow = 101, kAsItIs = 111;  // CblasRowMajor, CblasNoTrans
  multiply_(kRowByRow, kAsItIs, kAsItIs, side, side, side, 1, a, side, b, side, 0, c, side);
}

void PlainBlas::AddMultiple(int count, float factor, const float* x, float* y) const {
  add_(count, factor, x, 1, y, 1);
}

float PlainBlas::Sum(int count, const float* x) const { return sum_(count, x, 1); }

}  // namespace dxg::bench
