#include "hostsim/serve/window.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "base/shared_memory.h"

namespace dxg::hostsim::serve {

Result<UniqueFd> OpenWindow(const VmbusOptions& options) {
  const uint64_t bytes = uint64_t{options.window_megabytes} << 20;
  if (!options.window_file.empty()) {
    UniqueFd file(open(options.window_file.c_str(), O_RDWR | O_CLOEXEC));
    if (!file.valid())
      return Status::Refuse(errno, "the window's file {}: {}", options.window_file, std::strerror(errno));
    // Who touched memory behind the file's end would be killed. A device has no size that we could look at.
    struct stat status {};
    if (fstat(file.get(), &status) == 0 && S_ISREG(status.st_mode) &&
        static_cast<uint64_t>(status.st_size) < bytes)
      return Status::Refuse(
          EINVAL,
          "the window's file {} has {} MiB; expected the window's {}: make it longer, or say window-mib=N",
          options.window_file, status.st_size >> 20, options.window_megabytes);
    return file;
  }
  return MakeSharedMemory("dxg-window", bytes);
}

}  // namespace dxg::hostsim::serve
