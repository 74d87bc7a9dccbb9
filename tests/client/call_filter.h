#pragma once

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

// A seccomp filter about one kind of system call.

namespace dxg::client {

// A call by its number and one of its arguments; with a mask of 0, by its number alone.
struct FilteredCall {
  long number;
  unsigned argument = 0;
  uint32_t mask = 0;
  uint32_t value = 0;
};

// Gives this thread, and what it makes from here on, a filter that answers the call with `action`, and lets
// all others through. `flags` are seccomp(2)'s.
inline bool AddFilter(const FilteredCall& call, uint32_t action, unsigned flags = 0) {
  const auto argument = static_cast<uint32_t>(offsetof(seccomp_data, args) + 8 * call.argument);
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(call.number), 0, 4),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument),
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, call.mask),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call.value, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, action),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program) == 0;
}

}  // namespace dxg::client
