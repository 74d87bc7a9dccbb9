#pragma once

#include <string>
#include <vector>

#include "base/status.h"

// Which files a process may touch from then on (Landlock). Not for who reaches into other processes: Landlock
// also forbids to read or trace a process that is not confined the same way, and no capability lifts that.

namespace dxg::confinement {

struct Files {
  std::vector<std::string> opened;   // files that may be opened, for reading and writing
  std::vector<std::string> emptied;  // directories in which a file may be removed
};

// For this thread and those that it makes from here on; it sets no-new-privs too. What is open stays open.
// TCP is forbidden as well, and so are signals and abstract sockets out of the process, as far as the kernel
// knows these. Refused where it has no Landlock, with everything as before.
Status TouchOnly(const Files& files);

}  // namespace dxg::confinement
