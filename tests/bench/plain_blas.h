#pragma once

#include <cstdint>

namespace dxg::bench {

// OpenBLAS on one thread, for what arrays can be multiplied and added with at best. It is looked for when it
// is asked for, so that neither a build nor a package needs it.
class PlainBlas {
 public:
  PlainBlas();
  PlainBlas(const PlainBlas&) = delete;

  explicit operator bool() const { return multiply_ && add_ && sum_; }

  // c = a * b, square, row by row.
  void Multiply(int side, const float* a, const float* b, float* c) const;
  void AddMultiple(int count, float factor, const float* x, float* y) const;  // y += factor * x
  float Sum(int count, const float* x) const;

 private:
  using Gemm = void (*)(int order, int a_way, int b_way, int m, int n, int k, float alpha, const float* a,
                        int a_row, const float* b, int b_row, float beta, float* c, int c_row);
  using Axpy = void (*)(int count, float alpha, const float* x, int x_step, float* y, int y_step);
  using Asum = float (*)(int count, const float* x, int x_step);
  Gemm multiply_ = nullptr;
  Axpy add_ = nullptr;
  Asum sum_ = nullptr;
};

}  // namespace dxg::bench
