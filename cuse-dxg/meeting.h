#pragma once

#include <memory>
#include <string>

#include "base/status.h"
#include "cuse-dxg/attach/launch.h"
#include "cuse-dxg/attach/node.h"
#include "cuse-dxg/options.h"

namespace dxg {

// How the program of `cuse-dxg run` meets the node: in a private /dev, by FUSE, or by a library in it.
class Meeting {
 public:
  virtual ~Meeting() = default;
  // What the device is to know of it.
  virtual void Tell(NodeOptions* device) = 0;
  // Both as those of attach::Session. The node goes before the meeting does.
  virtual Status Start(attach::Node& node, int workers) = 0;
  virtual void Stop() = 0;
};

struct Launched {
  attach::Launch launch;
  std::unique_ptr<Meeting> meeting;
};

// A library of ours, which is beside the program in a build tree, and in ../lib/cuse-dxg when installed.
// `option` is for messages.
Result<std::string> FindLibrary(const char* option, const std::string& name);

// The program, ready to go, in the way that `--attach` names or, for auto, in the first that works here.
// Before any thread is made.
Result<Launched> LaunchProgram(Options* options, attach::Launch::Extras extras);

}  // namespace dxg
