// The counting of what programs ask for, and the report of it.
#include "link/fidelity.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <thread>

#include "cuse-dxg/control/report.h"
#include "cuse-dxg/control/server.h"
#include "proto/contract/contract.h"

namespace dxg {
namespace {

constexpr uint64_t kStartNs = 1'000'000;

FidelityFirst At(uint64_t ns, uint32_t thread = 7) {
  return {.process = 5, .thread = thread, .ns = kStartNs + ns};
}

class FidelityTest : public testing::Test {
 protected:
  void Note(FidelityKind kind, std::string_view call, std::string_view what,
            std::optional<uint64_t> number = {}, FidelityFirst first = At(0), std::string_view why = {}) {
    fidelity.Note(
        {kind, call, what, number}, [&] { return first; }, why);
  }
  Fidelity fidelity{kStartNs};
};

TEST_F(FidelityTest, CountsAndKeepsTheFirstTime) {
  Note(FidelityKind::kRefused, "Escape", "type {}", 3, At(10, 1), "first reason");
  Note(FidelityKind::kRefused, "Escape", "type {}", 3, At(20, 2), "second reason");
  Note(FidelityKind::kRefused, "Escape", "type {}", 3, At(30, 3));
  const auto all = fidelity.Read();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].count, 3u);
  EXPECT_EQ(all[0].first.ns, 10u);
  EXPECT_EQ(all[0].first.thread, 1u);
  EXPECT_EQ(all[0].first.process, 5u);
  EXPECT_EQ(all[0].why, "first reason");
  EXPECT_EQ(all[0].number, 3u);
}

TEST_F(FidelityTest, EachPartOfAThingTellsItFromOthers) {
  Note(FidelityKind::kExact, "Escape", "type {}", 3);
  Note(FidelityKind::kRefused, "Escape", "type {}", 3);
  Note(FidelityKind::kExact, "QueryAdapterInfo", "type {}", 3);
  Note(FidelityKind::kExact, "Escape", "type {}", 4);
  Note(FidelityKind::kExact, "Escape", "type {}", 0);
  Note(FidelityKind::kExact, "Escape", "type {}");
  Note(FidelityKind::kExact, "Escape", "other {}", 3);
  const auto all = fidelity.Read();
  EXPECT_EQ(all.size(), 7u);
  for (const auto& each : all) EXPECT_EQ(each.count, 1u);
}

TEST_F(FidelityTest, ATimeBeforeItsOwnStartIsTheStart) {
  Note(FidelityKind::kUnread, "", "early", {}, {.ns = kStartNs - 1});
  EXPECT_EQ(fidelity.Read()[0].first.ns, 0u);
}

TEST_F(FidelityTest, RoomIsBoundedByKindAndTheRestIsCounted) {
  constexpr uint64_t kAsked = 100'000;
  for (uint64_t number = 0; number < kAsked; ++number) Note(FidelityKind::kRefused, "Q", "type {}", number);
  EXPECT_EQ(fidelity.Read().size(), Fidelity::kThingsMax);
  EXPECT_EQ(fidelity.lost(FidelityKind::kRefused), kAsked - Fidelity::kThingsMax);
  // What has its place counts on, and other kinds have theirs.
  Note(FidelityKind::kRefused, "Q", "type {}", 0);
  Note(FidelityKind::kNotExecuted, "", "dispatch");
  EXPECT_EQ(fidelity.Read()[0].count, 2u);
  EXPECT_EQ(fidelity.Read().back().kind, FidelityKind::kNotExecuted);
  EXPECT_EQ(fidelity.lost(FidelityKind::kNotExecuted), 0u);
  for (uint64_t number = 0; number < kAsked; ++number) Note(FidelityKind::kExact, "Q", "type {}", number);
  EXPECT_EQ(fidelity.lost(FidelityKind::kExact), kAsked - Fidelity::kExactThingsMax);
}

TEST_F(FidelityTest, LongAndStrangeTextsAreCutAndPlain) {
  Note(FidelityKind::kUnread, std::string(500, 'c'), "tab\there\xff" + std::string(500, 'w'), {}, At(0),
       std::string(500, 'y'));
  const auto all = fidelity.Read();
  EXPECT_EQ(all[0].call, std::string(Fidelity::kCallBytesMax, 'c'));
  EXPECT_EQ(all[0].what.substr(0, 10), "tab?here?w");
  EXPECT_EQ(all[0].what.size(), Fidelity::kWhatBytesMax);
  EXPECT_EQ(all[0].why.size(), Fidelity::kWhyBytesMax);
}

TEST_F(FidelityTest, ThreadsLoseNothing) {
  constexpr int kThreads = 4;
  constexpr uint64_t kRounds = 20'000, kThings = 2 * Fidelity::kThingsMax;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([this] {
      for (uint64_t round = 0; round < kRounds; ++round)
        Note(FidelityKind::kUnknown, "", "thing {}", round % kThings);
    });
  }
  for (std::thread& thread : threads) thread.join();
  uint64_t counted = fidelity.lost(FidelityKind::kUnknown);
  for (const auto& each : fidelity.Read()) counted += each.count;
  EXPECT_EQ(fidelity.Read().size(), Fidelity::kThingsMax);
  EXPECT_EQ(counted, kThreads * kRounds);
}

// -- The report

ControlReply ReplyOf(const Fidelity& fidelity) {
  ControlReply reply;
  fidelity.AddTo(&reply);
  return reply;
}

TEST_F(FidelityTest, TheLargestReportFitsIntoAPacket) {
  ControlReply all;
  // Each kind is said by the guest or by the host.
  Fidelity full(0);
  for (size_t kind = 0; kind < kFidelityKinds; ++kind) {
    for (uint64_t number = 0; number < 1000; ++number) {
      full.Note(
          {static_cast<FidelityKind>(kind), std::string(500, 'c'), std::string(500, 'w'), ~number},
          [] {
            return FidelityFirst{~0ull, ~0u, ~0ull};
          },
          std::string(500, 'y'));
    }
  }
  full.AddTo(&all);
  EXPECT_GT(all.things_size(), 400);
  for (auto& thing : *all.mutable_things()) thing.set_count(~0ull);
  for (const auto& call : contract::Calls()) {
    auto* counted = all.add_calls();
    counted->set_name(call.name);
    counted->set_count(~0ull);
    counted->set_refused(~0ull);
  }
  EXPECT_LE(all.ByteSizeLong(), control::kReplyBytesMax);
}

TEST_F(FidelityTest, TheHostsWordReplacesTheGuests) {
  Fidelity host(0);
  for (int i = 0; i < 3; ++i) Note(FidelityKind::kExact, "QueryAdapterInfo", fidelity::kType, 61, At(40, 9));
  Note(FidelityKind::kExact, "QueryAdapterInfo", fidelity::kType, 15);
  Note(FidelityKind::kExact, "CreateHwQueue", fidelity::kPrivateData, 8);
  Note(FidelityKind::kExact, "CreateHwQueue", fidelity::kPrivateData, 8);
  auto at_host = [] { return FidelityFirst{.process = 5, .ns = 77}; };
  for (int i = 0; i < 3; ++i)
    host.Note({FidelityKind::kApproximated, "QueryAdapterInfo", fidelity::kType, 61}, at_host, "a model's");
  host.Note({FidelityKind::kUnread, "CreateHwQueue", fidelity::kPrivateData, 8}, at_host);
  host.Note({FidelityKind::kNotExecuted, "", fidelity::kDispatch, 0xAB}, at_host);

  ControlReply report = ReplyOf(fidelity);
  control::AddHostsReport(ReplyOf(host), &report);
  const auto json = nlohmann::json::parse(control::ReportJson(report, {"program"}));
  ASSERT_EQ(json["exact"].size(), 2u) << json.dump(1);
  EXPECT_EQ(json["exact"][0]["what"], "type 15 KMTQAITYPE_ADAPTERTYPE");
  EXPECT_EQ(json["exact"][1]["count"], 1) << "one of two was read by the host";
  ASSERT_EQ(json["approximated"].size(), 1u);
  const auto& query = json["approximated"][0];
  EXPECT_EQ(query["call"], "QueryAdapterInfo");
  EXPECT_EQ(query["count"], 3);
  EXPECT_EQ(query["number"], 61);
  EXPECT_EQ(query["why"], "a model's");
  EXPECT_EQ(query["first"]["thread"], 9) << "whom the guest knows";
  EXPECT_EQ(json["unread"][0]["what"], "private data of 8 bytes");
  EXPECT_EQ(json["not_executed"][0]["what"], "dispatch of kernel 00000000000000ab");
  EXPECT_TRUE(json["not_executed"][0]["first"]["thread"].is_null());
  EXPECT_EQ(json["not_executed"][0]["first"]["process"], 5);
  EXPECT_EQ(json["version"], 1);
  EXPECT_EQ(json["program"], nlohmann::json({"program"}));
}

TEST_F(FidelityTest, AHostsTextsAreNoFormatsAndMoveNoCursor) {
  ControlReply host, report;
  ControlReply::Thing* thing = host.add_things();
  thing->set_kind(ControlReply::Thing::NOT_EXECUTED);
  thing->set_what("\x1b[2J{:2000000000}");
  thing->set_why("\x1b[1m");
  thing->set_number(1);
  thing->set_count(1);
  control::AddHostsReport(host, &report);
  const std::string text = control::ReportText(report, {}) + control::NotExecutedText(report);
  EXPECT_EQ(text.find('\x1b'), std::string::npos) << text;
  EXPECT_NE(text.find("{:2000000000} 1"), std::string::npos) << text;
}

TEST_F(FidelityTest, TheReportForAPersonNamesWhatIsNotExact) {
  Note(FidelityKind::kRefused, "QueryAdapterInfo", fidelity::kType, 200, At(12'000'000, 9), "no such type");
  Note(FidelityKind::kRefused, "Lock2", fidelity::kErrno, 22);
  for (uint64_t number = 0; number <= Fidelity::kThingsMax; ++number)
    Note(FidelityKind::kUnread, "Escape", fidelity::kPrivateData, number + 1);
  ControlReply report = ReplyOf(fidelity);
  for (const char* name : {"CloseAdapter", "Lock2"}) {
    auto* call = report.add_calls();
    call->set_name(name);
    call->set_count(4);
  }
  const std::string text = control::ReportText(report, {"a", "b"});
  EXPECT_NE(text.find("a b: 8 calls of 2 kinds"), text.npos) << text;
  EXPECT_NE(text.find("Exact\n         4  CloseAdapter\n"), text.npos) << text;
  EXPECT_EQ(text.find("         4  Lock2\n"), text.npos) << "not all of them: " << text;
  EXPECT_NE(text.find("QueryAdapterInfo type 200\n            first at 0.012 s by thread 9: no such type"),
            text.npos)
      << text;
  EXPECT_NE(text.find("Lock2 EINVAL"), text.npos) << text;
  EXPECT_NE(text.find("         1  of more kinds than are kept apart"), text.npos) << text;
  EXPECT_NE(text.find("an unlocked allocation's address"), text.npos)
      << "what Lock2 is known to do: " << text;
}

TEST_F(FidelityTest, WhatIsLeftOutIsSaidWithItsKernels) {
  EXPECT_EQ(control::NotExecutedText(ReplyOf(fidelity)), "");
  Note(FidelityKind::kRefused, "Lock2", fidelity::kErrno, 22);
  EXPECT_EQ(control::NotExecutedText(ReplyOf(fidelity)), "");
  Note(FidelityKind::kNotExecuted, "", fidelity::kDispatch, 0xAB);
  Note(FidelityKind::kNotExecuted, "", fidelity::kDispatch, 0xAB);
  Note(FidelityKind::kNotExecuted, "", fidelity::kDispatch, 0xCD);
  std::string text = control::NotExecutedText(ReplyOf(fidelity));
  EXPECT_NE(text.find("3 dispatches of 2 kernels; results in memory are not to be believed"), text.npos)
      << text;
  EXPECT_NE(text.find("2  dispatch of kernel 00000000000000ab"), text.npos) << text;
  Note(FidelityKind::kNotExecuted, "", fidelity::kForeignCommands);
  text = control::NotExecutedText(ReplyOf(fidelity));
  EXPECT_NE(text.find("3 dispatches of 2 kernels, and 1 other commands"), text.npos) << text;
  for (uint64_t kernel = 0; kernel < 1000; ++kernel)
    Note(FidelityKind::kNotExecuted, "", fidelity::kDispatch, kernel);
  text = control::NotExecutedText(ReplyOf(fidelity));
  EXPECT_LT(std::count(text.begin(), text.end(), '\n'), 12) << text;
}

TEST(FidelityText, TakesAnyFormat) {
  EXPECT_EQ(FidelityText("plain", {}), "plain");
  EXPECT_EQ(FidelityText("name {with} braces", {}), "name {with} braces");
  EXPECT_EQ(FidelityText("dispatch of kernel {:016x}", 0xAB), "dispatch of kernel 00000000000000ab");
  EXPECT_EQ(FidelityText("request code {:#010x}, refused", 0xAB), "request code 0x000000ab, refused");
  EXPECT_EQ(FidelityText("{:2000000000}", 1), "{:2000000000} 1") << "a host's text is no format";
  EXPECT_EQ(FidelityText("of a later {version}", 3), "of a later {version} 3");
}

}  // namespace
}  // namespace dxg
