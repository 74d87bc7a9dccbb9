#include "tests/conformance/tool/expectations.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <sstream>
#include <utility>

#include "tests/conformance/tool/read_file.h"

namespace dxg::conformance {
namespace {

constexpr std::array<std::pair<std::string_view, Expected>, 6> kStatuses = {{
    {"Pass", Expected::kPass},
    {"Fail", Expected::kFail},
    {"Skip", Expected::kSkip},
    {"Flake", Expected::kFlake},
    {"NotRun", Expected::kNotRun},
    {"Dangerous", Expected::kDangerous},
}};

std::string_view Trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return "";
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

// The value of "# Reason: value"; nothing of another line.
std::optional<std::string> HeadOf(std::string_view line, std::string_view head) {
  if (line.substr(0, 1) != "#") return std::nullopt;
  line = Trimmed(line.substr(1));
  if (line.substr(0, head.size()) != head) return std::nullopt;
  return std::string(Trimmed(line.substr(head.size())));
}

constexpr const char* kMustPass = "must-pass";  // the shipped file

bool IsGlob(std::string_view pattern) { return pattern.find_first_of("*?[") != std::string_view::npos; }

// The text of a shipped file or of a path; what is wrong, as the second.
std::pair<std::string, std::optional<std::string>> TextOf(const std::string& name) {
  if (const ShippedFile* shipped = FindShippedFile(name)) return {shipped->text, std::nullopt};
  std::string text;
  const int error = ReadFile(name, &text);
  if (error == 0) return {text, std::nullopt};
  std::string known;
  for (const ShippedFile& shipped : ShippedFiles()) known += fmt::format(" {}", shipped.name);
  return {"", fmt::format("cannot read {}: {}. Expected a file, auto, or one of:{}", name, strerror(error),
                          known)};
}

}  // namespace

bool FitsGlob(const std::string& pattern, const std::string& test) {
  return fnmatch(pattern.c_str(), test.c_str(), 0) == 0;
}

const ShippedFile* FindShippedFile(std::string_view name) {
  const auto files = ShippedFiles();
  const auto found =
      std::find_if(files.begin(), files.end(), [&](const auto& file) { return file.name == name; });
  return found == files.end() ? nullptr : &*found;
}

std::optional<std::string> Expectations::AddFile(const std::string& name) {
  auto [text, wrong] = TextOf(name);
  if (wrong) return wrong;
  return AddText(text, name);
}

std::optional<std::string> Expectations::AddText(std::string_view text, const std::string& source) {
  std::string reason, tracker;
  int number = 0;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = Trimmed(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    ++number;
    if (line.empty()) {
      reason.clear();
      tracker.clear();
    } else if (const auto value = HeadOf(line, "Reason:")) {
      reason = *value;
    } else if (const auto value = HeadOf(line, "Tracker:")) {
      tracker = *value;
    } else if (line.front() != '#') {
      const size_t comma = line.rfind(',');
      const std::string_view status = comma == std::string_view::npos ? "" : Trimmed(line.substr(comma + 1));
      const auto known = std::find_if(kStatuses.begin(), kStatuses.end(),
                                      [&](const auto& row) { return row.first == status; });
      if (known == kStatuses.end() || comma == 0)
        return fmt::format(
            "{}:{}: \"{}\" is no expectation. Expected TEST,STATUS with one of Fail, Skip, Flake, Pass, "
            "NotRun, "
            "Dangerous",
            source, number, line);
      if (reason.empty() || tracker.empty())
        return fmt::format(
            "{}:{}: no {} is given. Expected a line \"# {}: ...\" above it, with no empty line between",
            source, number, reason.empty() ? "reason" : "tracker", reason.empty() ? "Reason" : "Tracker");
      all_.push_back({std::string(Trimmed(line.substr(0, comma))), known->second, reason, tracker,
                      fmt::format("{}:{}", source, number)});
    }
  }
  return std::nullopt;
}

const Expectation* Expectations::Find(const std::string& test) const {
  const auto found = std::find_if(all_.rbegin(), all_.rend(),
                                  [&](const Expectation& one) { return FitsGlob(one.pattern, test); });
  return found == all_.rend() ? nullptr : &*found;
}

std::optional<std::string> MustPass::AddFile(const std::string& name) {
  auto [text, wrong] = TextOf(name == "auto" ? kMustPass : name);
  if (wrong) return wrong;
  for (const ShippedFile& shipped : ShippedFiles()) {
    if (name != "auto" || shipped.name == std::string_view(kMustPass)) continue;
    if (auto bad = excusing_.emplace_back().AddText(shipped.text, shipped.name)) return bad;
  }
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::string_view entry = Trimmed(line);
    if (entry.empty() || entry.front() == '#') continue;
    if (entry.front() == '-')
      excepted_.emplace_back(Trimmed(entry.substr(1)));
    else
      (IsGlob(entry) ? patterns_ : names_).emplace_back(entry);
  }
  if (names_.empty() && patterns_.empty())
    return fmt::format("{} names no test. Expected a test or a glob on each line", name);
  return std::nullopt;
}

bool MustPass::Requires(const std::string& test) const {
  const auto fits = [&](const std::string& pattern) { return FitsGlob(pattern, test); };
  const auto excuses = [&](const Expectations& file) {
    const Expectation* expectation = file.Find(test);
    return expectation != nullptr && expectation->expected != Expected::kPass;
  };
  if (std::any_of(excepted_.begin(), excepted_.end(), fits)) return false;
  if (std::any_of(excusing_.begin(), excusing_.end(), excuses)) return false;
  return std::find(names_.begin(), names_.end(), test) != names_.end() ||
         std::any_of(patterns_.begin(), patterns_.end(), fits);
}

}  // namespace dxg::conformance
