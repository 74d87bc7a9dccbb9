#include "link/vmbus/guid.h"

#include <gtest/gtest.h>

namespace dxg::vmbus {
namespace {

constexpr char kGlobalText[] = "dde9cbc0-5060-4436-9448-ea1254a5d177";

TEST(Guid, ClassesReadAsTheyArePublished) {
  EXPECT_EQ(kGlobalClass.text(), kGlobalText);
  EXPECT_EQ(kVgpuClass.text(), "6e382d18-3336-4f4b-acc4-2b7703d4df4a");
}

TEST(Guid, IsParsedInAnyCaseWithAndWithoutBraces) {
  EXPECT_EQ(Guid::Parse(kGlobalText), kGlobalClass);
  EXPECT_EQ(Guid::Parse("DDE9CBC0-5060-4436-9448-EA1254A5D177"), kGlobalClass);
  EXPECT_EQ(Guid::Parse("{DDE9cbc0-5060-4436-9448-EA1254A5D177}"), kGlobalClass);
}

TEST(Guid, RefusesWhatIsNone) {
  const std::string text = kGlobalText;
  for (const std::string& bad : {std::string(), std::string("{}"), std::string("{"), text + "0",
                                 text.substr(1), "{" + text, text + "}", "{" + text + "-", "-" + text + "}",
                                 " " + text, text + "\n", std::string("dde9cbc0-5060-4436-9448-ea1254a5d17g"),
                                 std::string("dde9cbc05060-4436-9448--ea1254a5d177"),
                                 std::string("dde9cbc0-5060-4436-9448-ea1254a5d1-7"), std::string(36, '-'),
                                 std::string(36, '0'), std::string("+de9cbc0-5060-4436-9448-ea1254a5d177"),
                                 std::string("0xe9cbc0-5060-4436-9448-ea1254a5d177")}) {
    EXPECT_EQ(Guid::Parse(bad), std::nullopt) << "'" << bad << "'";
  }
}

TEST(Guid, EveryByteSurvivesText) {
  Guid guid;
  for (size_t i = 0; i < guid.bytes.size(); ++i) guid.bytes[i] = static_cast<uint8_t>(0x13 * i + 0x0A);
  EXPECT_EQ(Guid::Parse(guid.text()), guid);
}

TEST(Guid, InstanceNamesTheAdapter) {
  const auto instance = Guid::Parse("1d5f2a9c-4e11-4b07-9a2d-5c0f4e6b7a81");
  ASSERT_TRUE(instance);
  EXPECT_EQ(instance->luid(), 0x4B074E11'1D5F2A9Cu);
}

}  // namespace
}  // namespace dxg::vmbus
