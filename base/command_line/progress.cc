#include "base/command_line/progress.h"

#include <unistd.h>

#include <cstdio>
#include <utility>

namespace dxg::command_line {
namespace {

constexpr std::chrono::milliseconds kBetween{100};
constexpr char kClearLine[] = "\r\033[K";  // ECMA-48: to the first column, and erase to the end of the line

}  // namespace

Progress::Progress(std::string things, uint64_t total)
    : things_(std::move(things)),
      total_(total),
      shown_(isatty(STDERR_FILENO) != 0),
      next_(std::chrono::steady_clock::now()) {}

Progress::~Progress() { Clear(); }

void Progress::At(uint64_t done) {
  if (!shown_) return;
  const auto now = std::chrono::steady_clock::now();
  if (now < next_) return;
  next_ = now + kBetween;
  has_line_ = true;
  std::string line = kClearLine + std::to_string(done);
  if (total_ != 0) line += " of " + std::to_string(total_);
  line += " " + things_ + "\r";  // so that what somebody else prints stands over it
  std::fputs(line.c_str(), stderr);
  std::fflush(stderr);
}

void Progress::Clear() {
  if (!has_line_) return;
  has_line_ = false;
  std::fputs(kClearLine, stderr);
  std::fflush(stderr);
}

}  // namespace dxg::command_line
