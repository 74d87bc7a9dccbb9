#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace dxg::attach {

// Where libraries of WSL look for each other.
inline constexpr char kWslDirectory[] = "/usr/lib/wsl";

struct PrivateFile {
  std::string path;     // below the directory: "lib/libdxcore.so"
  std::string content;  // all of it
};

// Shows these files below a directory to the calling process and what it starts, in the mount namespace that
// it has already (private_dev.h). The directory may be missing: then the nearest one above it that is there
// is replaced by a tmpfs, in which every entry is bound to the old one's. On the file system of the machine
// nothing is written. A file that is there already is hidden; its neighbours stay.
Status ShowFiles(const std::string& directory, const std::vector<PrivateFile>& files, bool in_chroot);

}  // namespace dxg::attach
