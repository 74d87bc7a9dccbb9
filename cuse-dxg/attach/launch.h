#pragma once

#include <signal.h>
#include <sys/types.h>

#include <string>
#include <vector>

#include "base/status.h"
#include "base/unique_fd.h"

namespace dxg::attach {

// A program started with a /dev of its own, whose `dxg` is served by this process.
//
//     parent (serves)                         child (becomes the program)
//     Launch::Fork  ------------------------> namespaces, /dev, FUSE mount
//     Connection()  <------ descriptors ----  waits
//     make the device
//     start serving
//     Go()          ------------------------> exec
//     Wait()        <------ exit status ----  the program, and its end
//
// The program shares our process group and terminal. When we are killed before Go, the child ends; after it,
// the program's calls fail at once, because the connection is ours alone.
class Launch {
 public:
  // Before any thread is made. Blocks the signals that Wait handles. With a `preload` library (see
  // preload/agent.cc) the program and all that it starts load it, and there is a socket for its agents.
  static Result<Launch> Fork(const std::vector<std::string>& command, const std::string& preload = "");
  Launch(Launch&&) = default;
  Launch& operator=(Launch&&) = delete;
  // Ends a child that has not been told to go.
  ~Launch();

  Result<UniqueFd> Connection();
  // After Connection. The socket, listening; not valid without a `preload`.
  UniqueFd TakeAgents() { return std::move(agents_); }
  // Returns when the program runs. The Status of a command that cannot be run is -ENOENT or what execvp said.
  Status Go();
  // Passes signals on until the program ends. Returns its status as waitpid gives it.
  int Wait();

  pid_t child() const { return child_; }

 private:
  Launch(pid_t child, UniqueFd to_child, UniqueFd signals)
      : child_(child), to_child_(std::move(to_child)), signals_(std::move(signals)) {}
  void HandleSignal();

  pid_t child_ = 0;
  UniqueFd to_child_;
  UniqueFd signals_;
  UniqueFd agents_;
};

// Ends this process the way the program ended: its exit status, or the signal that killed it.
[[noreturn]] void ExitLike(int wait_status);

}  // namespace dxg::attach
