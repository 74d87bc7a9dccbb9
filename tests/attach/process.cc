#include "tests/attach/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/status.h"

namespace dxg::attach {
namespace {

constexpr int kReadyFd = 9;

std::pair<UniqueFd, UniqueFd> Pipe() {
  int ends[2];
  DXG_CHECK(pipe2(ends, O_CLOEXEC) == 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

}  // namespace

Process::Process(const std::vector<std::string>& command, bool ready) {
  auto [output_end, output] = Pipe();
  auto [ready_end, ready_in] = Pipe();
  auto [input, input_end] = Pipe();
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  pid_ = fork();
  DXG_CHECK(pid_ >= 0);
  if (pid_ == 0) {
    dup2(input.get(), STDIN_FILENO);
    dup2(output.get(), STDOUT_FILENO);
    dup2(output.get(), STDERR_FILENO);
    // It may have that number already, and dup2 would leave it close-on-exec.
    if (ready && dup2(ready_in.get(), kReadyFd) == ready_in.get()) fcntl(kReadyFd, F_SETFD, 0);
    execvp(arguments[0], arguments.data());
    _exit(127);
  }
  output_end_ = std::move(output_end);
  ready_end_ = std::move(ready_end);
  input_ = std::move(input_end);
}

Process::~Process() {
  if (ended_) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

bool Process::WaitReady() {
  char byte;
  return read(ready_end_.get(), &byte, 1) == 1;
}

void Process::Signal(int signal) { kill(pid_, signal); }

bool Process::ReadSome() {
  char text[4096];
  ssize_t got;
  do {
    got = read(output_end_.get(), text, sizeof(text));
  } while (got < 0 && errno == EINTR);
  if (got > 0) output_.append(text, static_cast<size_t>(got));
  return got > 0;
}

bool Process::WaitOutput(const std::string& text) {
  while (output_.find(text) == std::string::npos) {
    if (!ReadSome()) return false;
  }
  return true;
}

int Process::Wait() {
  input_.reset();
  while (ReadSome()) {
  }
  int status = 0;
  DXG_CHECK(waitpid(pid_, &status, 0) == pid_);
  ended_ = true;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace dxg::attach
