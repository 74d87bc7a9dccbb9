// Work that loses its memory, context, device or process while it is queued, and work that goes wrong
// itself. Numbers in brackets are rules of docs/host-rules.md.

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>

#include "proto/abi/flags.h"
#include "tests/conformance/peer.h"
#include "tests/conformance/work_client.h"

namespace dxg::conformance {
namespace {

struct PageFaultRecord {
  uint64_t sequence;
  uint32_t stage, binding, flags, error;
  uint64_t address;
};

PageFaultRecord GetPageFault(const WorkClient& client) {
  d3dkmt_getdevicestate args = {};
  args.device = client.device;
  args.state_type = _D3DKMT_DEVICESTATE_PAGE_FAULT;
  client.node.Ioctl(LX_DXGETDEVICESTATE, args, "GetDeviceState");
  PageFaultRecord record;
  std::memcpy(&record, &args.page_fault_state, sizeof(record));
  return record;
}

// Submits what fails, and waits until the device shows it. Maps nothing more for the GPU.
void Break(const WorkClient& client, const Commands& commands) {
  client.Submit(client.CreateContext(), commands);
  ASSERT_TRUE(Eventually([&] { return client.State() != kActive; }));
}

// ---- What goes away under its work ----

// [CTX] 67
TEST(SimDestroyContext, WithPendingPacketsDisturbsNobody) {
  const WorkClient client;
  const d3dkmthandle doomed = client.CreateContext(), other = client.CreateContext();
  const Fence gate = client.CreateFence(), never = client.CreateFence();
  client.GpuWait(doomed, gate, 1);
  for (int i = 0; i < 10; ++i) client.Submit(doomed, client.Nothing());
  client.GpuSignal(doomed, never, 1);
  client.node.DestroyContext(doomed);
  client.Signal(gate, 1);
  client.Finish(other);
  EXPECT_EQ(never.Value(), 0u);
  EXPECT_EQ(client.State(), kActive);
}

// [DEV] 53
TEST(SimDestroyDevice, RunsNoSignalThatHasNotBegun) {
  const SyncClient watching;
  const Fence shared = watching.CreateFence(0, sync_flags::kShared);
  const Descriptor descriptor(watching.Share(shared.handle));
  {
    const WorkClient client;
    const Fence opened = client.OpenFence(descriptor.get(), sync_flags::kNoSignalMaxValueOnTdr);
    const Fence gate = client.CreateFence();
    const d3dkmthandle context = client.CreateContext();
    client.GpuWait(context, gate, 1);
    client.Submit(context, client.Nothing());
    client.GpuSignal(context, opened, 1);
    client.node.DestroyDevice(client.device);
  }
  watching.Finish(watching.CreateContext());
  EXPECT_EQ(shared.Value(), 0u);
}

// A client that is killed with work queued and running takes it along.
TEST(SimKilledClient, TakesItsWorkAlong) {
  for (int round = 0; round < 3; ++round) {
    Peer other([](Peer& parent) {
      const WorkClient client;
      const d3dkmthandle context = client.CreateContext();
      const Fence gate = client.CreateFence();
      client.Submit(context,
                    client.Compile([](dxg_commands* commands) { dxg_push_delay(commands, 1'000'000); }));
      client.GpuWait(context, gate, 1);
      const Commands nothing = client.Nothing();
      for (int i = 0; i < 100; ++i) client.Submit(context, nothing);
      parent.Send(0);
      parent.Receive();
    });
    other.Receive();
    other.Kill();
    const WorkClient next;
    next.Run(next.Nothing());
    EXPECT_EQ(next.State(), kActive);
  }
}

// [ALC] 86: what earlier work uses is there until it is done.
TEST(SimDestroyAllocation, WaitsBehindTheScenesForEarlierWork) {
  const WorkClient client;
  const GpuMemory memory = client.Allocate(), result = client.Allocate();
  const d3dkmthandle context = client.CreateContext();
  const Fence gate = client.CreateFence();
  FillPattern(memory.as<std::byte>(), 9);
  client.GpuWait(context, gate, 1);
  client.Submit(context, client.Compile([&](dxg_commands* commands) {
    dxg_push_copy(commands, result.gpu, memory.gpu, kPageBytes);
  }));
  client.Destroy(memory.allocation);
  client.Signal(gate, 1);
  client.Finish(context);
  EXPECT_EQ(client.State(), kActive);
  EXPECT_EQ(FindWrongByte(result.as<std::byte>(), 9), -1);
}

// [ALC] 87: whoever says that nobody uses it, and does, has the fault.
TEST(SimDestroyAllocation, AssumedUnusedFaultsOnlyWhoUsesIt) {
  const WorkClient client;
  const WorkClient bystander;
  const GpuMemory memory = client.Allocate();
  const d3dkmthandle context = client.CreateContext();
  const Fence gate = client.CreateFence();
  client.GpuWait(context, gate, 1);
  client.Submit(context,
                client.Compile([&](dxg_commands* commands) { dxg_push_write64(commands, memory.gpu, 1); }));
  ASSERT_EQ(client.TryDestroy({&memory.allocation, 1}, DXG_DESTROY_ASSUME_NOT_IN_USE), 0);
  client.Signal(gate, 1);
  EXPECT_TRUE(Eventually([&] { return client.State() != kActive; }));
  EXPECT_EQ(client.State(), kPageFault);
  bystander.Run(bystander.Nothing());
  EXPECT_EQ(bystander.State(), kActive);
}

// [ALC] 88
TEST(SimDestroyAllocation, ASynchronousOneWaitsForEarlierWork) {
  constexpr uint32_t kSynchronousDestroy = 1 << 1;
  const WorkClient client;
  const GpuMemory memory = client.Allocate();
  const d3dkmthandle context = client.CreateContext();
  const Fence gate = client.CreateFence(), done = client.CreateFence();
  client.GpuWait(context, gate, 1);
  client.Submit(context,
                client.Compile([&](dxg_commands* commands) { dxg_push_write64(commands, memory.gpu, 1); }));
  client.GpuSignal(context, done, 1);
  Waiter destroyer([&] { return client.TryDestroy({&memory.allocation, 1}, kSynchronousDestroy); });
  destroyer.UntilInCall();
  client.Finish(client.CreateContext());
  EXPECT_FALSE(destroyer.IsDone());
  client.Signal(gate, 1);
  EXPECT_EQ(destroyer.Join(), 0);
  client.Wait(done, 1);
  EXPECT_EQ(client.State(), kActive);
}

// [RES] 115: work that is submitted while memory is on its way begins when it has arrived.
TEST(SimSubmit, RunsWhenTheDevicesMemoryIsThere) {
  const WorkClient client;
  constexpr uint64_t kBytes = 256 * kMiB;
  const d3dkmthandle allocation = client.Create(kBytes), context = client.CreateContext();
  const uint64_t address = client.Map(allocation, kBytes);
  const Commands write =
      client.Compile([&](dxg_commands* commands) { dxg_push_write64(commands, address + kBytes - 8, 1); });
  uint64_t value = 0;
  ASSERT_EQ(client.TryMakeResident(client.paging, {&allocation, 1}, 0, &value), kPending);
  client.Submit(context, write);
  client.Finish(context);
  EXPECT_GE(client.paging.Value(), value);
  EXPECT_EQ(client.State(), kActive);
}

// [LCK] 93
TEST(SimLock, DoesNotWaitForTheGpu) {
  const WorkClient client;
  const d3dkmthandle allocation = client.Create();
  client.MakeResident(client.paging, {&allocation, 1});
  const uint64_t address = client.Map(allocation, kPageBytes);
  const d3dkmthandle context = client.CreateContext();
  const Fence gate = client.CreateFence();
  client.GpuWait(context, gate, 1);
  client.Submit(context,
                client.Compile([&](dxg_commands* commands) { dxg_push_write64(commands, address, 1); }));
  const std::byte* cpu = client.Lock(allocation);
  EXPECT_EQ(cpu[0], std::byte{0});
  client.Signal(gate, 1);
  client.Finish(context);
  EXPECT_EQ(cpu[0], std::byte{1});
}

// [OFR] 123
TEST(SimOffer, WaitsForWorkThatWasSubmittedBefore) {
  const WorkClient client;
  const GpuMemory memory = client.Allocate(), result = client.Allocate();
  const d3dkmthandle context = client.CreateContext();
  const Fence gate = client.CreateFence();
  FillPattern(memory.as<std::byte>(), 3);
  client.Unlock(memory.allocation);
  client.GpuWait(context, gate, 1);
  client.Submit(context, client.Compile([&](dxg_commands* commands) {
    dxg_push_copy(commands, result.gpu, memory.gpu, kPageBytes);
  }));
  client.Offer(memory.allocation, _D3DKMT_OFFER_PRIORITY_LOW);
  client.Signal(gate, 1);
  client.Finish(context);
  EXPECT_EQ(client.State(), kActive);
  EXPECT_EQ(FindWrongByte(result.as<std::byte>(), 3), -1);
}

// ---- Faults ----

// [DEV] 43, 44, 47, 51
TEST(SimPageFault, StopsTheDeviceAndSaysWhere) {
  const WorkClient client;
  const WorkClient bystander;
  const uint64_t nowhere = uint64_t{1} << 46;
  EXPECT_EQ(GetPageFault(client).address, 0u);
  Break(client, client.Compile([&](dxg_commands* commands) { dxg_push_write64(commands, nowhere, 1); }));
  EXPECT_EQ(client.State(), kPageFault);
  EXPECT_EQ(GetPageFault(client).address, nowhere);
  EXPECT_EQ(GetPageFault(client).flags & 1, 1u) << "it was a write";
  EXPECT_EQ(bystander.State(), kActive);
  bystander.Run(bystander.Nothing());
  const WorkClient next;
  EXPECT_EQ(next.State(), kActive) << "a new device is healthy";
  EXPECT_EQ(client.State(), kPageFault) << "and the old one is not again";
}

// [GVA] 131, 132 and 135, [RES] 113
TEST(SimPageFault, IsWhatForbiddenAccessesAre) {
  enum Access { kReadNoAccess, kWriteReadOnly, kReadFreed, kReadEvicted };
  for (Access access : {kReadNoAccess, kWriteReadOnly, kReadFreed, kReadEvicted}) {
    WorkClient client;
    const d3dkmthandle allocation = client.Create();
    client.MakeResident(client.paging, {&allocation, 1});
    uint64_t address = client.Map(allocation, kPageBytes, access != kWriteReadOnly);
    if (access == kReadNoAccess) {
      d3dddi_reservegpuvirtualaddress reserve = {};
      reserve.adapter = client.paging.handle;
      reserve.size = 65536;
      client.node.Ioctl(LX_DXRESERVEGPUVIRTUALADDRESS, reserve, "ReserveGpuVirtualAddress");
      client.paging.WaitFor(reserve.paging_fence_value);
      address = reserve.virtual_address;
    }
    const Commands touch = client.Compile([&](dxg_commands* commands) {
      dxg_push_touch(commands, address, access == kWriteReadOnly ? DXG_TOUCH_WRITE : 0);
    });
    if (access == kReadFreed) {
      d3dkmt_freegpuvirtualaddress free_range = {};
      free_range.adapter = client.node.FirstAdapter();
      free_range.base_address = address;
      free_range.size = kPageBytes;
      client.node.Ioctl(LX_DXFREEGPUVIRTUALADDRESS, free_range, "FreeGpuVirtualAddress");
    }
    if (access == kReadEvicted) client.Evict({&allocation, 1});
    Break(client, touch);
    EXPECT_EQ(client.State(), kPageFault) << access;
    EXPECT_EQ(GetPageFault(client).address, address) << access;
  }
}

// [GVA] 131
TEST(SimZeroRange, ReadsZeroAndDropsWrites) {
  const WorkClient client;
  d3dddi_reservegpuvirtualaddress reserve = {};
  reserve.adapter = client.paging.handle;
  reserve.size = 65536;
  reserve.reservation_type = _D3DDDIGPUVA_RESERVE_ZERO;
  client.node.Ioctl(LX_DXRESERVEGPUVIRTUALADDRESS, reserve, "ReserveGpuVirtualAddress");
  client.paging.WaitFor(reserve.paging_fence_value);
  const GpuMemory memory = client.Allocate();
  memory.cpu[0] = std::byte{7};
  client.Run(client.Compile([&](dxg_commands* commands) {
    dxg_push_write64(commands, reserve.virtual_address, ~0ull);
    dxg_push_copy(commands, memory.gpu, reserve.virtual_address, 64);
  }));
  EXPECT_EQ(memory.Word(), 0u);
  EXPECT_EQ(client.State(), kActive);
}

// [GVA] 133
TEST(SimMapGpuVa, TwoAddressesOfOneAllocationAreTheSameBytes) {
  const WorkClient client;
  const GpuMemory memory = client.Allocate(4 * kPageBytes);
  const uint64_t second = client.Map(memory.allocation, memory.bytes);
  ASSERT_NE(second, memory.gpu);
  client.Run(client.Compile([&](dxg_commands* commands) {
    dxg_push_write64(commands, memory.gpu + 2 * kPageBytes, 11);
    dxg_push_copy(commands, second, second + 2 * kPageBytes, 8);
  }));
  EXPECT_EQ(memory.Word(), 11u);
}

// [GVA] 137
TEST(SimMapGpuVa, EveryProcessHasAddressesOfItsOwn) {
  const WorkClient client;
  const GpuMemory memory = client.Allocate();
  Peer other([](Peer& parent) {
    const WorkClient own;
    const GpuMemory mine = own.Allocate();
    own.Run(own.Compile([&](dxg_commands* commands) { dxg_push_write64(commands, mine.gpu, 2); }));
    EXPECT_EQ(mine.Word(), 2u);
    parent.Send(mine.gpu);
  });
  other.Receive();
  other.Join();
  client.Run(client.Compile([&](dxg_commands* commands) { dxg_push_write64(commands, memory.gpu, 1); }));
  EXPECT_EQ(memory.Word(), 1u);
}

TEST(SimFault, BadCommandsStopTheDevice) {
  struct Bad {
    uint32_t op, bytes;
  };
  for (const Bad& bad : {Bad{999, 8}, Bad{DXG_OP_WRITE64, 16}, Bad{DXG_OP_NOP, 0}, Bad{DXG_OP_FILL, 4096}}) {
    const WorkClient client;
    Break(client,
          client.Compile([&](dxg_commands* commands) { dxg_commands_append(commands, &bad, sizeof(bad)); }));
    EXPECT_EQ(client.State(), kDmaFault) << bad.op << " of " << bad.bytes;
  }
  const WorkClient client;
  Break(client, client.Compile([](dxg_commands* commands) { dxg_push_fault(commands, 5); }));
  EXPECT_EQ(client.State(), kDmaFault);
}

// [DEV] 46
TEST(SimBrokenDevice, TakesNoWorkAndGoesWell) {
  WorkClient client;
  const GpuMemory memory = client.Allocate();
  const d3dkmthandle context = client.CreateContext(), spare = client.CreateContext();
  const HwQueue queue = client.CreateHwQueue();
  const Fence fence = client.CreateFence();
  const Commands nothing = client.Nothing();
  Break(client, client.Compile([](dxg_commands* commands) { dxg_push_fault(commands, 5); }));

  const int refused = HostIsAsynchronous() ? 0 : -ENODEV;
  EXPECT_EQ(client.TrySubmitTo(context, nothing), refused);
  EXPECT_EQ(client.TryHwSubmit(queue.handle, 1, nothing.gpu, nothing.bytes), refused);
  EXPECT_EQ(client.TryGpuSignal(context, fence.handle, 1), refused);
  EXPECT_EQ(client.TryGpuWait(context, fence.handle, 0), refused);
  EXPECT_EQ(client.TryWait(fence.handle, 0), -ENODEV);
  EXPECT_FALSE(client.node.TryCreateContext(client.device).has_value());
  auto args = client.FenceArgs();
  EXPECT_NE(client.TryCreateSync(args), 0);

  client.Unlock(memory.allocation);
  client.Destroy(memory.allocation);
  client.DestroySync(fence.handle);
  EXPECT_EQ(client.TryDestroyHwQueue(queue.handle), 0);
  client.node.DestroyContext(spare);
  EXPECT_EQ(client.TryDestroyPagingQueue(client.paging.handle), 0);
  client.node.DestroyDevice(client.device);
}

// [SYN] 161: whoever waits for the device's fences is not left behind.
TEST(SimBrokenDevice, ItsFencesGoToTheHighestValue) {
  const WorkClient client;
  const Fence fence = client.CreateFence(3), kept = client.CreateFence(3, sync_flags::kNoSignalMaxValueOnTdr);
  const Event event;
  client.WaitEvent(fence.handle, ~0ull, event);
  Waiter waiter([&] { return client.TryWait(fence.handle, 100); });
  waiter.UntilInCall();
  Break(client, client.Compile([](dxg_commands* commands) { dxg_push_fault(commands, 5); }));
  event.Wait();
  EXPECT_EQ(fence.Value(), ~0ull);
  EXPECT_EQ(waiter.Join(), 0);
  EXPECT_EQ(kept.Value(), 3u);
}

// ---- Marked as error ----

// [DEV] 52
TEST(SimMarkDeviceAsError, EndsWhatWaits) {
  const WorkClient client;
  const Fence fence = client.CreateFence();
  Waiter waiter([&] { return client.TryWait(fence.handle, 1); });
  waiter.UntilInCall();
  d3dkmt_markdeviceaserror mark = {client.device, _D3DKMT_DEVICE_ERROR_REASON_GENERIC};
  client.node.Ioctl(LX_DXMARKDEVICEASERROR, mark, "MarkDeviceAsError");
  EXPECT_EQ(waiter.Join(), 0);
  EXPECT_EQ(fence.Value(), ~0ull);
  EXPECT_NE(client.State(), kActive);
}

}  // namespace
}  // namespace dxg::conformance
