// Kernels that do what no kernel should, and what the runtime says of it.
//
//   dxg-stack-trouble endless|wild|barrier|image|call
//
// Prints "completed" or "failed with N" for the kernel's event, and exits with 0 in both cases.
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/stacks/opencl_kit.h"

namespace stacks {
namespace {

struct Trouble {
  const char* name;
  const char* source;
  const char* options;
};

constexpr Trouble kTroubles[] = {
    {"endless", R"(
kernel void trouble(volatile global int* out, int zero) {
  while (out[get_global_id(0)] == zero) {}
})",
     ""},
    {"wild", R"(
kernel void trouble(global int* out, int zero) {
  global int* wild = (global int*)(0x123456789000ul + zero);
  wild[get_global_id(0)] = 1;
})",
     ""},
    {"barrier", R"(
kernel void trouble(global int* out, int zero) {
  local int sum;
  if (get_local_id(0) < 32) {
    sum = zero;
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  out[get_global_id(0)] = zero;
})",
     ""},
    {"call", R"(
__attribute__((noinline)) int depth(int n) { return n <= 0 ? 1 : depth(n - 1) + n; }
kernel void trouble(global int* out, int zero) {
  out[get_global_id(0)] = depth(get_global_id(0) + zero);
})",
     ""},
};

int Run(const Trouble& trouble) {
  const Session session = Session::Open();
  Doing(trouble.name);
  const Array<int32_t> out(session, std::vector<int32_t>(64));
  Kernel kernel(session, "trouble", trouble.source, trouble.options);
  kernel.Set(out, cl_int{0});
  const size_t items = 64;
  cl_event ran = nullptr;
  cl_int status =
      clEnqueueNDRangeKernel(session.queue, kernel.kernel(), 1, nullptr, &items, &items, 0, nullptr, &ran);
  if (status == CL_SUCCESS) status = clFinish(session.queue);
  if (status == CL_SUCCESS) {
    printf("completed\n");
  } else {
    printf("failed with %d\n", status);
  }
  fflush(stdout);
  _exit(0);  // nothing of a lost device can be released
}

}  // namespace
}  // namespace stacks

int main(int argc, char** argv) {
  for (const stacks::Trouble& trouble : stacks::kTroubles) {
    if (argc == 2 && strcmp(argv[1], trouble.name) == 0) return stacks::Run(trouble);
  }
  fprintf(stderr, "Usage: dxg-stack-trouble endless|wild|barrier|call\n");
  return 2;
}
