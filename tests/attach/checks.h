#pragma once

#include <functional>
#include <string>
#include <vector>

// A client program of named checks, which tests start against a node: `PROGRAM PATH [CHECK]...`. It links no
// test framework, so that it can be static, and stopped or killed at any moment.

namespace dxg::attach {

struct Check {
  const char* name;
  std::function<void()> run;
  bool by_name_only = false;  // it ends the server, or needs what not every place has
};

extern std::string path;  // of the node

// Notes and prints it, from any thread.
void Wrong(int line, const char* condition);
#define EXPECT(condition)                                         \
  do {                                                            \
    if (!(condition)) ::dxg::attach::Wrong(__LINE__, #condition); \
  } while (0)

// All checks but those by name only, or the named ones. The exit status: 0 when nothing was wrong.
int RunChecks(const char* program, const std::vector<Check>& checks, int argc, char** argv);

}  // namespace dxg::attach
