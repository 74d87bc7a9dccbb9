#include "base/container.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/proc_status.h"

namespace dxg {
namespace {

// The numbers of the namespaces that a kernel begins with; they are part of its interface.
constexpr ino_t kFirstProcesses = 0xEFFFFFFC, kFirstUsers = 0xEFFFFFFD;

bool IsIn(const char* path, ino_t first) {
  struct stat space;
  return stat(path, &space) != 0 || space.st_ino == first;
}

}  // namespace

// A machine whose system was made of a container's image still has the file.
bool InContainer() {
  bool marked = false;
  for (const char* mark : {"/.dockerenv", "/run/.containerenv", "/run/secrets/kubernetes.io"})
    marked = marked || access(mark, F_OK) == 0;
  if (!marked) return false;
  return !IsIn("/proc/self/ns/pid", kFirstProcesses) || !IsIn("/proc/self/ns/user", kFirstUsers) ||
         ProcStatus(getpid()).Field("Seccomp").value_or("0") != "0";
}

}  // namespace dxg
