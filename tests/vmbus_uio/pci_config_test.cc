#include <gtest/gtest.h>

#include <cerrno>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cuse-dxg/backend/vmbus/negotiate.h"

namespace dxg::vmbus {
namespace {

// A function as the real driver was recorded to find it: every access is noted, and any can be made to fail.
class RecordedFunction final : public PciFunction {
 public:
  std::string name() const override { return "0000:00:01.0"; }
  bool compute_only() const override { return false; }
  Result<uint32_t> Read(uint32_t offset) override {
    accesses.push_back(fmt::format("read {}", offset));
    if (failing.count(accesses.back())) return Status::Refuse(EIO, "the host does not answer");
    return values[offset];
  }
  Status Write(uint32_t offset, uint32_t value) override {
    accesses.push_back(fmt::format("write {} {}", offset, value));
    if (failing.count(accesses.back())) return Status::Refuse(EPERM, "locked down");
    return Status::Ok();
  }

  std::map<uint32_t, uint32_t> values = {{192, 0xc0ffee},   {196, 0xbadbeef}, {200, 0x4030201},
                                         {204, 0x8070605},  {208, 40},        {212, 0x11223344},
                                         {216, 0x55667788}, {220, 0}};
  std::set<std::string> failing;
  std::vector<std::string> accesses;
};

constexpr Guid kChannel{{0xEE, 0xFF, 0xC0, 0x00, 0xEF, 0xBE, 0xAD, 0x0B, 1, 2, 3, 4, 5, 6, 7, 8}};
constexpr uint64_t kLuid = 0x55667788'11223344;

using Accesses = std::vector<std::string>;
const Accesses kOfVersion40 = {"write 212 1", "read 208", "write 208 40", "read 220", "read 192",
                               "read 196",    "read 200", "read 204",     "read 212", "read 216"};
const Accesses kOfOlder = {"write 212 1", "read 208", "read 192", "read 196", "read 200", "read 204"};

struct HostVersion {
  uint32_t host;
  uint32_t agreed;
};

class Negotiation : public testing::TestWithParam<HostVersion> {};

// In the order of the records in tests/golden: v40, versions (45 and 39), v27 (0).
TEST_P(Negotiation, AsksAsTheDriverWasRecordedTo) {
  RecordedFunction function;
  function.values[208] = GetParam().host;
  Result<Negotiated> agreed = Negotiate(function, std::nullopt);
  ASSERT_TRUE(agreed.ok()) << agreed.status().why();
  const bool has_luid = GetParam().agreed >= 40;
  EXPECT_EQ(function.accesses, has_luid ? kOfVersion40 : kOfOlder);
  EXPECT_EQ(agreed->interface_version, GetParam().agreed);
  EXPECT_EQ(agreed->channel, kChannel);
  EXPECT_EQ(agreed->vgpu_luid, has_luid ? kLuid : 0);
  EXPECT_FALSE(agreed->map_guest_memory);
}

INSTANTIATE_TEST_SUITE_P(Versions, Negotiation,
                         testing::Values(HostVersion{40, 40}, HostVersion{45, 40},
                                         HostVersion{0xFFFFFFFF, 40}, HostVersion{39, 39},
                                         HostVersion{28, 28}, HostVersion{27, 27}, HostVersion{16, 16},
                                         HostVersion{0, 27}),
                         [](const auto& info) { return fmt::format("Host{}", info.param.host); });

TEST(Negotiation, HostThatCannotBeAskedForItsVersionIsOld) {
  RecordedFunction function;
  function.failing = {"read 208"};
  Result<Negotiated> agreed = Negotiate(function, std::nullopt);
  ASSERT_TRUE(agreed.ok());
  EXPECT_EQ(agreed->interface_version, 27u);
  EXPECT_EQ(function.accesses, kOfOlder);
}

TEST(Negotiation, HostSaysThatItMapsGuestMemory) {
  RecordedFunction function;
  function.values[220] = 1;
  EXPECT_TRUE(Negotiate(function, std::nullopt)->map_guest_memory);
  function.values[220] = 0xFFFFFFFE;  // bits that nobody knows
  EXPECT_FALSE(Negotiate(function, std::nullopt)->map_guest_memory);
}

TEST(Negotiation, AbilitiesThatCannotBeReadAreNone) {
  RecordedFunction function;
  function.values[220] = 1;
  function.failing = {"read 220"};
  Result<Negotiated> agreed = Negotiate(function, std::nullopt);
  ASSERT_TRUE(agreed.ok());
  EXPECT_FALSE(agreed->map_guest_memory);
  EXPECT_EQ(agreed->interface_version, 40u);
  EXPECT_EQ(function.accesses, kOfVersion40);
}

class NegotiationFails : public testing::TestWithParam<const char*> {};

TEST_P(NegotiationFails, WhereItCannotGoOn) {
  RecordedFunction function;
  function.failing = {GetParam()};
  const Status status = Negotiate(function, std::nullopt).status();
  EXPECT_EQ(status.value(), GetParam()[0] == 'w' ? -EPERM : -EIO);
  EXPECT_NE(status.why().find("0000:00:01.0"), std::string::npos) << status.why();
  EXPECT_EQ(function.accesses.back(), GetParam());  // nothing after it
}

INSTANTIATE_TEST_SUITE_P(Accesses, NegotiationFails,
                         testing::Values("write 212 1", "write 208 40", "read 192", "read 196", "read 200",
                                         "read 204", "read 212", "read 216"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name) c = c == ' ' ? '_' : c;
                           return name;
                         });

// As the record of a device that comes back: tests/golden/removal.jsonl.zst.
TEST(Negotiation, LaterFunctionsReadOnlyWhatIsTheirOwn) {
  RecordedFunction function;
  const Negotiated first{.interface_version = 40, .channel = {}, .vgpu_luid = 7, .map_guest_memory = true};
  Result<Negotiated> agreed = Negotiate(function, first);
  ASSERT_TRUE(agreed.ok());
  EXPECT_EQ(function.accesses,
            (Accesses{"read 192", "read 196", "read 200", "read 204", "read 212", "read 216"}));
  EXPECT_EQ(agreed->channel, kChannel);
  EXPECT_EQ(agreed->vgpu_luid, kLuid);
  EXPECT_TRUE(agreed->map_guest_memory);
}

TEST(Negotiation, LaterFunctionsOfAnOldHostHaveNoLuid) {
  RecordedFunction function;
  Result<Negotiated> agreed = Negotiate(function, Negotiated{.interface_version = 39});
  ASSERT_TRUE(agreed.ok());
  EXPECT_EQ(function.accesses, (Accesses{"read 192", "read 196", "read 200", "read 204"}));
  EXPECT_EQ(agreed->interface_version, 39u);
  EXPECT_EQ(agreed->vgpu_luid, 0u);
}

TEST(Negotiation, RefusesAFunctionThatIsGone) {
  RecordedFunction function;
  for (auto& [offset, value] : function.values) value = 0xFFFFFFFF;
  const Status status = Negotiate(function, std::nullopt).status();
  EXPECT_EQ(status.value(), -ENODEV);
  EXPECT_NE(status.why().find("taken it away"), std::string::npos);
}

}  // namespace
}  // namespace dxg::vmbus
