// A recording as the host of a driver: what its clients see, and when.
#include <gtest/gtest.h>

#include <array>
#include <cerrno>

#include "cuse-dxg/guest/driver.h"
#include "cuse-dxg/replay/deadlines.h"
#include "cuse-dxg/replay/replay_host.h"
#include "tests/guest/rig.h"
#include "tests/replay/made_recording.h"

namespace dxg::replay {
namespace {

using guest::FakeAccess;

constexpr uint64_t kLongNs = 200'000'000;

class Opening final : public attach::OpenRequest {
 public:
  explicit Opening(guest::Outcome* outcome) : outcome_(outcome) { caller_.tid = 100; }
  const attach::Caller& caller() const override { return caller_; }
  void Accept(uint64_t file) override { outcome_->Done(0, {}, file); }
  void Refuse(int error) override { outcome_->Done(-error, {}, 0); }

 private:
  attach::Caller caller_;
  guest::Outcome* const outcome_;
};

class Asking final : public attach::IoctlRequest {
 public:
  Asking(uint64_t file, uint32_t code, void* args, guest::Outcome* outcome)
      : file_(file), code_(code), args_(args), outcome_(outcome) {
    caller_.tid = 100;
  }
  const attach::Caller& caller() const override { return caller_; }
  uint64_t file() const override { return file_; }
  uint32_t code() const override { return code_; }
  uint64_t argument() const override {
    return reinterpret_cast<uint64_t>(args_);
  }  // Safety: FakeAccess is of us
  std::span<const std::byte> in() const override { return {}; }
  bool kernel_copies_out() const override { return false; }
  void Answer(int32_t result, std::span<const std::byte> out) override {
    ended_ns = Deadlines::NowNs();
    outcome_->Done(result, out, 0);
  }
  void OnInterrupt(std::function<void()> done) override { interrupt = std::move(done); }
  void OnKilled(std::function<bool()>) override {}

  inline static std::atomic<uint64_t> ended_ns{0};  // when the last answer came
  inline static std::function<void()> interrupt;    // what a signal to the last that waited does

 private:
  attach::Caller caller_;
  const uint64_t file_;
  const uint32_t code_;
  void* const args_;
  guest::Outcome* const outcome_;
};

class ReplayHostTest : public testing::Test {
 protected:
  ReplayHostTest() {
    access.tgid_of[100] = 100;
    made.BeginWithDevice();
  }
  ~ReplayHostTest() override {
    if (host != nullptr) host->Stop();
  }

  void Begin(bool recorded_times) {
    auto created = ReplayHost::Create(made.Take(), {.file = "made.dxg", .recorded_times = recorded_times});
    ASSERT_TRUE(created.ok()) << created.status().why();
    host = *std::move(created);
    driver = std::make_unique<guest::Driver>(*host, access);
    driver->set_answerer(host.get());
    ASSERT_TRUE(host->Start(driver.get()).ok());
    guest::Outcome opened;
    driver->Open(std::make_unique<Opening>(&opened));
    ASSERT_EQ(opened.Wait(), 0);
    file = opened.file;
  }
  template <typename Args>
  void Start(uint32_t code, Args* args, guest::Outcome* outcome) {
    driver->Ioctl(std::make_unique<Asking>(file, code, args, outcome));
  }
  template <typename Args>
  int32_t Call(uint32_t code, Args* args) {
    guest::Outcome outcome;
    Start(code, args, &outcome);
    return outcome.Wait();
  }
  void OpenAdapter() {
    d3dkmt_openadapterfromluid open{};
    const uint64_t luid = MadeRecording::kLuid;
    std::memcpy(&open.adapter_luid, &luid, sizeof(luid));
    ASSERT_EQ(Call(LX_DXOPENADAPTERFROMLUID, &open), 0);
    EXPECT_EQ(open.adapter_handle.v, MadeRecording::kAdapter);
  }

  MadeRecording made;
  FakeAccess access;
  std::unique_ptr<ReplayHost> host;
  std::unique_ptr<guest::Driver> driver;
  uint64_t file = 0;
};

TEST_F(ReplayHostTest, AnswersWhatWasRecorded) {
  calls::QueryAdapterInfo::Request query;
  calls::QueryAdapterInfo::Reply reply;
  query.set_adapter(MadeRecording::kAdapter);
  query.set_private_data_size(4);
  query.set_private_data(std::string(4, '\0'));
  reply.set_private_data("data");
  made.Add<calls::QueryAdapterInfo>(query, reply);
  Begin(false);
  OpenAdapter();
  std::array<char, 5> data{};
  d3dkmt_queryadapterinfo args{};
  args.adapter.v = MadeRecording::kAdapter;
  args.private_data = reinterpret_cast<uint64_t>(data.data());
  args.private_data_size = 4;
  EXPECT_EQ(Call(LX_DXQUERYADAPTERINFO, &args), 0);
  EXPECT_STREQ(data.data(), "data");
  args.type = static_cast<decltype(args.type)>(9);
  EXPECT_EQ(Call(LX_DXQUERYADAPTERINFO, &args), -ENODATA);
}

TEST_F(ReplayHostTest, RefusalsAreThoseOfTheRecording) {
  calls::DestroyDevice::Request destroy;
  destroy.set_device(5);
  made.Add<calls::DestroyDevice>(destroy, {}, -EBUSY).set_reason("as it was then");
  Begin(false);
  d3dkmt_destroydevice args{};
  args.device.v = 5;
  EXPECT_EQ(Call(LX_DXDESTROYDEVICE, &args), -EBUSY);
}

// No more is written than there is room for, whatever a file says.
TEST_F(ReplayHostTest, AnAnswerThatIsLargerThanTheClientsRoomIsRefused) {
  calls::QueryAdapterInfo::Request query;
  calls::QueryAdapterInfo::Reply reply;
  query.set_adapter(MadeRecording::kAdapter);
  query.set_private_data_size(4);
  query.set_private_data(std::string(4, '\0'));
  reply.set_private_data("more than four");
  made.Add<calls::QueryAdapterInfo>(query, reply);
  Begin(false);
  OpenAdapter();
  std::array<char, 16> data{};
  d3dkmt_queryadapterinfo args{};
  args.adapter.v = MadeRecording::kAdapter;
  args.private_data = reinterpret_cast<uint64_t>(data.data());
  args.private_data_size = 4;
  EXPECT_EQ(Call(LX_DXQUERYADAPTERINFO, &args), -EPROTO);
  EXPECT_EQ(data[0], '\0');
}

// While one call waits for its time, whoever read it goes on and answers others.
TEST_F(ReplayHostTest, RecordedTimesAreKeptAndHoldNoThread) {
  made.records.back().set_end_ns(made.records.back().begin_ns() + kLongNs);
  Begin(true);
  OpenAdapter();
  d3dkmt_createdevice create{};
  create.adapter.v = MadeRecording::kAdapter;
  guest::Outcome created;
  const uint64_t began_ns = Deadlines::NowNs();
  Start(LX_DXCREATEDEVICE, &create, &created);
  d3dkmt_destroydevice never{};
  EXPECT_EQ(Call(LX_DXDESTROYDEVICE, &never), -ENODATA);
  EXPECT_FALSE(created.done);
  EXPECT_EQ(created.Wait(), 0);
  EXPECT_GE(Asking::ended_ns - began_ns, kLongNs);
  EXPECT_EQ(create.device.v, MadeRecording::kDevice);
}

TEST_F(ReplayHostTest, AFastReplayAnswersAtOnce) {
  made.records.back().set_end_ns(made.records.back().begin_ns() + 1000 * kLongNs);
  Begin(false);
  OpenAdapter();
  d3dkmt_createdevice create{};
  create.adapter.v = MadeRecording::kAdapter;
  EXPECT_EQ(Call(LX_DXCREATEDEVICE, &create), 0);
}

// It does not stay for the recorded time.
TEST_F(ReplayHostTest, ItStopsWhileACallWaits) {
  made.records.back().set_end_ns(made.records.back().begin_ns() + 10'000 * kLongNs);
  Begin(true);
  OpenAdapter();
  d3dkmt_createdevice create{};
  create.adapter.v = MadeRecording::kAdapter;
  guest::Outcome created;
  Start(LX_DXCREATEDEVICE, &create, &created);
  host->Stop();
  EXPECT_EQ(created.Wait(), 0);
}

TEST_F(ReplayHostTest, ASignalEndsTheRecordedTime) {
  made.records.back().set_end_ns(made.records.back().begin_ns() + 10'000 * kLongNs);
  Begin(true);
  OpenAdapter();
  d3dkmt_createdevice create{};
  create.adapter.v = MadeRecording::kAdapter;
  guest::Outcome created;
  Start(LX_DXCREATEDEVICE, &create, &created);
  EXPECT_FALSE(created.done);
  std::exchange(Asking::interrupt, nullptr)();
  EXPECT_EQ(created.Wait(), 0);
  EXPECT_EQ(create.device.v, MadeRecording::kDevice) << "its answer is not lost";
}

// What `cuse-dxg ctl status` and `cuse-dxg top` ask.
TEST_F(ReplayHostTest, OfAHostThereIsNothingToTell) {
  Begin(false);
  ControlRequest status, live;
  status.mutable_status();
  live.mutable_live();
  for (const ControlRequest* request : {&status, &live}) {
    ControlReply reply;
    host->control()->Serve(*request, &reply);
    EXPECT_EQ(reply.error(), "");
  }
}

TEST_F(ReplayHostTest, WhatIsNotRecordedIsInTheReport) {
  Begin(false);
  d3dkmt_destroydevice never{};
  EXPECT_EQ(Call(LX_DXDESTROYDEVICE, &never), -ENODATA);
  ControlRequest request;
  request.mutable_report();
  ControlReply report;
  host->control()->Serve(request, &report);
  ASSERT_EQ(report.things_size(), 1);
  EXPECT_EQ(report.things(0).what(), "not in the recording");
  EXPECT_EQ(report.things(0).kind(), ControlReply::Thing::REFUSED);
}

TEST_F(ReplayHostTest, ARecordingWithoutCallsIsNoHost) {
  made.records.clear();
  EXPECT_EQ(ReplayHost::Create(made.Take(), {}).status().value(), -EINVAL);
}

TEST(ReplayHostOptions, StrictIsSaidBehindTheFile) {
  EXPECT_FALSE(ReplayHost::Parse("/tmp/a,b.dxg", false).strict);
  const auto options = ReplayHost::Parse("/tmp/a,b.dxg,strict", true);
  EXPECT_TRUE(options.strict);
  EXPECT_TRUE(options.recorded_times);
  EXPECT_EQ(options.file, "/tmp/a,b.dxg");
}

}  // namespace
}  // namespace dxg::replay
