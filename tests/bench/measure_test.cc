// What figures are, and what two runs differ in, without measuring anything.
#include "tests/bench/measure.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <string>

#include "tests/bench/report.h"

namespace dxg::bench {
namespace {

TEST(BenchInterval, HasOrderStatisticsAsItsEnds) {
  std::vector<double> rounds;
  for (int i = 100; i >= 1; --i) rounds.push_back(i);
  const Interval interval = MedianWithInterval(rounds);
  EXPECT_EQ(interval.median, 50.5);
  EXPECT_EQ(interval.low, 41);  // the binomial of 100 and 1/2 has 95.4 % between 40 and 60
  EXPECT_EQ(interval.high, 60);
  EXPECT_EQ(interval.rounds, 100u);
  EXPECT_NEAR(interval.width_percent(), 100 * 19 / 50.5, 1e-9);
}

TEST(BenchInterval, OneFarValueMovesNothing) {
  std::vector<double> rounds(40, 1.5);
  rounds[7] = 1000;
  EXPECT_EQ(MedianWithInterval(rounds).width_percent(), 0);
}

TEST(BenchInterval, FiveRoundsAreTooFew) {
  EXPECT_TRUE(std::isinf(MedianWithInterval({1, 1, 1, 1, 1}).width_percent()));
  EXPECT_EQ(MedianWithInterval({1, 1, 1, 1, 1, 1}).width_percent(), 0);
}

TEST(BenchVerdict, IsUndecidedWhereTheTargetLiesWithin) {
  Result result{{"a ratio", Limit::kAtMost, 1.2}, {1.1, 1.0, 1.2, 10}};
  EXPECT_STREQ(result.verdict(), "met");
  result.value.high = 1.25;
  EXPECT_STREQ(result.verdict(), "undecided");
  result.value.low = 1.21;
  EXPECT_STREQ(result.verdict(), "MISSED");
  result.figure.limit = Limit::kAtLeast;
  EXPECT_STREQ(result.verdict(), "met");
  result.figure.limit = Limit::kNone;
  EXPECT_STREQ(result.verdict(), "");
}

TEST(BenchRun, GoesOnUntilAllIntervalsAreNarrow) {
  bench::Run run({.precision_percent = 3, .seconds_max = 60}, [](const Result&) {});
  int rounds = 0;
  run.Settle({{"quiet"}, {"noisy at first"}}, [&] {
    ++rounds;
    return std::vector<double>{1, rounds <= 30 ? rounds % 2 + 1.0 : 2.0};
  });
  EXPECT_GT(rounds, 40);  // of the noise no more than a part may be left
  EXPECT_FALSE(run.results()[0].is_too_noisy);
  EXPECT_FALSE(run.results()[1].is_too_noisy);
  EXPECT_LT(run.results()[1].value.width_percent(), 3);
}

TEST(BenchRun, SaysThatTheMachineIsTooNoisy) {
  bench::Run run({.precision_percent = 3, .seconds_max = 0}, [](const Result&) {});
  run.Settle({{"noisy"}}, [] { return std::vector<double>{1}; });
  EXPECT_TRUE(run.results()[0].is_too_noisy);
}

// Two results in files of their own.
class BenchCompare : public testing::Test {
 protected:
  static Interval Of(double median) { return {median, median * 0.99, median * 1.01, 20}; }
  std::string Write(const std::string& command, Limit limit, Interval value, bool is_too_noisy = false) {
    bench::Run run({}, [](const Result&) {});
    nlohmann::ordered_json json = RunAsJson(command, run, {}, Load());
    nlohmann::ordered_json result = {
        {"name", "a call"},   {"unit", "ratio"},        {"value", value.median},    {"low", value.low},
        {"high", value.high}, {"rounds", value.rounds}, {"too_noisy", is_too_noisy}};
    if (limit != Limit::kNone) result["limit"] = limit == Limit::kAtMost ? "at most" : "at least";
    json["results"].push_back(result);
    const std::string path = testing::TempDir() + "/dxg-bench-" + std::to_string(getpid()) + "-" +
                             std::to_string(paths_.size()) + ".json";
    std::ofstream(path) << json.dump();
    paths_.push_back(path);
    return path;
  }
  void TearDown() override {
    for (const std::string& path : paths_) unlink(path.c_str());
  }

 private:
  std::vector<std::string> paths_;
};

TEST_F(BenchCompare, OnlyIntervalsThatDoNotMeetAreADifference) {
  const std::string before = Write("calls", Limit::kAtMost, Of(1.0));
  EXPECT_EQ(Compare(before, Write("calls", Limit::kAtMost, Of(1.01))), 0);
  EXPECT_EQ(Compare(before, Write("calls", Limit::kAtMost, Of(0.5))), 0);
  EXPECT_EQ(Compare(before, Write("calls", Limit::kAtMost, Of(1.5))), 1);
  EXPECT_EQ(Compare(before, Write("calls", Limit::kAtMost, Of(1.5), true)), 0);
}

TEST_F(BenchCompare, ASpeedThatFallsIsWorse) {
  const std::string before = Write("work", Limit::kAtLeast, Of(1.0));
  EXPECT_EQ(Compare(before, Write("work", Limit::kAtLeast, Of(0.5))), 1);
  EXPECT_EQ(Compare(before, Write("work", Limit::kAtLeast, Of(2))), 0);
}

TEST_F(BenchCompare, RefusesWhatIsNotAlike) {
  const std::string calls = Write("calls", Limit::kNone, Of(1.0));
  EXPECT_EQ(Compare(calls, Write("work", Limit::kNone, Of(1.0))), 2);
  EXPECT_EQ(Compare(calls, "/dev/null"), 2);
  EXPECT_EQ(Compare("/nowhere.json", calls), 2);
}

TEST(BenchReport, TellsMachineAndLoad) {
  bench::Run run({}, [](const Result&) {});
  run.Once({"a figure", Limit::kAtMost, 3, "us"}, 2);
  const nlohmann::ordered_json json = RunAsJson("calls", run, {}, Load());
  EXPECT_GE(json.at("machine").at("cores").get<int>(), 1);
  EXPECT_FALSE(json.at("machine").at("kernel").get<std::string>().empty());
  EXPECT_GE(json.at("load").at("average_before").get<double>(), 0);
  EXPECT_LE(json.at("load").at("busy_percent").get<double>(), 100);
  EXPECT_EQ(json.at("results")[0].at("verdict"), "met");
  EXPECT_EQ(json.at("results")[0].at("unit"), "us");
}

}  // namespace
}  // namespace dxg::bench
