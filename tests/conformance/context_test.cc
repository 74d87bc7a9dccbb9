// CreateContextVirtual, DestroyContext, and the scheduling priorities of a context.

#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "tests/conformance/limits.h"
#include "tests/conformance/memory.h"
#include "tests/conformance/node.h"
#include "tests/conformance/race.h"

namespace dxg::conformance {
namespace {

int TryCreateContext(const Node& node, d3dkmthandle device, uint64_t private_data = 0,
                     uint32_t private_data_size = 0) {
  d3dkmt_createcontextvirtual args = {};
  args.device = device;
  args.priv_drv_data = private_data;
  args.priv_drv_data_size = private_data_size;
  return node.TryIoctl(LX_DXCREATECONTEXTVIRTUAL, args);
}

int TryDestroy(const Node& node, d3dkmthandle context) {
  d3dkmt_destroycontext args = {context};
  return node.TryIoctl(LX_DXDESTROYCONTEXT, args);
}

// ---- CreateContextVirtual ----

TEST(CreateContext, RefusesUnknownDevice) {
  const Node node = OpenNode();
  EXPECT_EQ(TryCreateContext(node, Handle(0)), -EINVAL);
  EXPECT_EQ(TryCreateContext(node, Handle(0x40000000)), -EINVAL);
}

TEST(CreateContext, RefusesADestroyedDevice) {
  Node node = OpenNode();
  const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
  node.DestroyDevice(device);
  EXPECT_EQ(TryCreateContext(node, device), -EINVAL);
}

// Elsewhere a bad pointer is EFAULT. Here every failure on the way to the host is the same one.
TEST(CreateContext, BadPrivateDataIsInvalidAndNotAFault) {
  Node node = OpenNode();
  const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
  for (uint64_t address : {uint64_t{0}, kUnmappedAddress, kKernelAddress})
    EXPECT_EQ(TryCreateContext(node, device, address, 13), -EINVAL);
}

TEST(CreateContext, RefusesMorePrivateDataThanAMessageHolds) {
  Node node = OpenNode();
  const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
  GuardedMemory memory(kMessageMax + 1);
  for (uint32_t size : {kMessageMax, kMessageMax + 1, 0xffffffffu})
    EXPECT_EQ(TryCreateContext(node, device, memory.address(), size), -EINVAL) << size;
}

TEST(CreateContext, WritesTheContextFieldAndNothingElse) {
  SKIP_WITHOUT_CONTEXTS();
  Node node = OpenNode();
  d3dkmt_createcontextvirtual args = {};
  args.device = node.CreateDevice(node.FirstAdapter());
  args.client_hint = _D3DKMT_CLIENTHINT_OPENGL;
  const d3dkmt_createcontextvirtual before = args;
  ASSERT_EQ(node.TryIoctl(LX_DXCREATECONTEXTVIRTUAL, args), 0);
  EXPECT_TRUE(node.IsContext(args.context));
  args.context.v = 0;
  EXPECT_EQ(std::memcmp(&args, &before, sizeof(args)), 0);
}

TEST(CreateContext, PointerIsIgnoredWithoutASize) {
  SKIP_WITHOUT_CONTEXTS();
  Node node = OpenNode();
  EXPECT_EQ(TryCreateContext(node, node.CreateDevice(node.FirstAdapter()), kUnmappedAddress, 0), 0);
}

TEST(CreateContext, GivesEachContextItsOwnHandle) {
  SKIP_WITHOUT_CONTEXTS();
  Node node = OpenNode();
  const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
  std::set<uint32_t> handles = {device.v};
  for (int i = 0; i < 50; ++i) handles.insert(node.CreateContext(device).v);
  EXPECT_EQ(handles.size(), 51u);
  EXPECT_EQ(handles.count(0), 0u);
}

// ---- DestroyContext ----

TEST(DestroyContext, RefusesUnknownContext) {
  const Node node = OpenNode();
  EXPECT_EQ(TryDestroy(node, Handle(0)), -EINVAL);
  EXPECT_EQ(TryDestroy(node, Handle(0x40000000)), -EINVAL);
}

TEST(DestroyContext, RefusesASecondTime) {
  SKIP_WITHOUT_CONTEXTS();
  Node node = OpenNode();
  const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
  const d3dkmthandle context = node.CreateContext(device), other = node.CreateContext(device);
  EXPECT_EQ(TryDestroy(node, context), 0);
  EXPECT_EQ(TryDestroy(node, context), -EINVAL);
  EXPECT_TRUE(node.IsContext(other));
  EXPECT_TRUE(node.IsDevice(device));
}

TEST(DestroyContext, RefusesADeviceHandle) {
  Node node = OpenNode();
  const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
  EXPECT_EQ(TryDestroy(node, device), -EINVAL);
  EXPECT_TRUE(node.IsDevice(device));
}

TEST(DestroyContext, OneOfManyThreadsWins) {
  SKIP_WITHOUT_CONTEXTS();
  Node node = OpenNode();
  const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
  for (int round = 0; round < 50; ++round) {
    const d3dkmthandle context = node.CreateContext(device);
    ExpectOneWinner([&] { return TryDestroy(node, context); });
  }
}

// ---- Scheduling priorities ----

TEST(SchedulingPriority, RefusesUnknownContext) {
  const Node node = OpenNode();
  for (uint32_t handle : {0u, 0x40000000u, 0xffffffffu}) {
    d3dkmt_getcontextschedulingpriority get = {Handle(handle), 77};
    d3dkmt_setcontextschedulingpriority set = {Handle(handle), 0};
    EXPECT_EQ(node.TryIoctl(LX_DXGETCONTEXTSCHEDULINGPRIORITY, get), -EINVAL);
    EXPECT_EQ(node.TryIoctl(LX_DXGETCONTEXTINPROCESSSCHEDULINGPRIORITY, get), -EINVAL);
    EXPECT_EQ(node.TryIoctl(LX_DXSETCONTEXTSCHEDULINGPRIORITY, set), -EINVAL);
    EXPECT_EQ(node.TryIoctl(LX_DXSETCONTEXTINPROCESSSCHEDULINGPRIORITY, set), -EINVAL);
    EXPECT_EQ(get.priority, 77);
  }
}

TEST(SchedulingPriority, RefusesADeviceHandle) {
  Node node = OpenNode();
  d3dkmt_getcontextschedulingpriority get = {node.CreateDevice(node.FirstAdapter()), 0};
  EXPECT_EQ(node.TryIoctl(LX_DXGETCONTEXTSCHEDULINGPRIORITY, get), -EINVAL);
}

}  // namespace
}  // namespace dxg::conformance
