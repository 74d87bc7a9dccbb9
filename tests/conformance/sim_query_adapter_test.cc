// Registry, statistics, clocks, features and escapes of the simulated host.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string_view>
#include <thread>
#include <vector>

#include "hostsim/adapter/escape.h"
#include "tests/conformance/node.h"
#include "tests/conformance/peer.h"
#include "tests/conformance/sim_queries.h"

namespace dxg::conformance {
namespace {

// ---- Registry ----

enum RegistryQuery : uint32_t {
  kServiceKey = 0,
  kAdapterKey = 1,
  kDriverStorePath = 2,
  kFirstUnknownQuery = 4
};
enum RegistryStatus : uint32_t { kFound = 0, kBufferOverflow = 1 };
constexpr uint32_t kRegDword = 4;

struct RegistryInfo {
  uint32_t query_type;
  uint32_t query_flags;
  char16_t value_name[260];
  uint32_t value_type;
  uint32_t physical_adapter;
  uint32_t output_bytes;
  uint32_t status;
  uint64_t output;  // the value begins here and may go on behind the struct
};
static_assert(sizeof(RegistryInfo) == 552);

RegistryInfo Question(uint32_t query_type, std::u16string_view name = u"", uint32_t value_type = 0) {
  RegistryInfo info = {};
  info.query_type = query_type;
  info.value_type = value_type;
  std::copy(name.begin(), name.end(), info.value_name);
  return info;
}

int TryRegistry(Node& node, RegistryInfo& info, size_t bytes = sizeof(RegistryInfo)) {
  return node.TryQuery(node.FirstAdapter(), KMTQAITYPE_QUERYREGISTRY, &info, bytes);
}

// [QAI] 39: Clients ask twice: how much, and then what. They stop working when the first question fails.
TEST(SimQueryRegistry, ShortBufferIsSuccessAndSaysHowMuchIsNeeded) {
  Node node = OpenNode();
  RegistryInfo info = Question(kDriverStorePath);
  ASSERT_EQ(TryRegistry(node, info), 0);
  EXPECT_EQ(info.status, uint32_t{kBufferOverflow});
  const uint32_t needed = info.output_bytes;
  ASSERT_GT(needed, sizeof(info.output));
  EXPECT_EQ(needed % 2, 0u) << "UTF-16";

  std::vector<std::byte> buffer(sizeof(RegistryInfo) + needed);
  const RegistryInfo question = Question(kDriverStorePath);
  std::memcpy(buffer.data(), &question, sizeof(question));
  ASSERT_EQ(node.TryQuery(node.FirstAdapter(), KMTQAITYPE_QUERYREGISTRY, buffer.data(), buffer.size()), 0);
  std::memcpy(&info, buffer.data(), sizeof(info));
  EXPECT_EQ(info.status, uint32_t{kFound});
  EXPECT_EQ(info.output_bytes, needed);
  EXPECT_NE(info.output, 0u);
}

// [QAI] 40
TEST(SimQueryRegistry, MissingValueIsNotFound) {
  Node node = OpenNode();
  for (uint32_t key : {kServiceKey, kAdapterKey}) {
    RegistryInfo info = Question(key, u"NoSuchValue", kRegDword);
    EXPECT_EQ(TryRegistry(node, info), -ENOENT);
    EXPECT_EQ(info.status, 0u) << "a refused query writes nothing";
  }
}

// [QAI] 40
TEST(SimQueryRegistry, RefusesWhatIsNoQuestion) {
  Node node = OpenNode();
  RegistryInfo path_with_type = Question(kDriverStorePath, u"", kRegDword);
  EXPECT_EQ(TryRegistry(node, path_with_type), -EINVAL);
  RegistryInfo unknown = Question(kFirstUnknownQuery);
  EXPECT_EQ(TryRegistry(node, unknown), -EINVAL);
  RegistryInfo too_short = Question(kDriverStorePath);
  EXPECT_EQ(TryRegistry(node, too_short, sizeof(RegistryInfo) - 1), -EINVAL);
  EXPECT_EQ(too_short.output_bytes, 0u);
}

// ---- Statistics ----

TEST(SimQueryStatistics, AdapterCountsWhatOtherQueriesList) {
  Node node = OpenNode();
  const auto adapter = Statistics<AdapterStatistics>(node, _D3DKMT_QUERYSTATISTICS_ADAPTER);
  EXPECT_GE(adapter.segments, 1u);
  EXPECT_EQ(adapter.nodes, Nodes(node).size());
}

TEST(SimQueryStatistics, SegmentsHoldNoMoreThanTheirLimits) {
  Node node = OpenNode();
  const auto adapter = Statistics<AdapterStatistics>(node, _D3DKMT_QUERYSTATISTICS_ADAPTER);
  for (uint32_t i = 0; i < adapter.segments; ++i) {
    const auto segment = Statistics<SegmentStatistics>(node, _D3DKMT_QUERYSTATISTICS_SEGMENT, i);
    EXPECT_LE(segment.resident, segment.committed) << i;
    EXPECT_LE(segment.committed, segment.commit_limit) << i;
    EXPECT_GT(segment.commit_limit, 0u) << i;
  }
}

// [QAI] 32
TEST(SimQueryStatistics, SegmentsAddUpToTheSizesOfTheAdapter) {
  Node node = OpenNode();
  const auto adapter = Statistics<AdapterStatistics>(node, _D3DKMT_QUERYSTATISTICS_ADAPTER);
  uint64_t local = 0, aperture = 0;
  for (uint32_t i = 0; i < adapter.segments; ++i) {
    const auto segment = Statistics<SegmentStatistics>(node, _D3DKMT_QUERYSTATISTICS_SEGMENT, i);
    (segment.aperture != 0 ? aperture : local) += segment.commit_limit;
  }
  const SegmentSizes sizes = GetSegmentSizes(node);
  EXPECT_EQ(local, sizes.dedicated_video);
  EXPECT_GE(aperture, sizes.shared_system);
}

// A runtime tells free memory from free system memory by it.
TEST(SimQueryStatistics, SegmentsSayWhatTheyAreMadeOf) {
  Node node = OpenNode();
  constexpr uint32_t kWddm3_1 = 3100;
  const bool typed = Ask<uint32_t>(node, KMTQAITYPE_DRIVERVERSION) >= kWddm3_1;
  for (const SegmentStatistics& segment : Segments(node)) {
    const uint64_t system_memory = segment.properties & 1, type = segment.properties >> 2 & 0xf;
    EXPECT_EQ(system_memory, segment.aperture);
    EXPECT_EQ(type, typed ? system_memory + 1 : 0);
  }
}

TEST(SimQueryStatistics, RunningTimeNeverDecreases) {
  Node node = OpenNode();
  for (uint32_t i = 0; i < Nodes(node).size(); ++i) {
    const auto first = Statistics<NodeStatistics>(node, _D3DKMT_QUERYSTATISTICS_NODE, i);
    const auto second = Statistics<NodeStatistics>(node, _D3DKMT_QUERYSTATISTICS_NODE, i);
    EXPECT_GE(second.running_us, first.running_us);
  }
}

// [MSC] 183
TEST(SimQueryStatistics, SegmentOrNodeThatIsNotThereIsInvalid) {
  Node node = OpenNode();
  const auto adapter = Statistics<AdapterStatistics>(node, _D3DKMT_QUERYSTATISTICS_ADAPTER);
  d3dkmt_querystatistics args;
  EXPECT_EQ(TryStatistics(node, args, _D3DKMT_QUERYSTATISTICS_SEGMENT, adapter.segments), -EINVAL);
  EXPECT_EQ(TryStatistics(node, args, _D3DKMT_QUERYSTATISTICS_NODE, adapter.nodes), -EINVAL);
  EXPECT_EQ(TryStatistics(node, args, 1000, 0), -EINVAL);
}

// ---- Clocks ----

d3dkmt_queryclockcalibration Clocks(Node& node, uint32_t node_ordinal) {
  d3dkmt_queryclockcalibration args = {};
  args.adapter = node.FirstAdapter();
  args.node_ordinal = node_ordinal;
  node.Ioctl(LX_DXQUERYCLOCKCALIBRATION, args, "QueryClockCalibration");
  return args;
}

// [MSC] 184
TEST(SimQueryClockCalibration, BothClocksGoForwardAtTheFrequencyTheySay) {
  Node node = OpenNode();
  for (uint32_t i = 0; i < Nodes(node).size(); ++i) {
    const d3dkmt_queryclockcalibration first = Clocks(node, i);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    const d3dkmt_queryclockcalibration second = Clocks(node, i);
    const uint64_t frequency = first.clock_data.gpu_frequency;
    ASSERT_GT(frequency, 0u);
    EXPECT_EQ(uint64_t{second.clock_data.gpu_frequency}, frequency);
    EXPECT_GT(uint64_t{second.clock_data.cpu_clock_counter}, uint64_t{first.clock_data.cpu_clock_counter});
    const auto ticks =
        static_cast<double>(second.clock_data.gpu_clock_counter - first.clock_data.gpu_clock_counter);
    const double elapsed_s = ticks / static_cast<double>(frequency);
    EXPECT_GE(elapsed_s, 0.045);  // no more is known: the machine may be slow
    EXPECT_LE(elapsed_s, 5.0);
  }
}

// [MSC] 183
TEST(SimQueryClockCalibration, NodeOrPhysicalAdapterThatIsNotThereIsInvalid) {
  Node node = OpenNode();
  const uint32_t nodes = static_cast<uint32_t>(Nodes(node).size());
  struct {
    uint32_t node_ordinal, physical_adapter;
  } const questions[] = {{nodes, 0}, {0xffffffff, 0}, {0, 1}};
  for (const auto& question : questions) {
    d3dkmt_queryclockcalibration args = {};
    args.adapter = node.FirstAdapter();
    args.node_ordinal = question.node_ordinal;
    args.physical_adapter_index = question.physical_adapter;
    EXPECT_EQ(node.TryIoctl(LX_DXQUERYCLOCKCALIBRATION, args), -EINVAL);
  }
}

// ---- Features ----

dxgk_isfeatureenabled_result Feature(Node& node, uint32_t id) {
  d3dkmt_isfeatureenabled args = {};
  args.adapter = node.FirstAdapter();
  args.feature_id = id;
  args.result.value = 0xffff;
  node.Ioctl(LX_ISFEATUREENABLED, args, "IsFeatureEnabled");
  return args.result;
}

// [MSC] 186
TEST(SimIsFeatureEnabled, EnabledFeaturesAreKnownAndPossible) {
  Node node = OpenNode();
  for (uint32_t id = 0; id < 64; ++id) {
    const dxgk_isfeatureenabled_result feature = Feature(node, id);
    if (!feature.enabled) continue;
    EXPECT_TRUE(feature.known_feature) << id;
    EXPECT_TRUE(feature.supported_on_config) << id;
    EXPECT_GT(feature.version, 0u) << id;
  }
}

TEST(SimIsFeatureEnabled, HardwareSchedulingIsKnownAndAgreesWithTheCaps) {
  Node node = OpenNode();
  const dxgk_isfeatureenabled_result feature = Feature(node, _DXGK_FEATURE_HWSCH);
  EXPECT_TRUE(feature.known_feature);
  EXPECT_EQ(feature.enabled != 0, (Ask<uint32_t>(node, KMTQAITYPE_WDDM_2_7_CAPS) & 2) != 0);
}

// [MSC] 186
TEST(SimIsFeatureEnabled, UnknownFeatureIsAllZero) {
  Node node = OpenNode();
  for (uint32_t id : {1000u, 0x0fffffffu, 0xffffffffu}) {
    const dxgk_isfeatureenabled_result feature = Feature(node, id);
    EXPECT_EQ(feature.version, 0u);
    EXPECT_EQ(feature.value, 0u);
  }
}

// ---- Escapes ----

constexpr size_t kEscapeDataMax = 131001;

int TryEscape(Node& node, std::vector<std::byte>& data, uint32_t type, uint32_t context = 0) {
  d3dkmt_escape args = {};
  args.adapter = node.FirstAdapter();
  args.type = type;
  args.context.v = context;
  args.priv_drv_data = Address(data.data());
  args.priv_drv_data_size = static_cast<uint32_t>(data.size());
  return node.TryIoctl(LX_DXESCAPE, args);
}

// Data for the simulated driver: its header, and 0xa5 to the end.
std::vector<std::byte> DriverData(uint32_t op, size_t bytes) {
  std::vector<std::byte> data(bytes, std::byte{0xa5});
  const uint32_t header[] = {hostsim::kEscapeMagic, op};
  std::memcpy(data.data(), header, sizeof(header));
  return data;
}

// [MSC] 179
TEST(SimEscape, PingComesBackAtEverySize) {
  Node node = OpenNode();
  for (size_t bytes : {size_t{8}, size_t{9}, size_t{13}, size_t{4096}, size_t{65536}, kEscapeDataMax}) {
    std::vector<std::byte> data = DriverData(hostsim::kEscapePing, bytes);
    EXPECT_EQ(TryEscape(node, data, _D3DKMT_ESCAPE_DRIVERPRIVATE), 0) << bytes;
    EXPECT_EQ(data, DriverData(hostsim::kEscapePing | hostsim::kEscapeReply, bytes)) << bytes;
  }
  std::vector<std::byte> too_much = DriverData(hostsim::kEscapePing, kEscapeDataMax + 1);
  EXPECT_EQ(TryEscape(node, too_much, _D3DKMT_ESCAPE_DRIVERPRIVATE), -EINVAL);
}

TEST(SimEscape, DataOfUnknownFormIsRefusedAndUnchanged) {
  Node node = OpenNode();
  for (size_t bytes : {size_t{1}, size_t{7}, size_t{8}, size_t{4096}, kEscapeDataMax}) {
    std::vector<std::byte> data(bytes, std::byte{0xa5});
    EXPECT_EQ(TryEscape(node, data, _D3DKMT_ESCAPE_DRIVERPRIVATE), -EOVERFLOW) << bytes;
    EXPECT_EQ(data, std::vector<std::byte>(bytes, std::byte{0xa5})) << bytes;
  }
  std::vector<std::byte> nothing;
  EXPECT_EQ(TryEscape(node, nothing, _D3DKMT_ESCAPE_DRIVERPRIVATE), 0)
      << "an answer without data is not too short";
}

// The answer has no status. A host that refuses answers with nothing, which is too short, or with the data as
// it was.
// [MSC] 179
TEST(SimEscape, TypesForTestingAreRefusedAndChangeNothing) {
  Node node = OpenNode();
  const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
  for (uint32_t type : {1u, 2u, 3u, 4u, 8u, 99u, 1024u}) {
    std::vector<std::byte> data(64, std::byte{0xa5});
    const int result = TryEscape(node, data, type);
    EXPECT_TRUE(result == 0 || result == -EOVERFLOW) << type << " gave " << ResultName(result);
    EXPECT_EQ(data, std::vector<std::byte>(64, std::byte{0xa5})) << type;
  }
  EXPECT_EQ(node.ExecutionState(device), _D3DKMT_DEVICEEXECUTION_ACTIVE);
}

// [MSC] 180
TEST(SimEscape, ContextWithoutItsDeviceIsRefused) {
  Node node = OpenNode();
  const d3dkmthandle context = node.CreateContext(node.CreateDevice(node.FirstAdapter()));
  std::vector<std::byte> data = DriverData(hostsim::kEscapePing, 64);
  EXPECT_EQ(TryEscape(node, data, _D3DKMT_ESCAPE_DRIVERPRIVATE, context.v), -EOVERFLOW);
  EXPECT_EQ(data, DriverData(hostsim::kEscapePing, 64));
}

}  // namespace
}  // namespace dxg::conformance
