#pragma once

#include <string>
#include <string_view>

#include "base/unique_fd.h"

namespace dxg::replay {

// What a player of a shadow says to whoever started it, on the socket from which it reads: one of these, the
// number of bytes of the text (32 bits), and the text.
enum class LiveSays : char {
  kFirst = 'F',   // the first answer that differs, with its history
  kLate = 'L',    // the first call that does not end, by which its process is given up
  kCounts = 'C',  // what was compared; the last that it says
  kWrong = 'W',   // why it stops before the end
};

// Plays the client's side of a recording that is being made against a node, and compares, until the recording
// ends. `feed` is a socket on which the recording comes, as trace::Recording writes it. A process for each
// process and a thread for each thread, as Play; a call begins when all calls that had ended before it began
// are over. Nothing is kept of what was compared but the calls that made objects, and of those the latest.
// Forks, so the caller has one thread. Returns the exit status: 0, or 1 where it stopped before the end.
int PlayLive(UniqueFd feed, const std::string& node);

// `cuse-dxg shadow NODE`, which the recorder of a shadow starts (live_shadow.h): standard input is the feed.
inline constexpr std::string_view kShadowCommand = "shadow";
int PlayLive(const std::string& node);

}  // namespace dxg::replay
