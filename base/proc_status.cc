#include "base/proc_status.h"

#include <fmt/format.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace dxg {

ProcStatus::ProcStatus(pid_t tid) {
  std::ostringstream text;
  text << std::ifstream(fmt::format("/proc/{}/status", tid)).rdbuf();
  text_ = std::move(text).str();
}

std::optional<std::string> ProcStatus::Field(std::string_view key) const {
  std::istringstream lines(text_);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(key) || line.compare(key.size(), 1, ":") != 0) continue;
    const size_t begin = line.find_first_not_of(" \t", key.size() + 1);
    return begin == std::string::npos ? std::string() : line.substr(begin);
  }
  return std::nullopt;
}

std::vector<uint64_t> ProcStatus::Numbers(std::string_view key) const {
  std::istringstream line(Field(key).value_or(""));
  std::vector<uint64_t> numbers;
  for (uint64_t number; line >> number;) numbers.push_back(number);
  return numbers;
}

bool ProcStatus::KillIsPending() const {
  constexpr uint64_t kKill = uint64_t{1} << (SIGKILL - 1);
  for (const char* key : {"SigPnd", "ShdPnd"}) {
    if (std::strtoull(Field(key).value_or("").c_str(), nullptr, 16) & kKill) return true;
  }
  return false;
}

}  // namespace dxg
