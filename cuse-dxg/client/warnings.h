#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "base/mutex.h"
#include "cuse-dxg/client/access.h"

namespace dxg::client {

// Warnings that a client can cause as often as it likes. A process is heard a few times in a while, all
// together more often but not without end, and what was left out is counted.
class WarningLimit {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr uint32_t kPerProcessMax = 5, kTogetherMax = 50;
  static constexpr std::chrono::seconds kWhile{10};
  static constexpr size_t kProcessesMax = 1024;  // remembered

  // None: leave it out. Else how many of that process were left out since it was last heard.
  std::optional<uint64_t> MayWarn(const Identity& process, Clock::time_point now = Clock::now())
      DXG_EXCLUDES(mutex_);

 private:
  struct Heard {
    Clock::time_point since{};
    uint32_t times = 0;
    uint64_t left_out = 0;
    bool MayBe(uint32_t times_max, Clock::time_point now);
  };

  Mutex mutex_;
  std::map<std::pair<pid_t, uint64_t>, Heard> by_process_ DXG_GUARDED_BY(mutex_);  // tgid, start
  Heard together_ DXG_GUARDED_BY(mutex_);
};

// Logs it, under the one limit of this program.
void Warn(const Identity& process, const std::string& text);

}  // namespace dxg::client
