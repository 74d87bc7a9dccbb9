// ReserveGpuVirtualAddress, MapGpuVirtualAddress, FreeGpuVirtualAddress, UpdateGpuVirtualAddress: what the
// guest looks at. All the rest is the host's (sim_gpu_va_test.cc).

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "tests/conformance/limits.h"
#include "tests/conformance/memory.h"
#include "tests/conformance/memory_client.h"

namespace dxg::conformance {
namespace {

constexpr uint32_t kOperationsInAMessage = 2046;

d3dddi_reservegpuvirtualaddress Reservation(d3dkmthandle by) {
  d3dddi_reservegpuvirtualaddress args = {};
  args.adapter = by;
  args.size = kReserveUnit;
  return args;
}

// ---- Reserve ----

TEST(ReserveGpuVa, RefusesWhatIsNeitherAdapterNorQueue) {
  const MemoryClient client;
  const PagingQueue stale = client.CreatePagingQueue();
  client.TryDestroyPagingQueue(stale.handle);
  for (d3dkmthandle bad : {Handle(0), Handle(0x40fff000), stale.handle}) {
    auto args = Reservation(bad);
    EXPECT_EQ(client.node.TryIoctl(LX_DXRESERVEGPUVIRTUALADDRESS, args), -EINVAL) << bad.v;
  }
}

TEST(ReserveGpuVa, TakesAnAdapterOrAQueueAndWritesTheAddressOnly) {
  MemoryClient client;
  for (d3dkmthandle by : {client.node.FirstAdapter(), client.CreatePagingQueue().handle}) {
    auto args = Reservation(by);
    args.paging_fence_value = 0x5a5a;
    const auto before = args;
    ASSERT_EQ(client.node.TryIoctl(LX_DXRESERVEGPUVIRTUALADDRESS, args), 0);
    EXPECT_NE(args.virtual_address, 0u);
    EXPECT_EQ(args.virtual_address % kReserveUnit, 0u);
    args.virtual_address = 0;
    EXPECT_EQ(std::memcmp(&args, &before, sizeof(args)), 0) << "the fence value is not written";
  }
}

// ---- Map ----

TEST(MapGpuVa, RefusesWhatIsNoQueue) {
  MemoryClient client;
  for (d3dkmthandle bad : {Handle(0), Handle(0x40fff000), client.device}) {
    d3dddi_mapgpuvirtualaddress args = {};
    args.paging_queue = bad;
    args.size_in_pages = 1;
    EXPECT_EQ(client.node.TryIoctl(LX_DXMAPGPUVIRTUALADDRESS, args), -EINVAL);
  }
}

TEST(MapGpuVa, WritesTwoFieldsAndNothingElse) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  d3dddi_mapgpuvirtualaddress args = {};
  args.paging_queue = client.CreatePagingQueue().handle;
  args.allocation = client.Create(4 * kPageBytes);
  args.size_in_pages = 4;
  args.protection.write = 1;
  args.reserved0 = 0x5a5a5a5a;
  const auto before = args;
  const int result = client.node.TryIoctl(LX_DXMAPGPUVIRTUALADDRESS, args);
  ASSERT_TRUE(result == 0 || result == kPending) << ResultName(result);
  EXPECT_NE(args.virtual_address, 0u);
  EXPECT_EQ(args.virtual_address % kPageBytes, 0u);
  args.virtual_address = args.paging_fence_value = 0;
  EXPECT_EQ(std::memcmp(&args, &before, sizeof(args)), 0);
}

TEST(MapGpuVa, FenceReachesTheValue) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const PagingQueue queue = client.CreatePagingQueue();
  for (int i = 0; i < 10; ++i) {
    d3dddi_mapgpuvirtualaddress args = {};
    args.paging_queue = queue.handle;
    args.allocation = client.Create();
    args.size_in_pages = 1;
    const int result = client.node.TryIoctl(LX_DXMAPGPUVIRTUALADDRESS, args);
    ASSERT_TRUE(result == 0 || result == kPending) << ResultName(result);
    queue.WaitFor(args.paging_fence_value);
  }
}

// ---- Free ----

TEST(FreeGpuVa, RefusesWhatIsNoAdapterAndAQueueToo) {
  const MemoryClient client;
  const PagingQueue queue = client.CreatePagingQueue();
  auto reservation = Reservation(queue.handle);
  client.node.Ioctl(LX_DXRESERVEGPUVIRTUALADDRESS, reservation, "ReserveGpuVirtualAddress");
  for (d3dkmthandle bad : {Handle(0), Handle(0x40fff000), queue.handle}) {
    d3dkmt_freegpuvirtualaddress args = {};
    args.adapter = bad;
    args.base_address = reservation.virtual_address;
    args.size = kReserveUnit;
    EXPECT_EQ(client.node.TryIoctl(LX_DXFREEGPUVIRTUALADDRESS, args), -EINVAL) << bad.v;
  }
}

TEST(FreeGpuVa, FreesWhatWasReservedOnce) {
  MemoryClient client;
  auto reservation = Reservation(client.node.FirstAdapter());
  client.node.Ioctl(LX_DXRESERVEGPUVIRTUALADDRESS, reservation, "ReserveGpuVirtualAddress");
  d3dkmt_freegpuvirtualaddress args = {};
  args.adapter = client.node.FirstAdapter();
  args.base_address = reservation.virtual_address;
  args.size = kReserveUnit;
  EXPECT_EQ(client.node.TryIoctl(LX_DXFREEGPUVIRTUALADDRESS, args), 0);
  EXPECT_LT(client.node.TryIoctl(LX_DXFREEGPUVIRTUALADDRESS, args), 0);
}

// ---- Update ----

TEST(UpdateGpuVa, RefusesWhatIsNoDeviceBeforeItLooksAtTheCount) {
  const MemoryClient client;
  for (d3dkmthandle bad : {Handle(0), Handle(0x40fff000), client.CreatePagingQueue().handle}) {
    d3dkmt_updategpuvirtualaddress args = {};
    args.device = bad;
    args.num_operations = 1;
    args.operations = kUnmappedAddress;
    EXPECT_EQ(client.node.TryIoctl(LX_DXUPDATEGPUVIRTUALADDRESS, args), -EINVAL);
  }
}

TEST(UpdateGpuVa, RefusesBadCountsBeforeItReadsTheOperations) {
  const MemoryClient client;
  d3dkmt_updategpuvirtualaddress args = {};
  args.device = client.device;
  args.operations = kUnmappedAddress;
  for (uint32_t count : {0u, kOperationsMax + 1, 0xffffffffu}) {
    args.num_operations = count;
    EXPECT_EQ(client.node.TryIoctl(LX_DXUPDATEGPUVIRTUALADDRESS, args), -EINVAL) << count;
  }
  for (uint32_t count : {1u, kOperationsInAMessage, kOperationsMax}) {
    args.num_operations = count;
    EXPECT_EQ(client.node.TryIoctl(LX_DXUPDATEGPUVIRTUALADDRESS, args), -EFAULT) << count;
  }
}

TEST(UpdateGpuVa, RefusesMoreThanAMessageHolds) {
  const MemoryClient client;
  std::vector<d3dddi_updategpuvirtualaddress_operation> operations(kOperationsMax);
  d3dkmt_updategpuvirtualaddress args = {};
  args.device = client.device;
  args.operations = Address(operations.data());
  args.fence_value = 77;
  const auto before = args;
  for (uint32_t count : {kOperationsInAMessage + 1, kOperationsMax}) {
    args.num_operations = count;
    EXPECT_EQ(client.node.TryIoctl(LX_DXUPDATEGPUVIRTUALADDRESS, args), -EINVAL) << count;
  }
  args.num_operations = 0;
  EXPECT_EQ(std::memcmp(&args, &before, sizeof(args)), 0);
}

TEST(UpdateGpuVa, FaultsOnOperationsThatEndTooEarly) {
  const MemoryClient client;
  GuardedMemory memory(2 * sizeof(d3dddi_updategpuvirtualaddress_operation));
  d3dkmt_updategpuvirtualaddress args = {};
  args.device = client.device;
  args.num_operations = 2;
  args.operations = memory.one_byte_short();
  EXPECT_EQ(client.node.TryIoctl(LX_DXUPDATEGPUVIRTUALADDRESS, args), -EFAULT);
}

}  // namespace
}  // namespace dxg::conformance
