#pragma once

#include <functional>
#include <string>
#include <vector>

// A client program of named checks, which tests run against a node: `PROGRAM PATH [CHECK]...`. It links no
// test framework, so that it can be static, and can be stopped or killed at any moment.

namespace dxg::attach {

struct Check {
  const char* name;
  std::function<void()> run;
  bool by_name_only = false;  // it ends the server, or needs something that not every machine has
};

extern std::string path;  // of the node

// Records a failure and prints it. From any thread.
void Wrong(int line, const char* condition);
#define EXPECT(condition)                                         \
  do {                                                            \
    if (!(condition)) ::dxg::attach::Wrong(__LINE__, #condition); \
  } while (0)

// Runs the named checks; without names, all but those that run by name only. Returns the exit status, 0 if
// all passed.
int RunChecks(const char* program, const std::vector<Check>& checks, int argc, char** argv);

}  // namespace dxg::attach
