#include <fmt/format.h>

#include <fstream>
#include <optional>

#include "tests/bench/report.h"

namespace dxg::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kWorse = 1, kWrong = 2;

std::optional<Json> ResultOf(const std::string& path) {
  std::ifstream file(path);
  const Json json = Json::parse(file, nullptr, false);
  if (!file.is_open() || json.is_discarded() || !json.is_object() ||
      json.value("program", "") != "dxg-bench" || !json.contains("results")) {
    fmt::print(stderr, "dxg-bench: {} is no result of dxg-bench; make one: dxg-bench calls --json > {}\n",
               path, path);
    return std::nullopt;
  }
  return json;
}

const Json* Find(const Json& results, const std::string& name) {
  for (const Json& result : results) {
    if (result.at("name") == name) return &result;
  }
  return nullptr;
}

struct Difference {
  const char* text;
  bool is_worse;
};

// Only intervals that do not meet show that something has changed.
Difference Judge(const Json& a, const Json& b) {
  if (a.at("rounds") < 2 || b.at("rounds") < 2) return {"measured once", false};
  if (a.at("too_noisy") == true || b.at("too_noisy") == true) return {"too noisy to tell", false};
  const bool is_higher = b.at("low") > a.at("high"), is_lower = b.at("high") < a.at("low");
  if (!is_higher && !is_lower) return {"no difference shown", false};
  if (!a.contains("limit")) return {is_higher ? "higher" : "lower", false};
  const bool is_worse = is_higher == (a.at("limit") == "at most");
  return {is_worse ? "WORSE" : "better", is_worse};
}

int CompareResults(const Json& a, const Json& b) {
  bool is_worse = false;
  fmt::print("{:<62}{:>9}{:>9}{:>9}\n", "", "A", "B", "change");
  for (const Json& before : a.at("results")) {
    const std::string name = before.at("name");
    const Json* const after = Find(b.at("results"), name);
    if (after == nullptr) {
      fmt::print("{:<62}{:>9.2f}  not in B\n", name, before.at("value").get<double>());
      continue;
    }
    const double from = before.at("value"), to = after->at("value");
    const Difference difference = Judge(before, *after);
    fmt::print("{:<62}{:>9.2f}{:>9.2f}{:>+8.1f}%  {}\n", name, from, to,
               from == 0 ? 0 : 100 * (to / from - 1), difference.text);
    is_worse |= difference.is_worse;
  }
  for (const Json& after : b.at("results")) {
    const std::string name = after.at("name");
    if (Find(a.at("results"), name) == nullptr) fmt::print("{:<62}  not in A\n", name);
  }
  return is_worse ? kWorse : 0;
}

}  // namespace

int Compare(const std::string& file_a, const std::string& file_b) {
  const auto a = ResultOf(file_a), b = ResultOf(file_b);
  if (!a || !b) return kWrong;
  try {
    if (a->at("command") != b->at("command")) {
      fmt::print(stderr, "dxg-bench: {} is of `dxg-bench {}`, {} of `dxg-bench {}`; expected one command\n",
                 file_a, a->at("command").get<std::string>(), file_b, b->at("command").get<std::string>());
      return kWrong;
    }
    if (a->at("machine") != b->at("machine"))
      fmt::print("The machines differ: {} and {}\n", a->at("machine").dump(), b->at("machine").dump());
    return CompareResults(*a, *b);
  } catch (const Json::exception& error) {
    fmt::print(stderr, "dxg-bench: a result lacks what every result has: {}\n", error.what());
    return kWrong;
  }
}

}  // namespace dxg::bench
