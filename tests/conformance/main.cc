// dxg-conformance: does a /dev/dxg node behave as the real driver does?

#include <string_view>

#include "tests/conformance/after_exec.h"
#include "tests/conformance/tool/command_line.h"

int main(int argc, char** argv) {
  using namespace dxg::conformance;
  if (argc > 1 && std::string_view(argv[1]) == kAfterExecFlag) return AfterExec(argc, argv);
  return RunCommandLine(argc, argv);
}
