#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/status.h"
#include "base/unique_fd.h"

namespace dxg::tracer {

// The program before it runs: a child that waits to be seized, and then goes under the filter and executes.
class Program {
 public:
  // The status of a program that cannot be executed is -ENOENT or what execvp said; -ECHILD: it did not come
  // that far.
  static Result<Program> Fork(const std::vector<std::string>& command);
  Program(Program&&) = default;
  Program& operator=(Program&&) = delete;
  // Ends a child that has not been told to go.
  ~Program();

  // Makes this thread its tracer. EPERM with a sentence that says what to do.
  Status Seize();
  // It may go on. What it says afterwards is for Why.
  void Go();
  // Why there is no program, once the child has ended; Ok: it was executed.
  Status Why();

  pid_t pid() const { return child_; }

 private:
  Program(pid_t child, UniqueFd go, UniqueFd said)
      : child_(child), go_(std::move(go)), said_(std::move(said)) {}

  pid_t child_;
  UniqueFd go_;    // a byte tells it to go
  UniqueFd said_;  // what went wrong, or nothing: the exec closes it
};

}  // namespace dxg::tracer
