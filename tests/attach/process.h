#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace dxg::attach {

// A program that a test starts: its input stays open and empty until Wait, its output (both streams) is
// collected, and it does not outlive the test.
class Process {
 public:
  // `ready`: the child gets descriptor 9 as --ready-fd, for WaitReady.
  explicit Process(const std::vector<std::string>& command, bool ready = false);
  ~Process();

  // True when the byte came; false when the program ended before.
  bool WaitReady();
  void Signal(int signal);
  // Reads until that text has come out. False when the program ended before.
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
