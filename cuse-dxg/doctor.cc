#include "cuse-dxg/doctor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "base/confinement/capabilities.h"
#include "base/container.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "cuse-dxg/attach/cuse.h"
#include "cuse-dxg/attach/fuse_file.h"
#include "cuse-dxg/attach/private_dev.h"

namespace dxg {
namespace {

constexpr rlim_t kOpenFilesWanted =
    65536;  // every shared object and every mapped range of a client is a descriptor

// One line: what was looked at, and the result. `note` is neither good nor bad. What mends it is behind an
// arrow.
struct Finding {
  std::string verdict, what, how;
};
std::vector<Finding> findings;  // of this process's only thread

void Ok(const std::string& what, const std::string& how) { findings.push_back({"ok", what, how}); }
void No(const std::string& what, const std::string& how) { findings.push_back({"no", what, how}); }
void Note(const std::string& what, const std::string& how) { findings.push_back({"note", what, how}); }

constexpr char kNoNode[] =
    "No way to serve a program here: fix one of CUSE, FUSE, private /dev and preload as said above.";

void PrintText(int status) {
  for (const Finding& finding : findings)
    fmt::print("{:<5} {:<16} {}\n", finding.verdict, finding.what, finding.how);
  if (status == kDoctorNoNode) fmt::print("\n{}\n", kNoNode);
}

void PrintJson(int status) {
  nlohmann::json rows = nlohmann::json::array();
  for (const Finding& finding : findings) {
    constexpr std::string_view kArrow = " -> ";
    const size_t arrow = finding.how.find(kArrow);
    nlohmann::json row = {
        {"name", finding.what}, {"verdict", finding.verdict}, {"text", finding.how.substr(0, arrow)}};
    if (arrow != std::string::npos) row["mend"] = finding.how.substr(arrow + kArrow.size());
    rows.push_back(row);
  }
  fmt::print("{}\n", nlohmann::json{{"status", status}, {"findings", rows}}.dump(
                         1, ' ', false, nlohmann::json::error_handler_t::replace));
}

std::string FirstLine(const char* path) {
  std::string line;
  std::ifstream file(path);
  std::getline(file, line);
  return line;
}

// Containers and User Mode Linux explain many of the answers below.
void ShowMachine() {
  utsname kernel;
  uname(&kernel);
  std::string where;
  if (FirstLine("/proc/cpuinfo").find("User Mode Linux") != std::string::npos) where = ", User Mode Linux";
  if (InContainer()) where += ", in a container";
  Note("machine", fmt::format("Linux {}{}, {}", kernel.release, where, geteuid() == 0 ? "root" : "not root"));
}

bool CheckCuse() {
  const Status status = attach::CheckCuse();
  if (status.ok()) {
    Ok("CUSE", "/dev/cuse can be opened -> cuse-dxg serve --attach=cuse");
  } else {
    No("CUSE", status.why());
  }
  return status.ok();
}

bool CheckFuse() {
  const Status status = attach::CheckFuse();
  if (status.ok()) {
    Ok("FUSE", "/dev/fuse can be opened");
  } else {
    No("FUSE", status.why());
  }
  return status.ok();
}

void ShowNode() {
  struct statfs fs;
  struct stat node;
  if (statfs("/dev/dxg", &fs) != 0 && errno == ENOTCONN)
    return No("/dev/dxg",
              "a mount that a killed daemon has left -> umount /dev/dxg (serve does that itself)");
  if (stat("/dev/dxg", &node) != 0) return Note("/dev/dxg", "does not exist; serve makes it");
  const char* kind = S_ISCHR(node.st_mode) ? "a character device" : "a file";
  const unsigned mode = node.st_mode & 07777;
  const bool opens = UniqueFd(open("/dev/dxg", O_RDWR | O_CLOEXEC)).valid();
  const std::string how =
      fmt::format("exists: {}, mode {:04o}, {}", kind, mode,
                  opens ? "can be opened" : fmt::format("cannot be opened: {}", std::strerror(errno)));
  if (opens && (mode & 0666) == 0666) return Ok("/dev/dxg", how);
  No("/dev/dxg", how + " -> chmod 666 /dev/dxg (as root), and the udev rule 60-dxg.rules to keep it so");
}

bool CanServeFile(bool fuse) {
  if (!fuse) return false;
  if (access("/dev/dxg", F_OK) == 0) return false;
  const bool may_mount = (confinement::OwnCapabilities() & confinement::Only(CAP_SYS_ADMIN)) != 0;
  if (geteuid() == 0 && !may_mount) {
    No("serve as a file",
       fmt::format("root may not mount here -> {}, or cuse-dxg run -- PROGRAM",
                   InContainer() ? "start the container with --cap-add SYS_ADMIN --cap-add SYS_PTRACE"
                                 : "give cuse-dxg the capability CAP_SYS_ADMIN"));
    return false;
  }
  if (geteuid() == 0) {
    Ok("serve as a file", "cuse-dxg serve --attach=fuse");
    return true;
  }
  No("serve as a file",
     "only root can make a node in /dev -> sudo cuse-dxg serve, or cuse-dxg run -- PROGRAM");
  return false;
}

// A child tries it, because too many settings and policies decide whether it works.
bool CheckPrivateDev() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return false;
  UniqueFd reads(ends[0]), writes(ends[1]);
  const pid_t child = fork();
  if (child == 0) {
    Result<attach::PrivateDev> entered = attach::EnterPrivateDev();
    const std::string why = entered.ok() ? "" : entered.status().why();
    _exit(write(writes.get(), why.data(), why.size()) == static_cast<ssize_t>(why.size()) ? 0 : 1);
  }
  writes.reset();
  char text[2000];
  ssize_t got = 0;
  std::string why;
  while ((got = read(reads.get(), text, sizeof(text))) > 0) why.append(text, static_cast<size_t>(got));
  if (child < 0 || waitpid(child, nullptr, 0) != child) why = "the trial process did not run";
  if (!why.empty()) {
    No("private /dev", why);
    return false;
  }
  Ok("private /dev", "a program can have a /dev of its own -> cuse-dxg run -- PROGRAM");
  return true;
}

// What the device does with every call that has a pointer in its struct: reads and writes its caller's
// memory.
void CheckCallerMemory() {
  volatile uint64_t word = 1;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return;
  UniqueFd reads(ends[0]), writes(ends[1]);
  const pid_t child = fork();
  if (child == 0) {
    writes.reset();
    char end;
    _exit(read(reads.get(), &end, 1) == 0 ? 0 : 1);  // stays until the parent has looked
  }
  reads.reset();
  uint64_t copy = 0;
  iovec here = {&copy, sizeof(copy)};
  iovec there = {const_cast<uint64_t*>(&word), sizeof(copy)};  // the child has it at the same address
  const bool can = process_vm_readv(child, &here, 1, &there, 1, 0) == sizeof(copy) &&
                   process_vm_writev(child, &here, 1, &there, 1, 0) == sizeof(copy);
  const int error = errno;
  writes.reset();
  if (child > 0) waitpid(child, nullptr, 0);
  if (can) {
    Ok("caller's memory", "process_vm_readv and process_vm_writev work on a child");
  } else {
    No("caller's memory",
       fmt::format("process_vm_readv is refused: {} -> {}", std::strerror(error),
                   InContainer() ? "start the container with --cap-add SYS_PTRACE, or with --security-opt "
                                   "seccomp=unconfined"
                                 : "start it outside of the seccomp filter that forbids it"));
  }
}

void ShowPtraceScope() {
  const std::string scope = FirstLine("/proc/sys/kernel/yama/ptrace_scope");
  if (scope.empty() || scope == "0") return Ok("ptrace", "Yama does not restrict it");
  if (scope == "3")
    return No(
        "ptrace",
        "Yama ptrace_scope is 3: not even root may use ptrace, so no memory can be mapped into programs -> "
        "boot with another setting (sysctl kernel.yama.ptrace_scope)");
  if (geteuid() == 0)
    return Ok("ptrace", fmt::format("Yama ptrace_scope is {}, which does not restrict root", scope));
  Note("ptrace", fmt::format("Yama ptrace_scope is {}: enough for run; serve must be root", scope));
}

void ShowFileLimit() {
  rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  const std::string how =
      fmt::format("{} descriptors, {} at most (raised at start)", files.rlim_cur, files.rlim_max);
  if (files.rlim_max >= kOpenFilesWanted) return Ok("open files", how);
  Note("open files",
       fmt::format("{} -> ulimit -Hn {} for clients with very many objects", how, kOpenFilesWanted));
}

// docs/decisions/011: no kernel's own fence would do.
void ShowSyncFiles() {
  Ok("sync files",
     "descriptors of the node: poll, select, epoll, FILE_INFO and MERGE work; other drivers do not accept "
     "them");
}

// What programs touch first in locked memory comes in pages of 4 KiB, or of 2 MiB.
void ShowHugePages() {
  const std::string path = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
  const std::string setting = FirstLine(path.c_str());
  if (setting.empty()) return;
  if (setting.find("[never]") == std::string::npos && setting.find("[deny]") == std::string::npos)
    return Ok("huge pages", "used for locked memory");
  Note("huge pages",
       fmt::format("not used for locked memory -> echo advise > {} (first touches then cost a tenth)", path));
}

// What a program printed, and how it ended.
struct Ran {
  int status = -1;
  std::string out, err;
};

std::string ReadAll(int file) {
  std::string text;
  char piece[4096];
  lseek(file, 0, SEEK_SET);
  for (ssize_t got; (got = read(file, piece, sizeof(piece))) > 0;)
    text.append(piece, static_cast<size_t>(got));
  return text;
}

Ran RunSelf(std::vector<std::string> arguments) {
  const UniqueFd out(memfd_create("out", MFD_CLOEXEC)), err(memfd_create("err", MFD_CLOEXEC));
  const pid_t child = fork();
  if (child == 0) {
    constexpr unsigned kPatience_s = 30;
    dup2(out.get(), STDOUT_FILENO);
    dup2(err.get(), STDERR_FILENO);
    alarm(kPatience_s);
    for (const char* setting : {"DXG_TRACE", "DXG_RECORD", "DXG_CONFIG"})
      unsetenv(setting);  // files of the user's
    std::vector<char*> words;
    words.reserve(arguments.size() + 1);
    for (std::string& argument : arguments) words.push_back(argument.data());
    words.push_back(nullptr);
    execv("/proc/self/exe", words.data());
    _exit(127);
  }
  Ran ran;
  if (child > 0) waitpid(child, &ran.status, 0);
  ran.out = ReadAll(out.get());
  ran.err = ReadAll(err.get());
  return ran;
}

// The reason that a daemon has logged for a call; of any, where no call is named.
std::string ReasonIn(const std::string& log, const std::string& call) {
  std::istringstream lines(log);
  for (std::string line; std::getline(lines, line);) {
    for (const std::string_view level : {" warning: ", " error: "}) {
      const size_t at = line.find(level);
      if (at == std::string::npos) continue;
      std::string reason = line.substr(at + level.size());
      if (call.empty() || reason.starts_with(call)) return reason;
    }
  }
  return "";
}

// A client makes a few calls of each kind. False: one of them does not do what it should.
bool ShowTrial(const std::string& of, const std::vector<std::string>& command) {
  const Ran ran = RunSelf(command);
  size_t rows = 0;
  std::istringstream lines(ran.out);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string what, verdict, how;
    if (!std::getline(fields, what, '\t') || !std::getline(fields, verdict, '\t')) continue;
    std::getline(fields, how);
    ++rows;
    if (verdict == "ok") {
      Ok(of + what, how);
      continue;
    }
    std::string reason = ReasonIn(ran.err, how.substr(0, how.find(':')));
    if (reason.empty()) reason = ReasonIn(ran.err, "");
    No(of + what, reason.empty() ? how : fmt::format("{}; {}", how, reason));
  }
  if (rows == 0) {
    const std::string reason = ReasonIn(ran.err, "");
    No(of + "trial", reason.empty() ? fmt::format("it did not run (wait status {})", ran.status) : reason);
  }
  return rows != 0 && ran.status == 0;
}

}  // namespace

int Doctor(bool json) {
  ShowMachine();
  const bool cuse = CheckCuse();
  const bool fuse = CheckFuse();
  ShowNode();
  const bool file = CanServeFile(fuse);
  const bool private_dev = CheckPrivateDev();
  CheckCallerMemory();
  ShowPtraceScope();
  bool good = true;
  if (private_dev)
    good = ShowTrial("run: ",
                     {"cuse-dxg", "run", "--log-level", "warn", "--", "/proc/self/exe", "trial", "/dev/dxg"});
  const bool library = ShowTrial("preload: ", {"cuse-dxg", "run", "--attach=preload", "--log-level", "warn",
                                               "--", "/proc/self/exe", "trial", "/dev/dxg"});
  if (library)
    Ok("preload", "a program can be served without a node -> cuse-dxg run --attach=preload -- PROGRAM");
  const bool node = UniqueFd(open("/dev/dxg", O_RDWR | O_CLOEXEC)).valid();
  if (node) good = ShowTrial("/dev/dxg: ", {"cuse-dxg", "trial", "/dev/dxg"}) && good;
  ShowHugePages();
  ShowSyncFiles();
  ShowFileLimit();
  const bool none = !cuse && !file && !private_dev && !node && !library;
  const int status = none ? kDoctorNoNode : good ? 0 : kDoctorTrialFailed;
  json ? PrintJson(status) : PrintText(status);
  return status;
}

}  // namespace dxg
