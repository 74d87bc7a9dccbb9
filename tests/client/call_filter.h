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

// A call by its number and up to two of its arguments; a condition with a mask of 0 always holds.
struct FilteredCall {
  struct Condition {
    unsigned argument = 0;
    uint32_t mask = 0;
    uint32_t value = 0;
  };

  long number;
  Condition first = {};
  Condition second = {};
};

// Gives this thread, and what it makes from here on, a filter that answers the call with `action`, and lets
// all others through. `flags` are seccomp(2)'s.
inline bool AddFilter(const FilteredCall& call, uint32_t action, unsigned flags = 0) {
  const auto argument = [](const FilteredCall::Condition& condition) {
    return static_cast<uint32_t>(offsetof(seccomp_data, args) + 8 * condition.argument);
  };
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(call.number), 0, 7),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument(call.first)),
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, call.first.mask),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call.first.value, 0, 4),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument(call.second)),
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, call.second.mask),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call.second.value, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, action),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program) == 0;
}

}  // namespace dxg::client
