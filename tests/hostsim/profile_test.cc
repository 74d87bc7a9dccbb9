#include "hostsim/adapter/profile.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "link/profile_file.h"
#include "tests/hostsim/rig.h"

namespace dxg::hostsim {
namespace {

const char kSmallest[] = R"(name: "x"
description: "X"
memory { shared_system_bytes: 65536 }
nodes { engine: COPY }
)";

std::string ErrorOf(const std::string& text) {
  const auto profile = ParseProfile(text, "my.textproto");
  EXPECT_EQ(profile.ok(), profile.status().why().empty());
  return profile.status().why();
}

void ExpectError(const std::string& text, const std::string& start, const std::string& part = "") {
  const std::string error = ErrorOf(text);
  EXPECT_EQ(error.substr(0, start.size()), start) << text;
  EXPECT_NE(error.find(part), std::string::npos) << error;
  EXPECT_EQ(error.find('\n'), std::string::npos) << "one complaint: " << error;
}

TEST(Profile, NamesFileLineAndFieldOfASyntaxError) {
  ExpectError(std::string(kSmallest) + "colour: 7\n", "my.textproto:5: column 7: ", "colour");
  ExpectError(std::string(kSmallest) + "driver_version: \"new\"\n", "my.textproto:5: column 17: ");
  ExpectError(std::string(kSmallest) + "kind: FAST\n", "my.textproto:6: column 1: ", "FAST");
}

TEST(Profile, NamesFileLineAndFieldOfAWrongValue) {
  const std::string base = kSmallest;
  ExpectError(base + "\ndriver_version: 1300\n",
              "my.textproto:6: driver_version: 1300 is out of range; give 2000 to 3200");
  ExpectError(base + "driver_version: 2750\n", "my.textproto:5: driver_version: 2750 is no WDDM version");
  ExpectError(base + "driver_version: 2000\nhardware_scheduling: ENABLED\n",
              "my.textproto:6: hardware_scheduling: ");
  ExpectError(base + "guid: \"{1-2-3}\"\n", "my.textproto:5: guid: ");
  ExpectError(base + "pci {\n  slot: 32\n}\n", "my.textproto:6: pci.slot: 32 is out of range; give 0 to 31");
  ExpectError(base + "nodes {\n  engine: COPY\n  name: \"copy\"\n}\n", "my.textproto:7: nodes[1].name: ");
  ExpectError(base + "nodes { engine: OTHER }\n", "my.textproto: nodes[1].name: is missing");
  ExpectError(base + "nodes { clock_hz: 5 engine: COPY }\n", "my.textproto:5: nodes[1].clock_hz: ");
  ExpectError(base + "driver {\n  direct3d_12: \"a/b.so\"\n}\n",
              "my.textproto:6: driver.direct3d_12: ", "is a path");
  ExpectError(base + "driver { store_directory: \"" + std::string(120, 'a') + "\" }\n",
              "my.textproto:5: driver.store_directory: 120 characters are too long");
  ExpectError(base + "driver { version: \"1.2.3\" }\n", "my.textproto:5: driver.version: ");
  ExpectError(base + "driver { version: \"1.2.3.70000\" }\n", "my.textproto:5: driver.version: ");
  ExpectError(base + "caps { graphics_preemption: 150 }\n", "my.textproto:5: caps.graphics_preemption: ");
  ExpectError(base + "caps { virtual_address_bits: 64 }\n", "my.textproto:5: caps.virtual_address_bits: ");
  ExpectError(base + "strings { bios: \"" + std::string(32, 'b') + "\" }\n",
              "my.textproto:5: strings.bios: ");
  ExpectError(base + "performance { temperature_warning_decicelsius: 2000 }\n",
              "my.textproto:5: performance.temperature_warning_decicelsius: ");
  ExpectError(base + "registry { name: \"A\" }\n", "my.textproto:5: registry[0].name: 'A' has no value");
  ExpectError(base + "registry { name: \"A\" number: 1 }\nregistry { name: \"a\" number: 1 }\n",
              "my.textproto:6: registry[1].name: 'a' is already in this key");
  ExpectError(base + "features { id: 0 }\n", "my.textproto:5: features[0].id: ");
  ExpectError(base + "features { id: 5 }\nfeatures { id: 5 }\n",
              "my.textproto:6: features[1].id: 5 is given twice");
  ExpectError(base + "answers { type: 256 refusal: NOT_SUPPORTED }\n", "my.textproto:5: answers[0].type: ");
  ExpectError(base + "answers { type: 2 }\n", "my.textproto: answers[0].data: exactly one");
  ExpectError(base + "messages { interface_version: 30 }\n", "my.textproto:5: messages.interface_version: ");
}

TEST(Profile, NamesWhatIsMissing) {
  ExpectError("description: \"X\"\nmemory { shared_system_bytes: 65536 }\nnodes { engine: COPY }\n",
              "my.textproto: name: ");
  ExpectError("name: \"x\"\nmemory { shared_system_bytes: 65536 }\nnodes { engine: COPY }\n",
              "my.textproto: description: ");
  ExpectError("name: \"x\"\ndescription: \"X\"\nnodes { engine: COPY }\n",
              "my.textproto: memory.dedicated_video_bytes: ");
  ExpectError("name: \"x\"\ndescription: \"X\"\nmemory { shared_system_bytes: 65536 }\n",
              "my.textproto: nodes: ");
  const std::string rest = "description: \"X\"\nnodes { engine: COPY }\n";
  ExpectError("name: \"x y\"\nmemory { shared_system_bytes: 65536 }\n" + rest,
              "my.textproto:1: name: 'x y' ");
  ExpectError("name: \"x\"\nmemory { shared_system_bytes: 1 }\n" + rest,
              "my.textproto:2: memory.shared_system_bytes: ");
  ExpectError("name: \"x\"\nmemory { dedicated_video_bytes: 65536 dedicated_system_bytes: 65536 }\n" + rest,
              "my.textproto:2: memory.dedicated_system_bytes: ");
}

TEST(Profile, SaysEverythingAtOnce) {
  const std::string error = ErrorOf("driver_version: 1\n");
  EXPECT_GE(std::count(error.begin(), error.end(), '\n'), 4) << error;
}

TEST(Profile, LoadSaysWhatThereIs) {
  EXPECT_EQ(
      LoadProfile("no-such-profile").status().why(),
      "no-such-profile: No such file or directory, and no profile of that name is built in; give discrete, "
      "integrated, compute, intel-tgl, amd-navi, adreno-x1, npu, two-discrete, broken-answers or the path of "
      "a profile "
      "file");
  EXPECT_FALSE(LoadProfile("/").ok()) << "a directory";
  EXPECT_FALSE(LoadProfile("").ok());
  const auto endless = LoadProfile("/dev/zero");
  EXPECT_FALSE(endless.ok());
  EXPECT_NE(endless.status().why().find("larger than"), std::string::npos) << endless.status().why();
}

TEST(Profile, LoadsAFile) {
  const std::string path = testing::TempDir() + "hostsim_profile_" + std::to_string(getpid()) + ".textproto";
  std::ofstream(path) << kSmallest;
  auto profile = LoadProfile(path);
  ASSERT_TRUE(profile.ok()) << profile.status().why();
  EXPECT_EQ(profile->name(), "x");
  unlink(path.c_str());
}

TEST(Profile, MayHaveExactlyTheMostBytes) {
  const std::string path = testing::TempDir() + "hostsim_profile_" + std::to_string(getpid()) + ".textproto";
  std::string text = kSmallest;
  text += '#';
  text.resize(kProfileBytesMax, 'x');
  std::ofstream(path) << text;
  EXPECT_TRUE(LoadProfile(path).ok());
  EXPECT_TRUE(ReadProfileFile(path, "--profile").ok());

  std::ofstream(path, std::ios::app) << 'x';
  const Status here = LoadProfile(path).status(), there = ReadProfileFile(path, "--profile").status();
  EXPECT_EQ(here.value(), -EFBIG);
  EXPECT_EQ(there.why(), "--profile " + here.why()) << "the same words for whoever reads it";
  EXPECT_EQ(ParseProfile(text + 'x', path).status().why(), here.why()) << "as a device process sends it";
  unlink(path.c_str());
}

TEST(Profile, SmallestOneGetsItsDefaults) {
  auto parsed = ParseProfile(kSmallest, "smallest");
  ASSERT_TRUE(parsed.ok()) << parsed.status().why();
  const AdapterProfile& profile = *parsed;
  EXPECT_EQ(profile.driver_version(), 3000u);
  EXPECT_EQ(profile.memory().budget_percent(), 90u);
  EXPECT_EQ(profile.nodes(0).clock_hz(), 1'000'000'000u);
  EXPECT_EQ(profile.strings().chip(), "X");
  EXPECT_EQ(profile.messages().interface_version(), 40u);
  EXPECT_TRUE(profile.messages().asynchronous());
  Rig rig({profile});
  const Caller caller = rig.NewCaller();
  rig.NewContext(caller, rig.NewDevice(caller));
}

TEST(Profile, ShippedOnesAreSoundAndNamedAsTheyAre) {
  ASSERT_FALSE(ShippedProfiles().empty());
  EXPECT_STREQ(ShippedProfiles()[0].name, "discrete") << "the default comes first";
  for (const ShippedProfile& shipped : ShippedProfiles()) {
    auto adapters = LoadProfiles(shipped.name);
    ASSERT_TRUE(adapters.ok()) << adapters.status().why();
    for (const AdapterProfile& profile : *adapters) EXPECT_EQ(profile.name(), shipped.name);
  }
}

// What the page shows between ```textproto and ```.
std::vector<std::string> ExamplesOfThePage() {
  std::ifstream file(DXG_PROFILES_PAGE);
  EXPECT_TRUE(file) << DXG_PROFILES_PAGE;
  std::stringstream text;
  text << file.rdbuf();
  const std::string page = text.str(), fence = "```textproto\n";
  std::vector<std::string> examples;
  for (size_t at = page.find(fence); at != std::string::npos; at = page.find(fence, at)) {
    at += fence.size();
    examples.push_back(page.substr(at, page.find("```", at) - at));
  }
  return examples;
}

TEST(Profile, ExamplesOfThePageParse) {
  const std::vector<std::string> examples = ExamplesOfThePage();
  EXPECT_GT(examples.size(), 5u);
  for (const std::string& text : examples) {
    ControlRequest::AddAdapter wanted;
    wanted.set_name("docs/profiles.md");
    wanted.set_text(text);
    EXPECT_TRUE(ReadProfiles(wanted).ok()) << text << ReadProfiles(wanted).status().why();
  }
}

TEST(Profile, LastExampleOfThePageLeavesNothingOut) {
  const std::vector<std::string> examples = ExamplesOfThePage();
  ASSERT_FALSE(examples.empty());
  const std::string& text = examples.back();
  auto parsed = ParseProfile(text, "docs/profiles.md");
  ASSERT_TRUE(parsed.ok()) << parsed.status().why();
  const AdapterProfile& profile = *parsed;
  Rig rig({profile});
  EXPECT_EQ(rig.host().Adapters().size(), 1u);
  const auto* descriptor = profile.GetDescriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const auto* field = descriptor->field(i);
    const auto* reflection = profile.GetReflection();
    if (field->name() == "base" || field->name() == "adapters") continue;  // instead of most of it
    const bool given = field->is_repeated()    ? reflection->FieldSize(profile, field) > 0
                       : field->has_presence() ? reflection->HasField(profile, field)
                                               : text.find(field->name() + ":") != std::string::npos;
    EXPECT_TRUE(given) << "the page's example does not show " << field->name();
  }
}

}  // namespace
}  // namespace dxg::hostsim
