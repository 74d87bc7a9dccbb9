// dxg-bench ops: what the simulated GPU's own ops reach through cuse-dxg, in one run and pinned to one core,
// beside the C library's copies and fills and, where it is installed, OpenBLAS.
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "proto/abi/dxg_commands.h"
#include "tests/bench/client.h"
#include "tests/bench/plain_blas.h"
#include "tests/bench/subcommands.h"

namespace dxg::bench {
namespace {

constexpr uint64_t kSmallBytes = 64 * 1024;
constexpr uint32_t kSide = 512;  // of matrices
constexpr uint64_t kElements = uint64_t{kSide} * kSide;
constexpr uint64_t kMatrixBytes = kElements * sizeof(float);

// Shared memory of this process alone, touched.
class PlainMemory {
 public:
  explicit PlainMemory(uint64_t bytes) : bytes_(bytes) {
    void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) Fail("mmap");
    memory_ = static_cast<char*>(memory);
    std::memset(memory_, 1, bytes);
  }
  ~PlainMemory() { munmap(memory_, bytes_); }
  PlainMemory(const PlainMemory&) = delete;

  char* bytes() const { return memory_; }
  float* floats() const { return reinterpret_cast<float*>(memory_); }  // Safety: mapped memory has no type.

 private:
  const uint64_t bytes_;
  char* memory_;
};

// An allocation that both sides use, touched.
struct GpuArray {
  GpuArray(Client& client, uint64_t bytes) : client_(client), allocation_(client.Create(bytes)) {
    client.MakeResident(allocation_);
    memory = client.Lock(allocation_);
    address = client.Map(allocation_, bytes / kPageBytes);
    std::memset(memory, 1, bytes);
  }
  ~GpuArray() {
    client_.Unlock(allocation_);
    client_.Destroy(allocation_);
  }
  GpuArray(const GpuArray&) = delete;
  float* floats() const { return reinterpret_cast<float*>(memory); }  // Safety: mapped memory has no type.

  char* memory = nullptr;
  uint64_t address = 0;

 private:
  Client& client_;
  const d3dkmthandle allocation_;
};

// Where ops are submitted, and what they need.
class Gpu {
 public:
  explicit Gpu(Client& client)
      : client_(client),
        commands_(client, kSmallBytes),
        context_(client.CreateContext(0)),
        fence_(client.CreateFence()) {}

  // One of so many ops of a buffer, from the submission to the end of the wait.
  template <class Push>
  double Ns(int times, Push push) {
    dxg_commands list = dxg_commands_begin(commands_.memory, kSmallBytes);
    for (int i = 0; i < times; ++i) push(&list);
    const uint64_t start = NowNs();
    client_.Submit(context_, commands_.address, static_cast<uint32_t>(list.used));
    client_.SignalFromGpu(context_, fence_, ++value_);
    client_.Wait(fence_, value_);
    return static_cast<double>(NowNs() - start) / times;
  }

 private:
  Client& client_;
  const GpuArray commands_;
  const d3dkmthandle context_;
  const Client::Fence fence_;
  uint64_t value_ = 0;
};

template <class Work>
double PlainNs(int times, Work work) {
  const uint64_t start = NowNs();
  for (int i = 0; i < times; ++i) {
    work();
    asm volatile("" : : : "memory");  // each of them, although the next one does the same
  }
  return static_cast<double>(NowNs() - start) / times;
}

std::string SizeOf(uint64_t bytes) {
  return bytes >= 1 << 20 ? fmt::format("{} MiB", bytes >> 20) : fmt::format("{} KiB", bytes >> 10);
}

// By the bytes that are read and written, so that ADD, which has two sources, compares with a copy as well.
void CompareMoves(Run& run, Client& client, Gpu& gpu, uint64_t bytes, double least) {
  const int times = bytes <= kSmallBytes ? 1024 : 1;
  const GpuArray a(client, bytes), b(client, bytes), to(client, bytes);
  const PlainMemory from(bytes), plain(bytes);
  const std::string size = SizeOf(bytes);
  std::fill_n(a.floats(), bytes / sizeof(float), 1.5f);
  std::fill_n(b.floats(), bytes / sizeof(float), 2.5f);
  run.Settle(
      {{fmt::format("COPY of {}, speed / memcpy", size), Limit::kAtLeast, least},
       {fmt::format("FILL of {}, speed / memset", size), Limit::kAtLeast, least},
       {fmt::format("ADD of f32 to {}, bytes in a second / memcpy", size), Limit::kAtLeast, least}},
      [&]() -> std::vector<double> {
        const double copy = PlainNs(times, [&] { std::memcpy(plain.bytes(), from.bytes(), bytes); });
        const double gpu_copy =
            gpu.Ns(times, [&](auto* list) { dxg_push_copy(list, to.address, a.address, bytes); });
        const double fill = PlainNs(times, [&] { std::memset(plain.bytes(), 7, bytes); });
        const double gpu_fill = gpu.Ns(times, [&](auto* list) { dxg_push_fill(list, to.address, bytes, 7); });
        const double copy_again = PlainNs(times, [&] { std::memcpy(plain.bytes(), from.bytes(), bytes); });
        const double gpu_add = gpu.Ns(times, [&](auto* list) {
          dxg_push_add(list, to.address, a.address, b.address, bytes / sizeof(float), DXG_TYPE_F32);
        });
        return {copy / gpu_copy, fill / gpu_fill, 1.5 * copy_again / gpu_add};
      });
  if (to.floats()[bytes / sizeof(float) - 1] != 4) Fail("the sum did not arrive");
}

void CompareArrays(Run& run, Client& client, Gpu& gpu, const PlainBlas& blas) {
  constexpr int kTimes = 32;
  const GpuArray a(client, kMatrixBytes), b(client, kMatrixBytes), c(client, kMatrixBytes);
  const PlainMemory plain_a(kMatrixBytes), plain_b(kMatrixBytes), plain_c(kMatrixBytes);
  uint32_t random = 1;
  for (uint64_t i = 0; i < kElements; ++i) {
    // Between 0 and 1, with all the bits that such numbers have.
    for (float* const to : {&a.floats()[i], &b.floats()[i]}) {
      random = random * 1664525 + 1013904223;
      *to = static_cast<float>(random) / 4294967296.0f;
    }
  }
  std::memcpy(plain_a.bytes(), a.memory, kMatrixBytes);
  std::memcpy(plain_b.bytes(), b.memory, kMatrixBytes);

  dxg_op_matmul product = {};
  product.c = c.address;
  product.a = a.address;
  product.b = b.address;
  product.m = product.n = product.k = product.a_row = product.b_row = product.c_row = kSide;
  product.type = DXG_TYPE_F32;
  const auto multiply = [&](auto* list) { dxg_push_matmul(list, product); };
  const auto reduce = [&](uint32_t how) {
    return
        [&, how](auto* list) { dxg_push_reduce(list, c.address, a.address, kElements, DXG_TYPE_F32, how); };
  };
  const auto mad = [&](auto* list) {
    dxg_push_mad(list, c.address, a.address, b.address, c.address, kElements, DXG_TYPE_F32);
  };
  constexpr auto kCount = static_cast<int>(kElements);
  const volatile float factor = 0.5f;
  volatile float sum = 0;
  run.Settle({{"MATMUL f32 512x512, speed / OpenBLAS sgemm", Limit::kAtLeast, 0.5},
              {"MAD of 512x512 f32, speed / OpenBLAS saxpy", Limit::kAtLeast, 0.5},
              {"REDUCE of 512x512 f32 to a sum, speed / OpenBLAS ssum", Limit::kAtLeast, 0.5},
              {"REDUCE of 512x512 f32 to the least, speed / OpenBLAS ssum", Limit::kAtLeast, 0.5}},
             [&]() -> std::vector<double> {
               const double gemm = PlainNs(
                   1, [&] { blas.Multiply(kSide, plain_a.floats(), plain_b.floats(), plain_c.floats()); });
               const double gpu_multiply = gpu.Ns(1, multiply);
               std::memset(c.memory, 0, kMatrixBytes);
               std::memset(plain_c.bytes(), 0, kMatrixBytes);
               const double axpy = PlainNs(
                   kTimes, [&] { blas.AddMultiple(kCount, factor, plain_a.floats(), plain_c.floats()); });
               const double gpu_mad = gpu.Ns(kTimes, mad);
               const double asum = PlainNs(kTimes, [&] { sum = blas.Sum(kCount, plain_a.floats()); });
               const double gpu_sum = gpu.Ns(kTimes, reduce(DXG_REDUCE_SUM));
               const double gpu_least = gpu.Ns(kTimes, reduce(DXG_REDUCE_MIN));
               return {gemm / gpu_multiply, axpy / gpu_mad, asum / gpu_sum, asum / gpu_least};
             });
  gpu.Ns(1, multiply);
  float expected = 0;
  for (uint64_t k = 0; k < kSide; ++k) {
    const volatile float part = a.floats()[k] * b.floats()[k * kSide];  // not fused
    expected += part;
  }
  if (c.floats()[0] != expected) Fail("the product is not the one of a loop");
}

}  // namespace

void MeasureOps(Run& run) {
  PinToOneCore();
  const Server node = Server::Daemon();
  Client client(node.fd());
  client.CreateQueue();
  Gpu gpu(client);
  CompareMoves(run, client, gpu, kSmallBytes, 0.8);
  CompareMoves(run, client, gpu, (run.smoke() ? 16ull : 256ull) << 20, 0.9);
  const PlainBlas blas;
  if (!blas) {
    fmt::print(
        stderr,
        "dxg-bench: libopenblas.so.0 is not there; install libopenblas0 for what is compared with it\n");
    return;
  }
  CompareArrays(run, client, gpu, blas);
}

}  // namespace dxg::bench
