#include "cuse-dxg/guest/activity.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "cuse-dxg/guest/census.h"
#include "cuse-dxg/guest/refusals.h"

namespace dxg::guest {
namespace {

const contract::CallRow& Lock() { return calls::Lock2::Row(); }

TEST(Activity, CountsByNameAndWhatWaits) {
  Activity activity;
  for (int i = 0; i < 5; ++i) activity.Begins(Lock());
  for (int i = 0; i < 3; ++i) activity.Ends(Lock(), i == 0);
  activity.Refused(nullptr);
  activity.Refused(&calls::CreateDevice::Row());
  ControlReply::Live::GuestProcess process;
  activity.AddTo(&process, true);
  EXPECT_EQ(process.calls(), 5u);
  EXPECT_EQ(process.refused(), 3u);
  ASSERT_EQ(process.waiting_size(), 1);
  EXPECT_EQ(process.waiting(0).call(), "Lock2");
  EXPECT_EQ(process.waiting(0).count(), 2u);
  ASSERT_EQ(process.by_name_size(), 2);
  process.Clear();
  activity.AddTo(&process, false);
  EXPECT_EQ(process.by_name_size(), 0);
}

TEST(Activity, EachCallHasACounterOfItsOwn) {
  Activity activity;
  for (const contract::CallRow& row : contract::Calls()) {
    activity.Begins(row);
    activity.Ends(row, false);
  }
  ControlReply::Live::GuestProcess process;
  activity.AddTo(&process, true);
  EXPECT_EQ(process.by_name_size(), static_cast<int>(contract::Calls().size()));
  for (const auto& call : process.by_name()) EXPECT_EQ(call.count(), 1u) << call.name();
}

TEST(Activity, LosesNothingOfManyThreads) {
  Activity activity;
  constexpr int kThreads = 4, kEach = 10'000;
  std::vector<std::jthread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&activity] {
      for (int n = 0; n < kEach; ++n) {
        activity.Begins(Lock());
        activity.Ends(Lock(), true);
      }
    });
  }
  threads.clear();
  ControlReply::Live::GuestProcess process;
  activity.AddTo(&process, false);
  EXPECT_EQ(process.calls(), uint64_t{kThreads} * kEach);
  EXPECT_EQ(process.refused(), uint64_t{kThreads} * kEach);
}

class RefusalsTest : public testing::Test {
 protected:
  void Note(pid_t process, int error, const char* why = "because", const char* name = "client") {
    refusals_.Note({&Lock(), Lock().code, process, process, name, Status::Refuse(error, "{}", why)}, ++now_);
  }
  ControlReply::Live Seen(int most = 1000) const {
    ControlReply::Live live;
    refusals_.AddTo(&live, most);
    return live;
  }

  Refusals refusals_;
  uint64_t now_ = 0;
};

TEST_F(RefusalsTest, TheSameOneHasOnePlaceAndItsLastReason) {
  for (int i = 0; i < 1000; ++i) Note(7, EINVAL, i == 999 ? "last" : "first");
  Note(7, ENOMEM);
  Note(8, EINVAL);
  const auto live = Seen();
  ASSERT_EQ(live.refusals_size(), 3);
  EXPECT_EQ(live.refusals(0).process(), 8u) << "the newest is first";
  EXPECT_EQ(live.refusals(1).error(), static_cast<uint32_t>(ENOMEM));
  EXPECT_EQ(live.refusals(2).count(), 1000u);
  EXPECT_EQ(live.refusals(2).why(), "last");
  EXPECT_EQ(live.refusals(2).call(), "Lock2");
  EXPECT_EQ(Seen(2).refusals_size(), 2);
}

TEST_F(RefusalsTest, HaveABound) {
  for (pid_t process = 1; process <= 10'000; ++process) Note(process, EINVAL);
  const auto live = Seen();
  EXPECT_LE(live.refusals_size(), static_cast<int>(Refusals::kPlaces));
  EXPECT_EQ(live.refusals(0).process(), 10'000u);
  EXPECT_EQ(live.refusals(0).count(), 1u) << "not what was there before it";
}

TEST_F(RefusalsTest, AProcessThatIsRefusedWithoutEndHidesNobody) {
  Note(1, EINVAL);
  for (int i = 0; i < 100'000; ++i) Note(2, EINVAL);
  EXPECT_EQ(Seen().refusals_size(), 2);
}

TEST_F(RefusalsTest, LongReasonsAreCutAndNamesMadePrintable) {
  Note(1, EINVAL, std::string(1000, 'x').c_str(), "\x1b[2J");
  EXPECT_EQ(Seen().refusals(0).why(), std::string(Refusals::kWhyBytesMax, 'x'));
  EXPECT_EQ(Seen().refusals(0).name(), "\\x1b[2J");
}

TEST_F(RefusalsTest, FillNoReplyWhateverTheirTextsAre) {
  for (pid_t process = 1; process <= 1000; ++process)
    Note(process, EINVAL, std::string(1000, '\x1b').c_str(), std::string(16, '\x1b').c_str());
  const auto live = Seen();
  EXPECT_LE(live.ByteSizeLong(), Refusals::kSeenBytesMax);
  EXPECT_GT(live.ByteSizeLong(), Refusals::kSeenBytesMax / 2);
  EXPECT_EQ(live.refusals(0).process(), 1000u) << "the newest is first";
}

}  // namespace
}  // namespace dxg::guest
