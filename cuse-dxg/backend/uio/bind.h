#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "cuse-dxg/backend/uio/sysfs.h"

// Giving the channels of virtual GPUs to uio_hv_generic, and back. Everything is a write of a line to a file
// of sysfs, planned before the first of them is done.

namespace dxg::vmbus {

struct Write {
  std::string path;
  std::string text;
};

struct Step {
  std::string what;  // "give the global channel ... to uio_hv_generic"
  Write write;
  std::vector<Write> undo;  // what takes it back; empty: nothing has to
  int fine_error = 0;       // the kernel's word (an errno) for: it is so already
};

// The kernel's files, or a test's.
class SysfsWriter {
 public:
  virtual ~SysfsWriter() = default;
  // Whether it is there and may be written.
  virtual Status Check(const std::string& path) = 0;
  virtual Status Write(const std::string& path, const std::string& text) = 0;
};
SysfsWriter& KernelSysfs();

// What is left to do; nothing where all is as it should be. With `for_class` channels that arrive later go to
// uio_hv_generic by themselves. Refuses where there is nothing to bind or nothing to bind it to.
Result<std::vector<Step>> PlanBind(const Places& places, const Found& found, bool for_class);
// Back to the driver of the kernel where it has one (dxgkrnl), else to none.
Result<std::vector<Step>> PlanUnbind(const Places& places, const Found& found);

// As commands of a shell, a line each.
std::string ToText(const std::vector<Step>& steps);
std::string ToText(const Write& write);

// Looks whether all of it may be written, and then does it. Where a step fails, the refusal says which, why,
// what was done before, and how to take that back. `done`: a line for each step.
Status Execute(const std::vector<Step>& steps, SysfsWriter& writer, std::string* done);

// After PlanBind's steps: whether the kernel has done what they asked for.
Status CheckBound(const Found& found);

}  // namespace dxg::vmbus
