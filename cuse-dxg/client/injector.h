#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "cuse-dxg/client/delivery.h"

namespace dxg::client {

struct InjectorOptions {
  // A program whose main begins with IsInjectorCommand.
  std::vector<std::string> command = {"/proc/self/exe", "inject"};
};

// The way into clients by ptrace, done in a process of its own (injector_process.h). Where that process is
// killed, the visits under way end with EIO and the next one starts it anew; the clients it held go on at
// once (docs/security.md says with what).
//
// All callbacks run on one thread of this object's, or, where the process is not to be had, within the call.
// It must outlive whatever calls Enter and Identify; a Visit may outlive it, and does nothing then.
class Injector : public Delivery {
 public:
  // Tells which files Identify is to take for files of our node, where the node was given by somebody else.
  virtual void LearnNode(pid_t tgid, int descriptor) = 0;
};
Result<std::unique_ptr<Injector>> StartInjector(const InjectorOptions& options = {});

}  // namespace dxg::client
