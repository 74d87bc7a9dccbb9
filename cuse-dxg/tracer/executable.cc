#include "cuse-dxg/tracer/executable.h"

#include <elf.h>
#include <fmt/format.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "base/printable.h"
#include "base/proc_status.h"

namespace dxg::tracer {
namespace {

std::string LinkOf(pid_t tid) { return fmt::format("/proc/{}/exe", tid); }

bool Is32Bit(pid_t tid) {
  char head[EI_NIDENT] = {};
  std::ifstream(LinkOf(tid), std::ios::binary).read(head, sizeof(head));
  return std::memcmp(head, ELFMAG, SELFMAG) == 0 && head[EI_CLASS] == ELFCLASS32;
}

// It would have another user's rights, and the kernel gives it none.
bool LosesRights(pid_t tid) {
  struct stat file;
  if (stat(LinkOf(tid).c_str(), &file) != 0) return false;
  const bool changes_user = (file.st_mode & S_ISUID) != 0 && file.st_uid != geteuid();
  const bool changes_group =
      (file.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && file.st_gid != getegid();
  return (changes_user || changes_group) && ProcStatus(tid).Field("NoNewPrivs") == "1";
}

}  // namespace

std::string ProgramOf(pid_t tid) {
  char path[PATH_MAX];
  const ssize_t bytes = readlink(LinkOf(tid).c_str(), path, sizeof(path));
  return bytes < 0 ? std::string() : std::string(path, static_cast<size_t>(bytes));
}

std::string WhatIsOtherwiseFor(pid_t tid, const std::string& program) {
  if (Is32Bit(tid))
    return fmt::format("{} is a 32-bit program: its calls are not recorded; build it for x86-64",
                       Printable(program));
  if (LosesRights(tid))
    return fmt::format(
        "{} has the set-user-ID or set-group-ID bit, and runs without those rights under record: run "
        "`cuse-dxg record` as root, or within it",
        Printable(program));
  return {};
}

}  // namespace dxg::tracer
