#include "tests/bench/bench.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>

#include "tests/bench/echo_server.h"

namespace dxg::bench {
namespace {

const std::string& Directory() {
  static const std::string directory = [] {
    char name[] = "/tmp/dxg-bench.XXXXXX";
    if (mkdtemp(name) == nullptr) Fail("mkdtemp");
    static const struct Removed {
      std::string path;
      ~Removed() { rmdir(path.c_str()); }  // after the servers, which are younger
    } removed{name};
    return removed.path;
  }();
  return directory;
}

// Resident memory, in KiB.
uint64_t ResidentKibOf(pid_t pid) {
  std::ifstream status(fmt::format("/proc/{}/status", pid));
  for (std::string word; status >> word;) {
    uint64_t kib = 0;
    if (word == "VmRSS:" && status >> kib) return kib;
  }
  return 0;
}

}  // namespace

std::string ProgramPath(const std::string& name) {
  char self[4096] = {};
  if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0) Fail("readlink /proc/self/exe");
  const std::string path = self;
  return path.substr(0, path.rfind('/')) + "/" + name;
}

void Fail(const std::string& what) {
  fmt::print(stderr, "dxg-bench: {}\n", what);
  std::exit(2);
}

void PinToOneCore() {
  cpu_set_t allowed, one;
  sched_getaffinity(0, sizeof(allowed), &allowed);
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) CPU_SET(cpu, &one), cpu = CPU_SETSIZE;
  }
  if (sched_setaffinity(0, sizeof(one), &one) != 0) Fail("cannot pin to one core");
}

Server::Server(const std::string& name, const std::function<int(const std::string& path, int ready)>& serve)
    : path_(Directory() + "/" + name) {
  std::ofstream create(path_);
  create.close();
  int ready[2];
  if (pipe(ready) != 0) Fail("pipe");
  started_ns_ = NowNs();
  pid_ = fork();
  if (pid_ == 0) {
    close(ready[0]);
    prctl(PR_SET_PDEATHSIG, SIGTERM);  // a benchmark that gives up leaves nobody behind
    _exit(serve(path_, ready[1]));
  }
  close(ready[1]);
  char byte = 0;
  const bool is_ready = read(ready[0], &byte, 1) == 1;
  close(ready[0]);
  if (!is_ready) Fail(name + " did not come up; can this machine mount FUSE files? Try: cuse-dxg doctor");
  fd_ = open(path_.c_str(), O_RDWR | O_CLOEXEC);
  if (fd_ < 0) Fail("cannot open " + path_);
}

void Execute(std::vector<std::string> command) {
  std::vector<char*> arguments;
  for (std::string& argument : command) arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  execv(ProgramPath(command.front()).c_str(), arguments.data());
  _exit(127);
}

std::string OutputOf(std::vector<std::string> command) {
  int ends[2];
  if (pipe(ends) != 0) Fail("pipe");
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(ends[1], STDOUT_FILENO);
    Execute(std::move(command));
  }
  close(ends[1]);
  std::string text;
  char piece[256];
  for (ssize_t got; (got = read(ends[0], piece, sizeof(piece))) > 0;)
    text.append(piece, static_cast<size_t>(got));
  close(ends[0]);
  waitpid(pid, nullptr, 0);
  return text;
}

HostProcess::HostProcess(Way way) : way_(way), path_(Directory() + (way == Way::kSocket ? "/host" : "/bus")) {
  int ready[2];
  if (pipe(ready) != 0) Fail("pipe");
  pid_ = fork();
  if (pid_ == 0) {
    close(ready[0]);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    const std::string ready_fd = std::to_string(ready[1]);
    const std::string serve = way_ == Way::kSocket ? "--listen=" + path_ : "--serve=vmbus:" + path_;
    execl(ProgramPath("dxg-hostsim").c_str(), "dxg-hostsim", serve.c_str(), "--log-level", "warn",
          "--ready-fd", ready_fd.c_str(), nullptr);
    _exit(127);
  }
  close(ready[1]);
  char byte = 0;
  const bool is_ready = read(ready[0], &byte, 1) == 1;
  close(ready[0]);
  if (!is_ready) Fail("dxg-hostsim did not come up");
}

HostProcess::~HostProcess() {
  kill(pid_, SIGTERM);
  waitpid(pid_, nullptr, 0);
}

Server::~Server() {
  close(fd_);
  kill(pid_, SIGTERM);
  waitpid(pid_, nullptr, 0);
  unlink(path_.c_str());
}

Server Server::Daemon(const std::vector<std::string>& options) {
  static int count = 0;
  return Server("dxg" + std::to_string(count++), [&](const std::string& path, int ready) {
    std::vector<std::string> command = {"cuse-dxg",    "serve", "--attach=fuse", "--device",           path,
                                        "--log-level", "warn",  "--ready-fd",    std::to_string(ready)};
    command.insert(command.end(), options.begin(), options.end());
    std::vector<char*> arguments;
    for (std::string& argument : command) arguments.push_back(argument.data());
    arguments.push_back(nullptr);
    execv(ProgramPath("cuse-dxg").c_str(), arguments.data());
    return 127;
  });
}

Server Server::EchoOfThreads(int threads) {
  return Server(fmt::format("echo-{}", threads), [threads](const std::string& path, int ready) {
    return ServeEchoByThreads(path, ready, threads);
  });
}
Server Server::EchoWithHop() { return Server("echo-hop", ServeEchoWithHop); }
Server Server::EchoWithThread() { return Server("echo-thread", ServeEchoWithThread); }
Server Server::Echo() { return Server("echo", ServeEcho); }

uint64_t Server::ResidentKib() const { return ResidentKibOf(pid_); }
uint64_t HostProcess::ResidentKib() const { return ResidentKibOf(pid_); }

}  // namespace dxg::bench
