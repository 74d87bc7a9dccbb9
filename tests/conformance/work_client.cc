#include "tests/conformance/work_client.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <stdexcept>

#include "tests/conformance/peer.h"

namespace dxg::conformance {
GpuMemory WorkClient::Attach(d3dkmthandle allocation, uint64_t bytes) const {
  MakeResident(paging, {&allocation, 1});
  return {allocation, Map(allocation, bytes), Lock(allocation), bytes};
}

uint64_t WorkClient::Map(d3dkmthandle allocation, uint64_t bytes, bool writable) const {
  d3dddi_mapgpuvirtualaddress args = {};
  args.paging_queue = paging.handle;
  args.allocation = allocation;
  args.size_in_pages = (bytes + kPageBytes - 1) / kPageBytes;
  args.protection.write = writable ? 1 : 0;
  const int result = node.TryIoctl(LX_DXMAPGPUVIRTUALADDRESS, args);
  if (result == kPending)
    paging.WaitFor(args.paging_fence_value);
  else
    Require(result, "MapGpuVirtualAddress");
  return args.virtual_address;
}

Commands WorkClient::Place(const void* bytes, size_t count) const {
  if (count > kCommandsMax) throw std::logic_error("more commands than a test has room for");
  const GpuMemory memory = Allocate((count + kPageBytes - 1) / kPageBytes * kPageBytes);
  std::memcpy(memory.cpu, bytes, count);
  return {memory.gpu, static_cast<uint32_t>(count)};
}

void WorkClient::Submit(d3dkmthandle context, const Commands& commands, uint32_t flags) const {
  Require(TrySubmitTo(context, commands, flags), "SubmitCommand");
}

void WorkClient::Submit(const HwQueue& queue, uint64_t progress, const Commands& commands) const {
  Require(TryHwSubmit(queue.handle, progress, commands.gpu, commands.bytes), "SubmitCommandToHwQueue");
}

void WorkClient::Run(const Commands& commands, uint32_t node_ordinal) const {
  const d3dkmthandle context = CreateContext(node_ordinal);
  Submit(context, commands);
  Finish(context);
  node.DestroyContext(context);
}

bool HostIsAsynchronous() {
  static const bool is = [] {
    const SyncClient client;
    const Fence fence = client.CreateFence();
    return client.TrySignal(fence.handle, 1, signal_flags::kEnqueueCpuEvent) == 0;  // has no event to set
  }();
  return is;
}

namespace {

void ExpectRefused(WorkClient& client, int error, const std::function<int(WorkClient&)>& call) {
  const int result = call(client);
  EXPECT_EQ(result, HostIsAsynchronous() ? 0 : error) << ResultName(result);
}

}  // namespace

void ExpectHostRefuses(int error, const std::function<int(WorkClient&)>& call) {
  WorkClient client;
  ExpectRefused(client, error, call);
  client.Run(client.Nothing());
  EXPECT_EQ(client.State(), kActive);
}

void ExpectHostRefusesWork(int error, const std::function<int(WorkClient&)>& call) {
  WorkClient client;
  ExpectRefused(client, error, call);
  if (!HostIsAsynchronous()) {
    EXPECT_EQ(client.State(), kActive);
    return;
  }
  EXPECT_TRUE(Eventually([&] { return client.State() != kActive; })) << "the device goes on";
}

}  // namespace dxg::conformance
