#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "hostsim/adapter/profile.h"
#include "link/profile_file.h"
#include "tests/hostsim/rig.h"

// Profiles of several parts: files beside them, a base, several adapters, a scenario.

namespace dxg::hostsim {
namespace {

// A folder of its own for profiles and their files.
class ProfileFolder : public testing::Test {
 protected:
  ProfileFolder() : folder_(testing::TempDir() + "profile_parts_" + std::to_string(getpid())) {
    std::filesystem::create_directories(folder_ + "/in/side");
  }
  ~ProfileFolder() override { std::filesystem::remove_all(folder_); }

  void Write(const std::string& name, const std::string& bytes) {
    std::ofstream(folder_ + "/" + name, std::ios::binary) << bytes;
  }
  Result<std::vector<AdapterProfile>> Load(const std::string& text) {
    Write("p", "base: \"discrete\"\n" + text);
    return LoadProfiles(folder_ + "/p");
  }
  // The one complaint about the text, without the folder.
  std::string ComplaintOf(const std::string& text) {
    auto loaded = Load(text);
    EXPECT_FALSE(loaded.ok()) << text;
    std::string why = loaded.status().why();
    EXPECT_EQ(why.find('\n'), std::string::npos) << why;
    return why.starts_with(folder_) ? why.substr(folder_.size() + 1) : why;
  }
  // As a device process sends it to a host in another one.
  ControlRequest::AddAdapter Sent() {
    auto sent = ReadProfileFile(folder_ + "/p");
    EXPECT_TRUE(sent.ok()) << sent.status().why();
    ControlRequest::AddAdapter again;
    EXPECT_TRUE(again.ParseFromString(sent->SerializeAsString()));
    return again;
  }

  const std::string folder_;
};

TEST_F(ProfileFolder, FilesLieBesideTheProfile) {
  const std::string bytes("\0\1binary\xFF", 9);
  Write("blob", bytes);
  Write("in/side/blob", "deeper");
  auto loaded = Load(
      "driver { private_data_file: \"blob\" }\nanswers { type: 0 data_file: \"in/side/blob\" }\n"
      "answers { type: 1 data_file: \"blob\" writes { at: 0 width: 1 value: 7 } }\n");
  ASSERT_TRUE(loaded.ok()) << loaded.status().why();
  const AdapterProfile& profile = loaded->front();
  EXPECT_EQ(profile.driver().private_data(), bytes);
  EXPECT_EQ(profile.answers(0).data(), "deeper");
  EXPECT_EQ(profile.answers(1).data(), bytes);
  EXPECT_EQ(profile.answers(0).data_file(), "") << "nobody looks for it again";

  const auto sent = Sent();
  EXPECT_EQ(sent.files_size(), 2) << "each once";
  std::filesystem::remove_all(folder_);
  auto there = ReadProfiles(sent);
  ASSERT_TRUE(there.ok()) << there.status().why();
  EXPECT_EQ(there->front().SerializeAsString(), profile.SerializeAsString());
}

TEST_F(ProfileFolder, AWrongFileIsNamedWithLineAndField) {
  const std::string text = "\nanswers { type: 0\n  data_file: \"";
  Write("there", "x");
  Write("empty", "");
  mkfifo((folder_ + "/pipe").c_str(), 0600);
  symlink("/etc/hostname", (folder_ + "/link").c_str());
  symlink("/etc", (folder_ + "/etc").c_str());
  const std::pair<std::string, std::string> wrong[] = {
      {"none", "No such file or directory"},
      {"/etc/hostname", "no path relative"},
      {"../p", "may not have"},
      {"in/../there", "may not have"},
      {"in//side", "may not have"},
      {"./there", "may not have"},
      {"in/side", "no regular file"},
      {"there/below", "Not a directory"},
      {"pipe", "no regular file"},
      {"link", "not followed"},
      {"etc/hostname", ""},
      {"empty", "is empty"},
  };
  for (const auto& [name, why] : wrong) {
    const std::string complaint = ComplaintOf(text + name + "\" }\n");
    EXPECT_TRUE(complaint.starts_with("p:4: answers[0].data_file: '" + name + "'")) << complaint;
    EXPECT_NE(complaint.find(why), std::string::npos) << complaint;
  }
  EXPECT_TRUE(
      ComplaintOf(text + "there\" data: \"x\" }\n").starts_with("p:4: answers[0].data_file: does not go"));
  EXPECT_TRUE(ComplaintOf("driver { private_data: \"1\"\nprivate_data_file: \"there\" }")
                  .starts_with("p:3: driver.private_data_file: does not go"));
  ASSERT_TRUE(Load(text + "there\" }\n").ok());
  auto sent = Sent();
  sent.clear_files();
  EXPECT_NE(ReadProfiles(sent).status().why().find("p:4: answers[0].data_file: 'there' did not come"),
            std::string::npos);
}

TEST_F(ProfileFolder, TextAndFilesHaveAMostTogether) {
  const std::string text = "answers { type: 0 data_file: \"a\" }\nanswers { type: 1 data_file: \"b\" }\n";
  constexpr size_t kPerFile = 33;  // with a name of one letter
  const size_t all = kProfileBytesMax - ("base: \"discrete\"\n" + text).size() - 2 * kPerFile;
  Write("a", std::string(70'000, 'a'));
  Write("b", std::string(all - 70'000, 'b'));
  EXPECT_TRUE(Load(text).ok()) << Load(text).status().why();
  Write("b", std::string(all - 70'000 + 1, 'b'));
  EXPECT_NE(ComplaintOf(text).find("p:3: answers[1].data_file: 'b': with it"), std::string::npos);
  auto sent = Sent();
  sent.mutable_files(1)->clear_error();
  sent.mutable_files(1)->set_data(std::string(all - 70'000 + 1, 'b'));
  EXPECT_EQ(ReadProfiles(sent).status().value(), -EFBIG) << "whoever sends it";
}

TEST_F(ProfileFolder, ABaseGivesWhatIsLeftOut) {
  auto loaded = Load("name: \"mine\"\npci { device: 7 }\nnodes { engine: COPY }\n");
  ASSERT_TRUE(loaded.ok()) << loaded.status().why();
  const AdapterProfile discrete = Shipped("discrete"), &mine = loaded->front();
  EXPECT_EQ(mine.name(), "mine");
  EXPECT_EQ(mine.base(), "");
  EXPECT_EQ(mine.description(), discrete.description());
  EXPECT_EQ(mine.pci().device(), 7u);
  EXPECT_EQ(mine.pci().vendor(), discrete.pci().vendor());
  EXPECT_EQ(mine.nodes_size(), 1) << "a list replaces the list";
  EXPECT_EQ(mine.features_size(), discrete.features_size());
  Write("other", "base: \"none\"");
  EXPECT_NE(LoadProfiles(folder_ + "/other")
                .status()
                .why()
                .find("other:1: base: 'none' is no built-in profile of one adapter; give one of discrete, "),
            std::string::npos);
  Write("other", "base: \"two-discrete\"");
  EXPECT_NE(LoadProfiles(folder_ + "/other").status().why().find("of one adapter"), std::string::npos);
}

TEST_F(ProfileFolder, EachOfSeveralAdaptersIsTheProfileWithChanges) {
  auto loaded = Load(
      "caps { virtual_address_bits: 40 }\nadapters { name: \"a\" pci { bus: 9 } }\n"
      "adapters { base: \"npu\" }\nadapters {}\n");
  ASSERT_TRUE(loaded.ok()) << loaded.status().why();
  ASSERT_EQ(loaded->size(), 3u);
  EXPECT_EQ(loaded->at(0).name(), "a");
  EXPECT_EQ(loaded->at(0).pci().bus(), 9u);
  EXPECT_EQ(loaded->at(0).caps().virtual_address_bits(), 40u);
  EXPECT_EQ(loaded->at(1).SerializeAsString(), Shipped("npu").SerializeAsString()) << "a base of its own";
  EXPECT_EQ(loaded->at(2).name(), "discrete");
  EXPECT_EQ(loaded->at(2).caps().virtual_address_bits(), 40u);
  EXPECT_FALSE(LoadProfile(folder_ + "/p").ok()) << "where one is wanted";

  EXPECT_EQ(ComplaintOf("adapters {}\nadapters { pci {\n slot: 32 } }\n"),
            "p:4: adapters[1].pci.slot: 32 is out of range; give 0 to 31");
  EXPECT_EQ(ComplaintOf("pci { slot: 32 }\nadapters {}\nadapters {}\n"),
            "p:2: pci.slot: 32 is out of range; give 0 to 31")
      << "once, where it stands";
  EXPECT_EQ(ComplaintOf("adapters {}\nadapters { nodes { engine: COPY }\nnodes { engine: OTHER } }\n"),
            "p: adapters[1].nodes[1].name: is missing; an engine of kind OTHER needs one");
  EXPECT_EQ(ComplaintOf("adapters { adapters {} }").substr(0, 27), "p:2: adapters[0].adapters: ");
  std::string many;
  for (int i = 0; i < 65; ++i) many += "adapters {} ";
  EXPECT_EQ(ComplaintOf(many).substr(0, 15), "p:2: adapters: ");
}

TEST_F(ProfileFolder, DepthHasALimit) {
  std::string deep;
  for (int i = 0; i < 10'000; ++i) deep += "adapters{";
  EXPECT_FALSE(Load(deep).ok());
  EXPECT_TRUE(ReadProfileFile(folder_ + "/p").ok()) << "the host says what is wrong";
}

TEST(Profile, DriverModelsAreCheckedWithLineAndField) {
  const auto complaint = [](const std::string& text) {
    auto read = ParseProfile("base: \"discrete\"\ndriver_model {\n" + text + "\n}", "p");
    return read.ok() ? "" : read.status().why();
  };
  const std::pair<std::string, std::string> wrong[] = {
      {"allocations { match { bytes: 8 } }", "p: driver_model.allocations[0].size: exactly one"},
      {"allocations { match { bytes: 8 } size { at: 1 } }",
       "p:3: driver_model.allocations[0].size.at: 1 and 8 more are beyond the 8 bytes"},
      {"allocations { size { at: 0 width: 3 } }",
       "p:3: driver_model.allocations[0].size.width: 3 is no width"},
      {"allocations { bytes: 1 alignment: 5000 }",
       "p:3: driver_model.allocations[0].alignment: 5000 is no power"},
      {"allocations { bytes: 1 segment: 3 }", "p:3: driver_model.allocations[0].segment: 3 is out of range"},
      {"allocations { bytes: 1 writes { at: 4 } }",
       "p:3: driver_model.allocations[0].writes[0].at: nothing is written"},
      {"allocations { bytes: 1 match { bytes: 9 }\nwrites { at: 4 value: 1 } }",
       "p:4: driver_model.allocations[0].writes[0].at: 4 and 8 more"},
      {"allocations { bytes: 1 writes { at: 4 width: 1 value: 256 } }",
       "p:3: driver_model.allocations[0].writes[0].value: 0x100 has no room"},
      {"allocations { bytes: 1 match { magic { at: 0 value: 2 mask: 1 } } }",
       "p:3: driver_model.allocations[0].match.magic[0].value: 0x2 has bits"},
      {"allocations { bytes: 1 match { magic { at: 0 width: 1 value: 256 } } }",
       "p:3: driver_model.allocations[0].match.magic[0].value: 0x100 has no room"},
      {"contexts { writes { at: 0 fact: ALLOCATED_BYTES } }",
       "p:3: driver_model.contexts[0].writes[0].fact: there is no such fact"},
      {"hw_queues { match { bytes: 4 } writes { at: 2 data: \"abc\" } }",
       "p:3: driver_model.hw_queues[0].writes[0].data: 3 bytes at 2 are beyond the 4"},
      {"submissions { commands {} }", "p: driver_model.submissions[0].commands.address: is missing"},
      {"submissions { commands { address { at: 0 } unit: 5000 } }",
       "p:3: driver_model.submissions[0].commands.unit: 5000 is out of range"},
      {"submissions { buffers { count {} address {} length { width: 4 } entry_bytes: 7 } }",
       "p: driver_model.submissions[0].buffers.address.at: 0 and 8 more are beyond the 7 bytes"},
      {"submissions { fence { address {} } }", "p: driver_model.submissions[0].fence.value: is missing"},
      {"escapes { refuse: true writes { at: 0 value: 1 } }",
       "p:3: driver_model.escapes[0].writes: what is refused"},
  };
  for (const auto& [text, start] : wrong) {
    const std::string why = complaint(text);
    EXPECT_TRUE(why.starts_with(start)) << text << "\n" << why;
    EXPECT_EQ(why.find('\n'), std::string::npos) << why;
  }
  EXPECT_EQ(complaint("escapes {}"), "");
  std::string many;
  for (int i = 0; i < 65; ++i) many += "escapes {} ";
  EXPECT_TRUE(complaint(many).starts_with("p:3: driver_model.escapes: 65 rules are too many"));
}

TEST(Profile, IdsHaveTheBitsOfTheInterface) {
  auto read = ParseProfile("base: \"discrete\" pci { vendor: 0x4D4F4351 device: 0xFFFFFFFF }", "p");
  ASSERT_TRUE(read.ok()) << read.status().why();
  EXPECT_EQ(read->pci().vendor(), 0x4D4F4351u);
}

// -- Scenarios.

TEST(Scenarios, BefallEveryProfile) {
  for (const ShippedProfile& profile : ShippedProfiles()) {
    for (const ShippedProfile& scenario : ShippedScenarios()) {
      auto loaded = LoadProfiles(profile.name, scenario.name);
      ASSERT_TRUE(loaded.ok()) << profile.name << " " << scenario.name << ": " << loaded.status().why();
      Rig rig(*loaded);
      EXPECT_EQ(rig.host().Adapters().size(), loaded->size());
    }
  }
}

TEST(Scenarios, WhatTheyGiveComesFirst) {
  const AdapterProfile plain = Shipped("broken-answers");
  auto loaded = LoadProfiles("broken-answers", "half-filled");
  ASSERT_TRUE(loaded.ok()) << loaded.status().why();
  const AdapterProfile& befallen = loaded->front();
  const int more = befallen.answers_size() - plain.answers_size();
  ASSERT_GT(more, 0);
  for (int i = 0; i < plain.answers_size(); ++i)
    EXPECT_EQ(befallen.answers(more + i).SerializeAsString(), plain.answers(i).SerializeAsString());
  EXPECT_EQ(befallen.name(), "broken-answers");
}

TEST(Scenarios, AnUnknownOneIsRefusedWithTheNames) {
  auto loaded = LoadProfiles("discrete", "earthquake");
  EXPECT_NE(loaded.status().why().find("'earthquake' is none; give one of residency-then-timeout, "),
            std::string::npos)
      << loaded.status().why();
}

}  // namespace
}  // namespace dxg::hostsim
