#include <gtest/gtest.h>

#include "tests/hostsim/rig.h"

namespace dxg::hostsim {
namespace {

class Statistics {
 public:
  explicit Statistics(const AdapterProfile& profile) : rig({profile}), caller(rig.NewCaller()) {}

  int32_t Of(uint32_t type, uint32_t selector = 0) {
    host::QueryStatistics::Request request;
    request.set_type(type);
    request.set_adapter_luid(rig.adapter().host_luid);
    request.set_selector(selector);
    const auto answer = rig.Ask<host::QueryStatistics>(caller, request);
    EXPECT_EQ(answer.reply.result().size(), 776u);
    result = answer.reply.result();
    return answer.reply.status();
  }
  template <typename T>
  T At(size_t at) {
    return Get<T>(BytesOf(result), at);
  }

  Rig rig;
  Caller caller;
  std::string result;
};

TEST(QueryStatistics, RefusesUnknownTypesAndSelectors) {
  Statistics statistics(Shipped("discrete"));
  for (const uint32_t type : {7u, 8u, 11u, 16u, 17u, 18u, 19u, 20u, ~0u}) {
    EXPECT_EQ(statistics.Of(type), kStatusInvalidParameter) << type;
  }
  EXPECT_EQ(statistics.Of(3, 2), kStatusInvalidParameter) << "two segments";
  EXPECT_EQ(statistics.Of(4, 2), kStatusInvalidParameter);
  EXPECT_EQ(statistics.Of(5, 3), kStatusInvalidParameter) << "three nodes";
  EXPECT_EQ(statistics.Of(6, 3), kStatusInvalidParameter);
  EXPECT_EQ(statistics.Of(9, 2), kStatusInvalidParameter);
  EXPECT_EQ(statistics.Of(10, 1), kStatusInvalidParameter);
}

TEST(QueryStatistics, RefusesOtherAdaptersAndProcesses) {
  Rig rig({Shipped("discrete"), Shipped("discrete")});
  const Caller caller = rig.NewCaller();
  host::QueryStatistics::Request request;
  EXPECT_EQ(rig.Ask<host::QueryStatistics>(caller, request).reply.status(), kStatusInvalidParameter);
  request.set_adapter_luid(rig.adapter(1).host_luid);
  EXPECT_EQ(rig.Ask<host::QueryStatistics>(caller, request).reply.status(), kStatusInvalidParameter);
  request.set_adapter_luid(rig.adapter(0).luid);
  EXPECT_EQ(rig.Ask<host::QueryStatistics>(caller, request).reply.status(), kStatusInvalidParameter);
  request.set_adapter_luid(rig.adapter(0).host_luid);
  EXPECT_EQ(rig.Ask<host::QueryStatistics>(caller, request).reply.status(), kStatusSuccess);
  request.set_process(1);
  EXPECT_EQ(rig.Ask<host::QueryStatistics>(caller, request).reply.status(), kStatusInvalidParameter);
  request.set_process(0);
  const Caller nobody{caller.process + 0x40, caller.adapter_luid};
  EXPECT_EQ(rig.Ask<host::QueryStatistics>(nobody, request).reply.status(), kStatusInvalidParameter);
}

TEST(QueryStatistics, AdapterCountsItsParts) {
  Statistics statistics(Shipped("discrete"));
  ASSERT_EQ(statistics.Of(0), kStatusSuccess);
  EXPECT_EQ(statistics.At<uint32_t>(0), 2u) << "segments";
  EXPECT_EQ(statistics.At<uint32_t>(4), 3u) << "nodes";
  EXPECT_EQ(statistics.At<uint32_t>(8), 0u) << "display sources";
  EXPECT_EQ(statistics.At<uint32_t>(16), 0u) << "resets";
  EXPECT_EQ(statistics.At<uint64_t>(712), 2u) << "memory groups";
  statistics.rig.host().ResetAdapter(statistics.caller.adapter_luid);
  ASSERT_EQ(statistics.Of(0), kStatusSuccess);
  EXPECT_EQ(statistics.At<uint32_t>(16), 1u);
  ASSERT_EQ(statistics.Of(1), kStatusSuccess);
  EXPECT_EQ(statistics.At<uint32_t>(0), 3u);
  ASSERT_EQ(statistics.Of(2), kStatusSuccess);
  EXPECT_EQ(statistics.At<uint32_t>(4), 3u);
}

TEST(QueryStatistics, SegmentsAreTheMemory) {
  Statistics statistics(Shipped("discrete"));
  ASSERT_EQ(statistics.Of(3, 0), kStatusSuccess);
  EXPECT_EQ(statistics.At<uint64_t>(0), 8ull << 30);
  EXPECT_EQ(statistics.At<uint32_t>(40), 0u);
  ASSERT_EQ(statistics.Of(3, 1), kStatusSuccess);
  EXPECT_EQ(statistics.At<uint64_t>(0), 16ull << 30);
  EXPECT_EQ(statistics.At<uint32_t>(40), 1u) << "aperture";
  EXPECT_LE(statistics.At<uint64_t>(16), statistics.At<uint64_t>(8)) << "resident, committed";
  EXPECT_LE(statistics.At<uint64_t>(8), statistics.At<uint64_t>(0));
  ASSERT_EQ(statistics.Of(4, 1), kStatusSuccess);
  EXPECT_EQ(statistics.At<uint64_t>(0), 0u);

  Statistics pool(Shipped("integrated"));
  ASSERT_EQ(pool.Of(0), kStatusSuccess);
  EXPECT_EQ(pool.At<uint32_t>(0), 1u);
  EXPECT_EQ(pool.At<uint64_t>(712), 1u);
  EXPECT_EQ(pool.Of(3, 1), kStatusInvalidParameter);
}

TEST(QueryStatistics, NodesAreIdle) {
  Statistics statistics(Shipped("discrete"));
  for (uint32_t node = 0; node < 3; ++node) {
    ASSERT_EQ(statistics.Of(5, node), kStatusSuccess);
    EXPECT_EQ(statistics.At<uint64_t>(0), 0u) << "running time";
    EXPECT_EQ(statistics.At<uint32_t>(544), node) << "performance data";
    EXPECT_EQ(statistics.At<uint64_t>(560), 1'500'000'000u);
    ASSERT_EQ(statistics.Of(6, node), kStatusSuccess);
  }
}

TEST(QueryStatistics, GroupsAgreeWithTheBudget) {
  Statistics statistics(Shipped("discrete"));
  ASSERT_EQ(statistics.Of(9, 0), kStatusSuccess);
  EXPECT_EQ(statistics.At<uint64_t>(0), (8ull << 30) / 100 * 90);
  ASSERT_EQ(statistics.Of(9, 1), kStatusSuccess);
  EXPECT_EQ(statistics.At<uint64_t>(0), (16ull << 30) / 100 * 90);
  ASSERT_EQ(statistics.Of(10), kStatusSuccess);
  EXPECT_EQ(statistics.At<uint64_t>(16), 2'000'000'000u) << "memory frequency";
}

TEST(QueryStatistics, GroupUsageIsNewerThanWddm30) {
  Statistics statistics(Shipped("compute"));
  ASSERT_EQ(statistics.Of(17, 0), kStatusSuccess);
  EXPECT_EQ(statistics.At<uint64_t>(0), 0u) << "allocated";
  EXPECT_EQ(statistics.At<uint64_t>(8), 16ull << 30) << "free";
  EXPECT_EQ(statistics.Of(17, 1u << 16), kStatusSuccess);
  EXPECT_EQ(statistics.Of(17, 2u << 16), kStatusInvalidParameter);
  EXPECT_EQ(statistics.Of(17, 1), kStatusInvalidParameter) << "physical adapter";
}

}  // namespace
}  // namespace dxg::hostsim
