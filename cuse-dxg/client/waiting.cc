#include "cuse-dxg/client/waiting.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/unique_fd.h"

namespace dxg::client {
namespace {

// The beginning of a file in /proc, which is made as it is read; empty where there is none.
struct ProcFile {
  explicit ProcFile(const std::string& path) {
    const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    const ssize_t bytes = file.valid() ? read(file.get(), text, sizeof(text) - 1) : 0;
    text[std::max<ssize_t>(bytes, 0)] = '\0';
  }
  char text[1024];
};

// False: it is in another call, or in none. A thread that is just going to sleep says "running".
bool MayStandAt(pid_t tgid, const Waiting& at) {
  const ProcFile file(fmt::format("/proc/{}/task/{}/syscall", tgid, at.tid));
  long number = 0;
  unsigned long descriptor = 0, code = 0, argument = 0;
  const int fields = std::sscanf(file.text, "%ld %lx %lx %lx", &number, &descriptor, &code, &argument);
  if (fields < 1) return true;
  constexpr long kIoctlOf32BitPrograms = 54;
  return fields == 4 && (number == SYS_ioctl || number == kIoctlOf32BitPrograms) &&
         static_cast<uint32_t>(code) == at.code && argument == at.argument;
}

}  // namespace

uint64_t StartTimeOf(pid_t tgid, pid_t tid) {
  const ProcFile stat(fmt::format("/proc/{}/task/{}/stat", tgid, tid));
  // Field 22. The name in field 2 may hold anything, so count from its closing parenthesis.
  const char* at = std::strrchr(stat.text, ')');
  for (int field = 2; at != nullptr && field < 22; ++field) at = std::strchr(at + 1, ' ');
  return at == nullptr ? 0 : std::strtoull(at, nullptr, 10);
}

std::optional<WaitingThread> FindWaiting(const Waiting& at, const Identity& process) {
  const WaitingThread thread = {at, process.tgid, StartTimeOf(process.tgid, at.tid)};
  const uint64_t leader =
      at.tid == process.tgid ? thread.start_time : StartTimeOf(process.tgid, process.tgid);
  if (thread.start_time == 0 || leader != process.start_time) return std::nullopt;
  return thread;
}

bool IsStillWaiting(const WaitingThread& thread) {
  return StartTimeOf(thread.tgid, thread.at.tid) == thread.start_time && MayStandAt(thread.tgid, thread.at);
}

}  // namespace dxg::client
