// A job from end to end: the product of two matrices, tile by tile, on two engines and in two processes that
// share the matrices and a fence by descriptor.

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/conformance/peer.h"
#include "tests/conformance/sim_queries.h"
#include "tests/conformance/work_client.h"

namespace dxg::conformance {
namespace {

constexpr uint32_t kSize = 512, kTile = 128, kTiles = kSize / kTile;
constexpr uint64_t kMatrixBytes = uint64_t{kSize} * kSize * sizeof(float);
constexpr uint32_t kPeers = 2, kEngines = 2;

struct Matrices {
  GpuMemory a, b, c;
};

dxg_op_matmul TileOf(const Matrices& matrices, uint32_t row, uint32_t column) {
  const auto at = [](uint64_t base, uint32_t i, uint32_t j) {
    return base + (uint64_t{i} * kTile * kSize + uint64_t{j} * kTile) * sizeof(float);
  };
  dxg_op_matmul op = {};
  op.c = at(matrices.c.gpu, row, column);
  op.a = at(matrices.a.gpu, row, 0);
  op.b = at(matrices.b.gpu, 0, column);
  op.m = op.n = kTile;
  op.k = op.a_row = op.b_row = op.c_row = kSize;
  op.type = DXG_TYPE_F32;
  return op;
}

// Every kPeers-th tile, on the engines in turn. Begins when the matrices are there, and each engine adds its
// part to what says that they are done.
void Multiply(const WorkClient& client, const Matrices& matrices, const Fence& ready, const Fence& done,
              uint32_t which) {
  std::vector<HwQueue> queues;
  for (uint32_t engine = 0; engine < kEngines; ++engine) {
    queues.push_back(client.CreateHwQueue(engine));
    ASSERT_EQ(client.TryHwWait(queues.back(), ready.handle, 1), 0);
  }
  for (uint32_t tile = which; tile < kTiles * kTiles; tile += kPeers) {
    const Commands commands = client.Compile(
        [&](dxg_commands* out) { dxg_push_matmul(out, TileOf(matrices, tile / kTiles, tile % kTiles)); });
    client.Submit(queues[tile / kPeers % kEngines], tile + 1, commands);
  }
  const Commands count =
      client.Compile([&](dxg_commands* out) { dxg_push_atomic_add64(out, done.gpu_address, 1); });
  for (const HwQueue& queue : queues) client.Submit(queue, kTiles * kTiles + 1, count);
}

TEST(SimMatmul, TiledOverTwoEnginesAndTwoProcessesIsRight) {
  WorkClient client;
  ASSERT_GE(Nodes(client.node).size(), kEngines) << "the adapter has too few engines";
  const SharedResource resource = client.CreateResource(3, kMatrixBytes, true);
  const Matrices matrices = {client.Attach(resource.allocations[0], kMatrixBytes),
                             client.Attach(resource.allocations[1], kMatrixBytes),
                             client.Attach(resource.allocations[2], kMatrixBytes)};
  const Fence ready = client.CreateFence(0, sync_flags::kShared),
              done = client.CreateFence(0, sync_flags::kShared);
  const Descriptor shared(client.Share(resource.resource)), ready_fd(client.Share(ready.handle)),
      done_fd(client.Share(done.handle));

  Peer other([&](Peer& parent) {
    const WorkClient own;
    const SharedResource opened = own.OpenShared(shared.get());
    std::vector<GpuMemory> memory;
    for (d3dkmthandle allocation : opened.allocations) {
      own.MakeResident(own.paging, {&allocation, 1});
      memory.push_back({allocation, own.Map(allocation, kMatrixBytes), nullptr, kMatrixBytes});
    }
    const Fence own_done = own.OpenFence(done_fd.get());
    Multiply(own, {memory[0], memory[1], memory[2]}, own.OpenFence(ready_fd.get()), own_done, 1);
    parent.Send(0);
    own.Wait(own_done, kPeers * kEngines);
    parent.Receive();
  });
  Multiply(client, matrices, ready, done, 0);
  other.Receive();

  // Both have all of their work queued. Only now there is something to multiply.
  const auto a = matrices.a.as<float>(), b = matrices.b.as<float>(), c = matrices.c.as<float>();
  for (uint32_t i = 0; i < kSize * kSize; ++i) {
    a[i] = static_cast<float>(i % 97) / 8.0f - 5.0f;
    b[i] = static_cast<float>(i % 89) / 4.0f - 9.0f;
    c[i] = -1.0f;
  }
  client.Signal(ready, 1);
  client.Wait(done, kPeers * kEngines);
  other.Send(0);
  other.Join();

  // The GPU adds in the order of a plain loop and rounds each step, so the bits are the same.
  size_t wrong = 0;
  std::vector<float> row(kSize);
  for (uint32_t i = 0; i < kSize; ++i) {
    std::fill(row.begin(), row.end(), 0.0f);
    for (uint32_t k = 0; k < kSize; ++k)
      for (uint32_t j = 0; j < kSize; ++j) {
        const volatile float product = a[i * kSize + k] * b[k * kSize + j];  // not fused
        row[j] += product;
      }
    for (uint32_t j = 0; j < kSize; ++j) wrong += row[j] != c[i * kSize + j];
  }
  EXPECT_EQ(wrong, 0u) << "of " << kSize * kSize << " elements";
  EXPECT_EQ(client.State(), kActive);
}

}  // namespace
}  // namespace dxg::conformance
