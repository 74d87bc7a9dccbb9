#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/unique_fd.h"
#include "cuse-dxg/client/delivery.h"
#include "cuse-dxg/client/seccomp_filters.h"

namespace dxg::client {

struct InjectorOptions {
  // A program whose main begins with IsInjectorCommand.
  std::vector<std::string> command = {"/proc/self/exe", "inject"};
  // Starts that program as a child of this process, with that socket as its kControlDescriptor: for a process
  // that may not start any itself. The pid, or -errno. Empty: it may.
  std::function<pid_t(const UniqueFd& control)> start = nullptr;
  // Whose seccomp filters may be known.
  Family family = {};
};

// The way into clients by ptrace, done in a process of its own (injector_process.h). Where that process is
// killed, the visits under way end with EIO and the next one starts it anew; the clients it held go on at
// once (docs/security.md says with what).
//
// All callbacks run on one thread of this object's, or, where the process is not to be had, within the call.
// It must outlive whatever calls Enter and Identify; a Visit may outlive it, and does nothing then.
class Injector : public Delivery {
 public:
  // A client's thread, which waits in a call, has opened our node by itself, it says, and has it under that
  // number. What Identify takes for files of our node is the same for everybody, so that is believed only
  // where a call of ours on that very file reaches the node. `done` runs once, on any thread.
  virtual void LearnNode(const Waiting& at, const Identity& process, int descriptor,
                         std::function<void()> done) = 0;
};
Result<std::unique_ptr<Injector>> StartInjector(const InjectorOptions& options = {});

}  // namespace dxg::client
