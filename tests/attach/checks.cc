#include "tests/attach/checks.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace dxg::attach {

std::string path;

namespace {

std::atomic<int> wrong = 0;

}  // namespace

void Wrong(int line, const char* condition) {
  const int error = errno;
  ++wrong;
  std::printf("line %d: expected %s (errno %s)\n", line, condition, strerror(error));
  std::fflush(stdout);
}

int RunChecks(const char* program, const std::vector<Check>& checks, int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s PATH [CHECK]...\n", program);
    return 2;
  }
  path = argv[1];
  const std::vector<std::string> names(argv + 2, argv + argc);
  size_t ran = 0;
  for (const Check& check : checks) {
    const bool named = std::find(names.begin(), names.end(), check.name) != names.end();
    if (!named && (!names.empty() || check.by_name_only)) continue;
    const int wrong_before = wrong;
    std::fflush(stdout);  // checks fork
    check.run();
    ++ran;
    if (wrong != wrong_before) std::printf("FAILED %s on %s\n", check.name, path.c_str());
  }
  if (ran < names.size() || ran == 0) {
    std::fprintf(stderr, "%s: an unknown check was named\n", program);
    return 2;
  }
  return wrong ? 1 : 0;
}

}  // namespace dxg::attach
