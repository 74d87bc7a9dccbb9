#pragma once

#include <sys/types.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>

// What the tests of this room ask of their own process.

namespace dxg::client {

inline size_t OpenDescriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(all), end(all)));
}

// The injector, where nothing else was started; 0: there is none.
inline pid_t OnlyChild() {
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    pid_t child = 0;
    if (std::ifstream(task.path() / "children") >> child) return child;
  }
  return 0;
}

// The role of a child in address_map_test.cc: maps the file of that test anew, where it was.
int MapAgain(const char* address);
// The role of a child in agents_test.cc: its agent at that socket ends when it is asked for something, and it
// goes on.
int BeShortLivedAgent(const char* path);

// The role of a child in pin_test.cc: maps a page there, and says with its exit status whether somebody has
// brought it in.
int StayUntouched(const char* address);

}  // namespace dxg::client
