// Questions to the adapter: what the guest checks before it asks the host, in its order, and what it changes
// in the answer. What the host answers is in the suites Sim*.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <vector>

#include "tests/conformance/limits.h"
#include "tests/conformance/memory.h"
#include "tests/conformance/node.h"
#include "tests/conformance/peer.h"

namespace dxg::conformance {
namespace {

// ---- QueryAdapterInfo ----

int TryQueryAt(const Node& node, d3dkmthandle adapter, uint64_t address, uint32_t size) {
  d3dkmt_queryadapterinfo args = {};
  args.adapter = adapter;
  args.type = KMTQAITYPE_ADAPTERTYPE;
  args.private_data = address;
  args.private_data_size = size;
  return node.TryIoctl(LX_DXQUERYADAPTERINFO, args);
}

TEST(QueryAdapterInfo, RefusesSizesThatNoMessageHolds) {
  Node node = OpenNode();
  GuardedMemory memory(kMessageMax + 1);
  for (uint32_t size : {0u, kMessageMax, kMessageMax + 1, 0xffffffffu})
    EXPECT_EQ(TryQueryAt(node, node.FirstAdapter(), memory.address(), size), -EINVAL) << size;
}

TEST(QueryAdapterInfo, LooksAtTheSizeThenTheAdapterThenTheBuffer) {
  Node node = OpenNode();
  EXPECT_EQ(TryQueryAt(node, node.FirstAdapter(), kUnmappedAddress, 0), -EINVAL);
  EXPECT_EQ(TryQueryAt(node, node.FirstAdapter(), kUnmappedAddress, kMessageMax + 1), -EINVAL);
  EXPECT_EQ(TryQueryAt(node, Handle(0), kUnmappedAddress, 4), -EINVAL);
  EXPECT_EQ(TryQueryAt(node, node.FirstAdapter(), kUnmappedAddress, 4), -EFAULT);
  // The message with its header is too big only after the buffer has been read.
  EXPECT_EQ(TryQueryAt(node, node.FirstAdapter(), kUnmappedAddress, kMessageMax), -EFAULT);
}

TEST(QueryAdapterInfo, BufferIsReadEvenWhenOnlyWritten) {
  Node node = OpenNode();
  GuardedMemory memory(sizeof(d3dkmt_adaptertype));
  EXPECT_EQ(TryQueryAt(node, node.FirstAdapter(), memory.one_byte_short(), sizeof(d3dkmt_adaptertype)),
            -EFAULT);
  EXPECT_EQ(TryQueryAt(node, node.FirstAdapter(), memory.address(), sizeof(d3dkmt_adaptertype)), 0);
  memory.MakeReadOnly();
  EXPECT_EQ(TryQueryAt(node, node.FirstAdapter(), memory.address(), sizeof(d3dkmt_adaptertype)), -EFAULT);
}

TEST(QueryAdapterInfo, AdapterTypeIsThatOfAParavirtualAdapterWithoutADisplay) {
  const Node node = OpenNode();
  for (const d3dkmt_adapterinfo& info : node.EnumAdapters())
    for (uint32_t question : {KMTQAITYPE_ADAPTERTYPE, KMTQAITYPE_ADAPTERTYPE_RENDER}) {
      auto type = Filled<d3dkmt_adaptertype>(0xff);
      ASSERT_EQ(node.TryQuery(info.adapter_handle, question, &type, sizeof(type)), 0);
      EXPECT_TRUE(type.paravirtualized);
      EXPECT_FALSE(type.display_supported);
      EXPECT_FALSE(type.post_device);
      EXPECT_FALSE(type.indirect_display_device);
      EXPECT_FALSE(type.acg_supported);
      EXPECT_FALSE(type.support_set_timings_from_vidpn);
    }
}

TEST(QueryAdapterInfo, RefusedQueryLeavesTheBufferAlone) {
  Node node = OpenNode();
  auto buffer = Filled<d3dkmt_adaptertype>(0xa5);
  EXPECT_EQ(node.TryQuery(Handle(0), KMTQAITYPE_ADAPTERTYPE, &buffer, sizeof(buffer)), -EINVAL);
  EXPECT_LT(node.TryQuery(node.FirstAdapter(), 0xfffffff0, &buffer, sizeof(buffer)), 0);
  EXPECT_EQ(buffer.value, 0xa5a5a5a5);
}

// ---- QueryStatistics ----

TEST(QueryStatistics, UnknownLuidIsSuccessAndWritesNothing) {
  const Node node = OpenNode();
  for (winluid luid : {kNoSuchLuid, winluid{0, 0}}) {
    auto args = Filled<d3dkmt_querystatistics>(0xa5);
    args.process = 0;
    args.adapter_luid = luid;
    const d3dkmt_querystatistics before = args;
    EXPECT_EQ(node.TryIoctl(LX_DXQUERYSTATISTICS, args), 0);
    EXPECT_EQ(std::memcmp(&args, &before, sizeof(args)), 0);
  }
}

TEST(QueryStatistics, RefusesAProcessWithoutTheNodeBeforeItLooksAtTheLuid) {
  Node node = OpenNode();
  for (uint64_t process :
       {uint64_t{0x7fffffff}, static_cast<uint64_t>(getpid()) | 0x1'0000'0000, ~uint64_t{0}})
    for (winluid luid : {node.FirstLuid(), kNoSuchLuid}) {
      d3dkmt_querystatistics args = {};
      args.process = process;
      args.adapter_luid = luid;
      EXPECT_EQ(node.TryIoctl(LX_DXQUERYSTATISTICS, args), -EINVAL) << process;
    }
}

TEST(QueryStatistics, KeepsTheLuidAndClearsTheProcess) {
  Node node = OpenNode();
  for (pid_t process : {0, getpid()}) {
    d3dkmt_querystatistics args = {};
    args.type = _D3DKMT_QUERYSTATISTICS_ADAPTER;
    args.adapter_luid = node.FirstLuid();
    args.process = static_cast<uint64_t>(process);
    ASSERT_EQ(node.TryIoctl(LX_DXQUERYSTATISTICS, args), 0) << process;
    EXPECT_EQ(args.adapter_luid.a, node.FirstLuid().a);
    EXPECT_EQ(args.adapter_luid.b, node.FirstLuid().b);
    EXPECT_EQ(args.process, 0u);
  }
}

TEST(QueryStatistics, NamesAnotherProcessByItsPid) {
  Node node = OpenNode();
  Peer other([](Peer& parent) {
    Node own = OpenNode();
    own.FirstAdapter();
    parent.Send(0);
    parent.Receive();
  });
  other.Receive();
  d3dkmt_querystatistics args = {};
  args.adapter_luid = node.FirstLuid();
  args.process = static_cast<uint64_t>(other.pid());
  EXPECT_EQ(node.TryIoctl(LX_DXQUERYSTATISTICS, args), 0);
  other.Send(0);
  other.Join();
  EXPECT_TRUE(Eventually([&] {
    args.process = static_cast<uint64_t>(other.pid());
    return node.TryIoctl(LX_DXQUERYSTATISTICS, args) == -EINVAL;
  })) << "it has ended";
}

// ---- QueryClockCalibration ----

TEST(QueryClockCalibration, WritesTheClocksAndNothingElse) {
  Node node = OpenNode();
  d3dkmt_queryclockcalibration args = {};
  args.adapter = node.FirstAdapter();
  const d3dkmt_queryclockcalibration before = args;
  ASSERT_EQ(node.TryIoctl(LX_DXQUERYCLOCKCALIBRATION, args), 0);
  EXPECT_EQ(std::memcmp(&args, &before, offsetof(d3dkmt_queryclockcalibration, clock_data)), 0);
  EXPECT_NE(std::memcmp(&args.clock_data, &before.clock_data, sizeof(args.clock_data)), 0);
}

// ---- IsFeatureEnabled ----

TEST(IsFeatureEnabled, QuestionWithoutAnAdapterIsInvalid) {
  const Node node = OpenNode();
  for (uint32_t feature : {0u, 32u, 0xffffffffu}) {
    auto args = Filled<d3dkmt_isfeatureenabled>(0xa5);
    args.adapter.v = 0;
    args.feature_id = feature;
    EXPECT_EQ(node.TryIoctl(LX_ISFEATUREENABLED, args), -EINVAL);
    EXPECT_EQ(args.result.version, 0xa5a5);
  }
}

// ---- Escape ----

int TryEscape(const Node& node, d3dkmthandle adapter, uint64_t address, uint32_t size, uint32_t flags = 0) {
  d3dkmt_escape args = {};
  args.adapter = adapter;
  args.type = _D3DKMT_ESCAPE_DRIVERPRIVATE;
  args.flags.value = flags;
  args.priv_drv_data = address;
  args.priv_drv_data_size = size;
  return node.TryIoctl(LX_DXESCAPE, args);
}

d3dddi_escapeflags KnownEscape() {
  d3dddi_escapeflags flags = {};
  flags.driver_known_escape = 1;
  return flags;
}

TEST(Escape, RefusesDataThatNoMessageHolds) {
  Node node = OpenNode();
  GuardedMemory memory(kMessageMax + 1);
  for (uint32_t size : {kMessageMax, kMessageMax + 1, 0xffffffffu})
    EXPECT_EQ(TryEscape(node, node.FirstAdapter(), memory.address(), size), -EINVAL) << size;
}

TEST(Escape, LooksAtTheAdapterThenTheSizeThenTheData) {
  Node node = OpenNode();
  EXPECT_EQ(TryEscape(node, Handle(0), kUnmappedAddress, 8), -EINVAL);
  EXPECT_EQ(TryEscape(node, node.FirstAdapter(), kUnmappedAddress, kMessageMax + 1), -EINVAL);
  EXPECT_EQ(TryEscape(node, node.FirstAdapter(), kUnmappedAddress, kMessageMax), -EFAULT);
  EXPECT_EQ(TryEscape(node, node.FirstAdapter(), kUnmappedAddress, 8), -EFAULT);
}

// Handles need no translation, because guest and host use the same numbers: the guest answers these itself.
TEST(Escape, TranslationsOfHandlesSucceedAndChangeNothing) {
  Node node = OpenNode();
  for (uint32_t kind : {uint32_t{_D3DDDI_DRIVERESCAPETYPE_TRANSLATEALLOCATIONHANDLE},
                        uint32_t{_D3DDDI_DRIVERESCAPETYPE_TRANSLATERESOURCEHANDLE}})
    for (uint32_t handle : {0u, 0x40000000u, 0xffffffffu}) {
      uint32_t data[2] = {kind, handle};
      EXPECT_EQ(TryEscape(node, node.FirstAdapter(), Address(data), sizeof(data), KnownEscape().value), 0);
      EXPECT_EQ(data[0], kind);
      EXPECT_EQ(data[1], handle);
    }
}

TEST(Escape, KnownEscapeNeedsItsType) {
  Node node = OpenNode();
  uint32_t data = 0;
  for (uint32_t size : {0u, 3u})
    EXPECT_EQ(TryEscape(node, node.FirstAdapter(), Address(&data), size, KnownEscape().value), -EINVAL);
  EXPECT_EQ(TryEscape(node, node.FirstAdapter(), kUnmappedAddress, 8, KnownEscape().value), -EFAULT);
  EXPECT_EQ(TryEscape(node, node.FirstAdapter(), Address(&data), 4, KnownEscape().value), 0);
}

TEST(Escape, TestCommandBufferIsCheckedBeforeItIsBuilt) {
  Node node = OpenNode();
  const auto build = [&](uint32_t dma_size, uint32_t private_size, uint32_t data_size) {
    std::vector<std::byte> dma(D3DDDI_MAXTESTBUFFERSIZE + 1),
        private_data(D3DDDI_MAXTESTBUFFERPRIVATEDRIVERDATASIZE + 1);
    d3dddi_buildtestcommandbuffer data = {};
    data.escape_type = _D3DDDI_DRIVERESCAPETYPE_BUILDTESTCOMMANDBUFFER;
    data.dma_buffer = Address(dma.data());
    data.dma_buffer_priv_data = Address(private_data.data());
    data.dma_buffer_size = dma_size;
    data.dma_buffer_priv_data_size = private_size;
    return TryEscape(node, node.FirstAdapter(), Address(&data), data_size, KnownEscape().value);
  };
  EXPECT_EQ(build(64, 0, sizeof(d3dddi_buildtestcommandbuffer) - 1), -EINVAL);
  EXPECT_EQ(build(64, 0, 4), -EINVAL);
  EXPECT_EQ(build(3, 0, sizeof(d3dddi_buildtestcommandbuffer)), -EINVAL);
  EXPECT_EQ(build(D3DDDI_MAXTESTBUFFERSIZE + 1, 0, sizeof(d3dddi_buildtestcommandbuffer)), -EINVAL);
  EXPECT_EQ(build(64, D3DDDI_MAXTESTBUFFERPRIVATEDRIVERDATASIZE + 1, sizeof(d3dddi_buildtestcommandbuffer)),
            -EINVAL);
}

}  // namespace
}  // namespace dxg::conformance
