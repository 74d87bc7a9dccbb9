// under-filter allow|kill COMMAND...: executes a command under a seccomp filter that lets everything through,
// or that kills who asks for memory to be left out of dumps, as a visit does and nobody else here.

#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <string_view>

#include "tests/client/call_filter.h"

int main(int argc, char** argv) {
  using dxg::client::AddFilter;
  const std::string_view kind = argc > 2 ? argv[1] : "";
  const uint32_t action = kind == "kill" ? SECCOMP_RET_KILL_PROCESS : SECCOMP_RET_ALLOW;
  if ((kind != "kill" && kind != "allow") || !AddFilter({SYS_madvise, {2, ~0u, MADV_DONTDUMP}}, action)) {
    std::fprintf(stderr, "usage: under-filter allow|kill COMMAND...\n");
    return 2;
  }
  execvp(argv[2], argv + 2);
  std::perror(argv[2]);
  return 127;
}
