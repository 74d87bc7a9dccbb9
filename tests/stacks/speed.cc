// dxg-stack-speed [--smoke]: how long the first OpenCL device takes to add 10^6 numbers and to multiply two
// matrices of 512 x 512, from the start of the kernel until the host knows of its end: the shortest of some
// times. Its last line has the seconds that all runs took together. With --smoke less of it, once.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "tests/stacks/opencl_kit.h"

namespace stacks {
namespace {

constexpr char kAdd[] =
    "kernel void add(global const float* a, global const float* b, global float* c) {\n"
    "  const size_t i = get_global_id(0);\n"
    "  c[i] = a[i] + b[i];\n"
    "}\n";

constexpr char kMultiply[] =
    "#define T 16\n"
    "kernel void multiply(global const float* a, global const float* b, global float* c, int n) {\n"
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

double total_s = 0;

// Seconds of the shortest of `runs`, after one that prepares.
template <class Run>
double Shortest(int runs, const Run& run) {
  double shortest = HUGE_VAL;
  for (int i = 0; i <= runs; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    run();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    total_s += took.count();
    if (i != 0) shortest = std::min(shortest, took.count());
  }
  return shortest;
}

std::vector<float> Numbers(size_t count, uint64_t seed) {
  Random random(seed);
  std::vector<float> numbers(count);
  for (float& number : numbers) number = random.Unit() - 0.5f;
  return numbers;
}

void Add(const Session& session, size_t count, int runs) {
  Doing("add");
  const std::vector<float> a = Numbers(count, 1), b = Numbers(count, 2);
  const Array<float> of_a(session, a), of_b(session, b), of_c(session, std::vector<float>(count));
  Kernel kernel(session, "add", kAdd);
  kernel.Set(of_a, of_b, of_c);
  const double took = Shortest(runs, [&] { kernel.Run(1, nullptr, &count, nullptr); });
  const std::vector<float> c = of_c.Read();
  for (size_t i = 0; i < count; ++i) CHECK(c[i] == a[i] + b[i]);
  std::printf("vadd %zu: %.6f s\n", count, took);
}

void Multiply(const Session& session, size_t n, int runs) {
  Doing("multiply");
  const std::vector<float> a = Numbers(n * n, 3), b = Numbers(n * n, 4);
  const Array<float> of_a(session, a), of_b(session, b), of_c(session, std::vector<float>(n * n));
  Kernel kernel(session, "multiply", kMultiply);
  kernel.Set(of_a, of_b, of_c, static_cast<cl_int>(n));
  const size_t global[] = {n, n}, group[] = {16, 16};
  const double took = Shortest(runs, [&] { kernel.Run(2, nullptr, global, group); });
  const std::vector<float> c = of_c.Read();
  Random random(5);
  for (int i = 0; i < 1000; ++i) {
    const size_t row = random.Below(static_cast<uint32_t>(n)),
                 column = random.Below(static_cast<uint32_t>(n));
    float sum = 0;
    for (size_t k = 0; k < n; ++k) sum = std::fma(a[row * n + k], b[k * n + column], sum);
    CHECK(c[row * n + column] == sum);
  }
  std::printf("matmul %zu: %.6f s\n", n, took);
}

}  // namespace
}  // namespace stacks

int main(int argc, char** argv) {
  const bool smoke = argc == 2 && std::strcmp(argv[1], "--smoke") == 0;
  if (argc > 1 && !smoke) return std::fprintf(stderr, "usage: dxg-stack-speed [--smoke]\n"), 2;
  const stacks::Session session = stacks::Session::Open();
  stacks::Add(session, smoke ? 10'000 : 1'000'000, smoke ? 1 : 5);
  stacks::Multiply(session, smoke ? 64 : 512, smoke ? 1 : 2);
  session.Close();
  std::printf("kernels: %.6f s\n", stacks::total_s);
}
