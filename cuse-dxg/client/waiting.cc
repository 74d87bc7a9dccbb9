#include "cuse-dxg/client/waiting.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "base/patience.h"
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

// Where a thread is. It runs on its way into the kernel's wait, too.
enum class Place { kUnknown, kRunning, kThere, kElsewhere };
constexpr long kIoctlOf32BitPrograms = 54;
// `number` is of the system call that it is in.
Place PlaceOf(pid_t tgid, const Waiting& at, long* number) {
  const ProcFile file(fmt::format("/proc/{}/task/{}/syscall", tgid, at.tid));
  if (file.text[0] == '\0') return Place::kUnknown;
  *number = 0;
  unsigned long descriptor = 0, code = 0, argument = 0;
  const int fields = std::sscanf(file.text, "%ld %lx %lx %lx", number, &descriptor, &code, &argument);
  if (fields < 1) return Place::kRunning;
  const bool there = fields == 4 && (*number == SYS_ioctl || *number == kIoctlOf32BitPrograms) &&
                     static_cast<uint32_t>(code) == at.code && argument == at.argument;
  return there ? Place::kThere : Place::kElsewhere;
}

bool IsThatThread(const WaitingThread& thread) {
  return StartTimeOf(thread.tgid, thread.at.tid) == thread.start_time;
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

bool MayWait(const WaitingThread& thread) {
  long number = 0;
  return IsThatThread(thread) && PlaceOf(thread.tgid, thread.at, &number) != Place::kElsewhere;
}

bool IsAsleepInCall(const WaitingThread& thread) {
  // It only has to get the processor once to fall asleep, and the kernel tells nobody when it does.
  RealPatience patience(std::chrono::milliseconds(200));
  while (IsThatThread(thread) && !patience.IsOver()) {
    long number = 0;
    const Place place = PlaceOf(thread.tgid, thread.at, &number);
    if (place != Place::kRunning) return place != Place::kElsewhere;
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  return false;
}

bool IsOf32BitProgram(const WaitingThread& thread) {
  RealPatience patience(std::chrono::milliseconds(20));
  long number = 0;
  while (PlaceOf(thread.tgid, thread.at, &number) == Place::kRunning && !patience.IsOver())
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  return number == kIoctlOf32BitPrograms;
}

}  // namespace dxg::client
