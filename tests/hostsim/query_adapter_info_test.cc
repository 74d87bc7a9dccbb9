#include "hostsim/adapter/query_adapter_info.h"

#include <gtest/gtest.h>

#include <map>

#include "hostsim/machine/utf16.h"
#include "proto/abi/qaitype.h"
#include "tests/hostsim/rig.h"

namespace dxg::hostsim {
namespace {

// What WDDM documents for each number: the bytes of its struct, or how it is refused on a render adapter. The
// `discrete` profile, a WDDM 3.0 driver.
struct Documented {
  uint32_t bytes;
  int32_t status;
};
constexpr Documented kNo = {0, kStatusInvalidParameter};
constexpr Documented kNoName = {0, kStatusObjectNameNotFound};
constexpr Documented kRegistry = kNoName;  // an empty name; registry_test.cc has the rest
constexpr Documented Has(uint32_t bytes) { return {bytes, kStatusSuccess}; }

// clang-format off
const Documented kDocumented[] = {
    /*  0 */ Has(32), Has(524), kNoName,  Has(24),   Has(16),   kNo,     Has(12), kNo,     Has(2080), kNo,
    /* 10 */ kNo,     Has(4),   Has(4),   Has(4),    kNo,       Has(4),  kNo,     Has(12), Has(8),    kNo,
    /* 20 */ kNo,     kNoName,  Has(4),   kNo,       Has(4),    Has(78), kNoName, Has(4),  kNo,       kNoName,
    /* 30 */ Has(4),  Has(28),  Has(4),   kNo,       Has(12),   kNo,     kNo,     kNo,     kNo,       kNo,
    /* 40 */ kNo,     kNo,      Has(56),  kNo,       kNo,       kNo,     kNo,     kNo,     kRegistry, Has(8),
    /* 50 */ kNoName, kNoName,  Has(16),  Has(12),   Has(2080), Has(4),  Has(4),  Has(4),  Has(12),   Has(4),
    /* 60 */ Has(16), Has(56),  Has(64),  Has(40),   Has(132),  Has(8192), Has(8192), kNo, Has(1),    Has(14),
    /* 70 */ Has(4),  kNo,      Has(12),  Has(4),    kNo,       Has(4),  Has(4),  Has(4),  kNo,       kNo,
    /* 80 */ kNo,
};
// clang-format on
constexpr uint32_t kTypes = 81;
static_assert(std::size(kDocumented) == kTypes);

TEST(QueryAdapterInfo, EveryTypeAnswersOrRefusesAsDocumented) {
  Rig rig;
  const Caller caller = rig.NewCaller();
  for (uint32_t type = 0; type < kTypes; ++type) {
    SCOPED_TRACE(testing::Message() << "type " << type);
    const auto& [bytes, status] = kDocumented[type];
    const bool answers = status == kStatusSuccess;
    // One size fits opaque data and names that have a room for more.
    std::string exact(answers ? bytes : 600, '\0');
    EXPECT_EQ(rig.Query(caller, type, &exact), status);
    if (!answers) {
      EXPECT_EQ(exact, std::string(600, '\0')) << "a refusal writes nothing";
      continue;
    }
    if (bytes > 1) {
      std::string smaller(bytes - 1, '\0');
      EXPECT_EQ(rig.Query(caller, type, &smaller), kStatusInvalidParameter);
      EXPECT_EQ(smaller, std::string(bytes - 1, '\0'));
    }
    std::string larger(bytes, '\0');
    larger.append(7, '\x5A');
    const int32_t larger_status = rig.Query(caller, type, &larger);
    if (type == KMTQAITYPE_UMDRIVERPRIVATE) {
      EXPECT_EQ(larger_status, kStatusInvalidParameter) << "opaque data has one size";
      continue;
    }
    EXPECT_EQ(larger_status, kStatusSuccess);
    EXPECT_EQ(larger, exact + std::string(7, '\x5A')) << "nothing behind the struct is written";
  }
}

TEST(QueryAdapterInfo, RefusesOddRequests) {
  Rig rig;
  const Caller caller = rig.NewCaller();
  std::string none;
  EXPECT_EQ(rig.Query(caller, KMTQAITYPE_DRIVERVERSION, &none), kStatusInvalidParameter) << "no buffer";
  std::string data(4, '\0');
  for (const uint32_t type : {81u, 200u, 255u, 256u, ~0u}) {
    EXPECT_EQ(rig.Query(caller, type, &data), kStatusInvalidParameter) << type;
  }
  EXPECT_EQ(rig.Query({0, caller.adapter_luid}, KMTQAITYPE_DRIVERVERSION, &data), kStatusInvalidParameter);
  EXPECT_EQ(rig.Query({caller.process, 0}, KMTQAITYPE_DRIVERVERSION, &data), kStatusInvalidParameter);
  std::string huge(128 * 1024 + 1, '\0');
  EXPECT_EQ(rig.Query(caller, KMTQAITYPE_DRIVERVERSION, &huge), kStatusInvalidParameter);

  host::QueryAdapterInfo::Request request;
  request.set_query_type(KMTQAITYPE_DRIVERVERSION);
  request.set_private_data(std::string(4, '\0'));
  request.set_private_data_size(8);
  EXPECT_EQ(rig.Ask<host::QueryAdapterInfo>(caller, request).reply.status(), kStatusInvalidParameter);
}

// A query with an adapter of its own.
class Answers {
 public:
  explicit Answers(const AdapterProfile& profile) : rig_({profile}), caller_(rig_.NewCaller()) {}

  // The answer to a buffer of that many bytes that begins with those numbers; empty where it is refused.
  std::string Of(uint32_t type, size_t bytes, std::vector<uint32_t> input = {}) {
    std::string data(bytes, '\0');
    for (size_t i = 0; i < input.size(); ++i) Put<uint32_t>(BytesOf(data), i * 4, input[i]);
    status = rig_.Query(caller_, type, &data);
    return status == kStatusSuccess ? data : std::string();
  }
  uint32_t U32(uint32_t type, size_t bytes, size_t at, std::vector<uint32_t> input = {}) {
    const std::string data = Of(type, bytes, std::move(input));
    return data.empty() ? ~0u : Get<uint32_t>(BytesOf(std::string_view(data)), at);
  }
  uint64_t U64(uint32_t type, size_t bytes, size_t at, std::vector<uint32_t> input = {}) {
    const std::string data = Of(type, bytes, std::move(input));
    return data.empty() ? ~0ull : Get<uint64_t>(BytesOf(std::string_view(data)), at);
  }
  std::u16string Text(uint32_t type, size_t bytes, size_t at, size_t units,
                      std::vector<uint32_t> input = {}) {
    const std::string data = Of(type, bytes, std::move(input));
    return data.empty() ? u"" : GetUtf16(BytesOf(std::string_view(data)), at, units);
  }
  MemoryInfo Memory(uint32_t group) {
    host::QueryVideoMemoryInfo::Request request;
    request.set_adapter(rig_.adapter().host_handle);
    request.set_memory_segment_group(group);
    const auto answer = rig_.Ask<host::QueryVideoMemoryInfo>(caller_, request);
    return {answer.reply.budget(), answer.reply.current_usage(), answer.reply.current_reservation(),
            answer.reply.available_for_reservation()};
  }

  int32_t status = 0;
  Rig rig_;
  Caller caller_;
};

class QueryAdapterInfoOf : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Shipped, QueryAdapterInfoOf, testing::Values("discrete", "integrated", "compute"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(QueryAdapterInfoOf, RenderTwinsAnswerTheSame) {
  Answers answers(Shipped(GetParam()));
  const std::pair<uint32_t, uint32_t> twins[] = {{4, 52},  {6, 53},  {8, 54},  {11, 55}, {13, 56},
                                                 {15, 57}, {17, 58}, {22, 59}, {65, 66}};
  for (const auto& [plain, render] : twins)
    EXPECT_EQ(answers.Of(plain, 8192), answers.Of(render, 8192)) << plain;
}

TEST_P(QueryAdapterInfoOf, TypeIsAParavirtualizedRenderAdapter) {
  Answers answers(Shipped(GetParam()));
  const uint32_t type = answers.U32(KMTQAITYPE_ADAPTERTYPE, 4, 0);
  const std::map<std::string, uint32_t> expected = {
      {"discrete", 0x91}, {"integrated", 0xA1}, {"compute", 0x881}};
  EXPECT_EQ(type, expected.at(GetParam()));
}

TEST_P(QueryAdapterInfoOf, CapsFollowTheDriverVersion) {
  AdapterProfile profile = Shipped(GetParam());
  profile.set_hardware_scheduling(AdapterProfile::OFF);
  for (const uint32_t version : {2000u, 2700u, 2900u, 3000u, 3100u}) {
    profile.set_driver_version(version);
    Answers answers(profile);
    EXPECT_EQ(answers.U32(KMTQAITYPE_DRIVERVERSION, 4, 0), version);
    EXPECT_EQ(answers.U32(KMTQAITYPE_VIRTUALADDRESSINFO, 4, 0) & 1, 1u);
    EXPECT_EQ(answers.U32(KMTQAITYPE_WDDM_2_0_CAPS, 4, 0), 0x23u);
    const std::pair<uint32_t, uint32_t> caps[] = {{17, 1200}, {22, 1300}, {24, 2000}, {70, 2700},
                                                  {75, 2900}, {77, 3000}, {80, 3100}};
    for (const auto& [type, since] : caps) {
      EXPECT_EQ(answers.Of(type, 12).empty(), version < since) << "type " << type << ", driver " << version;
    }
  }
}

// [QAI] 32
TEST_P(QueryAdapterInfoOf, MemoryAgreesEverywhere) {
  Answers answers(Shipped(GetParam()));
  const uint64_t dedicated = answers.U64(KMTQAITYPE_GETSEGMENTSIZE, 24, 0);
  const uint64_t dedicated_system = answers.U64(KMTQAITYPE_GETSEGMENTSIZE, 24, 8);
  const uint64_t shared = answers.U64(KMTQAITYPE_GETSEGMENTSIZE, 24, 16);
  const uint64_t local = answers.U64(KMTQAITYPE_GETSEGMENTGROUPSIZE, 56, 32);
  const uint64_t non_local = answers.U64(KMTQAITYPE_GETSEGMENTGROUPSIZE, 56, 40);
  EXPECT_EQ(answers.U64(KMTQAITYPE_GETSEGMENTGROUPSIZE, 56, 8), dedicated);
  EXPECT_EQ(answers.U64(KMTQAITYPE_GETSEGMENTGROUPSIZE, 56, 24), shared);
  if (dedicated != 0) {
    EXPECT_EQ(local, dedicated);
    EXPECT_EQ(non_local, shared);
  } else {
    EXPECT_EQ(local, dedicated_system + shared) << "one pool";
    EXPECT_EQ(non_local, 0u);
  }
  EXPECT_EQ(answers.Memory(kLocal).budget, local / 100 * 90);
  EXPECT_EQ(answers.Memory(kNonLocal).budget, non_local / 100 * 90);
  EXPECT_TRUE(answers.Of(KMTQAITYPE_GETSEGMENTGROUPSIZE, 56, {1}).empty()) << "no second physical adapter";
}

TEST_P(QueryAdapterInfoOf, NodesEndWhereContextsEnd) {
  const AdapterProfile profile = Shipped(GetParam());
  Answers answers(profile);
  const uint32_t device = answers.rig_.NewDevice(answers.caller_);
  const auto nodes = static_cast<uint32_t>(profile.nodes_size());
  const bool queues = profile.hardware_scheduling() == AdapterProfile::ENABLED;
  for (uint32_t node = 0; node < nodes + 2; ++node) {
    const std::string data = answers.Of(KMTQAITYPE_NODEMETADATA, 78, {node});
    EXPECT_EQ(!data.empty(), node < nodes);
    EXPECT_EQ(answers.rig_.TryContext(answers.caller_, device, node) != 0, node < nodes);
    if (data.empty()) continue;
    const ConstBytes bytes = BytesOf(std::string_view(data));
    const auto engine = Get<uint32_t>(bytes, 4);
    EXPECT_EQ(GetUtf16(bytes, 8, 32).empty(), engine != 0) << "only OTHER has a name";
    EXPECT_EQ(Get<uint32_t>(bytes, 72) & 1, queues ? 1u : 0u) << "context scheduling";
    EXPECT_EQ(Get<uint8_t>(bytes, 76), 1u) << "GPU MMU";
    EXPECT_EQ(answers.rig_.TryContext(answers.caller_, device, node, 1, 0x10) != 0, queues);
  }
  EXPECT_TRUE(answers.Of(KMTQAITYPE_NODEMETADATA, 78, {0x10000}).empty()) << "no second physical adapter";
  if (profile.driver_version() >= 2700) {
    EXPECT_EQ(answers.U32(KMTQAITYPE_WDDM_2_7_CAPS, 4, 0), queues ? 7u : 0u);
  }
  if (profile.driver_version() >= 2900) {
    EXPECT_EQ(answers.U32(KMTQAITYPE_WDDM_2_9_CAPS, 4, 0), queues ? 6u : 0u);
  }
}

TEST_P(QueryAdapterInfoOf, IndexedQueriesKnowOnePhysicalAdapter) {
  Answers answers(Shipped(GetParam()));
  EXPECT_EQ(answers.U32(KMTQAITYPE_PHYSICALADAPTERCOUNT, 4, 0), 1u);
  for (const uint32_t type : {31u, 34u, 42u, 62u, 63u, 64u, 72u}) {
    EXPECT_FALSE(answers.Of(type, 132, {0}).empty()) << type;
    EXPECT_TRUE(answers.Of(type, 132, {1}).empty()) << type;
    EXPECT_EQ(answers.status, kStatusInvalidParameter);
  }
  EXPECT_FALSE(answers.Of(KMTQAITYPE_NODEPERFDATA, 56, {0, 0}).empty());
  EXPECT_TRUE(answers.Of(KMTQAITYPE_NODEPERFDATA, 56, {0, 1}).empty());
  EXPECT_TRUE(answers.Of(KMTQAITYPE_NODEPERFDATA, 56, {64, 0}).empty());
  EXPECT_TRUE(answers.Of(KMTQAITYPE_TRACKEDWORKLOAD_SUPPORT, 12, {0, 64}).empty());
}

TEST_P(QueryAdapterInfoOf, UserModeDriverLiesInTheDriverStore) {
  const AdapterProfile profile = Shipped(GetParam());
  Answers answers(profile);
  EXPECT_TRUE(answers.Of(KMTQAITYPE_UMDRIVERNAME, 524, {4}).empty());
  EXPECT_EQ(answers.status, kStatusInvalidParameter);
  const std::u16string path = answers.Text(KMTQAITYPE_UMDRIVERNAME, 524, 4, 260, {3});
  EXPECT_EQ(path, ToUtf16(R"(C:\Windows\System32\HostDriverStore\FileRepository\)" +
                          profile.driver().store_directory() + "\\" + profile.driver().direct3d_12()));
  answers.Of(KMTQAITYPE_UMDRIVERNAME, 524, {0});
  EXPECT_EQ(answers.status,
            profile.driver().direct3d_9().empty() ? kStatusObjectNameNotFound : kStatusSuccess);
}

TEST(QueryAdapterInfo, DefaultIsWhatLibdxgtestCallsSoftgpu) {
  Answers answers(Shipped("discrete"));
  EXPECT_EQ(answers.U32(KMTQAITYPE_PHYSICALADAPTERDEVICEIDS, 28, 4), 0x1414u);
  EXPECT_EQ(answers.U32(KMTQAITYPE_PHYSICALADAPTERDEVICEIDS, 28, 8), 0x0088u);
  EXPECT_EQ(answers.Text(KMTQAITYPE_DRIVER_DESCRIPTION, 8192, 0, 4096), u"SimGPU Discrete");
}

TEST(QueryAdapterInfo, VersionsArePacked) {
  Answers answers(Shipped("discrete"));
  EXPECT_EQ(answers.U64(KMTQAITYPE_UMD_DRIVER_VERSION, 8, 0), 0x00200000000F03E8u);
  EXPECT_EQ(answers.U64(KMTQAITYPE_KMD_DRIVER_VERSION, 8, 0), 0x00200000000F03E8u);
}

TEST(QueryAdapterInfo, StringsAreThoseOfTheProfile) {
  AdapterProfile profile = Shipped("discrete");
  profile.mutable_strings()->set_bios("1.2.3");
  profile.mutable_driver()->set_service("");
  Answers answers(profile);
  EXPECT_EQ(answers.Text(KMTQAITYPE_ADAPTERREGISTRYINFO, 2080, 0, 260), u"SimGPU Discrete");
  EXPECT_EQ(answers.Text(KMTQAITYPE_ADAPTERREGISTRYINFO, 2080, 520, 260), u"1.2.3");
  EXPECT_EQ(answers.Text(KMTQUITYPE_GPUVERSION, 132, 4, 32), u"1.2.3");
  EXPECT_EQ(answers.Text(KMTQUITYPE_GPUVERSION, 132, 68, 32), u"sim");
  answers.Of(KMTQAITYPE_SERVICENAME, 100);
  EXPECT_EQ(answers.status, kStatusObjectNameNotFound);
}

TEST(QueryAdapterInfo, GuidHasTwoForms) {
  AdapterProfile profile = Shipped("discrete");
  profile.set_guid("{00112233-4455-6677-8899-aabbccddeeff}");
  Answers answers(profile);
  const std::string raw("\x33\x22\x11\x00\x55\x44\x77\x66\x88\x99\xAA\xBB\xCC\xDD\xEE\xFF", 16);
  EXPECT_EQ(answers.Of(KMTQAITYPE_ADAPTERGUID, 16), raw);
  EXPECT_EQ(answers.Of(KMTQAITYPE_QUERY_ADAPTER_UNIQUE_GUID, 16), raw);
  EXPECT_EQ(answers.Text(KMTQAITYPE_QUERY_ADAPTER_UNIQUE_GUID, 80, 0, 40),
            u"{00112233-4455-6677-8899-AABBCCDDEEFF}");
  Rig two({Shipped("discrete"), Shipped("discrete")});
  std::string one(16, '\0'), other(16, '\0');
  EXPECT_EQ(two.Query(two.NewCaller(0), KMTQAITYPE_ADAPTERGUID, &one), kStatusSuccess);
  EXPECT_EQ(two.Query(two.NewCaller(1), KMTQAITYPE_ADAPTERGUID, &other), kStatusSuccess);
  EXPECT_NE(one, other);
}

// How it moves: monitor_test.cc.
TEST(QueryAdapterInfo, PerformanceOfAnIdleAdapterStaysAtTheLowEnd) {
  Answers answers(Shipped("discrete"));
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(answers.U64(KMTQAITYPE_NODEPERFDATA, 56, 8),
              answers.U64(KMTQAITYPE_NODEPERFDATA, 56, 16) / 100 * 40);
    EXPECT_EQ(answers.U32(KMTQAITYPE_ADAPTERPERFDATA, 64, 56),
              answers.U32(KMTQAITYPE_ADAPTERPERFDATA_CAPS, 40, 32) / 2)
        << "tenths of a degree";
    EXPECT_EQ(answers.U32(KMTQAITYPE_ADAPTERPERFDATA, 64, 52), 100u) << "tenths of a percent";
    answers.rig_.clock.AdvanceNs(333'000'000);
  }
}

TEST(QueryAdapterInfo, PrivateDataIsTheProfiles) {
  AdapterProfile profile = Shipped("discrete");
  profile.mutable_driver()->set_private_data("0123456789");
  Answers answers(profile);
  EXPECT_EQ(answers.Of(KMTQAITYPE_UMDRIVERPRIVATE, 10), "0123456789");
  EXPECT_TRUE(answers.Of(KMTQAITYPE_UMDRIVERPRIVATE, 11).empty());
  EXPECT_TRUE(answers.Of(KMTQAITYPE_UMDRIVERPRIVATE, 32).empty());
}

TEST(QueryAdapterInfo, SecureVmSaysSo) {
  AdapterProfile profile = Shipped("discrete");
  EXPECT_EQ(Answers(profile).Of(KMTQAITYPE_PARAVIRTUALIZATION_RENDER, 1), std::string(1, '\0'));
  profile.mutable_policy()->set_secure(true);
  EXPECT_EQ(Answers(profile).Of(KMTQAITYPE_PARAVIRTUALIZATION_RENDER, 1), std::string(1, '\1'));
}

TEST(QueryAdapterInfo, AnswersOfTheProfileComeFirst) {
  AdapterProfile profile = Shipped("discrete");
  auto add = [&](uint32_t type, std::string input, std::string data, AdapterProfile::Refusal refusal) {
    AdapterProfile::Answer* answer = profile.add_answers();
    answer->set_type(type);
    answer->set_input(std::move(input));
    answer->set_data(std::move(data));
    answer->set_refusal(refusal);
  };
  add(KMTQAITYPE_DRIVERVERSION, "", std::string("\xB8\x0B\0\0", 4), AdapterProfile::NONE);
  add(KMTQAITYPE_XBOX, "", "", AdapterProfile::OBJECT_NAME_NOT_FOUND);
  add(KMTQAITYPE_NODEMETADATA, std::string("\1\0\0\0", 4), "", AdapterProfile::NOT_SUPPORTED);
  add(200, "", "recorded", AdapterProfile::NONE);
  Answers answers(profile);
  EXPECT_EQ(answers.U32(KMTQAITYPE_DRIVERVERSION, 4, 0), 3000u);
  EXPECT_TRUE(answers.Of(KMTQAITYPE_DRIVERVERSION, 3).empty());
  EXPECT_EQ(answers.status, kStatusInvalidParameter);
  EXPECT_TRUE(answers.Of(KMTQAITYPE_XBOX, 4).empty());
  EXPECT_EQ(answers.status, kStatusObjectNameNotFound);
  EXPECT_FALSE(answers.Of(KMTQAITYPE_NODEMETADATA, 78, {0}).empty()) << "another input";
  EXPECT_TRUE(answers.Of(KMTQAITYPE_NODEMETADATA, 78, {1}).empty());
  EXPECT_EQ(answers.status, kStatusNotSupported);
  EXPECT_EQ(answers.Of(200, 10), std::string("recorded\0\0", 10));
}

}  // namespace
}  // namespace dxg::hostsim
