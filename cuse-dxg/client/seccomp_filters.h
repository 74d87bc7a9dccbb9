#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

#include "base/status.h"

namespace dxg::client {

// How many seccomp filters a thread has, and of which mode. A thread inherits filters and adds to them; it
// never loses one.
struct SeccompFilters {
  int mode = 0;        // 0: none, 1: strict, 2: filters
  int64_t count = -1;  // -1: unknown, as before Linux 5.9
  bool operator==(const SeccompFilters&) const = default;
};
// None: there is no such thread, or this kernel has no seccomp.
std::optional<SeccompFilters> FiltersOf(pid_t tid);

// The program that `cuse-dxg run` forked, and all that it starts: it began with the filters of this process.
// A struct of the injector's protocol.
struct Family {
  pid_t program = 0;    // 0: there is none
  uint64_t mounts = 0;  // the number of the program's mount namespace
};
// Of a child of this process that has entered its namespaces.
Family FamilyOf(pid_t program);

// Whether a thread under filters may be made to do the system calls of a visit with its filters in force: it
// has those of this process and no others, and a trial has shown that they let those calls through. EPERM
// with the reason where not.
Status MayBeVisitedFiltered(pid_t tid, pid_t tgid, const SeccompFilters& filters, const Family& family);

// The trial, of this thread's own filters: a child makes each system call of a visit and looks at what it
// did. A filter that ends the caller ends the child, and one that answers for the kernel is found out.
Status TryVisitCalls();

}  // namespace dxg::client
