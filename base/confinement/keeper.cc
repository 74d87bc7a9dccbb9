#include "base/confinement/keeper.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "base/unix_socket.h"

namespace dxg::confinement {
namespace {

constexpr int kSocket = 3;  // in the keeper

struct Answer {
  int32_t result = 0;
};

void Reply(int32_t result) {
  const Answer answer = {.result = result};
  (void)SendDatagram(kSocket, std::as_bytes(std::span(&answer, 1)));
}

// Keys of a terminal, and a service manager's stop, are for the daemon; it says when it is over.
void LetGo(const UniqueFd& socket) {
  const int own = fcntl(socket.get(), F_DUPFD_CLOEXEC, kSocket + 1);  // it may have one of these numbers
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  dup2(null, STDIN_FILENO);
  dup2(null, STDOUT_FILENO);
  dup2(own, kSocket);
  fcntl(kSocket, F_SETFD, FD_CLOEXEC);
  syscall(SYS_close_range, kSocket + 1, ~0u, 0);
  if (chdir("/") != 0) std::perror("cuse-dxg keeper: chdir /");
  setsid();
  for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGPIPE}) std::signal(signal, SIG_IGN);
  prctl(PR_SET_NAME, "cuse-dxg-keeper", 0, 0, 0);
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

[[noreturn]] void Keep(const std::function<Status()>& settle, const std::vector<Keeper::Service>& services) {
  if (const Status settled = settle(); !settled.ok()) {
    std::fprintf(stderr, "cuse-dxg keeper: %s\n", settled.why().c_str());
    Reply(settled.value());
    _exit(1);
  }
  Reply(0);
  for (;;) {
    uint32_t service = 0;
    Result<Datagram> asked = ReceiveDatagram(kSocket, std::as_writable_bytes(std::span(&service, 1)));
    if (!asked.ok()) _exit(0);
    const bool known = asked->bytes == sizeof(service) && service < services.size();
    Reply(known ? services[service](asked->files) : -EINVAL);
  }
}

int32_t ReadAnswer(const UniqueFd& socket) {
  Answer answer;
  const Result<Datagram> received =
      ReceiveDatagram(socket.get(), std::as_writable_bytes(std::span(&answer, 1)));
  return received.ok() ? answer.result : received.status().value();
}

}  // namespace

Result<std::unique_ptr<Keeper>> Keeper::Start(const std::function<Status()>& settle,
                                              const std::vector<Service>& services) {
  DXG_ASSIGN(auto ends, MakeSocketPair());
  std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid < 0) return Status::Refuse(errno, "cannot fork the keeper: {}", std::strerror(errno));
  if (pid == 0) {
    // Our end goes with the rest: `ends` is not destroyed here, and its numbers may be the keeper's own.
    LetGo(ends.second);
    Keep(settle, services);
  }
  ends.second.reset();
  if (const int32_t settled = ReadAnswer(ends.first); settled < 0) {
    waitpid(pid, nullptr, 0);
    return Status::Refuse(-settled, "the keeper did not start: {}", std::strerror(-settled));
  }
  return std::unique_ptr<Keeper>(new Keeper(pid, std::move(ends.first)));
}

Keeper::~Keeper() {
  {
    MutexLock lock(mutex_);
    socket_.reset();
  }
  waitpid(pid_, nullptr, 0);
}

int32_t Keeper::Ask(uint32_t service, std::span<const int> files) {
  MutexLock lock(mutex_);
  if (const Status sent = SendDatagram(socket_.get(), std::as_bytes(std::span(&service, 1)), files);
      !sent.ok())
    return sent.value();
  return ReadAnswer(socket_);
}

pid_t ExecuteForAsker(const std::vector<std::string>& command, const UniqueFd& socket, int number) {
  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  // As fork(), but the child is our parent's, who waits for it. It executes at once, so it does not matter
  // that the C library was not told.
  const long pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
  if (pid < 0) return -errno;
  if (pid > 0) return static_cast<pid_t>(pid);
  for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGPIPE}) std::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (socket.get() == number) {
    fcntl(number, F_SETFD, 0);
  } else {
    dup2(socket.get(), number);
  }
  execv(arguments[0], arguments.data());
  _exit(127);
}

}  // namespace dxg::confinement
