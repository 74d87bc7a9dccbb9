#pragma once

#include <signal.h>
#include <sys/types.h>

#include <string>
#include <vector>

#include "base/status.h"
#include "base/unique_fd.h"
#include "cuse-dxg/attach/private_files.h"

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
  struct Extras {
    // A library (see preload/agent.cc) that the program and all that it starts load; there is a socket for
    // its agents. Empty: none.
    std::string preload = {};
    bool control = false;  // a socket listens at kControlPath
    // Below /usr/lib/wsl, with which the program finds the libraries of WSL; empty: nothing is put there.
    std::vector<PrivateFile> wsl_files = {};
    bool needs_wsl_files = true;  // false: the program runs without them where they cannot be put there
    // Instead of a /dev of its own: a library that the program and all that it starts load, and where that
    // finds this process (attach/library). Nothing else of the above but `control` makes sense with it.
    std::string node_library = {}, node_place = {};
  };
  // In the private /dev, so that nothing of it is left however this process ends.
  static constexpr char kControlPath[] = "/dev/dxg-control";

  // Before any thread is made. Blocks the signals that Wait handles.
  static Result<Launch> Fork(const std::vector<std::string>& command, const Extras& extras);
  Launch(Launch&&) = default;
  Launch& operator=(Launch&&) = delete;
  // Ends a child that has not been told to go.
  ~Launch();

  // Of a program with a library of the node, no connection: it is not valid.
  Result<UniqueFd> Connection();
  // After Connection. The sockets, listening; not valid where the extra was not asked for.
  UniqueFd TakeAgents() { return std::move(agents_); }
  UniqueFd TakeControl() { return std::move(control_); }
  // Returns when the program runs. The Status of a command that cannot be run is -ENOENT or what execvp said.
  Status Go();
  // Passes signals on until the program ends. Returns its status as waitpid gives it.
  int Wait();

  pid_t child() const { return child_; }

 private:
  Launch(pid_t child, UniqueFd to_child, UniqueFd signals, const sigset_t& before, const Extras& extras)
      : child_(child),
        to_child_(std::move(to_child)),
        signals_(std::move(signals)),
        before_(before),
        has_agents_(!extras.preload.empty()),
        has_connection_(extras.node_library.empty()) {}
  void HandleSignal();

  pid_t child_ = 0;
  UniqueFd to_child_;
  UniqueFd signals_;
  sigset_t before_;  // the signals that were blocked before Fork
  bool has_agents_ = false, has_connection_ = true;
  UniqueFd agents_, control_;
};

// Ends this process the way the program ended: its exit status, or the signal that killed it.
[[noreturn]] void ExitLike(int wait_status);

}  // namespace dxg::attach
