#include "cuse-dxg/control/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>

#include "base/printable.h"
#include "link/fidelity.h"
#include "proto/contract/contract.h"
#include "proto/contract/text.h"

namespace dxg::control {
namespace {

using Json = nlohmann::ordered_json;
using Thing = ControlReply::Thing;

constexpr double kNsPerSecond = 1e9;
constexpr int kReportVersion = 1;

struct Kind {
  Thing::Kind kind;
  const char* name;   // in JSON
  const char* title;  // for a person
};
// In the order of the report: what is worst comes last, where a reader of a terminal looks.
constexpr Kind kKinds[] = {
    {Thing::EXACT, "exact", "Exact"},
    {Thing::APPROXIMATED, "approximated", "Approximated: done, but not as by the real device"},
    {Thing::UNREAD, "unread", "Passed through: nobody looked at it"},
    {Thing::NOT_RECOGNIZED, "not_recognized", "Not recognized: the device was lost"},
    {Thing::NOT_EXECUTED, "not_executed", "Not executed: results in memory are not to be believed"},
    {Thing::REFUSED, "refused", "Refused"},
};

std::optional<uint64_t> NumberOf(const Thing& thing) {
  return thing.has_number() ? std::optional(thing.number()) : std::nullopt;
}

std::string WhatText(const Thing& thing) {
  if (thing.what() == fidelity::kErrno) return contract::ErrnoName(static_cast<int>(thing.number()));
  std::string text = FidelityText(thing.what(), NumberOf(thing));
  if (thing.what() == fidelity::kType && thing.has_number()) {
    const char* const name = contract::ValueName(thing.call(), "type", thing.number());
    if (name) text += fmt::format(" {}", name);
  }
  return text;
}

uint64_t LostOf(const ControlReply& report, Thing::Kind kind) {
  for (const ControlReply::Lost& lost : report.lost()) {
    if (lost.kind() == kind) return lost.count();
  }
  return 0;
}

std::string FirstText(const Thing& thing) {
  std::string text = fmt::format("first at {:.3f} s", static_cast<double>(thing.first_ns()) / kNsPerSecond);
  if (thing.thread() != 0) return text + fmt::format(" by thread {}", thing.thread());
  return thing.process() != 0 ? text + fmt::format(" by process {}", thing.process()) : text;
}

std::string ThingText(const Thing& thing) {
  std::string text = fmt::format("{:>10}  {}{}{}\n", thing.count(), thing.call(),
                                 thing.call().empty() || thing.what().empty() ? "" : " ", WhatText(thing));
  text += fmt::format("{:>12}{}", "", FirstText(thing));
  if (!thing.why().empty()) text += fmt::format(": {}", thing.why());
  return text + "\n";
}

// Most calls of most programs are exact, so they get little room: a column.
std::string ExactText(const ControlReply& report) {
  std::map<std::string, std::vector<const Thing*>> details;
  for (const Thing& thing : report.things()) {
    if (thing.kind() == Thing::EXACT) details[thing.call()].push_back(&thing);
  }
  // A call of which something else is said below is exact in what is listed here.
  std::map<std::string, bool> otherwise;
  for (const Thing& thing : report.things()) otherwise[thing.call()] |= thing.kind() != Thing::EXACT;
  std::string text;
  for (const ControlReply::Call& call : report.calls()) {
    if (!otherwise[call.name()]) text += fmt::format("{:>10}  {}\n", call.count(), call.name());
    for (const Thing* thing : details[call.name()])
      text += fmt::format("{:>10}  {} {}\n", thing->count(), call.name(), WhatText(*thing));
  }
  return text;
}

Json FirstJson(const Thing& thing) {
  Json json = {{"seconds", static_cast<double>(thing.first_ns()) / kNsPerSecond}};
  json["process"] = thing.process() != 0 ? Json(thing.process()) : Json(nullptr);
  json["thread"] = thing.thread() != 0 ? Json(thing.thread()) : Json(nullptr);
  return json;
}

Json ToJson(const Thing& thing) {
  Json json = {{"call", thing.call().empty() ? Json(nullptr) : Json(thing.call())},
               {"what", WhatText(thing)}};
  json["number"] = thing.has_number() ? Json(thing.number()) : Json(nullptr);
  json["count"] = thing.count();
  json["why"] = thing.why();
  json["first"] = FirstJson(thing);
  return json;
}

std::vector<const contract::Difference*> DifferencesOf(const ControlReply& report) {
  std::vector<const contract::Difference*> found;
  for (const contract::Difference& difference : contract::Differences()) {
    const bool called = std::any_of(report.calls().begin(), report.calls().end(),
                                    [&](const auto& call) { return difference.Concerns(call.name()); });
    if (called) found.push_back(&difference);
  }
  return found;
}

std::string Joined(const std::vector<std::string>& words) { return fmt::format("{}", fmt::join(words, " ")); }

}  // namespace

void AddHostsReport(const ControlReply& host, ControlReply* report) {
  auto key = [](const Thing& thing) { return std::tuple(thing.call(), thing.what(), NumberOf(thing)); };
  std::map<decltype(key(Thing())), Thing*> exact;
  for (Thing& thing : *report->mutable_things()) {
    if (thing.kind() == Thing::EXACT) exact[key(thing)] = &thing;
  }
  std::vector<Thing> said(host.things().begin(), host.things().end());
  for (Thing& thing : said) {
    // Texts of a host that we do not trust, for a terminal.
    thing.set_call(Printable(thing.call()));
    thing.set_what(Printable(thing.what()));
    thing.set_why(Printable(thing.why()));
    const auto asked = exact.find(key(thing));
    if (asked == exact.end()) continue;
    Thing& of_guest = *asked->second;
    thing.set_process(of_guest.process());
    thing.set_thread(of_guest.thread());
    thing.set_first_ns(of_guest.first_ns());
    of_guest.set_count(of_guest.count() - std::min(of_guest.count(), thing.count()));
  }
  auto* things = report->mutable_things();
  for (int i = things->size(); i-- > 0;) {
    if (things->Get(i).count() == 0) things->DeleteSubrange(i, 1);
  }
  for (Thing& thing : said) *report->add_things() = std::move(thing);
  for (const ControlReply::Lost& lost : host.lost()) *report->add_lost() = lost;
}

std::string ReportText(const ControlReply& report, const std::vector<std::string>& program) {
  uint64_t calls = 0, refused = 0;
  for (const ControlReply::Call& call : report.calls()) {
    calls += call.count();
    refused += call.refused();
  }
  std::string text = fmt::format("{}{} calls of {} kinds in {:.3f} s, {} refused\n",
                                 program.empty() ? "" : Joined(program) + ": ", calls, report.calls_size(),
                                 static_cast<double>(report.age_ns()) / kNsPerSecond, refused);
  for (const Kind& kind : kKinds) {
    std::string part;
    if (kind.kind == Thing::EXACT) {
      part = ExactText(report);
    } else {
      for (const Thing& thing : report.things()) {
        if (thing.kind() == kind.kind) part += ThingText(thing);
      }
    }
    if (const uint64_t lost = LostOf(report, kind.kind); lost != 0)
      part += fmt::format("{:>10}  of more kinds than are kept apart\n", lost);
    if (!part.empty()) text += fmt::format("\n{}\n{}", kind.title, part);
  }
  const auto differences = DifferencesOf(report);
  if (differences.empty()) return text;
  text += "\nWhere these calls can differ from the driver (docs/abi.md)\n";
  for (const auto* difference : differences) text += fmt::format("{:>12}{}\n", "", difference->what);
  return text;
}

std::string ReportJson(const ControlReply& report, const std::vector<std::string>& program) {
  Json json = {{"version", kReportVersion}};
  if (!program.empty()) json["program"] = program;
  json["seconds"] = static_cast<double>(report.age_ns()) / kNsPerSecond;
  json["calls"] = Json::array();
  for (const ControlReply::Call& call : report.calls())
    json["calls"].push_back({{"name", call.name()}, {"count", call.count()}, {"refused", call.refused()}});
  for (const Kind& kind : kKinds) {
    json[kind.name] = Json::array();
    for (const Thing& thing : report.things()) {
      if (thing.kind() == kind.kind) json[kind.name].push_back(ToJson(thing));
    }
  }
  json["lost"] = Json::object();
  for (const Kind& kind : kKinds) json["lost"][kind.name] = LostOf(report, kind.kind);
  json["differences"] = Json::array();
  for (const auto* difference : DifferencesOf(report)) json["differences"].push_back(difference->what);
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string NotExecutedText(const ControlReply& report) {
  constexpr int kLinesMax = 8;
  uint64_t times = LostOf(report, Thing::NOT_EXECUTED), dispatches = 0;
  int kernels = 0, lines = 0;
  std::string text;
  for (const Thing& thing : report.things()) {
    if (thing.kind() != Thing::NOT_EXECUTED) continue;
    times += thing.count();
    if (thing.what() == fidelity::kDispatch) {
      dispatches += thing.count();
      ++kernels;
    }
    if (lines++ < kLinesMax) text += fmt::format("{:>10}  {}\n", thing.count(), WhatText(thing));
  }
  if (times == 0) return "";
  if (lines > kLinesMax)
    text += fmt::format("{:>10}  more kinds; --report FILE names them\n", lines - kLinesMax);
  const std::string what = dispatches == 0 ? fmt::format("{} commands or buffers of commands", times)
                           : dispatches == times
                               ? fmt::format("{} dispatches of {} kernels", dispatches, kernels)
                               : fmt::format("{} dispatches of {} kernels, and {} other commands", dispatches,
                                             kernels, times - dispatches);
  return fmt::format("the simulated GPU has not executed {}; results in memory are not to be believed:\n{}",
                     what, text);
}

}  // namespace dxg::control
