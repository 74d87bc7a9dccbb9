#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace dxg::attach {

// A program that a test starts. Its input stays open and empty until Wait, its output (both streams) is
// collected, and it ends with the test at the latest.
class Process {
 public:
  // With `ready` the child gets descriptor 9 for --ready-fd; WaitReady waits for it.
  explicit Process(const std::vector<std::string>& command, bool ready = false);
  ~Process();

  // True if the program reported that it is ready; false if it ended before.
  bool WaitReady();
  void Signal(int signal);
  // Reads until the program has printed that text. False if it ended before.
  bool WaitOutput(const std::string& text);
  // Closes the input, reads the rest of the output, then waits. The status is an exit status, or 128 + the
  // signal.
  int Wait();

  const std::string& output() const { return output_; }
  pid_t pid() const { return pid_; }

 private:
  bool ReadSome();

  pid_t pid_ = 0;
  bool ended_ = false;
  UniqueFd output_end_;
  UniqueFd ready_end_;
  UniqueFd input_;
  std::string output_;
};

}  // namespace dxg::attach
