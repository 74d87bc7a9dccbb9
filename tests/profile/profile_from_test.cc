// Profiles of what programs saw. A host with the made profile is asked what the programs asked.
#include <gtest/gtest.h>

#include "cuse-dxg/profile/answers.h"
#include "cuse-dxg/profile/maker.h"
#include "cuse-dxg/profile/registry.h"
#include "cuse-dxg/profile_trial.h"
#include "proto/abi/qaitype.h"
#include "tests/profile/seen.h"

namespace dxg::profile {
namespace {

constexpr uint32_t kPrivate = KMTQAITYPE_UMDRIVERPRIVATE;

Made Make(const Samples& samples, const std::string& base = "", const std::string& folder = "") {
  auto made =
      MakeProfile(samples, {.name = "made", .base = base, .folder = folder, .from = "a test"}, TryProfile);
  EXPECT_TRUE(made.ok()) << made.status().why();
  return made.ok() ? *std::move(made) : Made();
}

// A host with it.
std::unique_ptr<Trial> Load(const Made& made) {
  ControlRequest::AddAdapter wanted;
  wanted.set_name("a test");
  wanted.set_text(made.text);
  for (const auto& [name, bytes] : made.files) {
    wanted.add_files()->set_name(name);
    wanted.mutable_files()->rbegin()->set_data(bytes);
  }
  auto trial = TryProfile(wanted);
  EXPECT_TRUE(trial.ok()) << trial.status().why() << "\n" << made.text;
  return trial.ok() ? *std::move(trial) : nullptr;
}

bool Has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(ProfileFrom, NothingThatWasAskedIsRefused) {
  EXPECT_EQ(MakeProfile(Samples(), {}, TryProfile).status().value(), -ENOENT);
}

TEST(ProfileFrom, ABaseThatIsNoneIsRefusedWithTheNamesOfThoseThatAre) {
  Recorded recorded;
  recorded.Open(1);
  const auto made = MakeProfile(recorded.samples, {.base = "no-such"}, TryProfile);
  EXPECT_EQ(made.status().value(), -EINVAL);
  EXPECT_TRUE(Has(made.status().why(), "intel-tgl")) << made.status().why();
}

TEST(ProfileFrom, WhatFollowsFromFieldsIsInFieldsAlone) {
  Recorded recorded;
  recorded.Open(1);
  recorded.Ask(1, KMTQAITYPE_DRIVERVERSION, Numbers({0}), Numbers({3100}));
  recorded.Ask(1, KMTQAITYPE_ADAPTERADDRESS, Numbers({0, 0, 0}), Numbers({4, 2, 1}));
  recorded.Ask(1, KMTQAITYPE_PHYSICALADAPTERDEVICEIDS, Numbers({0, 0, 0, 0, 0, 0, 0}),
               Numbers({0, 0x10de, 0x2684, 0x10de, 0x167c, 0xa1, 3}));
  const Made made = Make(recorded.samples);
  EXPECT_EQ(made.different, 0u);
  EXPECT_EQ(made.same, 3u);
  EXPECT_FALSE(Has(made.text, "answers {")) << made.text;
  EXPECT_TRUE(Has(made.text, "driver_version: 3100")) << made.text;
  EXPECT_TRUE(Has(made.text, "vendor: 0x10de")) << made.text;
  EXPECT_TRUE(Has(made.text, "slot: 2")) << made.text;
  EXPECT_TRUE(Has(made.text, "# - Not asked: the engines")) << made.text;
  EXPECT_FALSE(Has(made.text, "# - Not asked: the PCI ids")) << made.text;
}

TEST(ProfileFrom, AnAnswerThatNoFieldGivesIsThereAsItWas) {
  Recorded recorded;
  recorded.Open(1);
  std::string answer(100, '\xcc');
  answer[7] = 1;
  recorded.Ask(1, kPrivate, std::string(100, '\xcc'), answer);
  recorded.Ask(1, KMTQAITYPE_DRIVERVERSION, Numbers({0}),
               Numbers({9999}));  // no version that a field may have
  const Made made = Make(recorded.samples);
  EXPECT_EQ(made.different, 0u) << made.text;
  const auto trial = Load(made);
  EXPECT_EQ(trial->Ask(0, kPrivate, std::string(100, '\xcc')).data, answer);
  EXPECT_EQ(trial->Ask(0, KMTQAITYPE_DRIVERVERSION, Numbers({0})).data, Numbers({9999}));
  // What the driver left as it was stays as another caller has it.
  EXPECT_EQ(trial->Ask(0, kPrivate, std::string(100, '\0')).data,
            std::string(7, '\0') + '\1' + std::string(92, '\0'));
  // Another size is another question.
  EXPECT_EQ(trial->Ask(0, kPrivate, std::string(101, '\0')).result, -EINVAL);
}

TEST(ProfileFrom, RefusalsAreThere) {
  Recorded recorded;
  recorded.Open(1);
  recorded.Ask(1, KMTQAITYPE_DRIVERVERSION, Numbers({0}), "", -ENOENT);
  recorded.Ask(1, KMTQAITYPE_XBOX, Numbers({0}), "", -EPERM);
  recorded.Ask(1, KMTQAITYPE_PHYSICALADAPTERCOUNT, Numbers({0}), "", -EACCES);  // which no profile can say
  const Made made = Make(recorded.samples);
  const auto trial = Load(made);
  EXPECT_EQ(trial->Ask(0, KMTQAITYPE_DRIVERVERSION, Numbers({0})).result, -ENOENT);
  EXPECT_EQ(trial->Ask(0, KMTQAITYPE_XBOX, Numbers({0})).result, -EPERM);
  EXPECT_EQ(made.different, 1u);
  EXPECT_TRUE(Has(made.text, "was refused with EACCES")) << made.text;
}

TEST(ProfileFrom, ARefusalOfTheGuestsIsNoAnswer) {
  Recorded recorded;
  recorded.Open(1);
  QueryAdapterInfo::Request request;
  request.set_adapter(kAdapterHandle);
  request.set_type(KMTQAITYPE_DRIVERVERSION);
  request.set_private_data_size(4);  // whose bytes nobody fetched
  recorded.Add<calls::QueryAdapterInfo>(1, request, {}, -EFAULT);
  EXPECT_FALSE(Has(Make(recorded.samples).text, "answers {"));
}

TEST(ProfileFrom, QuestionsOfOneTypeAreToldApartByTheirBeginning) {
  Recorded recorded;
  recorded.Open(1);
  for (uint32_t what = 1; what <= 3; ++what)
    recorded.Ask(1, kPrivate, Numbers({7, what, 0, 0}), Numbers({7, what, 100 * what, 0}));
  const Made made = Make(recorded.samples);
  EXPECT_EQ(made.different, 0u) << made.text;
  const auto trial = Load(made);
  EXPECT_EQ(trial->Ask(0, kPrivate, Numbers({7, 2, 5, 5})).data, Numbers({7, 2, 200, 5}));
  EXPECT_EQ(trial->Ask(0, kPrivate, Numbers({7, 4, 0, 0})).result, -EINVAL);
}

TEST(ProfileFrom, WhatIsAnsweredInTurnsIsATurn) {
  Recorded recorded;
  recorded.Open(1);
  recorded.Open(2);
  for (const uint32_t process : {1u, 2u}) {
    recorded.Ask(process, kPrivate, Numbers({0, 0}), Numbers({1, 0}));
    recorded.Ask(process, kPrivate, Numbers({0, 0}), Numbers({1, 0}));
    recorded.Ask(process, kPrivate, Numbers({0, 0}), Numbers({2, 0}));
  }
  const Made made = Make(recorded.samples);
  EXPECT_EQ(made.different, 0u);
  const size_t first = made.text.find(R"(data: "\001")"),
               second = made.text.find(R"(data: "\001")", first + 1),
               third = made.text.find(R"(data: "\002")");
  EXPECT_TRUE(first < second && second < third && third != std::string::npos) << made.text;
}

TEST(ProfileFrom, ValuesOfTheRegistryAreReadWithTheirTypes) {
  Recorded recorded;
  recorded.Open(1);
  const auto ask = [&](uint32_t type, const std::string& name, const std::string& value) {
    const std::string question = RegistryQuestion(kAdapterKey, name, type, 64);
    std::string answer = question;
    Put<uint32_t>(&answer, 536, static_cast<uint32_t>(value.size()));
    answer.replace(544, value.size(), value);
    recorded.Ask(1, KMTQAITYPE_QUERYREGISTRY, question, answer);
  };
  ask(kDword, "Number", Numbers({77}));
  ask(kMultiSz, "List", std::string("a\0\0\0b\0c\0\0\0\0\0", 12));
  recorded.Ask(1, KMTQAITYPE_QUERYREGISTRY, RegistryQuestion(kAdapterKey, "DriverDesc", kSz, 64), "",
               -ENOENT);
  const Made made = Make(recorded.samples);
  EXPECT_EQ(made.different, 0u) << made.text;
  EXPECT_TRUE(Has(made.text, "number: 77")) << made.text;
  EXPECT_TRUE(Has(made.text, "text: \"bc\"")) << made.text;
  EXPECT_EQ(Load(made)
                ->Ask(0, KMTQAITYPE_QUERYREGISTRY, RegistryQuestion(kAdapterKey, "DriverDesc", kSz, 64))
                .result,
            -ENOENT);
}

TEST(ProfileFrom, LongAnswersAreFilesBesideIt) {
  Recorded recorded;
  recorded.Open(1);
  std::string answer(5000, '\0');
  for (size_t i = 0; i < answer.size(); ++i) answer[i] = static_cast<char>(i % 251 + 1);
  recorded.Ask(1, kPrivate, std::string(5000, '\0'), answer);
  const Made made = Make(recorded.samples, "", "made");
  ASSERT_EQ(made.files.size(), 1u);
  EXPECT_EQ(made.files[0], (std::pair<std::string, std::string>("made/type-0-5000-1.bin", answer)));
  EXPECT_EQ(Load(made)->Ask(0, kPrivate, std::string(5000, '\xff')).data, answer);
}

TEST(ProfileFrom, WhatIsTooLargeForAProfileIsLeftOutAndNamed) {
  Recorded recorded;
  recorded.Open(1);
  for (uint32_t i = 0; i < 3; ++i) {
    std::string answer(60'000 + i, '\0');
    for (size_t k = 0; k < answer.size(); ++k) answer[k] = static_cast<char>(k % 251 + 1);
    recorded.Ask(1, kPrivate, std::string(answer.size(), '\0'), answer);
  }
  const Made made = Make(recorded.samples, "", "made");
  EXPECT_EQ(made.files.size(), 2u);
  EXPECT_EQ(made.different, 1u);
  EXPECT_TRUE(Has(made.text, "its answer was left out")) << made.text.substr(0, 2000);
}

TEST(ProfileFrom, TheSizeOfAnAllocationIsFoundInItsPrivateData) {
  Recorded recorded;
  recorded.Open(1);
  for (const uint32_t pages : {16u, 33u}) {
    const std::string data = Numbers({0xabcd, pages * 4096 - 5, 0, 7, 0, 0});
    recorded.Allocate(1, data, Numbers({0xabcd, pages * 4096 - 5, 0, 7, pages * 4096, 0}), pages);
  }
  const std::string text = Make(recorded.samples).text;
  EXPECT_TRUE(Has(text, "size {\n      at: 4")) << text;
  EXPECT_TRUE(Has(text, "at: 16\n      fact: ALLOCATED_BYTES")) << text;
}

TEST(ProfileFrom, ASizeThatIsNowhereIsTheMostThatWasMapped) {
  Recorded recorded;
  recorded.Open(1);
  recorded.Allocate(1, Numbers({1, 2, 3}), Numbers({1, 2, 3}), 48);
  const std::string text = Make(recorded.samples).text;
  EXPECT_TRUE(Has(text, "bytes: 196608")) << text;
  EXPECT_TRUE(Has(text, "where their size is, is not known")) << text;
}

TEST(ProfileFrom, WhatItSaysOfNothingIsTheBases) {
  Recorded recorded;
  recorded.Open(1);
  recorded.Ask(1, KMTQAITYPE_XBOX, Numbers({0}), Numbers({1}));
  const Made made = Make(recorded.samples, "intel-tgl");
  const auto trial = Load(made);
  EXPECT_EQ(Get<uint32_t>(
                trial->Ask(0, KMTQAITYPE_PHYSICALADAPTERDEVICEIDS, Numbers({0, 0, 0, 0, 0, 0, 0})).data, 4),
            0x8086u);
  EXPECT_EQ(trial->Ask(0, KMTQAITYPE_XBOX, Numbers({0})).data, Numbers({1}));
}

TEST(ProfileFrom, SeveralAdaptersAreSeveral) {
  Recorded recorded;
  recorded.samples.AddQuery(1, KMTQAITYPE_XBOX, {1, 0, Numbers({0}), Numbers({5})});
  recorded.samples.AddQuery(2, KMTQAITYPE_XBOX, {1, 0, Numbers({0}), Numbers({6})});
  const Made made = Make(recorded.samples);
  const auto trial = Load(made);
  EXPECT_EQ(trial->Ask(0, KMTQAITYPE_XBOX, Numbers({0})).data, Numbers({5}));
  EXPECT_EQ(trial->Ask(1, KMTQAITYPE_XBOX, Numbers({0})).data, Numbers({6}));
}

TEST(ProfileFrom, ADamagedRecordIsRefused) {
  TraceRecord record = RecordOf<calls::QueryAdapterInfo>(1, {}, {});
  record.mutable_call()->set_request("\xff\xff");
  Samples samples;
  EXPECT_EQ(samples.Add(record).value(), -EINVAL);
}

}  // namespace
}  // namespace dxg::profile
