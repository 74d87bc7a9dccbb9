#include "hostsim/adapter/registry.h"

#include <gtest/gtest.h>

#include "hostsim/machine/utf16.h"
#include "proto/abi/qaitype.h"
#include "tests/hostsim/rig.h"

namespace dxg::hostsim {
namespace {

constexpr uint32_t kServiceKey = 0;
constexpr uint32_t kAdapterKey = 1;
constexpr uint32_t kStorePath = 2;
constexpr uint32_t kImagePath = 3;

AdapterProfile WithValues() {
  AdapterProfile profile = Shipped("discrete");
  auto add = [&](const char* name) {
    AdapterProfile::RegistryValue* value = profile.add_registry();
    value->set_name(name);
    return value;
  };
  add("Number")->set_number(0x01020304);
  add("Long")->set_long_number(0x0102030405060708);
  add("Text")->set_text("hello");
  add("Expand")->set_expand_text("%x%");
  add("Raw")->set_binary("0123456789");
  *add("Many")->mutable_texts() = [] {
    AdapterProfile::TextList list;
    list.add_text("a");
    list.add_text("bc");
    return list;
  }();
  AdapterProfile::RegistryValue* service = add("OfTheService");
  service->set_key(AdapterProfile::RegistryValue::SERVICE);
  service->set_number(5);
  return profile;
}

class Registry : public testing::Test {
 protected:
  struct Result {
    int32_t ntstatus;
    uint32_t status;
    uint32_t size;
    std::string output;
  };

  Result Ask(uint32_t query, const std::string& name, uint32_t type, size_t bytes, uint32_t flags = 0,
             uint32_t index = 0) {
    std::string data(bytes, '\xEE');
    if (bytes >= kQueryRegistryBytes) {
      Put<uint32_t>(BytesOf(data), 0, query);
      Put<uint32_t>(BytesOf(data), 4, flags);
      PutUtf16(BytesOf(data), 8, 260, name);
      Put<uint32_t>(BytesOf(data), 528, type);
      Put<uint32_t>(BytesOf(data), 532, index);
      Put<uint32_t>(BytesOf(data), 540, 2);  // FAIL, as clients preset it
    }
    const std::string sent = data;
    const int32_t ntstatus = rig_.Query(caller_, KMTQAITYPE_QUERYREGISTRY, &data);
    if (ntstatus != kStatusSuccess) {
      EXPECT_EQ(data, sent) << "a failure changes nothing";
      return {ntstatus, 2, 0, ""};
    }
    const auto size = Get<uint32_t>(BytesOf(data), 536);
    const auto status = Get<uint32_t>(BytesOf(data), 540);
    return {ntstatus, status, size, status == 0 ? data.substr(544, size) : data.substr(544)};
  }

  Rig rig_{{WithValues()}};
  Caller caller_ = rig_.NewCaller();
};

TEST_F(Registry, RefusesAShortBuffer) {
  EXPECT_EQ(Ask(kStorePath, "", 0, 551).ntstatus, kStatusInvalidParameter);
  EXPECT_EQ(Ask(kStorePath, "", 0, 1).ntstatus, kStatusInvalidParameter);
}

TEST_F(Registry, RefusesNonsense) {
  EXPECT_EQ(Ask(4, "Number", 4, 600).ntstatus, kStatusInvalidParameter);
  EXPECT_EQ(Ask(~0u, "Number", 4, 600).ntstatus, kStatusInvalidParameter);
  EXPECT_EQ(Ask(kAdapterKey, "Number", 4, 600, 4).ntstatus, kStatusInvalidParameter) << "reserved flag";
  EXPECT_EQ(Ask(kAdapterKey, "Number", 4, 600, 0, 1).ntstatus, kStatusInvalidParameter) << "physical adapter";
  EXPECT_EQ(Ask(kAdapterKey, "Number", 1, 600).ntstatus, kStatusInvalidParameter) << "not a string";
  EXPECT_EQ(Ask(kAdapterKey, "Number", 0, 600).ntstatus, kStatusInvalidParameter);
  EXPECT_EQ(Ask(kStorePath, "", 1, 900).ntstatus, kStatusInvalidParameter) << "a path has no type";
}

TEST_F(Registry, MissingValueIsNotFound) {
  EXPECT_EQ(Ask(kAdapterKey, "Nowhere", 4, 600).ntstatus, kStatusObjectNameNotFound);
  EXPECT_EQ(Ask(kAdapterKey, "", 4, 600).ntstatus, kStatusObjectNameNotFound);
  EXPECT_EQ(Ask(kServiceKey, "Number", 4, 600).ntstatus, kStatusObjectNameNotFound) << "in the other key";
  EXPECT_EQ(Ask(kServiceKey, "DriverDesc", 1, 600).ntstatus, kStatusObjectNameNotFound);
}

TEST_F(Registry, TwoPassesGetAPath) {
  const Result first = Ask(kStorePath, "ignored", 0, kQueryRegistryBytes);
  EXPECT_EQ(first.ntstatus, kStatusSuccess) << "too small is no failure";
  EXPECT_EQ(first.status, 1u);
  EXPECT_EQ(first.output, std::string(8, '\xEE')) << "only the size is valid";
  const Result second = Ask(kStorePath, "ignored", 0, kQueryRegistryBytes + first.size);
  EXPECT_EQ(second.ntstatus, kStatusSuccess);
  EXPECT_EQ(second.status, 0u);
  EXPECT_EQ(second.size, first.size);
  const std::u16string path = GetUtf16(BytesOf(std::string_view(second.output)), 0, second.size / 2);
  EXPECT_EQ(
      path,
      ToUtf16(R"(C:\Windows\System32\HostDriverStore\FileRepository\simgpu.inf_amd64_0123456789abcdef)"));
  EXPECT_EQ(second.size, (path.size() + 1) * 2) << "bytes, with the NUL";
  const Result image = Ask(kImagePath, "", 0, 1000);
  EXPECT_TRUE(
      GetUtf16(BytesOf(std::string_view(image.output)), 0, image.size / 2).ends_with(u"\\simgpu.sys"));
}

TEST_F(Registry, ReadsEveryKindOfValue) {
  EXPECT_EQ(Ask(kAdapterKey, "number", 4, 552).output, std::string("\4\3\2\1", 4)) << "names have no case";
  EXPECT_EQ(Ask(kAdapterKey, "Long", 11, 552).output, std::string("\x08\7\6\5\4\3\2\1", 8));
  EXPECT_EQ(Ask(kAdapterKey, "Raw", 3, 600).output, "0123456789");
  EXPECT_EQ(Ask(kAdapterKey, "Text", 1, 600, 1).output, std::string("h\0e\0l\0l\0o\0\0\0", 12));
  EXPECT_EQ(Ask(kAdapterKey, "Expand", 2, 600).size, 8u);
  EXPECT_EQ(Ask(kAdapterKey, "Many", 7, 600).output, std::string("a\0\0\0b\0c\0\0\0\0\0", 12));
  EXPECT_EQ(Ask(kServiceKey, "OfTheService", 4, 600).output, std::string("\5\0\0\0", 4));
  EXPECT_EQ(Ask(kAdapterKey, "Raw", 3, 553).status, 1u) << "ten bytes, room for nine";
  EXPECT_EQ(Ask(kAdapterKey, "Raw", 3, 554).status, 0u);
}

TEST_F(Registry, KnowsWhatEveryDriverHas) {
  const Result description = Ask(kAdapterKey, "DriverDesc", 1, 1000);
  EXPECT_EQ(GetUtf16(BytesOf(std::string_view(description.output)), 0, description.size / 2),
            u"SimGPU Discrete");
  EXPECT_EQ(Ask(kAdapterKey, "DriverVersion", 1, 1000).size, 26u);
  EXPECT_EQ(Ask(kAdapterKey, "HardwareInformation.AdapterString", 1, 1000).status, 0u);
  EXPECT_EQ(Ask(kAdapterKey, "HardwareInformation.qwMemorySize", 11, 552).output,
            std::string("\0\0\0\0\2\0\0\0", 8));
}

}  // namespace
}  // namespace dxg::hostsim
