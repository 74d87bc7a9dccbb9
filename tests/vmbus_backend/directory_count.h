#pragma once

#include <cstddef>
#include <filesystem>
#include <iterator>

namespace dxg::vmbus {

// The entries of a directory: how many descriptors (/proc/self/fd) or threads (/proc/self/task) this process
// has.
inline size_t CountOf(const char* directory) {
  return static_cast<size_t>(
      std::distance(std::filesystem::directory_iterator(directory), std::filesystem::directory_iterator()));
}

}  // namespace dxg::vmbus
