#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace dxg::command_line {

// How far long work is: one line of the terminal behind stderr, which is gone afterwards. Where stderr is no
// terminal nothing is shown, so that logs have results only.
class Progress {
 public:
  // "12 of 100 seeds"; without a total "12 records".
  Progress(std::string things, uint64_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // So many are done. To be called as often as one likes: the line changes ten times a second.
  void At(uint64_t done);
  // Takes the line away, before something else is printed. The next At shows it again.
  void Clear();

 private:
  const std::string things_;
  const uint64_t total_;
  const bool shown_;
  bool has_line_ = false;
  std::chrono::steady_clock::time_point next_;
};

}  // namespace dxg::command_line
