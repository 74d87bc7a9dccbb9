// Answers of somebody else beside those of a recording.
#include "cuse-dxg/replay/shadow.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "tests/replay/made_recording.h"

namespace dxg::replay {
namespace {

class ShadowTest : public testing::Test {
 protected:
  void Begin() {
    auto created = Shadow::Create(made.Take(), false);
    ASSERT_TRUE(created.ok());
    shadow = *std::move(created);
    shadow->OnFile(
        {.what = guest::FileReport::What::kOpen, .file = 1, .tid = 50, .pid = 50, .name = "program"});
  }
  template <class Traits>
  void Answer(const typename Traits::Request& request, const typename Traits::Reply& reply,
              int32_t result = 0) {
    const Status status(result);
    shadow->OnCall({.row = &Traits::Row(),
                    .code = Traits::Row().code,
                    .tid = 50,
                    .request = &request,
                    .reply = &reply,
                    .status = &status,
                    .duration_ns = 0,
                    .pid = 50});
  }
  // The adapter, with that handle instead of the recorded one.
  void OpenAdapter(uint32_t handle) {
    calls::OpenAdapterFromLuid::Request open;
    calls::OpenAdapterFromLuid::Reply opened;
    open.set_adapter_luid(MadeRecording::kLuid);
    opened.set_adapter_handle(handle);
    Answer<calls::OpenAdapterFromLuid>(open, opened);
  }
  void CreateDevice(uint32_t adapter, uint32_t device, int32_t result = 0) {
    calls::CreateDevice::Request create;
    calls::CreateDevice::Reply created;
    create.set_adapter(adapter);
    created.set_device(device);
    Answer<calls::CreateDevice>(create, created, result);
  }

  MadeRecording made;
  std::unique_ptr<Shadow> shadow;
};

TEST_F(ShadowTest, OtherHandlesAreNoDifference) {
  made.BeginWithDevice();
  Begin();
  OpenAdapter(0x77);
  CreateDevice(0x77, 0x99);
  shadow->Drain();
  EXPECT_EQ(shadow->first(), "");
  EXPECT_EQ(
      shadow->Text(),
      "2 calls compared: 2 the same (2 with other names, 0 with values that may differ), 0 different\n");
}

TEST_F(ShadowTest, TheFirstDifferenceIsSaidWithItsHistory) {
  made.BeginWithDevice();
  Begin();
  OpenAdapter(0x77);
  CreateDevice(0x77, 0, -ENOMEM);
  shadow->Drain();
  EXPECT_NE(shadow->first().find("record 3: CreateDevice("), std::string::npos) << shadow->first();
  EXPECT_NE(shadow->first().find("record 2: OpenAdapterFromLuid("), std::string::npos) << shadow->first();
  EXPECT_NE(shadow->Text().find("1 different\n       1  CreateDevice: -1 ENOMEM"), std::string::npos)
      << shadow->Text();
}

TEST_F(ShadowTest, WhatWasNeverAskedIsCounted) {
  made.BeginWithDevice();
  Begin();
  CreateDevice(0x77, 0x99);
  shadow->Drain();
  EXPECT_NE(shadow->first().find("was never asked"), std::string::npos) << shadow->first();
  EXPECT_NE(shadow->Text().find("1  calls that the recording does not have\n"), std::string::npos);
}

TEST_F(ShadowTest, WhatHasNoRoomIsCountedAndNotCompared) {
  made.BeginWithDevice();
  Begin();
  calls::QueryAdapterInfo::Request query;
  calls::QueryAdapterInfo::Reply large;
  large.mutable_private_data()->resize(Shadow::kBytesMax + 1);
  Answer<calls::QueryAdapterInfo>(query, large);
  shadow->Drain();
  EXPECT_EQ(shadow->first(), "");
  EXPECT_NE(shadow->Text().find("0 calls compared"), std::string::npos);
  EXPECT_NE(shadow->Text().find("1  calls were not compared"), std::string::npos) << shadow->Text();
}

}  // namespace
}  // namespace dxg::replay
