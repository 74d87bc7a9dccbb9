// QueryAdapterInfo of the simulated adapter: every query that it answers, its size, and what answers say
// about each other. Values are checked only as far as a client depends on them.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tests/conformance/node.h"
#include "tests/conformance/sim_queries.h"

namespace dxg::conformance {
namespace {

constexpr uint32_t kWddm2_0 = 2000;
constexpr uint32_t kDirectX12 = 3;
constexpr uint32_t kHwSchSupported = 1, kHwSchEnabled = 2;  // of WDDM_2_7_CAPS
constexpr uint32_t kContextScheduling = 1;                  // of a node's flags

struct Query {
  const char* name;
  uint32_t type;
  size_t bytes;
  uint32_t question = 0;  // what the client writes at offset 0
  uint32_t since = 0;     // the driver model that has it
};

// A buffer for the query, and `more` bytes of 0xa5 behind it.
std::vector<std::byte> BufferFor(const Query& query, size_t more = 0) {
  std::vector<std::byte> buffer(query.bytes);
  std::memcpy(buffer.data(), &query.question, std::min(query.bytes, sizeof(query.question)));
  buffer.insert(buffer.end(), more, std::byte{0xa5});
  return buffer;
}

void PrintTo(const Query& query, std::ostream* out) { *out << query.name; }

constexpr Query kQueries[] = {
    {"UmDriverName", KMTQAITYPE_UMDRIVERNAME, 524, kDirectX12},
    {"GetSegmentSize", KMTQAITYPE_GETSEGMENTSIZE, 24},
    {"AdapterGuid", KMTQAITYPE_ADAPTERGUID, 16},
    {"AdapterGuidRender", KMTQAITYPE_ADAPTERGUID_RENDER, 16},
    {"AdapterAddress", KMTQAITYPE_ADAPTERADDRESS, 12},
    {"AdapterAddressRender", KMTQAITYPE_ADAPTERADDRESS_RENDER, 12},
    {"AdapterRegistryInfo", KMTQAITYPE_ADAPTERREGISTRYINFO, 2080},
    {"AdapterRegistryInfoRender", KMTQAITYPE_ADAPTERREGISTRYINFO_RENDER, 2080},
    {"CheckDriverUpdateStatus", KMTQAITYPE_CHECKDRIVERUPDATESTATUS, 4},
    {"CheckDriverUpdateStatusRender", KMTQAITYPE_CHECKDRIVERUPDATESTATUS_RENDER, 4},
    {"VirtualAddressInfo", KMTQAITYPE_VIRTUALADDRESSINFO, 4},
    {"DriverVersion", KMTQAITYPE_DRIVERVERSION, 4},
    {"DriverVersionRender", KMTQAITYPE_DRIVERVERSION_RENDER, 4},
    {"AdapterType", KMTQAITYPE_ADAPTERTYPE, 4},
    {"AdapterTypeRender", KMTQAITYPE_ADAPTERTYPE_RENDER, 4},
    {"Wddm12Caps", KMTQAITYPE_WDDM_1_2_CAPS, 12},
    {"Wddm12CapsRender", KMTQAITYPE_WDDM_1_2_CAPS_RENDER, 12},
    {"UmdDriverVersion", KMTQAITYPE_UMD_DRIVER_VERSION, 8},
    {"Wddm13Caps", KMTQAITYPE_WDDM_1_3_CAPS, 4},
    {"Wddm13CapsRender", KMTQAITYPE_WDDM_1_3_CAPS_RENDER, 4},
    {"Wddm20Caps", KMTQAITYPE_WDDM_2_0_CAPS, 4},
    {"NodeMetadata", KMTQAITYPE_NODEMETADATA, kNodeMetadataBytes},
    {"Xbox", KMTQAITYPE_XBOX, 4},
    {"PhysicalAdapterCount", KMTQAITYPE_PHYSICALADAPTERCOUNT, 4},
    {"PhysicalAdapterDeviceIds", KMTQAITYPE_PHYSICALADAPTERDEVICEIDS, 28},
    {"DriverCapsExt", KMTQAITYPE_DRIVERCAPS_EXT, 4},
    {"GpuMmuCaps", KMTQAITYPE_QUERY_GPUMMU_CAPS, 12},
    {"GetSegmentGroupSize", KMTQAITYPE_GETSEGMENTGROUPSIZE, 56},
    {"KmdDriverVersion", KMTQAITYPE_KMD_DRIVER_VERSION, 8},
    {"NodePerfData", KMTQAITYPE_NODEPERFDATA, 56},
    {"AdapterPerfData", KMTQAITYPE_ADAPTERPERFDATA, 64},
    {"AdapterPerfDataCaps", KMTQAITYPE_ADAPTERPERFDATA_CAPS, 40},
    {"GpuVersion", KMTQUITYPE_GPUVERSION, 132},
    {"DriverDescription", KMTQAITYPE_DRIVER_DESCRIPTION, 8192},
    {"DriverDescriptionRender", KMTQAITYPE_DRIVER_DESCRIPTION_RENDER, 8192},
    {"ParavirtualizationRender", KMTQAITYPE_PARAVIRTUALIZATION_RENDER, 1},
    {"Wddm27Caps", KMTQAITYPE_WDDM_2_7_CAPS, 4, 0, 2700},
    {"TrackedWorkloadSupport", KMTQAITYPE_TRACKEDWORKLOAD_SUPPORT, 12},
    {"HybridDlistDllSupport", KMTQAITYPE_HYBRID_DLIST_DLL_SUPPORT, 4},
    {"Wddm29Caps", KMTQAITYPE_WDDM_2_9_CAPS, 4, 0, 2900},
    {"CrossAdapterResourceSupport", KMTQAITYPE_CROSSADAPTERRESOURCE_SUPPORT, 4},
    {"Wddm30Caps", KMTQAITYPE_WDDM_3_0_CAPS, 4, 0, 3000},
};

// Queries whose input at offset 0 selects a physical adapter.
constexpr Query kIndexedQueries[] = {
    {"PhysicalAdapterDeviceIds", KMTQAITYPE_PHYSICALADAPTERDEVICEIDS, 28},
    {"GpuMmuCaps", KMTQAITYPE_QUERY_GPUMMU_CAPS, 12},
    {"GetSegmentGroupSize", KMTQAITYPE_GETSEGMENTGROUPSIZE, 56},
    {"AdapterPerfData", KMTQAITYPE_ADAPTERPERFDATA, 64},
    {"AdapterPerfDataCaps", KMTQAITYPE_ADAPTERPERFDATA_CAPS, 40},
    {"GpuVersion", KMTQUITYPE_GPUVERSION, 132},
};

// The result of a good question. Caps that are newer than the driver model are unknown to it.
int Expected(Node& node, const Query& query) {
  return Ask<uint32_t>(node, KMTQAITYPE_DRIVERVERSION) >= query.since ? 0 : -EINVAL;
}

bool AllBytesAre(std::span<const std::byte> bytes, std::byte value) {
  return std::all_of(bytes.begin(), bytes.end(), [=](std::byte b) { return b == value; });
}

bool IsTerminated(std::u16string_view field) { return field.find(u'\0') != std::u16string_view::npos; }

// ---- Names ----

TEST(SimEnumAdapters, LuidsAreDistinctAndTheSameEachTime) {
  const Node node = OpenNode();
  std::vector<uint64_t> first, second;
  for (std::vector<uint64_t>* luids : {&first, &second})
    for (const d3dkmt_adapterinfo& info : node.EnumAdapters())
      luids->push_back(uint64_t{info.adapter_luid.b} << 32 | info.adapter_luid.a);
  EXPECT_EQ(first, second);
  std::sort(first.begin(), first.end());
  EXPECT_EQ(std::adjacent_find(first.begin(), first.end()), first.end());
  EXPECT_NE(first.front(), 0u);
}

// ---- Sizes ----

class SimQuerySizes : public testing::TestWithParam<Query> {};

TEST_P(SimQuerySizes, ExactSizeIsAnswered) {
  Node node = OpenNode();
  std::vector<std::byte> data = BufferFor(GetParam());
  EXPECT_EQ(node.TryQuery(node.FirstAdapter(), GetParam().type, data.data(), data.size()),
            Expected(node, GetParam()));
}

// [QAI] 25
TEST_P(SimQuerySizes, OneByteLessIsInvalidAndChangesNothing) {
  Node node = OpenNode();
  std::vector<std::byte> data = BufferFor(GetParam());
  EXPECT_EQ(node.TryQuery(node.FirstAdapter(), GetParam().type, data.data(), data.size() - 1), -EINVAL);
  EXPECT_EQ(data, BufferFor(GetParam()));
}

// [QAI] 26
TEST_P(SimQuerySizes, LargerBufferKeepsItsEnd) {
  Node node = OpenNode();
  for (size_t more : {size_t{1}, size_t{64}, 131017 - GetParam().bytes}) {
    std::vector<std::byte> data = BufferFor(GetParam(), more);
    EXPECT_EQ(node.TryQuery(node.FirstAdapter(), GetParam().type, data.data(), data.size()),
              Expected(node, GetParam()))
        << more;
    EXPECT_TRUE(AllBytesAre(std::span(data).subspan(GetParam().bytes), std::byte{0xa5})) << more;
  }
}

INSTANTIATE_TEST_SUITE_P(Queries, SimQuerySizes, testing::ValuesIn(kQueries),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(SimQueryAdapterInfo, LargestMessageIsTheLastThatFits) {
  Node node = OpenNode();
  std::vector<std::byte> data(131018);
  EXPECT_EQ(node.TryQuery(node.FirstAdapter(), KMTQAITYPE_ADAPTERTYPE, data.data(), 131017), 0);
  EXPECT_EQ(node.TryQuery(node.FirstAdapter(), KMTQAITYPE_ADAPTERTYPE, data.data(), 131018), -EINVAL);
}

// ---- What is not there ----

TEST(SimQueryAdapterInfo, MissingNamesAreNotFound) {
  Node node = OpenNode();
  for (uint32_t type :
       {KMTQAITYPE_UMOPENGLINFO, KMTQAITYPE_DLIST_DRIVER_NAME, KMTQAITYPE_CPDRIVERNAME,
        KMTQAITYPE_MIRACASTCOMPANIONDRIVERNAME, KMTQAITYPE_BLOCKLIST_KERNEL, KMTQAITYPE_BLOCKLIST_RUNTIME}) {
    std::vector<std::byte> data(4096, std::byte{0xa5});
    EXPECT_EQ(node.TryQuery(node.FirstAdapter(), type, data.data(), data.size()), -ENOENT) << type;
    EXPECT_TRUE(AllBytesAre(data, std::byte{0xa5})) << type;
  }
}

// [QAI] 27
TEST(SimQueryAdapterInfo, UnknownAndDisplayQueriesAreInvalidAndChangeNothing) {
  Node node = OpenNode();
  for (uint32_t type :
       {uint32_t{KMTQAITYPE_SETWORKINGSETINFO}, uint32_t{KMTQAITYPE_CURRENTDISPLAYMODE},
        uint32_t{KMTQAITYPE_MODELIST}, 14u, uint32_t{KMTQAITYPE_PHYSICALADAPTERPNPKEY},
        uint32_t{KMTQAITYPE_SCANOUT_CAPS}, uint32_t{KMTQAITYPE_DISPLAY_CAPS}, 99u, 1000u, 0xffffffffu}) {
    std::vector<std::byte> data(4096, std::byte{0xa5});
    EXPECT_EQ(node.TryQuery(node.FirstAdapter(), type, data.data(), data.size()), -EINVAL) << type;
    EXPECT_TRUE(AllBytesAre(data, std::byte{0xa5})) << type;
  }
  EXPECT_TRUE(node.IsAdapter(node.FirstAdapter()));
}

// [QAI] 41
TEST(SimQueryAdapterInfo, PhysicalAdapterThatIsNotThereIsInvalid) {
  Node node = OpenNode();
  const auto count = Ask<uint32_t>(node, KMTQAITYPE_PHYSICALADAPTERCOUNT);
  EXPECT_GE(count, 1u);
  for (const Query& query : kIndexedQueries)
    for (uint32_t index : {count, 0xffffffffu}) {
      std::vector<std::byte> data(query.bytes);
      std::memcpy(data.data(), &index, sizeof(index));
      EXPECT_EQ(node.TryQuery(node.FirstAdapter(), query.type, data.data(), data.size()), -EINVAL)
          << query.name;
    }
  NodeMetadata metadata = {};
  metadata.node_and_adapter = count << 16;
  EXPECT_EQ(node.TryQuery(node.FirstAdapter(), KMTQAITYPE_NODEMETADATA, &metadata, sizeof(metadata)),
            -EINVAL);
}

// ---- What answers say about each other ----

// [QAI] 28
TEST(SimQueryAdapterInfo, RenderTwinsGiveTheSameBytes) {
  Node node = OpenNode();
  for (const Query& plain : kQueries)
    for (const Query& render : kQueries) {
      if (std::string(render.name) != std::string(plain.name) + "Render") continue;
      std::vector<std::byte> first = BufferFor(plain), second = BufferFor(render);
      ASSERT_EQ(node.TryQuery(node.FirstAdapter(), plain.type, first.data(), first.size()), 0);
      ASSERT_EQ(node.TryQuery(node.FirstAdapter(), render.type, second.data(), second.size()), 0);
      EXPECT_EQ(first, second) << plain.name;
    }
}

// [QAI] 29
TEST(SimQueryAdapterInfo, AdapterRendersAndIsNoSoftwareDevice) {
  Node node = OpenNode();
  const auto type = Ask<d3dkmt_adaptertype>(node, KMTQAITYPE_ADAPTERTYPE);
  EXPECT_TRUE(type.render_supported);
  EXPECT_FALSE(type.software_device);
}

// [QAI] 30
TEST(SimQueryAdapterInfo, VirtualAddressingFollowsTheDriverModel) {
  Node node = OpenNode();
  const bool model = Ask<uint32_t>(node, KMTQAITYPE_DRIVERVERSION) >= kWddm2_0;
  EXPECT_EQ((Ask<uint32_t>(node, KMTQAITYPE_VIRTUALADDRESSINFO) & 1) != 0, model);
  EXPECT_EQ((Ask<uint32_t>(node, KMTQAITYPE_WDDM_2_0_CAPS) & 2) != 0, model);
}

// [QAI] 31
TEST(SimQueryAdapterInfo, CapsNewerThanTheDriverModelAreInvalid) {
  Node node = OpenNode();
  const auto model = Ask<uint32_t>(node, KMTQAITYPE_DRIVERVERSION);
  struct {
    uint32_t type;
    uint32_t since;
    size_t bytes;
  } const caps[] = {{KMTQAITYPE_WDDM_1_2_CAPS, 1200, 12},
                    {KMTQAITYPE_WDDM_1_3_CAPS, 1300, 4},
                    {KMTQAITYPE_WDDM_2_0_CAPS, 2000, 4},
                    {KMTQAITYPE_WDDM_2_7_CAPS, 2700, 4},
                    {KMTQAITYPE_WDDM_2_9_CAPS, 2900, 4},
                    {KMTQAITYPE_WDDM_3_0_CAPS, 3000, 4},
                    {80 /* WDDM_3_1_CAPS, newer than the published list */, 3100, 4}};
  for (const auto& cap : caps) {
    std::array<std::byte, 12> data = {};
    EXPECT_EQ(node.TryQuery(node.FirstAdapter(), cap.type, data.data(), cap.bytes),
              model >= cap.since ? 0 : -EINVAL)
        << cap.since;
  }
}

TEST(SimQueryAdapterInfo, PciFunctionLooksLikeOne) {
  Node node = OpenNode();
  const auto address = Ask<std::array<uint32_t, 3>>(node, KMTQAITYPE_ADAPTERADDRESS);
  EXPECT_LT(address[0], 256u);
  EXPECT_LT(address[1], 32u);
  EXPECT_LT(address[2], 8u);
  const auto ids = Ask<std::array<uint32_t, 7>>(node, KMTQAITYPE_PHYSICALADAPTERDEVICEIDS);
  EXPECT_NE(ids[1], 0u) << "vendor";
  EXPECT_NE(ids[2], 0u) << "device";
}

TEST(SimQueryAdapterInfo, DriverVersionIsKnownAndTheSameInBothModes) {
  Node node = OpenNode();
  const auto version = Ask<uint64_t>(node, KMTQAITYPE_UMD_DRIVER_VERSION);
  EXPECT_NE(version, 0u);
  EXPECT_EQ(version, Ask<uint64_t>(node, KMTQAITYPE_KMD_DRIVER_VERSION));
}

// ---- Strings ----

// [QAI] 37
TEST(SimQueryAdapterInfo, StringsEndInsideTheirFields) {
  Node node = OpenNode();
  const auto description = Ask<std::array<char16_t, 4096>>(node, KMTQAITYPE_DRIVER_DESCRIPTION);
  EXPECT_TRUE(IsTerminated({description.data(), description.size()}));
  EXPECT_NE(description[0], u'\0') << "an adapter has a name";
  const auto registry = Ask<std::array<std::array<char16_t, 260>, 4>>(node, KMTQAITYPE_ADAPTERREGISTRYINFO);
  for (const auto& text : registry) EXPECT_TRUE(IsTerminated({text.data(), text.size()}));
  struct Version {
    uint32_t index;
    char16_t bios[32], architecture[32];
  };
  static_assert(sizeof(Version) == 132);
  const auto version = Ask<Version>(node, KMTQUITYPE_GPUVERSION);
  EXPECT_TRUE(IsTerminated({version.bios, 32}));
  EXPECT_TRUE(IsTerminated({version.architecture, 32}));
}

// [QAI] 38
TEST(SimQueryAdapterInfo, DriverNameIsAPathInTheDriverStore) {
  struct DriverName {
    uint32_t version;
    char16_t path[260];
  };
  static_assert(sizeof(DriverName) == 524);
  constexpr uint32_t kFirstUnknown = 4;
  Node node = OpenNode();
  const auto name = Ask<DriverName>(node, KMTQAITYPE_UMDRIVERNAME, {.version = kDirectX12, .path = {}});
  ASSERT_TRUE(IsTerminated({name.path, 260}));
  std::string path;
  for (const char16_t* c = name.path; *c != 0; ++c)
    path += static_cast<char>(std::tolower(static_cast<unsigned char>(*c)));
  EXPECT_NE(path.find("\\filerepository\\"), std::string::npos) << path;  // thunk libraries look for it
  for (uint32_t version : {kFirstUnknown, 0xffffffffu}) {
    DriverName unknown = {.version = version, .path = {}};
    EXPECT_EQ(node.TryQuery(node.FirstAdapter(), KMTQAITYPE_UMDRIVERNAME, &unknown, sizeof(unknown)),
              -EINVAL);
  }
}

TEST(SimQueryAdapterInfo, UniqueGuidComesAsTextOrAsBytesByTheSizeAsked) {
  Node node = OpenNode();
  const auto text = Ask<std::array<char16_t, 40>>(node, KMTQAITYPE_QUERY_ADAPTER_UNIQUE_GUID);
  ASSERT_TRUE(IsTerminated({text.data(), text.size()}));
  EXPECT_EQ(text[0], u'{');
  EXPECT_EQ(text[37], u'}');
  const auto bytes = Ask<std::array<uint64_t, 2>>(node, KMTQAITYPE_QUERY_ADAPTER_UNIQUE_GUID);
  EXPECT_TRUE(bytes[0] != 0 || bytes[1] != 0);
  std::array<std::byte, 15> too_short = {};
  EXPECT_EQ(node.TryQuery(node.FirstAdapter(), KMTQAITYPE_QUERY_ADAPTER_UNIQUE_GUID, too_short.data(),
                          too_short.size()),
            -EINVAL);
}

// ---- Nodes ----

// [QAI] 33
TEST(SimNodes, MetadataGoesOnUntilTheLastNode) {
  Node node = OpenNode();
  const std::vector<NodeMetadata> nodes = Nodes(node);
  ASSERT_GE(nodes.size(), 1u);
  for (uint32_t beyond : {static_cast<uint32_t>(nodes.size()), 0xffffu}) {
    NodeMetadata metadata = {};
    metadata.node_and_adapter = beyond;
    EXPECT_EQ(node.TryQuery(node.FirstAdapter(), KMTQAITYPE_NODEMETADATA, &metadata, sizeof(metadata)),
              -EINVAL);
  }
}

// [QAI] 34
TEST(SimNodes, OnlyOtherEnginesHaveNames) {
  Node node = OpenNode();
  for (const NodeMetadata& metadata : Nodes(node)) {
    const std::u16string name = metadata.NameField();
    EXPECT_TRUE(IsTerminated(name));
    EXPECT_EQ(name[0] == u'\0', metadata.engine_type != kEngineOther);
  }
}

// [QAI] 36
TEST(SimNodes, HardwareSchedulingIsOnWhereANodeHasHardwareQueues) {
  Node node = OpenNode();
  const auto caps = Ask<uint32_t>(node, KMTQAITYPE_WDDM_2_7_CAPS);
  const std::vector<NodeMetadata> nodes = Nodes(node);
  const bool any = std::any_of(nodes.begin(), nodes.end(),
                               [](const auto& n) { return (n.flags & kContextScheduling) != 0; });
  EXPECT_EQ((caps & kHwSchEnabled) != 0, any);
  EXPECT_TRUE(!any || (caps & kHwSchSupported) != 0);
}

TEST(SimNodes, PerformanceDataIsBounded) {
  struct AdapterPerf {
    uint32_t index, padding;
    uint64_t memory_frequency, memory_frequency_max, memory_frequency_max_overclock, bandwidth,
        pcie_bandwidth;
    uint32_t fan_rpm, power_permille, temperature_decicelsius;
    uint32_t power_state_override;
  };
  static_assert(sizeof(AdapterPerf) == 64);
  Node node = OpenNode();
  for (uint32_t i = 0; i < Nodes(node).size(); ++i) {
    const auto perf = Ask<NodePerformance>(node, KMTQAITYPE_NODEPERFDATA, {.node = i});
    EXPECT_LE(perf.frequency, perf.frequency_max);
  }
  NodePerformance beyond = {.node = static_cast<uint32_t>(Nodes(node).size())};
  EXPECT_EQ(node.TryQuery(node.FirstAdapter(), KMTQAITYPE_NODEPERFDATA, &beyond, sizeof(beyond)), -EINVAL);
  const auto perf = Ask<AdapterPerf>(node, KMTQAITYPE_ADAPTERPERFDATA);
  EXPECT_LE(perf.memory_frequency, perf.memory_frequency_max);
  EXPECT_LE(perf.power_permille, 1000u);
  EXPECT_LT(perf.temperature_decicelsius, 1500u);
}

}  // namespace
}  // namespace dxg::conformance
