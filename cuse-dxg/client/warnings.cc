#include "cuse-dxg/client/warnings.h"

#include <spdlog/spdlog.h>

namespace dxg::client {

bool WarningLimit::Heard::MayBe(uint32_t times_max, Clock::time_point now) {
  if (times == 0 || now - since >= kWhile) {
    since = now;
    times = 0;
  }
  return times < times_max;
}

std::optional<uint64_t> WarningLimit::MayWarn(const Identity& process, Clock::time_point now) {
  MutexLock lock(mutex_);
  // Who has been quiet is forgotten, with the count of what was left out; where that is not enough, all are.
  if (by_process_.size() >= kProcessesMax)
    std::erase_if(by_process_, [now](const auto& each) { return now - each.second.since >= kWhile; });
  if (by_process_.size() >= kProcessesMax) by_process_.clear();
  Heard& heard = by_process_[{process.tgid, process.start_time}];
  if (!heard.MayBe(kPerProcessMax, now) || !together_.MayBe(kTogetherMax, now)) {
    ++heard.left_out;
    return std::nullopt;
  }
  ++heard.times;
  ++together_.times;
  return std::exchange(heard.left_out, 0);
}

void Warn(const Identity& process, const std::string& text) {
  static WarningLimit limit;
  const auto left_out = limit.MayWarn(process);
  if (!left_out) return;
  if (*left_out == 0) return spdlog::warn("{}", text);
  spdlog::warn("{} ({} more warnings of process {} were left out)", text, *left_out, process.tgid);
}

}  // namespace dxg::client
