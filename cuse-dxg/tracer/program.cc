#include "cuse-dxg/tracer/program.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <utility>

#include "base/container.h"
#include "cuse-dxg/tracer/stop_filter.h"

namespace dxg::tracer {
namespace {

// What the child says when it could not become the program.
struct Said {
  enum class Step : int { kFilter, kExec };
  Step step;
  int error;
};

[[noreturn]] void Say(int to, Said::Step step, int error) {
  const Said said = {step, error};
  (void)!write(to, &said, sizeof(said));
  _exit(127);
}

// The child's whole life before the program.
[[noreturn]] void BecomeProgram(const std::vector<std::string>& command, int go, int say) {
  char byte = 0;
  ssize_t got;
  do {
    got = read(go, &byte, 1);
  } while (got < 0 && errno == EINTR);
  if (got != 1) _exit(127);  // the parent gave up, or was killed
  bool no_new_privs;
  if (const int error = InstallStopFilter(&no_new_privs); error != 0) Say(say, Said::Step::kFilter, error);
  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  execvp(arguments[0], arguments.data());
  Say(say, Said::Step::kExec, errno);
}

std::string PtraceScope() {
  std::string scope;
  std::getline(std::ifstream("/proc/sys/kernel/yama/ptrace_scope"), scope);
  return scope;
}

Status WhyNotSeized(int error) {
  if (error != EPERM && error != ENOSYS && error != EACCES)
    return Status::Refuse(error, "record: the program cannot be traced: {}", std::strerror(error));
  const std::string scope = PtraceScope();
  if (scope == "3")
    return Status::Refuse(error,
                          "record: the program cannot be traced: /proc/sys/kernel/yama/ptrace_scope is 3, "
                          "and stays so until the next boot: set kernel.yama.ptrace_scope to 1 for that");
  if (scope == "2")
    return Status::Refuse(error,
                          "record: the program cannot be traced: /proc/sys/kernel/yama/ptrace_scope is 2, "
                          "which leaves that to root: run this as root, or `sysctl "
                          "kernel.yama.ptrace_scope=1`");
  return Status::Refuse(error,
                        "record: the program cannot be traced ({}): {}; on a node of cuse-dxg "
                        "`cuse-dxg run --record` needs no tracing",
                        std::strerror(error),
                        InContainer() ? "start the container with --cap-add SYS_PTRACE, or with a seccomp "
                                        "profile that allows ptrace"
                                      : "a seccomp filter or a security policy forbids ptrace here");
}

}  // namespace

Result<Program> Program::Fork(const std::vector<std::string>& command) {
  DXG_CHECK(!command.empty());
  int go[2], said[2];
  if (pipe2(go, O_CLOEXEC) != 0) return Status::Refuse(ECHILD, "record: no pipe: {}", std::strerror(errno));
  UniqueFd go_out(go[0]), go_in(go[1]);
  if (pipe2(said, O_CLOEXEC) != 0) return Status::Refuse(ECHILD, "record: no pipe: {}", std::strerror(errno));
  UniqueFd said_out(said[0]), said_in(said[1]);
  const pid_t child = fork();
  if (child < 0) return Status::Refuse(ECHILD, "record: cannot fork: {}", std::strerror(errno));
  if (child == 0) {
    go_in.reset();
    BecomeProgram(command, go_out.get(), said_in.get());
  }
  return Program(child, std::move(go_in), std::move(said_out));
}

Program::~Program() {
  if (!go_.valid()) return;  // it went, or we were moved from
  go_.reset();
  waitpid(child_, nullptr, __WALL);
}

Status Program::Seize() {
  // Were this process killed, calls would fail that the filter stops: rather the program ends, too.
  constexpr uint64_t kOptions = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE |
                                PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC |
                                PTRACE_O_EXITKILL;
  // Safety: the kernel takes the options as a number.
  if (ptrace(PTRACE_SEIZE, child_, nullptr, reinterpret_cast<void*>(kOptions)) == 0) return Status::Ok();
  return WhyNotSeized(errno);
}

void Program::Go() {
  const UniqueFd go = std::move(go_);
  (void)!write(go.get(), "g", 1);
}

Status Program::Why() {
  Said said;
  ssize_t got;
  do {
    got = read(said_.get(), &said, sizeof(said));
  } while (got < 0 && errno == EINTR);
  if (got != sizeof(said)) return Status::Ok();
  if (said.step == Said::Step::kExec)
    return Status::Refuse(said.error, "record: the program cannot be run: {}", std::strerror(said.error));
  return Status::Refuse(ECHILD,
                        "record: no seccomp filter can be had ({}), which stops the program at its calls: {}",
                        std::strerror(said.error),
                        said.error == EINVAL || said.error == ENOSYS
                            ? "this kernel has none (CONFIG_SECCOMP_FILTER)"
                            : "the container's or the service's own filter forbids seccomp(2)");
}

}  // namespace dxg::tracer
