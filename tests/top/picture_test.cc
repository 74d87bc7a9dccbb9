#include "cuse-dxg/top/picture.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "cuse-dxg/top/json.h"
#include "tests/top/samples.h"

namespace dxg::top {
namespace {

TEST(TopPicture, RatesComeFromTwoSamples) {
  const Picture picture = MakePicture(SampleOf(0), SampleOf(2));
  EXPECT_DOUBLE_EQ(picture.seconds, 2);
  EXPECT_DOUBLE_EQ(picture.calls_per_second, 250);
  EXPECT_DOUBLE_EQ(picture.refused_per_second, 1);
  ASSERT_EQ(picture.adapters.size(), 1u);
  EXPECT_DOUBLE_EQ(picture.adapters[0].engines[0].load, 0.25);
  EXPECT_DOUBLE_EQ(picture.adapters[0].engines[0].commands_per_second, 120);
  EXPECT_DOUBLE_EQ(picture.adapters[0].engines[1].load, 0);
  ASSERT_EQ(picture.processes.size(), 2u);
  EXPECT_DOUBLE_EQ(picture.processes[0].calls_per_second, 200);
  EXPECT_DOUBLE_EQ(picture.processes[0].load, 0.25);
  EXPECT_DOUBLE_EQ(picture.processes[1].refused_per_second, 1);
  EXPECT_EQ(picture.processes[1].waits(), 2u);
  ASSERT_EQ(picture.processes[0].by_name.size(), 1u);
  EXPECT_EQ(picture.processes[0].by_name[0].count, 400u);
}

TEST(TopPicture, CallsThatWereNotWantedByNameBeforeHaveNoRate) {
  ControlReply::Live before = SampleOf(1);
  before.mutable_guest_processes(0)->clear_by_name();
  const Picture picture = MakePicture(before, SampleOf(2));
  EXPECT_EQ(picture.processes[0].by_name[0].count, 400u);
  EXPECT_EQ(picture.processes[0].by_name[0].per_second, 0);
}

TEST(TopPicture, GuestAndHostAreOneProcessByItsHandle) {
  const Picture picture = MakePicture({}, SampleOf(1));
  EXPECT_EQ(picture.processes[0].pid, 3000u) << "the number is the guest's";
  EXPECT_EQ(picture.processes[0].local, 500u << 20);
  EXPECT_EQ(picture.processes[1].local, 1500u << 20);
}

TEST(TopPicture, OneSampleHasNoRates) {
  const Picture picture = MakePicture({}, SampleOf(5));
  EXPECT_EQ(picture.seconds, 0);
  EXPECT_EQ(picture.calls_per_second, 0);
  EXPECT_EQ(picture.processes[0].load, 0);
  EXPECT_EQ(picture.adapters[0].engines[0].load, 0);
}

TEST(TopPicture, WhatBeganAnewHasNoRate) {
  ControlReply::Live now = SampleOf(2);
  now.set_calls(3);
  now.mutable_adapters(0)->mutable_engines(0)->set_running_ns(0);
  const Picture picture = MakePicture(SampleOf(1), now);
  EXPECT_EQ(picture.calls_per_second, 0);
  EXPECT_EQ(picture.adapters[0].engines[0].load, 0);
}

TEST(TopPicture, ANumberThatCameBackIsAnotherProcess) {
  ControlReply::Live now = SampleOf(2);
  now.mutable_guest_processes(0)->set_started(999);
  now.mutable_guest_processes(0)->set_calls(950);
  const Picture picture = MakePicture(SampleOf(1), now);
  EXPECT_DOUBLE_EQ(picture.processes[0].calls_per_second, 950) << "all its calls are of this second";
}

TEST(TopPicture, AHostByItselfHasProcessesToo) {
  ControlReply::Live before = SampleOf(1), now = SampleOf(2);
  for (ControlReply::Live* live : {&before, &now}) {
    live->set_has_guest(false);
    live->clear_guest_processes();
  }
  const Picture picture = MakePicture(before, now);
  ASSERT_EQ(picture.processes.size(), 2u);
  EXPECT_EQ(picture.processes[0].pid, 10u);
  EXPECT_FALSE(picture.processes[0].has_guest);
  EXPECT_DOUBLE_EQ(picture.seconds, 1);
}

TEST(TopPicture, ErrorsHaveNames) {
  ControlReply::Live live = SampleOf(1);
  live.mutable_refusals(1)->set_error(0u - 0xC000000Du);
  const Picture picture = MakePicture({}, live);
  EXPECT_EQ(picture.refusals[0].error, "EINVAL");
  EXPECT_EQ(picture.refusals[1].error, "0xc000000d");
  EXPECT_EQ(picture.refusals[1].call, "code 0x0000c0de");
  EXPECT_DOUBLE_EQ(picture.refusals[0].seconds_ago, 0.5);
}

TEST(TopPicture, TextOfADaemonIsMadePrintable) {
  ControlReply::Live live = SampleOf(1);
  live.mutable_guest_processes(0)->set_name("\x1b[2J");
  live.mutable_adapters(0)->set_description("\xff");
  live.mutable_refusals(0)->set_why("\n");
  const Picture picture = MakePicture({}, live);
  EXPECT_EQ(picture.processes[0].name, "\\x1b[2J");
  EXPECT_EQ(picture.adapters[0].description, "\\xff");
  EXPECT_EQ(picture.refusals[0].why, "\\x0a");
}

TEST(TopSort, TheMostComesFirstAndEqualsByNumber) {
  auto pids = [](SortBy key) {
    std::vector<Process> processes(4);
    for (size_t i = 0; i < processes.size(); ++i) {
      processes[i].pid = 10 - i;
      processes[i].name = std::string(1, "bdac"[i]);
    }
    processes[1].local = 5;
    processes[2].non_local = 7;
    processes[3].load = 0.5;
    processes[1].calls_per_second = 3;
    processes[2].refused = 1;
    processes[3].waiting = {{.name = "x", .count = 2}};
    Sort(&processes, key);
    std::vector<uint64_t> order;
    for (const Process& process : processes) order.push_back(process.pid);
    return order;
  };
  using Order = std::vector<uint64_t>;
  EXPECT_EQ(pids(SortBy::kMemory), (Order{8, 9, 7, 10}));
  EXPECT_EQ(pids(SortBy::kGpu), (Order{7, 8, 9, 10}));
  EXPECT_EQ(pids(SortBy::kCalls), (Order{9, 7, 8, 10}));
  EXPECT_EQ(pids(SortBy::kRefused), (Order{8, 7, 9, 10}));
  EXPECT_EQ(pids(SortBy::kWaits), (Order{7, 8, 9, 10}));
  EXPECT_EQ(pids(SortBy::kPid), (Order{7, 8, 9, 10}));
  EXPECT_EQ(pids(SortBy::kName), (Order{8, 10, 7, 9}));
}

TEST(TopJson, HasEverythingOnOneLine) {
  const std::string text = ToJson(MakePicture(SampleOf(0), SampleOf(1)));
  EXPECT_EQ(text.find('\n'), text.size() - 1);
  const auto json = nlohmann::json::parse(text);
  EXPECT_EQ(json["adapters"][0]["luid"], "00000000-00010000");
  EXPECT_EQ(json["adapters"][0]["local"]["used_bytes"], 2000u << 20);
  EXPECT_EQ(json["adapters"][0]["engines"][0]["load"], 0.25);
  EXPECT_EQ(json["processes"][0]["calls_by_name"]["Lock2"]["per_second"], 200);
  EXPECT_EQ(json["processes"][1]["waiting"]["WaitForSynchronizationObjectFromCpu"], 2);
  EXPECT_EQ(json["refusals"][0]["error"], "EINVAL");
}

}  // namespace
}  // namespace dxg::top
